//! `Idle`: backend connections that nobody uses.
//!
//! ```text
//! of one backend:  newest ◀──▶ … ◀──▶ oldest      taken from the newest end, expired from the oldest
//! of all:          newest ◀──▶ … ◀──▶ oldest      evicted from the oldest end
//! ```
//! Every entry is linked into both lists, so that taking, parking, evicting and dropping cost the same however many
//! there are. Only ids live here; the streams are the driver's.

use slab::Slab;

use super::stream::Stream;
use crate::balance::BackendId;
use crate::base::arena::Id;
use crate::base::time::Time;

/// The place of a parked stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// The idle connections of all backends.
pub struct Idle {
    entries: Slab<Entry>,
    backends: Vec<Vec<Kept>>,
    all: List,
    entries_max: usize,
}

struct Entry {
    stream: Id<Stream>,
    backend: BackendId,
    since: Time,
    links: [Links; 2],
}

/// What is kept to one backend.
#[derive(Clone, Copy, Default)]
struct Kept {
    list: List,
    /// Whether somebody looks after it until it is empty.
    watched: bool,
}

#[derive(Clone, Copy, Default)]
struct Links {
    newer: Option<u32>,
    older: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct List {
    newest: Option<u32>,
    oldest: Option<u32>,
    length: u32,
}

/// For so many entries there is room from the start.
const ENTRIES_AT_START: usize = 1024;

/// Which of an entry's links a list uses.
const OF_BACKEND: usize = 0;
const OF_ALL: usize = 1;

impl Idle {
    /// An empty set for pools with so many backends each, for at most `entries_max` connections.
    pub fn new(backends: impl Iterator<Item = usize>, entries_max: usize) -> Idle {
        let backends = backends.map(|count| vec![Kept::default(); count]).collect();
        Idle {
            entries: Slab::with_capacity(entries_max.min(ENTRIES_AT_START)),
            backends,
            all: List::default(),
            entries_max,
        }
    }

    /// Whether another connection to this backend may be parked at all.
    pub fn takes(&self, backend_max: u32) -> bool {
        self.entries_max > 0 && backend_max > 0
    }

    /// Parks a stream. The caller has made room with [`Idle::superfluous`].
    pub fn park(&mut self, stream: Id<Stream>, backend: BackendId, now: Time) -> Slot {
        let entry = Entry { stream, backend, since: now, links: [Links::default(); 2] };
        let slot = self.entries.insert(entry) as u32;
        link(&mut self.entries, &mut self.backends[backend.pool()][backend.backend()].list, OF_BACKEND, slot);
        link(&mut self.entries, &mut self.all, OF_ALL, slot);
        Slot(slot)
    }

    /// The connection that has to go before another one to this backend is parked.
    pub fn superfluous(&mut self, backend: BackendId, backend_max: u32) -> Option<Id<Stream>> {
        let list = self.list(backend);
        let slot = if list.length >= backend_max {
            list.oldest
        } else if self.entries.len() >= self.entries_max {
            self.all.oldest
        } else {
            None
        }?;
        Some(self.remove(Slot(slot)))
    }

    /// Takes the connection to this backend that was used last.
    pub fn take(&mut self, backend: BackendId) -> Option<Id<Stream>> {
        let newest = self.list(backend).newest?;
        Some(self.remove(Slot(newest)))
    }

    /// Takes the connection that has been idle for longest.
    pub fn evict(&mut self) -> Option<Id<Stream>> {
        let oldest = self.all.oldest?;
        Some(self.remove(Slot(oldest)))
    }

    /// Whether the connections to this backend have nobody yet who looks after their age; from now on they have.
    pub fn watch(&mut self, backend: BackendId) -> bool {
        !std::mem::replace(&mut self.backends[backend.pool()][backend.backend()].watched, true)
    }

    /// Nobody looks after them any more.
    pub fn unwatch(&mut self, backend: BackendId) {
        self.backends[backend.pool()][backend.backend()].watched = false;
    }

    /// Since when the oldest connection to this backend is idle.
    pub fn oldest(&self, backend: BackendId) -> Option<Time> {
        self.list(backend).oldest.map(|slot| self.entries[slot as usize].since)
    }

    /// Takes the oldest connection to this backend when it was parked before that moment.
    pub fn expire(&mut self, backend: BackendId, before: Time) -> Option<Id<Stream>> {
        let oldest = self.list(backend).oldest?;
        let due = self.entries[oldest as usize].since <= before;
        due.then(|| self.remove(Slot(oldest)))
    }

