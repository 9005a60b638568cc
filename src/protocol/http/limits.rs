//! What stands before the answer to a request: how often its client may ask.

use super::asked::Asked;
use super::rate::Buckets;
use super::reply::{Answer, Status};
use super::site::Decision;
use crate::base::time::Time;
use crate::config::Listener;
use crate::protocol::refusal::Cause;

/// The limits of a listener, and what is remembered of its clients for their sake.
#[derive(Debug, Default)]
pub(super) struct Limits {
    rate: Option<Buckets>,
}

impl Limits {
    pub(super) fn new(listener: &Listener) -> Limits {
        Limits { rate: listener.http.rate_limit.as_ref().map(Buckets::new) }
    }

    /// Lets a request pass that is to be looked at any further, or tells what becomes of it.
    pub(super) fn check(&mut self, asked: &Asked, now: Time) -> Result<(), Decision> {
        take(&mut self.rate, asked, now)
    }
}

fn take(buckets: &mut Option<Buckets>, asked: &Asked, now: Time) -> Result<(), Decision> {
    let Some(buckets) = buckets else { return Ok(()) };
    buckets.take(asked.client, now).map_err(|seconds| too_many(seconds, Cause::Rate))
}

/// Come again in so many seconds (RFC 9110 section 10.2.3).
fn too_many(seconds: u64, cause: Cause) -> Decision {
    let mut answer = Answer::of(Status::TooManyRequests);
    answer.fields = format!("Retry-After: {seconds}\r\n").into_bytes();
    Decision::Refuse(answer, cause)
}
