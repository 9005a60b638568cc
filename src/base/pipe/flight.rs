//! Flights: the credited bytes of a long transfer that go past the buffer, from socket to socket.
//!
//! They take off only when nothing is in the pipe, and nothing is read behind them before they have landed, so that the
//! order of bytes is never in question. The sink is asked before the source: a pipe whose sink takes nothing is *full*,
//! though nothing is in it.

use super::{Pipe, Sink, UNLIMITED};
use crate::base::buffers::BUFFER_BYTES;
use crate::base::time::Time;

/// A flight of fewer bytes than this is not worth it: a read is as cheap. Measured over loopback, the calls for a whole
/// body cost a fifth less than copying for one of 32 KiB, a third less for 128 KiB, and half for 1 MiB and more.
const FLIGHT_BYTES_MIN: u64 = BUFFER_BYTES as u64;

/// So many reads in a row that fill their room tell that the source has much to say.
pub(super) const FULL_READS: u8 = 2;

/// So many of them follow before another flight is tried when none was possible. Not more: a sink is asked before each
/// flight, so that one that takes nothing holds nothing, not even where all bytes are copied.
const FULL_READS_GROUNDED: u8 = 1;

impl Pipe {
    /// Whether bytes may go past the buffer, and so much is to come that it is worth it.
    pub fn wants_flight(&self) -> bool {
        let long = self.credit >= FLIGHT_BYTES_MIN && self.full_reads_left == 0;
        long && !self.source_ended && self.sink == Sink::Open && !self.keeping && !self.owes && self.is_empty()
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
        let long = self.credit >= FLIGHT_BYTES_MIN && self.credit != UNLIMITED;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffers::Buffers;

    const NOW: Time = Time::START;

    /// A pipe with this credit and nothing in it.
    fn pipe(credit: u64) -> Pipe {
        let mut pipe = Pipe::new(NOW);
        let [buffer] = Buffers::new(u64::MAX).lend().expect("no limit");
        pipe.attach(buffer);
        pipe.grant(credit);
        pipe
    }

    fn read(pipe: &mut Pipe, count: usize) {
        pipe.filled(count, NOW);
        pipe.drained(pipe.cleared().len(), NOW);
    }

    #[test]
    fn bytes_take_off_only_when_nothing_is_before_them() {
        let mut pipe = pipe(2 * FLIGHT_BYTES_MIN);
        assert!(pipe.wants_flight());
        pipe.filled(10, NOW);
        assert!(!pipe.wants_flight(), "some are to be sent");
        pipe.drained(10, NOW);
        pipe.judge_length();
        assert!(pipe.wants_flight());
        pipe.keep();
        assert!(!pipe.wants_flight(), "they could not be sent again");
        pipe.release();
        pipe.break_sink();
        assert!(!pipe.wants_flight(), "nobody takes them");
        pipe.renew_sink();
        pipe.end_source();
        assert!(!pipe.wants_flight(), "there are none");
    }

    #[test]
    fn bytes_in_flight_are_unsent_until_they_have_landed() {
        let mut pipe = pipe(FLIGHT_BYTES_MIN);
        pipe.begin();
        pipe.take_off(FLIGHT_BYTES_MIN as usize, NOW);
        pipe.finish();
        assert_eq!((pipe.credit(), pipe.sent()), (0, 0));
        assert!(pipe.has_unsent() && !pipe.is_empty() && !pipe.is_drained() && !pipe.wants_shutdown());
        assert!(!pipe.wants_bytes(), "nothing is read behind them");
        assert!(pipe.has_empty_buffer(), "they take no buffer");
        pipe.land(1000, NOW);
        assert!(pipe.has_unsent() && !pipe.wants_shutdown());
        pipe.land(FLIGHT_BYTES_MIN as usize - 1000, NOW);
        assert!(!pipe.has_unsent() && pipe.is_empty() && pipe.wants_shutdown());
        assert_eq!(pipe.sent(), FLIGHT_BYTES_MIN);
    }

    #[test]
    fn what_a_broken_sink_did_not_take_is_neither_in_flight_nor_sent() {
        let mut pipe = pipe(FLIGHT_BYTES_MIN);
        pipe.take_off(100, NOW);
        pipe.break_sink();
        assert_eq!((pipe.in_flight(), pipe.has_unsent(), pipe.is_drained()), (0, false, false));
        pipe.drop_cleared();
        assert!(pipe.is_drained() && pipe.is_empty());
    }

    #[test]
    fn a_stream_without_end_takes_off_only_while_its_reads_fill_their_room() {
        let mut pipe = pipe(UNLIMITED);
        for _ in 0..FULL_READS {
            assert!(!pipe.wants_flight());
            read(&mut pipe, BUFFER_BYTES);
        }
        assert!(pipe.wants_flight());
        pipe.take_off(FLIGHT_BYTES_MIN as usize - 1, NOW);
        pipe.land(FLIGHT_BYTES_MIN as usize - 1, NOW);
        assert!(!pipe.wants_flight(), "it has little to say");
        read(&mut pipe, BUFFER_BYTES);
        read(&mut pipe, BUFFER_BYTES - 1);
        read(&mut pipe, BUFFER_BYTES);
        assert!(!pipe.wants_flight(), "the row was broken");
        read(&mut pipe, BUFFER_BYTES);
        assert!(pipe.wants_flight());
        pipe.ground(NOW);
        (0..FULL_READS_GROUNDED).for_each(|_| read(&mut pipe, BUFFER_BYTES));
        assert!(pipe.wants_flight(), "it is tried again");
    }

    #[test]
    fn a_full_pipe_waits_for_its_sink_since_it_was_asked_first() {
        let [first, later, last] = [1, 2, 3].map(Time::from_millis);
        let mut pipe = pipe(UNLIMITED - 1);
        pipe.wait_for_sink(first);
        pipe.wait_for_sink(later);
        assert!(pipe.awaits_sink() && !pipe.has_unsent());
        assert_eq!(pipe.moved(), first, "asking again is no progress");
        pipe.stay(last);
        assert!(!pipe.awaits_sink(), "it has room, and the source has nothing");
        assert_eq!(pipe.moved(), last, "from now on the source is waited for");
        pipe.wait_for_sink(last);
        pipe.end_source();
        assert!(!pipe.awaits_sink(), "there is nothing to wait with");
    }
}
