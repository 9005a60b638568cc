//! Flights: the credited bytes of a long transfer that go past the buffer, from socket to socket.
//!
//! They take off only when nothing is in the pipe, and nothing is read behind them before they have landed, so that the
//! order of bytes is never in question. The sink is asked before the source: a pipe whose sink takes nothing is *full*,
//! though nothing is in it.

use super::{Pipe, Sink, UNLIMITED};
use crate::base::buffers::BUFFER_BYTES;
use crate::base::time::Time;

/// What is left of a transfer when it is granted, from which on it is a long one.
const LONG_BYTES: u64 = 64 * 1024;

/// A flight of fewer bytes than this is not worth it: a read is as cheap.
const FLIGHT_BYTES_MIN: u64 = BUFFER_BYTES as u64;

/// So many reads in a row that fill their room tell that the source has much to say.
pub(super) const FULL_READS: u8 = 2;

/// So many of them follow before another flight is tried when none was possible.
const FULL_READS_GROUNDED: u8 = 255;

impl Pipe {
    /// Whether bytes may go past the buffer, and so much is to come that it is worth it.
    pub fn wants_flight(&self) -> bool {
        let long = self.credit >= FLIGHT_BYTES_MIN && self.full_reads_left == 0;
        long && !self.source_ended && self.sink == Sink::Open && !self.keeping && self.is_empty()
    }

    /// The source sent `count` bytes past the buffer.
    pub fn take_off(&mut self, count: usize, now: Time) {
        debug_assert!(self.is_empty() && count as u64 <= self.credit, "bytes took off that may not");
        self.full = false;
        self.moved = now;
        self.in_flight = count as u32;
        if self.credit != UNLIMITED {
            self.credit -= count as u64;
        }
        if (count as u64) < FLIGHT_BYTES_MIN {
            // The source is slow, or talks to and fro.
            self.full_reads_left = FULL_READS;
        }
    }

    /// The source had nothing to send past the buffer: it is waited for, and the sink is not.
    pub fn stay(&mut self, now: Time) {
        if std::mem::take(&mut self.full) {
            self.moved = now;
        }
    }

    /// No byte can go past the buffer for want of means: they are read for a while.
    pub fn ground(&mut self, now: Time) {
        self.stay(now);
        self.full_reads_left = FULL_READS_GROUNDED;
    }

    /// The sink, which was asked before the source, takes nothing: it is waited for.
    pub fn wait_for_sink(&mut self, now: Time) {
        if !std::mem::replace(&mut self.full, true) {
            self.moved = now;
        }
    }

    /// The bytes that are on their way past the buffer to a sink that takes them; they leave before the cleared ones.
    pub fn in_flight(&self) -> usize {
        if self.sink_broken() { 0 } else { self.in_flight as usize }
    }

    /// The sink took `count` of the bytes in flight.
    pub fn land(&mut self, count: usize, now: Time) {
        debug_assert!(count <= self.in_flight(), "more bytes landed than had taken off");
        self.in_flight -= count as u32;
        self.sent += count as u64;
        self.moved = now;
    }

    /// Whether it is the sink that has to act next: it has something to take, or it took nothing when it was asked.
    pub fn awaits_sink(&self) -> bool {
        self.has_unsent() || self.is_full()
    }

    /// Whether nothing is asked of the source because the sink would not take it.
    pub fn is_full(&self) -> bool {
        self.full && self.wants_flight()
    }

    /// Credit was granted.
    pub(super) fn judge_length(&mut self) {
        // How long a stream without end is, its reads have to tell.
        let long = self.credit >= LONG_BYTES && self.credit != UNLIMITED;
        self.full_reads_left = if long { 0 } else { FULL_READS };
    }

    /// The source put bytes into the room.
    pub(super) fn judge_read(&mut self) {
        self.full_reads_left = match self.end < self.limit() {
            true => self.full_reads_left.max(FULL_READS),
            false => self.full_reads_left.saturating_sub(1),
        };
    }
}
