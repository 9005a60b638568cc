//! The algorithms that choose one backend of a pool, and the one `enum` that tells them apart.
//!
//! A policy knows the backends by their positions and hears who comes and goes; what makes a backend come and go is
//! the pool's business, never its own.

pub(super) mod round_robin;

use crate::base::rng::Rng;
use crate::config::{self, Balance};
use round_robin::RoundRobin;

/// The algorithm of one pool with its state.
#[derive(Debug)]
pub enum Policy {
    /// Smooth weighted round robin.
    RoundRobin(RoundRobin),
}

impl Policy {
    /// The algorithm of a pool with these backends; nobody takes part yet.
    pub fn new(balance: &Balance, backends: &[config::Backend]) -> Policy {
        match balance {
            Balance::RoundRobin => Policy::RoundRobin(RoundRobin::new(backends.len())),
        }
    }

    /// A backend takes part from now on; with a weight of 0 it does not.
    pub fn enter(&mut self, backend: u16, weight: u16) {
        self.reweigh(backend, weight);
    }

    /// A backend takes part no longer.
    pub fn leave(&mut self, backend: u16) {
        self.reweigh(backend, 0);
    }

    /// The weight of a backend that takes part is another one now.
    pub fn reweigh(&mut self, backend: u16, weight: u16) {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.weigh(backend, weight),
        }
    }

    /// A backend, whether it takes part or not, has so many leases now.
    pub fn set_load(&mut self, _backend: u16, _load: u32) {
        match self {
            Policy::RoundRobin(_) => {}
        }
    }

    /// Chooses among those that take part and are not refused. The hash is of what the pool is balanced by, where it is
    /// by something.
    pub fn pick(&mut self, _hash: Option<u64>, _rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.pick(refused),
        }
    }
}
