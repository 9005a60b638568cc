//! What is tried when a backend fails, and who answers when nobody is left.

use serde_yaml::Value;

use super::leaf::status;
use super::route::Respond;
use super::word::{Choice, choices, words, wrong};

/// The word for as many attempts as there are backends.
const ALL: &str = "all";
/// [`Retries`] without a limit: each backend is asked once.
pub const RETRIES_ALL: u32 = u32::MAX;
const RETRIES_MAX: u64 = 100;

/// What may become of an attempt at a backend, so that another one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing of the request has left: no connection was to be had.
    Connect,
    /// The connection was reset or ended before the first byte of a response.
    NoResponse,
    /// No response began in time.
    Timeout,
    /// A response began, and its head breaks the rules of HTTP, breaks off, or did not come in time.
    Malformed,
    /// The response has this status.
    Status(u16),
}

impl Mishap {
    /// What another attempt is made for unless a pool says otherwise.
    pub const DEFAULT: [Mishap; 3] = [Mishap::Connect, Mishap::NoResponse, Mishap::Timeout];

    /// Whether it is seen only when a response has begun.
    pub fn is_in_response(self) -> bool {
        matches!(self, Mishap::Malformed | Mishap::Status(_))
    }
}

choices!(Mishap: "connect" Connect, "no_response" NoResponse, "timeout" Timeout, "malformed" Malformed);
/// The statuses that another backend might not answer with.
const STATUSES: [u16; 8] = [404, 408, 425, 429, 500, 502, 503, 504];

words! {
    /// A mishap by its name, or a status.
    MishapName(Mishap) = |value| {
        Mishap::read(value).ok().or_else(|| status(value, &STATUSES).map(Mishap::Status)).ok_or_else(|| {
            let names = Mishap::CHOICES.iter().map(|(name, _)| name.to_string()).chain(STATUSES.map(|s| s.to_string()));
            wrong(&names.collect::<Vec<_>>().join(" or "), value)
        })
    }, Mishap::write;
    /// How many further attempts may follow the first one.
    Retries(u32) = |value| match (value.as_str(), value.as_u64()) {
        (Some(ALL), _) => Ok(RETRIES_ALL),
        (_, Some(retries @ 0..=RETRIES_MAX)) => Ok(retries as u32),
        _ => Err(wrong(&format!("{ALL} or a whole number from 0 to {RETRIES_MAX}"), value)),
    }, |retries| if *retries == RETRIES_ALL { ALL.into() } else { (*retries).into() };
}

/// Who answers when nobody of a pool lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emergency {
    /// Another pool: an index into [`super::Config::pools`].
    Pool(usize),
    /// plb itself, with this.
    Respond(Respond),
}
