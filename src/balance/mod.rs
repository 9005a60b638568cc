//! Who should serve this?
//!
//! [`Pools`] chooses a backend and lends it as a [`Lease`]; the session says with an [`Outcome`] how it went;
//! `health` turns outcomes and probes into `Up` and `Down`, and `policy` chooses among those that are up;
//! `affinity` knows who goes back to where. This room
//! opens no socket, starts no probe and reads no clock: the shell does, and takes the facts as [`Transition`]s.

mod affinity;
mod health;
mod policy;
mod pool;
mod pools;
mod queue;
mod tier;

use std::fmt;

use crate::config;
use crate::config::status::includes;

pub use crate::config::Administration;
pub use affinity::{Key, Keys};
pub use health::{Reason, State, Transition};
pub use pools::{Ask, Call, Counters, Lease, Picked, Pools};
pub use queue::Ticket;

/// One backend of one pool, by their positions in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    pool: u16,
    backend: u16,
}

impl BackendId {
    /// The backend at position `backend` of the pool at position `pool`.
    pub const fn new(pool: u16, backend: u16) -> BackendId {
        BackendId { pool, backend }
    }

    /// The position of its pool.
    pub const fn pool(self) -> usize {
        self.pool as usize
    }

    /// Its position in the pool.
    pub const fn backend(self) -> usize {
        self.backend as usize
    }
}

/// Who asks a pool for a backend: whatever the shell tells it apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeker(pub u64);

/// Why a backend did not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unreachable,
    /// It broke the connection off.
    Reset,
    /// It ended the connection before the first byte of its response.
    Ended,
    /// It took too long.
    TimedOut,
    /// It broke the protocol.
    Malformed,
    /// Its answer had a status that counts as a failure.
    Status(u16),
    /// Its answer to a probe was another one than is expected.
    Unexpected,
    /// We lack descriptors, ports or memory: never the backend's fault.
    Local,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Status(status) => return write!(f, "status {status}"),
            Failure::Unexpected => "unexpected answer",
            Failure::Refused => "connection refused",
            Failure::Unreachable => "unreachable",
            Failure::Reset => "connection reset",
            Failure::Ended => "connection closed without a response",
            Failure::TimedOut => "timed out",
            Failure::Malformed => "malformed response",
            Failure::Local => "out of local resources",
        })
    }
}

/// What the use of a backend says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It served. A connection alone is no success.
    Success,
    /// It did not serve; [`Failure::Local`] says as little as `Neutral`.
    Failure(Failure),
    /// Nothing, for example because the client went away.
    Neutral,
}

impl Outcome {
    /// What a response with this status says about a backend of this pool.
    pub fn of_status(status: u16, pool: &config::Pool) -> Outcome {
        match includes(&pool.failure_statuses, status) {
            true => Outcome::Failure(Failure::Status(status)),
            false => Outcome::Success,
        }
    }
}
