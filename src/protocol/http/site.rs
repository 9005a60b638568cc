//! What the HTTP sessions of a listener share, and the decision who answers a request.
//!
//! Rules are data of the configuration. Here is what was made of them at the start, and what is remembered between
//! requests; whatever a client can make grow has a limit.

use super::asked::Asked;
use super::reply::{Answer, Status};
use crate::balance::{Key, Keys};
use crate::config::Listener;

/// What the sessions of one listener share.
#[derive(Debug, Default)]
pub struct Site {
    /// Makes keys of what clients send.
    pub keys: Keys,
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
    pub fn new(_listener: &Listener) -> Site {
        Site::default()
    }

    /// The same with these keys.
    pub fn with(self, keys: Keys) -> Site {
        Site { keys, ..self }
    }

    /// Decides who answers.
    pub(super) fn decide(&mut self, _asked: &Asked, listener: &Listener) -> Decision {
        match listener.pool {
            // At most `POOLS_MAX` of them.
            Some(pool) => Decision::Forward(Course { pool: pool as u16, key: Key::None }),
            None => Decision::Answer(Answer::of(Status::Unavailable)),
        }
    }
}
