//! The algorithms that choose one backend of a pool, and the one `enum` that tells them apart.
//!
//! A policy knows the backends by their positions and hears who comes and goes; what makes a backend come and go is
//! `health`'s business, never its own.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::config;

/// What a choice may depend on besides the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Nothing.
    None,
}

/// The algorithm of one pool with its state. All backends take part at first.
#[derive(Debug)]
pub enum Policy {
    /// Smooth weighted round robin.
    RoundRobin(RoundRobin),
}

impl Policy {
    /// The algorithm of `name` over backends of these weights.
    pub fn new(name: config::Policy, weights: &[u16]) -> Policy {
        match name {
            config::Policy::RoundRobin => Policy::RoundRobin(RoundRobin::new(weights)),
        }
    }

    /// A backend takes part again. Only for one that has left.
    pub fn enter(&mut self, backend: u16) {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.enter(backend),
        }
    }

    /// A backend takes part no longer. Only for one that does.
    pub fn leave(&mut self, backend: u16) {
        match self {
            Policy::RoundRobin(round_robin) => round_robin.leave(backend),
        }
    }

    /// Chooses among those that take part and are not refused.
    pub fn pick(&mut self, key: Key, refused: impl Fn(u16) -> bool) -> Option<u16> {
        match (self, key) {
            (Policy::RoundRobin(round_robin), Key::None) => round_robin.pick(refused),
        }
    }
}

/// Smooth weighted round robin in O(log n): whose turn lies next goes next.
///
/// The turns of a backend of weight w lie at 1/2w, 3/2w, 5/2w, ... of a round: spread evenly, and exactly w of
/// them, so that every round meets the weights whatever the others' are.
#[derive(Debug)]
pub struct RoundRobin {
    /// The next turn of each backend that takes part, and of some that do not any more: at most twice their number.
    turns: BinaryHeap<Reverse<Turn>>,
    /// Of each backend. A turn of another epoch than its backend's is void.
    seats: Vec<Seat>,
    /// Turns of refused backends during one `pick`.
    aside: Vec<Reverse<Turn>>,
    /// The latest turn that was picked: where the round stands.
    latest: Option<Turn>,
}

#[derive(Debug)]
struct Seat {
    weight: u16,
    /// How often it has left.
    epoch: u32,
}

/// The `number`th turn of a backend in a round, counted from 0.
#[derive(Clone, Copy, Debug)]
struct Turn {
    round: u64,
    number: u16,
    weight: u16,
    backend: u16,
    epoch: u32,
}

impl RoundRobin {
    /// All backends take part.
    pub fn new(weights: &[u16]) -> RoundRobin {
        let capacity = weights.len() * 2;
        let mut round_robin = RoundRobin {
            turns: BinaryHeap::with_capacity(capacity),
            seats: weights.iter().map(|&weight| Seat { weight: weight.max(1), epoch: 0 }).collect(),
            aside: Vec::new(),
            latest: None,
        };
        (0..=u16::MAX).take(weights.len()).for_each(|backend| round_robin.enter(backend));
        round_robin
    }

    /// A backend takes part from where the round stands: it does not make up for what it missed.
    pub fn enter(&mut self, backend: u16) {
        if self.turns.len() >= self.seats.len() * 2 {
            self.turns.retain(|Reverse(turn)| turn.epoch == self.seats[usize::from(turn.backend)].epoch);
        }
        let turn = self.next_turn(backend);
        self.turns.push(Reverse(turn));
    }

    /// A backend takes part no longer; its turn in the heap is dropped when it comes up.
    pub fn leave(&mut self, backend: u16) {
        let seat = &mut self.seats[usize::from(backend)];
        seat.epoch = seat.epoch.wrapping_add(1);
    }

    /// Whose turn it is.
    pub fn pick(&mut self, refused: impl Fn(u16) -> bool) -> Option<u16> {
        let picked = self.take_turn(refused);
        while let Some(Reverse(turn)) = self.aside.pop() {
            // The refused keep their turn, but they do not save up turns over rounds.
            let overdue = self.latest.is_some_and(|latest| latest.round > turn.round + 1);
            let turn = if overdue { self.next_turn(turn.backend) } else { turn };
            self.turns.push(Reverse(turn));
        }
        picked
    }

    fn take_turn(&mut self, refused: impl Fn(u16) -> bool) -> Option<u16> {
        while let Some(mut first) = self.turns.peek_mut() {
            let turn = first.0;
            if turn.epoch != self.seats[usize::from(turn.backend)].epoch {
                PeekMut::pop(first);
            } else if refused(turn.backend) {
                self.aside.push(PeekMut::pop(first));
            } else {
                *first = Reverse(turn.following());
                self.latest = self.latest.max(Some(turn));
                return Some(turn.backend);
            }
        }
        None
    }

    /// The first turn of a backend after the latest one of all.
    fn next_turn(&self, backend: u16) -> Turn {
        let Seat { weight, epoch } = self.seats[usize::from(backend)];
        let Some(latest) = self.latest else { return Turn { round: 0, number: 0, weight, backend, epoch } };
        // The least n with (2n + 1) / 2w above the latest's (2m + 1) / 2v is floor(w(2m + 1) / 2v + 1/2).
        let other = u64::from(latest.weight);
        let number = (u64::from(weight) * latest.halves() + other) / (2 * other);
        match u16::try_from(number) {
            Ok(number) if number < weight => Turn { round: latest.round, number, weight, backend, epoch },
            _ => Turn { round: latest.round + 1, number: 0, weight, backend, epoch },
        }
    }
}

impl Turn {
    /// The numerator of its place in the round, (2n + 1) / 2w.
    fn halves(self) -> u64 {
        2 * u64::from(self.number) + 1
    }

    /// The same backend's turn after this one.
    fn following(self) -> Turn {
        if self.number + 1 < self.weight {
            Turn { number: self.number + 1, ..self }
        } else {
            Turn { round: self.round + 1, number: 0, ..self }
        }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        let place = |turn: &Turn, scale: u16| turn.halves() * u64::from(scale);
        (self.round.cmp(&other.round))
            .then_with(|| place(self, other.weight).cmp(&place(other, self.weight)))
            .then_with(|| self.backend.cmp(&other.backend))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Turn) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}
