//! Tiers: the backends of a pool that stand in for each other, and in which order their groups serve.
//!
//! The first tier with a living backend serves. What makes a backend live is told by the pool, never decided here.

use std::time::Duration;

use super::policy::Policy;
use super::policy::round_robin::RoundRobin;
use crate::base::rng::Rng;
use crate::base::time::Time;

/// How a backend takes part in its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// It lives, and may take clients.
    Open,
    /// It lives, and has a client that finds out whether it serves: others take it only where there is no better one.
    Spare,
    /// It lives, and may take no more.
    Full,
    /// It does not live, or takes no new clients.
    Absent,
}

/// The backends of one tier.
#[derive(Debug)]
pub(super) struct Tier {
    policy: Policy,
    spare: RoundRobin,
    /// How many live.
    live: usize,
    /// How many are open or spare.
    free: usize,
    /// When it may serve again before a later tier that lives.
    returns: Time,
}

impl Tier {
    /// Nobody takes part.
    pub(super) fn new(policy: Policy, backends: usize) -> Tier {
        Tier { policy, spare: RoundRobin::new(backends), live: 0, free: 0, returns: Time::START }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn has_free(&self) -> bool {
        self.free > 0
    }

    pub(super) fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// Moves a backend of this weight from one seat to another one; a tier that lives again waits for `hold` before it
    /// takes over.
    pub(super) fn seat(&mut self, backend: u16, weight: u16, from: Seat, to: Seat, hold: Duration, now: Time) {
        match from {
            Seat::Open => self.policy.leave(backend),
            Seat::Spare => self.spare.weigh(backend, 0),
            Seat::Full | Seat::Absent => {}
        }
        match to {
            Seat::Open => self.policy.enter(backend, weight),
            Seat::Spare => self.spare.weigh(backend, weight),
            Seat::Full | Seat::Absent => {}
        }
        if (from, self.live) == (Seat::Absent, 0) {
            self.returns = now + hold;
        }
        self.live = self.live + usize::from(to != Seat::Absent) - usize::from(from != Seat::Absent);
        self.free = self.free + usize::from(is_free(to)) - usize::from(is_free(from));
    }

    /// Chooses one that is not refused.
    pub(super) fn pick(&mut self, hash: Option<u64>, rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        self.policy.pick(hash, rng, &refused).or_else(|| self.spare.pick(&refused))
    }
}

fn is_free(seat: Seat) -> bool {
    matches!(seat, Seat::Open | Seat::Spare)
}

/// The tier that serves at this moment: the first one that lives, unless it is held back and a later one lives.
pub(super) fn serving(tiers: &[Tier], now: Time) -> Option<usize> {
    let mut living = tiers.iter().enumerate().filter(|(_, tier)| tier.live > 0);
    let first = living.clone().next()?;
    Some(living.find(|(_, tier)| tier.returns <= now).unwrap_or(first).0)
}
