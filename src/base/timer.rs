//! `TimerWheel`: which deadlines have passed, and when to look again.
//!
//! A hierarchical wheel. A tick is 1 ms; a tick's number is read as digits of 6 bits, and a deadline is filed
//! under the highest digit in which it differs from the present tick:
//!
//! ```text
//! level 0   64 slots of 1 ms      the rest of these 64 ms
//! level 1   64 slots of 64 ms     the rest of these 4 s
//! level 2   64 slots of 4 s       the rest of these 4.4 min
//! ...       10 levels hold every `Time`, so no deadline is too far
//! ```
//!
//! So whatever lies at a level is due before everything at the next one, no slot wraps around, and an entry's
//! place follows from its tick and the present one: it is not stored. When the present reaches a slot of a
//! higher level, what it holds is due or moves to lower ones.
//!
//! A timer must never fire early: deadlines are rounded up to the tick, so that one fires at most 1 ms late.

use slab::Slab;

use super::time::Time;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 10 digits of 6 bits hold every count of milliseconds that fits into 64 bits of microseconds.
const LEVELS: usize = 10;
const TICK_MICROS: u64 = 1_000;
/// The link that ends a list.
const NONE: u32 = u32::MAX;

/// Deadlines of things named by `K`.
///
/// It grows when it has to: whoever inserts keeps the limit, usually one entry for each thing.
#[derive(Debug)]
pub struct TimerWheel<K: Copy> {
    /// The latest moment that it was told; what was due by then has been fired.
    now: Time,
    levels: [Level; LEVELS],
    entries: Slab<Entry<K>>,
}

/// An entry of a wheel, good until it fires or is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(u32);

#[derive(Debug)]
struct Level {
    /// Bit n is set when slot n holds something.
    occupied: u64,
    /// The first entry of each slot's list.
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<K> {
    tick: u64,
    previous: u32,
    next: u32,
    key: K,
}

impl<K: Copy> TimerWheel<K> {
    /// An empty wheel.
    pub fn new(now: Time) -> TimerWheel<K> {
        TimerWheel::with_capacity(0, now)
    }

    /// An empty wheel with room for so many entries before it allocates.
    pub fn with_capacity(capacity: usize, now: Time) -> TimerWheel<K> {
        let levels = std::array::from_fn(|_| Level { occupied: 0, heads: [NONE; SLOTS] });
        TimerWheel { now, levels, entries: Slab::with_capacity(capacity) }
    }

    /// Files a deadline in O(1). One that has passed fires at the next `expire`.
    pub fn insert(&mut self, at: Time, key: K) -> Timer {
        let tick = at.as_micros().div_ceil(TICK_MICROS).max(self.tick());
        let index = self.entries.insert(Entry { tick, previous: NONE, next: NONE, key });
        let index = u32::try_from(index).expect("2^32 entries do not fit into memory");
        self.link(index);
        Timer(index)
    }

    /// Takes a deadline back in O(1).
    ///
    /// # Panics
    /// When the timer has fired or was removed, unless its place has been taken by another since: the caller
    /// forgets a timer when it fires.
    pub fn remove(&mut self, timer: Timer) -> K {
        let entry = self.entries.remove(timer.0 as usize);
        if entry.next != NONE {
            self.entries[entry.next as usize].previous = entry.previous;
        }
        if entry.previous != NONE {
            self.entries[entry.previous as usize].next = entry.next;
            return entry.key;
        }
        let (level, slot) = place(entry.tick, self.tick());
        self.levels[level].heads[slot] = entry.next;
        if entry.next == NONE {
            self.levels[level].occupied &= !(1 << slot);
        }
        entry.key
    }

    /// Moves to `now` and appends the keys of the deadlines that have passed to `due`; their timers are gone.
    ///
    /// The keys come roughly in the order of their deadlines. A `now` before the one before counts as that one.
    pub fn expire(&mut self, now: Time, due: &mut Vec<K>) {
        let before = self.tick();
        self.now = self.now.max(now);
        let present = self.tick();
        for level in 0..LEVELS {
            while let Some(slot) = self.levels[level].first() {
                if slot_start(level, slot, before) > present {
                    break;
                }
                // What is not due yet moves to a level below, which has been dealt with.
                self.empty_slot(level, slot, due);
            }
            if before >> (DIGIT_BITS * (level as u32 + 1)) == present >> (DIGIT_BITS * (level as u32 + 1)) {
                break;
            }
        }
    }

