//! What stands before the answer to a request: how often its client may ask, and who it has to be.

use super::asked::Asked;
use super::auth::{Budget, Gate, Verdict};
use super::rate::Buckets;
use super::reply::{Answer, Status};
use super::site::Decision;
use crate::base::time::Time;
use crate::config::route::Route;
use crate::config::{Auth, Listener, RateLimit};
use crate::protocol::refusal::Cause;

/// What is remembered of the clients of a listener for the sake of its limits and those of its routes.
#[derive(Debug)]
pub(super) struct Limits {
    buckets: Buckets,
    gate: Gate,
    /// What may go into verifying passwords.
    pub(super) budget: Budget,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { buckets: Buckets::new([].iter()), gate: Gate::default(), budget: Budget::default() }
    }
}

impl Limits {
    pub(super) fn new(listener: &Listener) -> Limits {
        let of_routes = listener.routes.iter().filter_map(|route| route.rate_limit.as_ref());
        Limits { buckets: Buckets::new(of_routes.chain(&listener.http.rate_limit)), ..Limits::default() }
    }

    /// Lets a request pass whatever it asks for, or tells what becomes of it.
    pub(super) fn check(&mut self, listener: &Listener, asked: &Asked, now: Time) -> Result<(), Decision> {
        self.take(0, listener.http.rate_limit.as_ref(), asked, now)
    }

    /// Lets a request take the route at `index`, or tells what becomes of it.
    pub(super) fn check_route(
        &mut self,
        index: usize,
        route: &Route,
        asked: &Asked,
        now: Time,
    ) -> Result<(), Decision> {
        self.take(index + 1, route.rate_limit.as_ref(), asked, now)?;
        let Some(auth) = &route.auth else { return Ok(()) };
        match self.gate.judge(index, auth, asked.field("authorization"), &mut self.budget, now) {
            Verdict::Welcome => Ok(()),
            Verdict::Unauthorized => Err(unauthorized(auth)),
            Verdict::Busy(seconds) => Err(too_many(seconds, Cause::Verifications)),
        }
    }

    fn take(&mut self, number: usize, limit: Option<&RateLimit>, asked: &Asked, now: Time) -> Result<(), Decision> {
        let Some(limit) = limit else { return Ok(()) };
        self.buckets.take(number, limit, asked.client, now).map_err(|seconds| too_many(seconds, Cause::Rate))
    }
}

/// Come again in so many seconds (RFC 9110 section 10.2.3).
fn too_many(seconds: u64, cause: Cause) -> Decision {
    let mut answer = Answer::of(Status::TooManyRequests);
    answer.fields = format!("Retry-After: {seconds}\r\n").into_bytes();
    Decision::Refuse(answer, cause)
}

/// Who is there? (RFC 7617 section 2)
fn unauthorized(auth: &Auth) -> Decision {
    let mut answer = Answer::of(Status::Unauthorized);
    answer.fields = format!("WWW-Authenticate: Basic realm=\"{}\", charset=\"UTF-8\"\r\n", auth.realm).into_bytes();
    Decision::Refuse(answer, Cause::Unauthorized)
}
