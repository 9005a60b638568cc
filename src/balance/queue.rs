//! The queue of a pool: clients that wait for a backend which may take no more, first come, first served.
//!
//! Some wait for whichever backend is free first, some for the one that they are bound to. Nothing here tells which
//! backend is free, or for whom.

use std::collections::{HashMap, VecDeque};

use super::affinity::Key;
use super::{Ask, BackendId, Seeker};

/// A place in a queue. Not given back with [`super::Pools::leave`], it is taken until its turn comes.
#[must_use = "a ticket is given back with Pools::leave"]
#[derive(Debug)]
pub struct Ticket {
    pub(super) pool: u16,
    /// The backend that alone will do.
    pub(super) bound: Option<u16>,
    pub(super) number: u64,
}

impl Ticket {
    /// What tells it from all others; whoever came earlier has a lower one.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) number: u64,
    pub(super) who: Seeker,
    pub(super) key: Key,
    pub(super) hash: Option<u64>,
    /// Whom it asked in vain.
    pub(super) tried: Box<[BackendId]>,
}

impl Waiter {
    /// What it asks its pool for.
    pub(super) fn ask(&self, pool: u16) -> Ask<'_> {
        let &Waiter { number, who, key, hash, .. } = self;
        Ask { pool: usize::from(pool), key, hash, tried: &self.tried, who, place: Some(number) }
    }
}

/// Those who wait for the backends of one pool.
#[derive(Debug)]
pub(super) struct Queue {
    general: VecDeque<Waiter>,
    /// By backend; there is no empty one.
    bound: HashMap<u16, VecDeque<Waiter>>,
    len: usize,
    len_max: usize,
}

impl Queue {
    /// Nobody waits, and at most so many will.
    pub(super) fn new(len_max: usize) -> Queue {
        Queue { general: VecDeque::new(), bound: HashMap::new(), len: 0, len_max }
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.len < self.len_max
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One begins to wait: for one backend, or for whichever is free first. It stands where its number says: whoever has
    /// waited before keeps its place.
    pub(super) fn join(&mut self, bound: Option<u16>, waiter: Waiter) {
        let line = match bound {
            Some(backend) => self.bound.entry(backend).or_default(),
            None => &mut self.general,
        };
        let behind = line.partition_point(|other| other.number < waiter.number);
        line.insert(behind, waiter);
        self.len += 1;
    }

    /// The number of whoever waits longest for this backend alone.
    pub(super) fn first_bound(&self, backend: u16) -> Option<u64> {
        self.bound.get(&backend)?.front().map(|waiter| waiter.number)
    }

    /// Takes out whoever waits longest for this backend alone.
    pub(super) fn take_bound(&mut self, backend: u16) -> Option<Waiter> {
        let line = self.bound.get_mut(&backend)?;
        let waiter = line.pop_front()?;
        if line.is_empty() {
            self.bound.remove(&backend);
        }
        self.len -= 1;
        Some(waiter)
    }

    /// Those who will do with any backend, in their order.
    pub(super) fn general(&self) -> &VecDeque<Waiter> {
        &self.general
    }

    /// Takes out the one of them at this position.
    pub(super) fn take_general(&mut self, position: usize) -> Option<Waiter> {
        let waiter = self.general.remove(position)?;
        self.len -= 1;
        Some(waiter)
    }

    /// Takes out whoever has this ticket, if it still waits.
    pub(super) fn remove(&mut self, ticket: &Ticket) {
        let line = match ticket.bound {
            Some(backend) => self.bound.get_mut(&backend),
            None => Some(&mut self.general),
        };
        let Some(line) = line else { return };
        let Ok(position) = line.binary_search_by_key(&ticket.number, |waiter| waiter.number) else { return };
        line.remove(position);
        self.len -= 1;
        if let Some(backend) = ticket.bound.filter(|backend| self.first_bound(*backend).is_none()) {
            self.bound.remove(&backend);
        }
    }
}
