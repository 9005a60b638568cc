//! What must hold for any bytes whatever: each law is a function that panics where it does not.
//!
//! `cargo test` tries them with seeded mutations, and the targets in `fuzz/` with whatever a fuzzer finds. A law knows
//! plb by its public types alone, and judges what comes out of it with a reader of its own.

mod connections;
mod cookies;
mod heads;
mod likeness;
mod paths;
mod proxy_headers;
mod reader;
mod relay;
pub mod specimens;

use std::sync::LazyLock;

use plb::config::Config;

pub use connections::{Answers, requests, responses};
pub use cookies::cookies;
pub use heads::{chunked_body, request_head, response_head};
pub use paths::path;
pub use proxy_headers::proxy_header;

/// The moment at which everything happens.
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A listener for HTTP with limits that mutations reach.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = "head_max: 1KiB\nfields_max: 16\ntrailers: forward\nvia: true\nmethods: any\n\
                listeners: [{name: l, listen: \"127.0.0.1:80\", protocol: http, pool: p}]\n\
                pools: {p: {backends: [\"10.0.0.1:80\"]}}\n";
    plb::config::parse("laws", text).unwrap_or_else(|errors| panic!("{errors:?}"))
});

/// No text makes the reading of a configuration panic, and each error names a line that is there.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Err(errors) = plb::config::parse("plb.yaml", text) else { return };
    assert!(!errors.is_empty(), "refused for no reason");
    for error in errors {
        assert!(error.to_string().starts_with("plb.yaml:"), "{error}");
    }
}
