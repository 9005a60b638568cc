//! What the HTTP sessions of a listener share, and the decision who answers a request.
//!
//! Rules are data of the configuration. Here is what was made of them at the start, and what is remembered between
//! requests; whatever a client can make grow has a limit.

use super::asked::Asked;
use super::limits::Limits;
use super::reply::{Answer, Status};
use crate::balance::Key;
use crate::base::time::Time;
use crate::config::Listener;
use crate::protocol::refusal::{Cause, Refusals};

/// What the sessions of one listener share.
#[derive(Debug, Default)]
pub struct Site {
    limits: Limits,
    /// What was refused.
    pub refusals: Refusals,
    /// Room for the path of a request without escapes and dot segments.
    pub(super) path: Vec<u8>,
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
    /// What a backend may be chosen by.
    pub key: Key,
}

impl Default for Decision {
    fn default() -> Decision {
        Decision::Forward(Course::default())
    }
}

impl Site {
    /// What the sessions of this listener share.
    pub fn new(listener: &Listener) -> Site {
        Site { limits: Limits::new(listener), ..Site::default() }
    }

    /// Decides who answers.
    pub(super) fn decide(&mut self, asked: &Asked, listener: &Listener, now: Time) -> Decision {
        if let Err(refused) = self.limits.check(asked, now) {
            return refused;
        }
        match listener.pool {
            // At most `POOLS_MAX` of them.
            Some(pool) => Decision::Forward(Course { pool: pool as u16, key: Key::None }),
            None => Decision::Refuse(Answer::of(Status::Unavailable), Cause::NoRoute),
        }
    }
}
