//! How often a client may ask: the model of `rate_limit`, and its reading.

use std::time::Duration;

use super::error::Errors;
use super::schema;
use super::source::Node;
use super::validate::Section;

/// How many requests one client may make: a bucket of tokens that is refilled steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many tokens come in each period; at least 1.
    pub requests: u32,
    /// Never zero.
    pub period: Duration,
    /// So many are in a full bucket; at least 1.
    pub burst: u32,
}

/// Reads a `rate_limit` at `path`: a map, or `none`.
pub(super) fn rate_limit(node: &Node, path: String, errors: &mut Errors<'_>) -> Option<RateLimit> {
    if node.value().as_str() == Some("none") {
        return None;
    }
    let mut section = Section::open(node, path, "with the keys requests, period and burst, or none", errors);
    let own: schema::RateLimit = section.read(errors);
    section.close(&["requests"], errors);
    // Where there is none, that is reported.
    let requests = own.requests.unwrap_or(1);
    Some(RateLimit { requests, period: own.period, burst: own.burst.unwrap_or(requests) })
}