    /// When to call `expire` again; `None` when nothing is filed.
    ///
    /// It is never later than the tick of the earliest deadline; it is earlier when that deadline lies at a higher
    /// level, whose slot has to be spread first. It is always later than the `now` of the latest `expire`.
    pub fn next(&self) -> Option<Time> {
        let (level, slot) =
            self.levels.iter().enumerate().find_map(|(number, level)| Some((number, level.first()?)))?;
        let start = Time::from_millis(slot_start(level, slot, self.tick()));
        Some(start.max(Time::from_micros(self.now.as_micros().saturating_add(1))))
    }

    /// The number of deadlines filed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no deadline is filed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tick that the present moment lies in.
    fn tick(&self) -> u64 {
        self.now.as_micros() / TICK_MICROS
    }

    /// Puts an entry at the front of the list where it belongs at present.
    fn link(&mut self, index: u32) {
        let (level, slot) = place(self.entries[index as usize].tick, self.tick());
        let level = &mut self.levels[level];
        level.occupied |= 1 << slot;
        let next = std::mem::replace(&mut level.heads[slot], index);
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next) = (NONE, next);
        if next != NONE {
            self.entries[next as usize].previous = index;
        }
    }

    /// Fires what is due in a slot and files the rest anew.
    fn empty_slot(&mut self, level: usize, slot: usize, due: &mut Vec<K>) {
        self.levels[level].occupied &= !(1 << slot);
        let mut index = std::mem::replace(&mut self.levels[level].heads[slot], NONE);
        while index != NONE {
            let Entry { tick, next, key, .. } = self.entries[index as usize];
            if tick <= self.tick() {
                self.entries.remove(index as usize);
                due.push(key);
            } else {
                self.link(index);
            }
            index = next;
        }
    }
}

impl Level {
    /// The first slot that holds something.
    fn first(&self) -> Option<usize> {
        (self.occupied != 0).then(|| self.occupied.trailing_zeros() as usize)
    }
}

/// Level and slot of a tick that is not before the present one.
fn place(tick: u64, present: u64) -> (usize, usize) {
    let differing_bits = u64::BITS - (tick ^ present).leading_zeros();
    let level = differing_bits.saturating_sub(1) / DIGIT_BITS;
    let slot = (tick >> (DIGIT_BITS * level)) as usize % SLOTS;
    (level as usize, slot)
}

