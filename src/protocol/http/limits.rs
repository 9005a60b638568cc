//! What stands before the answer to a request: how often its client may ask, and who it has to be.

use super::asked::Asked;
use super::auth::{Budget, Gate, Verdict};
use super::rate::Buckets;
use super::reply::{Answer, Status};
use super::site::Decision;
use crate::base::time::Time;
use crate::config::route::Route;
use crate::config::{Auth, Listener};
use crate::protocol::refusal::Cause;

/// The limits of a listener and its routes, and what is remembered of the clients for their sake.
#[derive(Debug, Default)]
pub(super) struct Limits {
    rate: Option<Buckets>,
    /// `None` for a route that asks for nothing.
    routes: Vec<Option<Box<Guard>>>,
    /// What may go into verifying passwords.
    pub(super) budget: Budget,
}

/// What a route asks for.
#[derive(Debug)]
struct Guard {
    rate: Option<Buckets>,
    gate: Gate,
}

impl Limits {
    pub(super) fn new(listener: &Listener) -> Limits {
        let guard = |route: &Route| {
            let rate = route.rate_limit.as_ref().map(Buckets::new);
            let asks = rate.is_some() || route.auth.is_some();
            asks.then(|| Box::new(Guard { rate, gate: Gate::default() }))
        };
        Limits {
            rate: listener.http.rate_limit.as_ref().map(Buckets::new),
            routes: listener.routes.iter().map(guard).collect(),
            budget: Budget::default(),
        }
    }

    /// Lets a request pass whatever it asks for, or tells what becomes of it.
    pub(super) fn check(&mut self, asked: &Asked, now: Time) -> Result<(), Decision> {
        take(&mut self.rate, asked, now)
    }

    /// Lets a request take the route at `index`, or tells what becomes of it.
    pub(super) fn check_route(
        &mut self,
        index: usize,
        route: &Route,
        asked: &Asked,
        now: Time,
    ) -> Result<(), Decision> {
        let Some(Some(guard)) = self.routes.get_mut(index) else { return Ok(()) };
        take(&mut guard.rate, asked, now)?;
        let Some(auth) = &route.auth else { return Ok(()) };
        match guard.gate.judge(auth, asked.field("authorization"), &mut self.budget, now) {
            Verdict::Welcome => Ok(()),
            Verdict::Unauthorized => Err(unauthorized(auth)),
            Verdict::Busy(seconds) => Err(too_many(seconds, Cause::Verifications)),
        }
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

/// Who is there? (RFC 7617 section 2)
fn unauthorized(auth: &Auth) -> Decision {
    let mut answer = Answer::of(Status::Unauthorized);
    answer.fields = format!("WWW-Authenticate: Basic realm=\"{}\", charset=\"UTF-8\"\r\n", auth.realm).into_bytes();
    Decision::Refuse(answer, Cause::Unauthorized)
}
