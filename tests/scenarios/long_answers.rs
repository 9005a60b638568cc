//! Proves that answers of plb's own arrive whole when they are longer than a buffer, and hold up nobody meanwhile.

use crate::harness::client::Client;
use crate::harness::lines::Lines;
use crate::harness::{Origin, Plb, configuration};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Longer than all buffers between plb and its client.
const PAGE_BYTES: usize = 1 << 20;

/// A page that tells where it was cut, in a file of its own.
fn page(directory: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
    let text: String = (0..).map(|number| format!("{number:07}\n")).take(PAGE_BYTES / 8).collect();
    let path = directory.path().join("page.html");
    std::fs::write(&path, &text).expect("there is room for a file");
    (path, text.into_bytes())
}

/// A listener with these routes before its pool.
fn with_routes(settings: &str, routes: &str, backend: SocketAddr) -> Plb {
    let yaml = configuration("http", settings, &[backend]);
    Plb::start(&yaml.replacen("    pool: web\n", &format!("    pool: web\n    routes: {routes}\n"), 1))
}

#[test]
fn a_long_response_of_plbs_own_is_whole_and_the_next_request_is_served_behind_it() {
    let (directory, lines, origin) = (tempfile::tempdir().expect("there is room"), Lines::new(), Origin::named("one"));
    let (path, text) = page(&directory);
    let routes = format!(
        "[{{ match: {{ path: /closed }}, respond: {{ status: 410, file: {}, content_type: text/plain }} }}]",
        path.display()
    );
    let plb = with_routes(&format!("access_log: {}", lines.path().display()), &routes, origin.address());
    let mut client = Client::connect(plb.web());
    let closed = "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{closed}GET /open HTTP/1.1\r\nHost: a\r\n\r\n{closed}"));
    for number in 0..3 {
        let response = client.response();
        assert_eq!(response.status(), [410, 200, 410][number]);
        assert!(number == 1 || response.body == text, "the page is whole");
    }
    client.send("HEAD /closed HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD").expect("a head");
    assert_eq!((head.status(), head.field("content-length")), (410, Some(text.len().to_string().as_str())));
    for (line, bytes) in lines.wait_for(4).iter().zip([text.len(), 0, text.len(), 0]) {
        let sent: usize = line.split_whitespace().rev().nth(6).expect("a line").parse().expect("a number");
        assert!((bytes..bytes + 400).contains(&sent), "{line}");
    }
}

#[test]
fn a_long_page_about_a_request_that_failed_holds_no_connection_to_the_backend() {
    let directory = tempfile::tempdir().expect("there is room");
    let (path, text) = page(&directory);
    let origin = Origin::raw(|connection| {
        let head = connection.request_head();
        if head.is_some_and(|head| head.method() == "GET") {
            connection.send("nonsense\r\n\r\n").expect("plb reads");
        }
        drop(connection.until_end());
    });
    let pages = format!("error_pages: {{ 413: {0}, 502: {0} }}\nbody_max: 4", path.display());
    let plb = Plb::http(&pages, &[origin.address()]);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n9\r\n";
    for (number, request, status) in [(1, get, 502), (2, post, 413)] {
        let mut client = Client::connect(plb.web());
        client.send(request);
        // Nobody has read the page yet.
        origin.wait_for("the end of the connection", |seen| seen.over() == number);
        let response = client.response();
        assert_eq!(response.status(), status);
        assert!(response.body == text, "the page is whole");
    }
}
