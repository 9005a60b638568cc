//! `Arena`: values at small indices, each under an `Id` that is good for that one value only.
//!
//! An id that outlives its value finds nothing: it never finds the value that took the slot afterwards. The
//! generation that sees to this is drawn from one counter of the arena, because the slab beneath forgets what a
//! vacant slot held. The counter wraps, so an id that is kept across 2^32 insertions may deceive.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use slab::Slab;

/// The name of one value in an [`Arena`]. It is typed, so that an id of one arena is not used on another's kind.
pub struct Id<T> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// Puts an id together again that was taken apart to fit into a token.
    pub const fn from_parts(index: u32, generation: u32) -> Id<T> {
        Id { index, generation, kind: PhantomData }
    }

    /// The slot: below the largest number of values that the arena ever held at once.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// What tells the values apart that use one slot after another.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// All of it in one number.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// What [`Id::to_bits`] made a number of.
    pub const fn from_bits(bits: u64) -> Id<T> {
        Id::from_parts(bits as u32, (bits >> 32) as u32)
    }

    const fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

// Written out because derived ones would ask the same of `T`.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.parts() == other.parts()
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Id<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Id<T>) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({}.{})", self.index, self.generation)
    }
}

/// Values of one kind, each found by its [`Id`] in O(1).
///
/// It grows when it has to: whoever inserts keeps the limit.
#[derive(Debug)]
pub struct Arena<T> {
    slots: Slab<Slot<T>>,
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: T,
}

impl<T> Arena<T> {
    /// An arena that takes `capacity` values before it allocates again.
    pub fn with_capacity(capacity: usize) -> Arena<T> {
        Arena { slots: Slab::with_capacity(capacity), generation: 0 }
    }

    /// The name of the value that is inserted next.
    pub fn next_id(&self) -> Id<T> {
        Id::from_parts(self.slots.vacant_key() as u32, self.generation)
    }

    /// Keeps `value` and names it.
    pub fn insert(&mut self, value: T) -> Id<T> {
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        let index = self.slots.insert(Slot { generation, value });
        Id::from_parts(u32::try_from(index).expect("2^32 values do not fit into memory"), generation)
    }

    /// The value, unless it was removed.
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation).then_some(&slot.value)
    }

    /// The value to be changed, unless it was removed.
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(&mut slot.value)
    }

    /// Takes the value out, unless that was done before.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.get(id)?;
        Some(self.slots.remove(id.index as usize).value)
    }

    /// Whether the value is still here.
    pub fn contains(&self, id: Id<T>) -> bool {
        self.get(id).is_some()
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All values in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots.iter().map(|(index, slot)| (Id::from_parts(index as u32, slot.generation), &slot.value))
    }

    /// All values, to be changed, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.slots.iter_mut().map(|(index, slot)| (Id::from_parts(index as u32, slot.generation), &mut slot.value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn a_stale_id_finds_nothing_even_when_its_slot_is_used_again() {
        let mut arena = Arena::with_capacity(1);
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let next = arena.next_id();
        let second = arena.insert("second");
        assert_eq!((next, Id::from_bits(next.to_bits())), (second, second));
        assert_eq!(first.index(), second.index());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert!(!arena.contains(first));
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn generations_wrap() {
        let mut arena = Arena { slots: Slab::new(), generation: u32::MAX };
        let last = arena.insert(1);
        let first = arena.insert(2);
        assert_eq!((last.generation(), first.generation()), (u32::MAX, 0));
        assert_eq!((arena.get(last), arena.get(first)), (Some(&1), Some(&2)));
    }

    #[test]
    fn an_id_survives_being_taken_apart() {
        let mut arena = Arena::with_capacity(4);
        arena.insert(1);
        let id = arena.insert(2);
        assert_eq!(Id::from_parts(id.index(), id.generation()), id);
    }

    #[test]
    fn an_arena_does_what_a_map_does_for_any_seed() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let (mut arena, mut model, mut issued) = (Arena::with_capacity(0), HashMap::new(), Vec::new());
            for step in 0..500_u64 {
                if issued.is_empty() || rng.chance(1, 2) {
                    let id = arena.insert(step);
                    assert_eq!(model.insert(id, step), None, "seed {seed}: an id was issued twice");
                    issued.push(id);
                } else {
                    let id = issued[rng.below(issued.len() as u64) as usize];
                    if let (Some(left), Some(right)) = (arena.get_mut(id), model.get_mut(&id)) {
                        (*left, *right) = (*left + 1, *right + 1);
                    }
                    assert_eq!(arena.get(id), model.get(&id), "seed {seed}, step {step}");
                    assert_eq!(arena.remove(id), model.remove(&id), "seed {seed}, step {step}");
                }
                assert_eq!((arena.len(), arena.is_empty()), (model.len(), model.is_empty()), "seed {seed}");
            }
            arena.iter_mut().for_each(|(_, value)| *value += 1);
            assert_eq!(arena.iter().count(), model.len(), "seed {seed}");
            assert!(arena.iter().all(|(id, value)| model[&id] + 1 == *value), "seed {seed}");
        }
    }
}
