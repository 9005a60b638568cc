//! How often a client may ask: the model of `rate_limit`, and its reading.

use std::time::Duration;

use super::error::Errors;
use super::leaf::{Period, Whole};
use super::source::Node;
use super::validate::Section;
use super::word::{NONE, settings};

settings! {
    /// How many requests one client may make: a bucket of tokens that is refilled steadily.
    #[derive(Copy, Eq)]
    RateLimit {
        /// So many tokens come in each period; at least 1.
        requests: Whole<1, 1_000_000>,
        /// Never zero.
        period: Period = Duration::from_secs(1),
        /// So many are in a full bucket; at least 1, and as many as `requests` unless it is set.
        burst: Whole<1, 1_000_000>,
    }
}

/// Reads a `rate_limit` at its path: a map, or `none`.
pub(super) fn rate_limit(place: (&Node, String), errors: &mut Errors<'_>) -> Option<RateLimit> {
    if place.0.value().as_str() == Some(NONE) {
        return None;
    }
    let meaning = "with the keys requests, period and burst, or none";
    let (_, mut limit) = Section::whole::<RateLimit>(place, meaning, &["requests"], errors);
    if limit.burst == 0 {
        limit.burst = limit.requests;
    }
    Some(limit)
}
