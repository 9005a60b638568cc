//! `Buffers`: the lender of all pipe buffers.
//!
//! Every buffer has the same size and the sum of the lent ones has a limit, so that the memory of all sessions is
//! bounded by a number that is known at the start. A session never allocates a buffer of its own.

/// The size of a buffer in bytes.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// For so many free buffers the list has room from the start.
const FREE_AT_START: usize = 4096;

/// One lent buffer.
pub type Buffer = Box<[u8; BUFFER_BYTES]>;

/// Lends buffers up to a limit and takes them back.
pub struct Buffers {
    free: Vec<Buffer>,
    /// The fewest that were free since they were last trimmed: nobody needed these.
    spare: usize,
    lent: usize,
    lent_max: usize,
}

impl Buffers {
    /// A lender of at most `memory` bytes, at least the two buffers of one session.
    pub fn new(memory: u64) -> Buffers {
        let lent_max = usize::try_from(memory / BUFFER_BYTES as u64).unwrap_or(usize::MAX).max(2);
        Buffers { free: Vec::with_capacity(lent_max.min(FREE_AT_START)), spare: 0, lent: 0, lent_max }
    }

    /// So many buffers, all or none.
    pub fn lend<const COUNT: usize>(&mut self) -> Option<[Buffer; COUNT]> {
        if self.lent + COUNT > self.lent_max {
            return None;
        }
        self.lent += COUNT;
        let buffers = std::array::from_fn(|_| self.one());
        self.spare = self.spare.min(self.free.len());
        Some(buffers)
    }

    /// Takes a lent buffer back.
    pub fn give_back(&mut self, buffer: Buffer) {
        debug_assert!(self.lent > 0, "a buffer came back that was never lent");
        self.lent = self.lent.saturating_sub(1);
        self.free.push(buffer);
    }

    /// Gives back to the allocator what nobody needed since the last time. Tells whether some are still free.
    pub fn trim(&mut self) -> bool {
        self.free.truncate(self.free.len() - self.spare);
        self.spare = self.free.len();
        !self.free.is_empty()
    }

    /// Whether some are free that are not lent.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The number of buffers that are lent.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// The most buffers that can be lent at once.
    pub fn lent_max(&self) -> usize {
        self.lent_max
    }

    fn one(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(|| {
            let zeroed = vec![0; BUFFER_BYTES].into_boxed_slice();
            zeroed.try_into().expect("the slice was made with exactly this length")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_in_pairs_up_to_the_limit() {
        let mut buffers = Buffers::new(3 * BUFFER_BYTES as u64);
        let [first, second] = buffers.lend::<2>().expect("the limit allows one pair");
        assert!(buffers.lend::<2>().is_none());
        buffers.give_back(first);
        let pair = buffers.lend::<2>().expect("one of three is lent: a pair is free");
        pair.into_iter().chain([second]).for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(buffers.lent(), 0);
    }

    #[test]
    fn what_nobody_needed_between_two_trims_is_given_up() {
        let mut buffers = Buffers::new(u64::MAX);
        let lent: Vec<_> = (0..4).flat_map(|_| buffers.lend::<2>().expect("no limit")).collect();
        lent.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert!(buffers.trim(), "all eight were in use");
        let pair = buffers.lend::<2>().expect("no limit");
        pair.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert!(buffers.trim());
        assert_eq!(buffers.free.len(), 2, "two were in use");
        assert!(!buffers.trim(), "none was in use");
    }
}
