//! `Buffers`: the lender of all pipe buffers.
//!
//! Every buffer has the same size and the sum of the lent ones has a limit, so that the memory of all sessions is
//! bounded by a number that is known at the start. A session never allocates a buffer of its own.

/// The size of a buffer in bytes.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// The most free buffers that are kept for the next borrower (4 MiB); more go back to the allocator.
const FREE_MAX: usize = 256;

/// One lent buffer.
pub type Buffer = Box<[u8; BUFFER_BYTES]>;

/// Lends buffers up to a limit and takes them back.
pub struct Buffers {
    free: Vec<Buffer>,
    lent: usize,
    lent_max: usize,
}

impl Buffers {
    /// A lender of at most `memory` bytes, at least the two buffers of one session.
    pub fn new(memory: u64) -> Buffers {
        let lent_max = usize::try_from(memory / BUFFER_BYTES as u64).unwrap_or(usize::MAX).max(2);
        Buffers { free: Vec::new(), lent: 0, lent_max }
    }

    /// The two buffers of a session, both or none.
    pub fn lend_pair(&mut self) -> Option<[Buffer; 2]> {
        if self.lent + 2 > self.lent_max {
            return None;
        }
        self.lent += 2;
        Some([self.one(), self.one()])
    }

    /// Takes a lent buffer back.
    pub fn give_back(&mut self, buffer: Buffer) {
        debug_assert!(self.lent > 0, "a buffer came back that was never lent");
        self.lent = self.lent.saturating_sub(1);
        if self.free.len() < FREE_MAX {
            self.free.push(buffer);
        }
    }

    /// Whether a pair could be lent now.
    pub fn has_pair(&self) -> bool {
        self.lent + 2 <= self.lent_max
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
        let [first, second] = buffers.lend_pair().expect("the limit allows one pair");
        assert!(buffers.lend_pair().is_none());
        buffers.give_back(first);
        assert!(buffers.has_pair(), "one of three is lent: a pair is free");
        buffers.give_back(second);
        assert_eq!(buffers.lent(), 0);
    }

    #[test]
    fn the_free_list_is_trimmed() {
        let mut buffers = Buffers::new(u64::MAX);
        let lent: Vec<_> = (0..FREE_MAX).flat_map(|_| buffers.lend_pair().expect("no limit")).collect();
        lent.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(buffers.free.len(), FREE_MAX);
    }
}