/// The first tick of a slot, seen from the present one.
fn slot_start(level: usize, slot: usize, present: u64) -> u64 {
    let shift = DIGIT_BITS * level as u32;
    let above = shift + DIGIT_BITS;
    (present >> above << above) | ((slot as u64) << shift)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::base::rng::Rng;

    const MONTH: Duration = Duration::from_secs(31 * 24 * 3600);

    fn expired(wheel: &mut TimerWheel<u64>, now: Time) -> Vec<u64> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due
    }

    #[test]
    fn an_entry_takes_no_more_than_32_bytes() {
        // The slab adds a tag to what it holds.
        assert!(size_of::<Option<Entry<u64>>>() <= 32);
        assert_eq!(size_of::<Timer>(), 4);
    }

    #[test]
    fn a_timer_fires_at_the_tick_that_follows_its_deadline_and_not_before() {
        let mut wheel = TimerWheel::new(Time::from_micros(500));
        wheel.insert(Time::from_micros(2_001), 1);
        assert_eq!(wheel.next(), Some(Time::from_millis(3)));
        assert!(expired(&mut wheel, Time::from_micros(2_999)).is_empty());
        assert_eq!(expired(&mut wheel, Time::from_millis(3)), [1]);
        assert_eq!((wheel.len(), wheel.next()), (0, None));
    }

    #[test]
    fn a_deadline_that_has_passed_fires_at_the_next_expire_and_next_lies_ahead() {
        let now = Time::from_micros(7_300);
        let mut wheel = TimerWheel::new(now);
        wheel.insert(Time::START, 1);
        wheel.insert(Time::from_millis(7), 2);
        assert_eq!(wheel.next(), Some(Time::from_micros(7_301)));
        assert_eq!(expired(&mut wheel, now).len(), 2);
        wheel.insert(now, 3);
        assert_eq!(wheel.next(), Some(Time::from_millis(8)));
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut wheel = TimerWheel::new(Time::from_millis(100));
        wheel.insert(Time::from_millis(110), 1);
        let timer = wheel.insert(Time::from_millis(105), 2);
        assert!(expired(&mut wheel, Time::from_millis(50)).is_empty());
        assert_eq!(wheel.remove(timer), 2);
        assert_eq!(wheel.next(), Some(Time::from_millis(110)));
        assert_eq!(expired(&mut wheel, Time::from_millis(110)), [1]);
    }

    #[test]
    fn never_and_a_month_are_not_too_far() {
        let mut wheel = TimerWheel::new(Time::from_millis(u64::from(u32::MAX)));
        let month = Time::from_millis(u64::from(u32::MAX)) + MONTH;
        wheel.insert(Time::NEVER, 1);
        let timer = wheel.insert(month, 2);
        assert!(expired(&mut wheel, Time::from_micros(month.as_micros() - 1)).is_empty());
        assert_eq!(expired(&mut wheel, month), [2]);
        assert_eq!(wheel.len(), 1);
        let again = wheel.insert(month, 3);
        assert_eq!(timer, again, "the entry was freed");
        assert_eq!(wheel.remove(again), 3);
        assert!(wheel.next() > Some(month));
    }

    #[test]
    fn going_from_next_to_next_reaches_a_far_deadline_in_a_few_steps() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut now = Time::from_micros(rng.next_u64() >> rng.below(40));
            let mut wheel = TimerWheel::new(now);
            let at = now + Duration::from_micros(rng.next_u64() >> (22 + rng.below(30)));
            wheel.insert(at, 1);
            for step in 0.. {
                assert!(step <= LEVELS, "seed {seed}: {step} steps");
                let next = wheel.next().expect("one timer is filed");
                assert!(next > now, "seed {seed}: next() stays at {now:?}");
                now = next;
                if !expired(&mut wheel, now).is_empty() {
                    break;
                }
            }
            assert!(at <= now && now.since(at) < Duration::from_millis(1), "seed {seed}: {at:?} fired at {now:?}");
        }
    }

    /// A wheel beside a plain sorted map that is told the same.
    struct Pair {
        rng: Rng,
        now: Time,
        wheel: TimerWheel<u64>,
        model: BTreeMap<(u64, u64), Timer>,
        keys: u64,
    }

    impl Pair {
        fn new(seed: u64) -> Pair {
            let mut rng = Rng::new(seed);
            let now = Time::from_micros(rng.next_u64() >> (8 + rng.below(50)));
            Pair { rng, now, wheel: TimerWheel::new(now), model: BTreeMap::new(), keys: 0 }
        }

        /// Anything from microseconds to a month, small ones as likely as large ones.
        fn span(&mut self) -> Duration {
            let bits = self.rng.below(42);
            Duration::from_micros(self.rng.below(1 << bits)).min(MONTH)
        }

        fn insert(&mut self) {
            let span = self.span();
            let at = match self.rng.below(8) {
                0 => Time::from_micros(self.now.as_micros().saturating_sub(span.as_micros() as u64)),
                _ => self.now + span,
            };
            self.keys += 1;
            let tick = at.as_micros().div_ceil(TICK_MICROS);
            self.model.insert((tick, self.keys), self.wheel.insert(at, self.keys));
        }

        fn remove(&mut self) {
            let Some(nth) = self.rng.below(self.model.len() as u64 + 1).checked_sub(1) else { return };
            let (&(tick, key), &timer) = self.model.iter().nth(nth as usize).expect("below the length");
            self.model.remove(&(tick, key));
            assert_eq!(self.wheel.remove(timer), key);
        }

        fn expire(&mut self) {
            self.now = match (self.rng.below(4), self.wheel.next()) {
                (0, _) => self.now + self.span(),
                (1, _) => self.now + Duration::from_micros(self.rng.below(3_000)),
                (2, _) => self.now,
                (_, next) => next.unwrap_or(self.now),
            };
            let mut due = expired(&mut self.wheel, self.now);
            due.sort_unstable();
            let later = self.model.split_off(&(self.now.as_micros() / TICK_MICROS + 1, 0));
            let mut expected: Vec<u64> =
                std::mem::replace(&mut self.model, later).into_keys().map(|(_, key)| key).collect();
            expected.sort_unstable();
            assert_eq!(due, expected);
        }

        fn check(&self) {
            assert_eq!(self.wheel.len(), self.model.len());
            assert_eq!(self.wheel.is_empty(), self.model.is_empty());
            let earliest = self.model.keys().next().map(|&(tick, _)| tick);
            let next = self.wheel.next();
            assert_eq!(next.is_some(), earliest.is_some());
            if let (Some(next), Some(tick)) = (next, earliest) {
                assert!(next > self.now, "next() does not lie ahead");
                assert!(next <= Time::from_millis(tick) || tick * TICK_MICROS <= self.now.as_micros(), "too late");
            }
        }
    }

    #[test]
    fn a_wheel_does_what_a_sorted_map_does_for_any_seed() {
        for seed in 0..100 {
            let run = || {
                let mut pair = Pair::new(seed);
                for _ in 0..1_000 {
                    match pair.rng.below(8) {
                        0..4 => pair.insert(),
                        4..6 => pair.remove(),
                        _ => pair.expire(),
                    }
                    pair.check();
                }
            };
            assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}: see above");
        }
    }
}