    /// Takes a parked stream out of its place.
    pub fn remove(&mut self, Slot(slot): Slot) -> Id<Stream> {
        let backend = self.entries[slot as usize].backend;
        unlink(&mut self.entries, &mut self.backends[backend.pool()][backend.backend()].list, OF_BACKEND, slot);
        unlink(&mut self.entries, &mut self.all, OF_ALL, slot);
        self.entries.remove(slot as usize).stream
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are to one backend.
    pub fn backend_len(&self, backend: BackendId) -> u32 {
        self.list(backend).length
    }

    fn list(&self, backend: BackendId) -> List {
        self.backends[backend.pool()][backend.backend()].list
    }
}

/// Puts an entry at the newest end of a list.
fn link(entries: &mut Slab<Entry>, list: &mut List, which: usize, slot: u32) {
    entries[slot as usize].links[which] = Links { newer: None, older: list.newest };
    match list.newest {
        Some(newest) => entries[newest as usize].links[which].newer = Some(slot),
        None => list.oldest = Some(slot),
    }
    list.newest = Some(slot);
    list.length += 1;
}

fn unlink(entries: &mut Slab<Entry>, list: &mut List, which: usize, slot: u32) {
    let Links { newer, older } = entries[slot as usize].links[which];
    match newer {
        Some(newer) => entries[newer as usize].links[which].older = older,
        None => list.newest = older,
    }
    match older {
        Some(older) => entries[older as usize].links[which].newer = newer,
        None => list.oldest = newer,
    }
    list.length -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn stream(number: u32) -> Id<Stream> {
        Id::from_parts(number, 0)
    }

    #[test]
    fn the_last_used_connection_is_taken_first_and_the_oldest_evicted_first() {
        let mut idle = Idle::new([2].into_iter(), 8);
        let [one, two] = [0, 1].map(|backend| BackendId::new(0, backend));
        for (number, backend) in [(1, one), (2, two), (3, one), (4, one)] {
            idle.park(stream(number), backend, Time::from_millis(u64::from(number)));
        }
        assert_eq!(idle.take(one), Some(stream(4)));
        assert_eq!(idle.evict(), Some(stream(1)));
        assert_eq!(idle.expire(one, Time::from_millis(2)), None);
        assert_eq!(idle.expire(one, Time::from_millis(3)), Some(stream(3)));
        assert_eq!((idle.take(one), idle.take(two), idle.len()), (None, Some(stream(2)), 0));
    }

    #[test]
    fn the_caps_make_the_oldest_superfluous() {
        let mut idle = Idle::new([2].into_iter(), 3);
        let [one, two] = [0, 1].map(|backend| BackendId::new(0, backend));
        for number in 1..=2 {
            assert_eq!(idle.superfluous(one, 2), None);
            idle.park(stream(number), one, Time::START);
        }
        assert_eq!(idle.superfluous(one, 2), Some(stream(1)), "the cap of the backend");
        idle.park(stream(3), one, Time::START);
        idle.park(stream(4), two, Time::START);
        assert_eq!(idle.superfluous(two, 2), Some(stream(2)), "the cap of all");
    }

    #[test]
    fn both_lists_agree_with_a_model_whatever_the_operations() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut idle = Idle::new([3].into_iter(), usize::MAX);
            let mut model: Vec<(Id<Stream>, BackendId, Slot)> = Vec::new();
            for number in 0..200 {
                let backend = BackendId::new(0, rng.below(3) as u16);
                match rng.below(5) {
                    0 | 1 => model.push((stream(number), backend, idle.park(stream(number), backend, Time::START))),
                    2 => {
                        let at = model.iter().rposition(|entry| entry.1 == backend);
                        assert_eq!(idle.take(backend), at.map(|at| model.remove(at).0), "seed {seed}");
                    }
                    3 if !model.is_empty() => assert_eq!(idle.evict(), Some(model.remove(0).0), "seed {seed}"),
                    4 if !model.is_empty() => {
                        let (stream, _, slot) = model.remove(rng.below(model.len() as u64) as usize);
                        assert_eq!(idle.remove(slot), stream, "seed {seed}");
                    }
                    _ => {}
                }
                assert_eq!(idle.len(), model.len());
            }
        }
    }
}
