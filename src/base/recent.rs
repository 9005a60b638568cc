//! `Recent`: a table that forgets who was not seen for longest, so that whoever chooses the keys cannot make it grow.
//!
//! It never holds more than its limit, and every call takes O(1). It allocates as it fills.

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::hash::Hash;
use std::time::Duration;

use hashlink::LruCache;

use super::time::Time;

/// How many entries that are too old an insertion drops at most: more than it makes, so that they become fewer.
const SWEPT: usize = 2;

/// Values by key, the one that was used last being the last one to go.
///
/// The hash has a random key (std's SipHash): a peer that chooses the keys cannot make them collide.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: LruCache<K, Entry<V>, RandomState>,
    limit: usize,
    ttl: Duration,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: Time,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// An empty table for at most `limit` entries.
    pub fn new(limit: usize) -> Recent<K, V> {
        Recent::with_ttl(limit, Duration::MAX)
    }

    /// The same; an entry that nobody used for `ttl` is gone.
    pub fn with_ttl(limit: usize, ttl: Duration) -> Recent<K, V> {
        Recent { entries: LruCache::with_hasher(usize::MAX, RandomState::new()), limit, ttl }
    }

    /// The value of `key`, which counts as a use.
    pub fn get<Q>(&mut self, key: &Q, now: Time) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let used = self.entries.peek(key)?.used;
        if now.since(used) >= self.ttl {
            self.entries.remove(key);
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        entry.used = now;
        Some(&mut entry.value)
    }

    /// Sets the value of `key`. Where there is no room, the entry goes that was not used for longest.
    pub fn insert(&mut self, key: K, value: V, now: Time) {
        if self.limit == 0 {
            return;
        }
        self.sweep(now);
        if self.entries.len() == self.limit && !self.entries.contains_key(&key) {
            self.entries.remove_lru();
        }
        self.entries.insert(key, Entry { value, used: now });
    }

    /// Takes the value of `key` out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// The number of entries, those included that are too old and were not met since.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops a few that are too old: they come first.
    fn sweep(&mut self, now: Time) {
        for _ in 0..SWEPT {
            let oldest = self.entries.iter().next().map(|(_, entry)| entry.used);
            if oldest.is_none_or(|used| now.since(used) < self.ttl) {
                break;
            }
            self.entries.remove_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const fn at(seconds: u64) -> Time {
        Time::from_millis(1_000 * seconds)
    }

    #[test]
    fn the_entry_that_was_not_used_for_longest_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert("a", 1, at(0));
        recent.insert("b", 2, at(1));
        assert_eq!(recent.get("a", at(2)), Some(&mut 1));
        recent.insert("c", 3, at(3));
        assert!(recent.get("b", at(3)).is_none() && recent.len() == 2);
        recent.insert("a", 4, at(4));
        assert_eq!((recent.get("a", at(4)).copied(), recent.get("c", at(4)).copied()), (Some(4), Some(3)));
    }

    #[test]
    fn an_entry_lives_as_long_as_it_is_used() {
        let mut recent = Recent::with_ttl(9, Duration::from_secs(10));
        recent.insert("a", 1, at(0));
        assert!(recent.get("a", at(9)).is_some() && recent.get("a", at(18)).is_some());
        assert!(recent.get("a", at(28)).is_none() && recent.is_empty());
    }

    #[test]
    fn entries_that_are_too_old_make_way_for_new_ones() {
        let mut recent = Recent::with_ttl(1_000, Duration::from_secs(1));
        (0..1_000).for_each(|key| recent.insert(key, (), at(0)));
        (1_000..1_500).for_each(|key| recent.insert(key, (), at(2)));
        assert_eq!(recent.len(), 500);
    }

    #[test]
    fn a_table_for_nothing_holds_nothing() {
        let mut recent = Recent::new(0);
        recent.insert(1, 1, at(0));
        assert!(recent.is_empty() && recent.get(&1, at(0)).is_none() && recent.remove(&1).is_none());
    }

    #[test]
    fn the_table_does_what_a_list_in_order_of_use_does_for_any_seed() {
        const TTL: Duration = Duration::from_millis(40);
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let limit = rng.below(6) as usize;
            let (mut recent, mut model) = (Recent::with_ttl(limit, TTL), Vec::<(u64, u64, Time)>::new());
            let mut now = Time::START;
            for step in 0..400 {
                now = now + Duration::from_millis(rng.below(12));
                model.retain(|entry| now.since(entry.2) < TTL);
                let key = rng.below(9);
                let place = model.iter().position(|entry| entry.0 == key);
                let known = place.map(|place| model.remove(place));
                match rng.below(3) {
                    0 => {
                        model.extend(known.map(|(key, value, _)| (key, value, now)));
                        let value = recent.get(&key, now).copied();
                        assert_eq!(value, known.map(|entry| entry.1), "seed {seed}, step {step}");
                    }
                    1 => {
                        model.push((key, step, now));
                        model.drain(..model.len().saturating_sub(limit));
                        recent.insert(key, step, now);
                    }
                    _ => drop(recent.remove(&key)),
                }
                assert!(recent.len() <= limit, "seed {seed}, step {step}");
            }
        }
    }
}
