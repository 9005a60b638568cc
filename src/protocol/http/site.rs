//! What the HTTP sessions of a listener share, and the decision who answers a request.
//!
//! Rules are data of the configuration. Here is what was made of them at the start, and what is remembered between
//! requests; whatever a client can make grow has a limit.

use super::asked::Asked;
use super::auth::Budget;
use super::limits::Limits;
use super::reply::Answer;
use super::rewrite;
use super::route::{Router, behind};
use crate::balance::{Key, Keys};
use crate::base::buffers::BUFFER_BYTES;
use crate::base::pipe::RESERVE_BYTES;
use crate::base::rng::Rng;
use crate::base::time::Time;
use crate::config::route::{Action, Edits, Prefix, Route};
use crate::config::template::{Part, Template};
use crate::config::{Affinity, HashOn, Listener, Pool, Trailers};
use crate::protocol::refusal::{Cause, Refusals};

/// The room for whatever is judged as a whole: a line of trailers may be 8 KiB long.
const READ_BYTES_MIN: usize = 9 * 1024;

/// What the sessions of one listener share.
#[derive(Debug, Default)]
pub struct Site {
    limits: Limits,
    /// What was refused.
    pub refusals: Refusals,
    /// Makes keys of what clients send.
    pub keys: Keys,
    router: Router,
    /// How much of a buffer is left free for rewriting the head of a request, in bytes.
    pub reserve_bytes: usize,
    /// Room for the path of a request without escapes and dot segments.
    pub(super) path: Vec<u8>,
    /// Makes request ids; nothing secret.
    pub(super) rng: Rng,
}

/// Who answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A backend.
    Forward(Course),
    /// plb itself.
    Answer(Answer),
    /// plb itself, and not what was asked for.
    Refuse(Answer, Cause),
}

/// The way of a request to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The position of the pool.
    pub pool: u16,
    /// What leads the client back to a backend.
    pub key: Key,
    /// The hash of what the pool is balanced by.
    pub hash: Option<u64>,
    /// The position of the route that it takes.
    pub route: Option<u16>,
    /// That route has replaced the beginning of its path.
    pub is_replaced: bool,
}

impl Course {
    /// The route that it takes.
    pub fn route(self, listener: &Listener) -> Option<&Route> {
        listener.routes.get(usize::from(self.route?))
    }

    /// How the clients of its pool are led back.
    pub fn affinity(self, pools: &[Pool]) -> Option<&Affinity> {
        pools.get(usize::from(self.pool))?.affinity.as_ref()
    }

    /// What its pool is balanced by, where that is a hash.
    pub fn hash_on(self, pools: &[Pool]) -> Option<&HashOn> {
        pools.get(usize::from(self.pool))?.balance.hash_on()
    }

    /// What was replaced of its path.
    pub fn replaced(self, listener: &Listener) -> Option<&Prefix> {
        self.route(listener).and_then(|route| route.prefix.as_ref()).filter(|_| self.is_replaced)
    }

    /// What becomes of the trailers in a direction: where its edits take fields out, none comes back behind the body.
    pub fn trailers(self, listener: &Listener, edits: impl FnOnce(&Route) -> &Edits) -> Trailers {
        match self.route(listener) {
            Some(route) if !edits(route).dropped.is_empty() => Trailers::Drop,
            _ => listener.http.trailers,
        }
    }

    /// The longest body of the request, in bytes.
    pub fn body_bytes_max(self, listener: &Listener) -> Option<u64> {
        let own = self.route(listener).and_then(|route| route.body_bytes_max);
        own.unwrap_or(listener.http.body_bytes_max)
    }
}

impl Default for Decision {
    fn default() -> Decision {
        Decision::Forward(Course::default())
    }
}

impl Site {
    /// What the sessions of this listener share.
    pub fn new(listener: &Listener) -> Site {
        Site {
            limits: Limits::new(listener),
            router: Router::new(&listener.routes),
            reserve_bytes: reserve_bytes(listener),
            ..Site::default()
        }
    }

    /// What may go into verifying passwords.
    pub fn budget(&mut self, budget: Budget) {
        self.limits.budget = budget;
    }

    /// Makes its choices from this seed on.
    pub fn seed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    /// The same with these keys.
    pub fn with(self, keys: Keys) -> Site {
        Site { keys, ..self }
    }

    /// Decides who answers: of a client that was diverted, that pool, and no route.
    pub(super) fn decide(&mut self, asked: &Asked, listener: &Listener, diverted: Option<u16>, now: Time) -> Decision {
        if let Err(refused) = self.limits.check(listener, asked, now) {
            return refused;
        }
        if let Some(pool) = diverted {
            return Decision::Forward(Course { pool, ..Course::default() });
        }
        let index = self.router.find(&listener.routes, asked);
        let route = index.map(|index| &listener.routes[index]);
        if let Some(Err(refused)) =
            index.zip(route).map(|(index, route)| self.limits.check_route(index, route, asked, now))
        {
            return refused;
        }
        let pool = match route {
            None => listener.pool,
            Some(Route { action: Action::Pool(pool), .. }) => Some(*pool),
            Some(route @ Route { action: Action::Deny, .. }) => {
                return Decision::Refuse(rewrite::answer(route, asked), Cause::Denied);
            }
            Some(route) => return Decision::Answer(rewrite::answer(route, asked)),
        };
        let Some(pool) = pool else {
            let answer = Answer { status: listener.http.no_route, fields: Vec::new(), document: None };
            return Decision::Refuse(answer, Cause::NoRoute);
        };
        let prefix = index.and_then(|index| listener.routes[index].prefix.as_ref());
        let is_replaced = prefix.is_some_and(|prefix| behind(asked.path, &prefix.from).is_some());
        // At most `POOLS_MAX` and `ROUTES_MAX` of them.
        let route = index.map(|index| index as u16);
        Decision::Forward(Course { pool: pool as u16, key: Key::None, hash: None, route, is_replaced })
    }
}

/// A field that repeats the path makes a head longer by as much as the client likes. Whether that fits must not depend on
/// how much of the body came along.
fn reserve_bytes(listener: &Listener) -> usize {
    let repeats =
        |(_, value): &(String, Template)| value.parts.iter().any(|part| matches!(part, Part::Path | Part::Query));
    let is_long = listener.routes.iter().any(|route| route.request_edits.added.iter().any(repeats));
    if is_long { BUFFER_BYTES.saturating_sub(listener.http.head_bytes_max.max(READ_BYTES_MIN)) } else { RESERVE_BYTES }
}
