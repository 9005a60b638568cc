//! `Pipe`: one direction of a session, a lent buffer with one mark and the two ends.
//!
//! ```text
//! [ spent | cleared | pending | free ]
//!       start      mark      end
//! ```
//! The source fills *free*; the protocol judges *pending* and moves the mark; the sink drains *cleared*. A byte that
//! has not been judged cannot leave. *Spent* bytes are gone, unless the pipe *keeps* what it sent so that it can be
//! sent again. *Credit* clears bytes before they arrive, exactly as many as the protocol granted, so that a body needs
//! no judging.
//!
//! Of a long transfer, credited bytes may go past the buffer: `flight` tells of them.
//!
//! A pipe moves bytes and knows ends; it makes no system call and knows no protocol.

mod flight;

use super::buffers::{BUFFER_BYTES, Buffer};
use super::time::Time;

/// The least part of a buffer that is never read into before a head is judged: room for rewriting it with pipelined bytes
/// behind it.
pub const RESERVE_BYTES: usize = 2 * 1024;

/// Credit without end: what a tunnel or a body that lasts until the end of the stream is granted.
pub const UNLIMITED: u64 = u64::MAX;

/// What the sink of a pipe is still to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// It takes bytes.
    Open,
    /// It is shut down once it has taken the last cleared byte.
    Finishing,
    /// It was shut down.
    Shut,
    /// It failed: what would go there is dropped.
    Broken,
}

/// One direction of a session.
pub struct Pipe {
    buffer: Option<Buffer>,
    kept: u16,
    start: u16,
    mark: u16,
    end: u16,
    sink: Sink,
    source_ended: bool,
    keeping: bool,
    owes: bool,
    /// The sink took nothing when it was asked whether it would.
    full: bool,
    /// So many reads that fill their room have to come before bytes may take off.
    full_reads_left: u8,
    /// What is never read into before a head is judged, in bytes.
    reserve: u16,
    in_flight: u32,
    credit: u64,
    sent: u64,
    moved: Time,
}

/// The bytes that were to be written do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

const _: () = assert!(BUFFER_BYTES <= u16::MAX as usize);

impl Pipe {
    /// An empty pipe without a buffer.
    pub fn new(now: Time) -> Pipe {
        Pipe {
            buffer: None,
            kept: 0,
            start: 0,
            mark: 0,
            end: 0,
            sink: Sink::Open,
            source_ended: false,
            keeping: false,
            owes: false,
            full: false,
            full_reads_left: flight::FULL_READS,
            reserve: RESERVE_BYTES as u16,
            in_flight: 0,
            credit: 0,
            sent: 0,
            moved: now,
        }
    }

    /// Leaves so much of the buffer free for rewriting a head, where that is more than [`RESERVE_BYTES`].
    pub fn reserve(&mut self, bytes: usize) {
        self.reserve = bytes.clamp(RESERVE_BYTES, BUFFER_BYTES) as u16;
    }

    // The lender's side.

    /// Gives the pipe its buffer. A second one would be lost, so it is a bug to lend twice.
    pub fn attach(&mut self, buffer: Buffer) {
        debug_assert!(self.buffer.is_none(), "a pipe was lent a second buffer");
        self.buffer = Some(buffer);
    }

    /// Takes the buffer back from an empty pipe, or from one that is being closed.
    pub fn detach(&mut self) -> Option<Buffer> {
        self.reset();
        self.keeping = false;
        self.buffer.take()
    }

    /// Whether the pipe has a buffer.
    pub fn has_buffer(&self) -> bool {
        self.buffer.is_some()
    }

    /// Whether no byte is in the pipe, kept ones included.
    pub fn is_empty(&self) -> bool {
        self.has_empty_buffer() && self.in_flight == 0
    }

    /// Whether no byte is in the buffer, kept ones included.
    pub fn has_empty_buffer(&self) -> bool {
        self.base() == self.end
    }

    // The source's side.

    /// Whether the source may send and there is room for what it sends.
    pub fn wants_bytes(&self) -> bool {
        let room = self.end < self.limit() || self.can_compact() || self.can_release();
        !self.source_ended && self.in_flight == 0 && room
    }

    /// The room for the next read. Empty only when [`Pipe::wants_bytes`] says no, or without a buffer.
    pub fn room(&mut self) -> &mut [u8] {
        if self.end >= self.limit() && self.can_release() {
            self.release();
        }
        if self.end >= self.limit() && self.can_compact() {
            self.compact();
        }
        let (end, limit) = (usize::from(self.end), usize::from(self.limit()));
        match &mut self.buffer {
            Some(buffer) if end < limit => &mut buffer[end..limit],
            _ => &mut [],
        }
    }

    /// The source put `count` bytes into the room.
    pub fn filled(&mut self, count: usize, now: Time) {
        debug_assert!(count <= usize::from(self.limit() - self.end), "more bytes than room");
        if self.start == self.mark {
            // Only while the source was waited for: bytes behind a stalled sink refresh nothing.
            self.moved = now;
        }
        self.end += count as u16;
        self.judge_read();
        self.spend_credit();
    }

    /// The source ended: nothing more will come.
    pub fn end_source(&mut self) {
        self.source_ended = true;
    }

    /// Whether the source ended.
    pub fn source_ended(&self) -> bool {
        self.source_ended
    }

    // The protocol's side.

    /// The bytes that are to be judged.
    pub fn pending(&self) -> &[u8] {
        self.slice(self.mark, self.end)
    }

    /// Clears the first `count` pending bytes as they are.
    pub fn pass(&mut self, count: usize) {
        debug_assert!(count <= self.pending().len(), "passed what is not there");
        self.mark += count as u16;
    }

    /// Clears the next `count` bytes, whether they have arrived or not.
    pub fn grant(&mut self, count: u64) {
        debug_assert!(self.credit == 0 || count == UNLIMITED, "credit is granted once at a time");
        self.credit = count;
        self.spend_credit();
        self.judge_length();
    }

    /// How many bytes are cleared that have not arrived yet.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    /// Removes the first `count` pending bytes.
    pub fn discard(&mut self, count: usize) {
        debug_assert!(count <= self.pending().len(), "discarded what is not there");
        let (base, mark) = (usize::from(self.base()), usize::from(self.mark));
        if let Some(buffer) = &mut self.buffer {
            // What is before the mark moves up to it: mostly nothing, for framing is met when the sink has kept pace.
            buffer.copy_within(base..mark, base + count);
        }
        self.kept += count as u16;
        self.start += count as u16;
        self.mark += count as u16;
        self.rest();
    }

    /// Puts `bytes` in the place of the first `count` pending ones, and clears them.
    pub fn replace(&mut self, count: usize, bytes: &[u8]) -> Result<(), NoRoom> {
        debug_assert!(count <= self.pending().len(), "replaced what is not there");
        let held = usize::from(self.end - self.base());
        if held - count + bytes.len() > BUFFER_BYTES {
            return Err(NoRoom);
        }
        if usize::from(self.end) - count + bytes.len() > BUFFER_BYTES {
            self.compact();
        }
        let (mark, end) = (usize::from(self.mark), usize::from(self.end));
        let Some(buffer) = &mut self.buffer else { return Err(NoRoom) };
        if bytes.len() != count {
            buffer.copy_within(mark + count..end, mark + bytes.len());
        }
        buffer[mark..mark + bytes.len()].copy_from_slice(bytes);
        self.mark = (mark + bytes.len()) as u16;
        self.end = (end - count + bytes.len()) as u16;
        Ok(())
    }

    /// How many bytes [`Pipe::emit`] has room for.
    pub fn emit_room(&self) -> usize {
        if self.has_buffer() { BUFFER_BYTES - usize::from(self.end - self.base()) } else { 0 }
    }

    /// Puts `bytes` of our own before the pending ones, and clears them.
    pub fn emit(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.replace(0, bytes)
    }

    /// Starts the count of sent bytes anew and keeps, from the next byte that is sent, all of them.
    pub fn keep(&mut self) {
        debug_assert!(!self.keeping && self.is_drained(), "an exchange began while another was being sent");
        self.sent = 0;
        self.keeping = true;
        self.kept = self.start;
    }

    /// Starts the count of sent bytes anew, without keeping them.
    pub fn begin(&mut self) {
        self.sent = 0;
    }

    /// The protocol cannot judge the pending bytes without more of them: where the kept ones take the room, they are
    /// kept no longer.
    pub fn want_more(&mut self) {
        if self.keeping && self.end >= self.limit() && self.start == self.mark {
            self.release();
        }
    }

    /// What was sent need not be kept any longer.
    pub fn release(&mut self) {
        self.keeping = false;
        self.rest();
    }

    /// Whether everything that was sent since [`Pipe::keep`] can be sent again.
    pub fn can_rewind(&self) -> bool {
        self.keeping
    }

    /// Everything that was kept is to be sent again.
    pub fn rewind(&mut self) {
        debug_assert!(self.keeping, "nothing was kept");
        self.start = self.base();
        self.sent = 0;
    }

    /// Drops all bytes, judged or not.
    pub fn clear(&mut self) {
        self.keeping = false;
        self.in_flight = 0;
        self.reset();
    }

    /// Drops the cleared bytes and the credit: what they were for is over. Pending ones stay.
    pub fn drop_cleared(&mut self) {
        self.keeping = false;
        self.start = self.mark;
        self.in_flight = 0;
        self.credit = 0;
        self.rest();
    }

    /// The source is another one from now on: the end of the former is forgotten.
    pub fn renew_source(&mut self) {
        self.source_ended = false;
    }

    /// The sink is another one from now on.
    pub fn renew_sink(&mut self) {
        self.sink = Sink::Open;
        self.owes = false;
        self.full = false;
    }

    /// No byte follows the cleared ones: the sink is shut down after the last of them.
    pub fn finish(&mut self) {
        if self.sink == Sink::Open {
            self.sink = Sink::Finishing;
        }
    }

    // The sink's side.

    /// The bytes that may leave.
    pub fn cleared(&self) -> &[u8] {
        self.slice(self.start, self.mark)
    }

    /// Whether there are bytes that may leave and a sink that takes them.
    pub fn has_cleared(&self) -> bool {
        !self.is_drained() && self.sink != Sink::Broken
    }

    /// Whether all that is in the buffer may leave, and the sink is there to take it.
    pub fn is_cleared(&self) -> bool {
        self.mark == self.end && self.has_cleared()
    }

    /// Whether no byte is left that may leave.
    pub fn is_drained(&self) -> bool {
        self.start == self.mark && self.in_flight == 0
    }

    /// The sink took `count` of the cleared bytes.
    pub fn drained(&mut self, count: usize, now: Time) {
        debug_assert!(count <= self.cleared().len(), "drained what is not there");
        self.start += count as u16;
        self.sent += count as u64;
        self.moved = now;
        self.rest();
    }

    /// The sink took bytes that it has yet to send.
    pub fn owe(&mut self) {
        self.owes = true;
    }

    /// The sink has sent all that it took.
    pub fn settle(&mut self, now: Time) {
        self.owes = false;
        self.moved = now;
    }

    /// Whether the sink took bytes that it has yet to send.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Whether anything that is for a sink that works has not left yet, here or with the sink.
    pub fn has_unsent(&self) -> bool {
        self.has_cleared() || self.owes
    }

    /// The bytes that left since [`Pipe::keep`] or [`Pipe::begin`].
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The last moment at which this direction made progress.
    pub fn moved(&self) -> Time {
        self.moved
    }

    /// Something else than bytes let this direction make progress: the wait begins now.
    pub fn touch(&mut self, now: Time) {
        self.moved = now;
    }

    /// The sink takes nothing any more; what is cleared for it is dropped, and so is what it owed.
    pub fn break_sink(&mut self) {
        self.sink = Sink::Broken;
        self.owes = false;
    }

    /// Whether the sink failed.
    pub fn sink_broken(&self) -> bool {
        self.sink == Sink::Broken
    }

    /// Whether the last byte has left and the sink is to be told so.
    pub fn wants_shutdown(&self) -> bool {
        self.sink == Sink::Finishing && self.is_drained() && !self.owes
    }

    /// The sink was shut down.
    pub fn shut(&mut self) {
        self.sink = Sink::Shut;
    }

    /// Whether the sink was shut down.
    pub fn is_shut(&self) -> bool {
        self.sink == Sink::Shut
    }

    // Inside.

    /// The first byte that is not spent for good.
    fn base(&self) -> u16 {
        if self.keeping { self.kept } else { self.start }
    }

    /// Where a read has to stop: only bytes that are cleared already go into the reserve.
    fn limit(&self) -> u16 {
        self.limit_at(self.end)
    }

    /// The same, were the last byte there.
    fn limit_at(&self, end: u16) -> u16 {
        let credited = u64::from(end).saturating_add(self.credit).min(BUFFER_BYTES as u64);
        (BUFFER_BYTES as u16 - self.reserve).max(credited as u16)
    }

    /// Whether moving the bytes to the front makes room, and is worth it: when the sink will not make any, or for half
    /// a buffer.
    fn can_compact(&self) -> bool {
        let base = self.base();
        let end = self.end - base;
        base > 0 && end < self.limit_at(end) && (self.start == self.mark || usize::from(base) >= BUFFER_BYTES / 2)
    }

    /// Whether nothing but kept bytes takes the room that the rest of a body needs.
    fn can_release(&self) -> bool {
        self.keeping && self.credit > 0 && self.start == self.mark && self.mark == self.end
    }

    fn compact(&mut self) {
        let base = self.base();
        if let Some(buffer) = &mut self.buffer {
            buffer.copy_within(usize::from(base)..usize::from(self.end), 0);
        }
        self.kept = 0;
        self.start -= base;
        self.mark -= base;
        self.end -= base;
    }

    fn spend_credit(&mut self) {
        let count = self.credit.min(u64::from(self.end - self.mark));
        self.mark += count as u16;
        if self.credit != UNLIMITED {
            self.credit -= count;
        }
    }

    /// An empty pipe begins at the front of its buffer again.
    fn rest(&mut self) {
        if self.base() == self.end {
            self.reset();
        }
    }

    fn reset(&mut self) {
        (self.kept, self.start, self.mark, self.end) = (0, 0, 0, 0);
    }

    fn slice(&self, from: u16, to: u16) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[usize::from(from)..usize::from(to)],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffers::Buffers;
    use super::*;

    const NOW: Time = Time::START;

    fn pipe() -> Pipe {
        let mut pipe = Pipe::new(NOW);
        let [buffer] = Buffers::new(u64::MAX).lend().expect("no limit");
        pipe.attach(buffer);
        pipe
    }

    fn fill(pipe: &mut Pipe, bytes: &[u8]) {
        pipe.room()[..bytes.len()].copy_from_slice(bytes);
        pipe.filled(bytes.len(), NOW);
    }

    fn drain(pipe: &mut Pipe) -> Vec<u8> {
        let bytes = pipe.cleared().to_vec();
        pipe.drained(bytes.len(), NOW);
        bytes
    }

    #[test]
    fn a_byte_that_was_not_judged_cannot_leave() {
        let mut pipe = pipe();
        fill(&mut pipe, b"abcdef");
        assert!(!pipe.has_cleared());
        pipe.pass(2);
        assert_eq!(pipe.cleared(), b"ab");
        assert_eq!(pipe.pending(), b"cdef");
    }

    #[test]
    fn credit_clears_exactly_what_was_granted_across_arrivals() {
        let mut pipe = pipe();
        fill(&mut pipe, b"abc");
        pipe.grant(5);
        assert_eq!((pipe.cleared(), pipe.credit()), (&b"abc"[..], 2));
        fill(&mut pipe, b"defg");
        assert_eq!((pipe.cleared(), pipe.pending(), pipe.credit()), (&b"abcde"[..], &b"fg"[..], 0));
    }

    #[test]
    fn unlimited_credit_does_not_wear_out() {
        let mut pipe = pipe();
        pipe.grant(UNLIMITED);
        fill(&mut pipe, b"abc");
        assert_eq!((pipe.cleared(), pipe.credit()), (&b"abc"[..], UNLIMITED));
    }

    #[test]
    fn discard_closes_the_gap_behind_cleared_and_kept_bytes() {
        let mut pipe = pipe();
        fill(&mut pipe, b"head5;x\r\nrest");
        pipe.keep();
        pipe.pass(5);
        pipe.drained(2, NOW);
        pipe.discard(2);
        pipe.pass(2);
        assert_eq!(pipe.cleared(), b"ad5\r\n");
        pipe.rewind();
        assert_eq!((pipe.cleared(), pipe.pending()), (&b"head5\r\n"[..], &b"rest"[..]));
    }

    #[test]
    fn replace_grows_and_shrinks_a_head_before_pipelined_bytes() {
        for new in [&b""[..], b"x", b"GET", b"a longer head than before"] {
            let mut pipe = pipe();
            fill(&mut pipe, b"GETnext");
            pipe.replace(3, new).expect("there is room");
            assert_eq!((pipe.cleared(), pipe.pending()), (new, &b"next"[..]));
        }
    }

    #[test]
    fn a_read_leaves_the_reserve_free_until_the_bytes_are_a_body() {
        let mut pipe = pipe();
        assert_eq!(pipe.room().len(), BUFFER_BYTES - RESERVE_BYTES);
        fill(&mut pipe, &[b'a'; BUFFER_BYTES - RESERVE_BYTES]);
        assert!(!pipe.wants_bytes());
        pipe.replace(100, &[b'b'; 100 + RESERVE_BYTES]).expect("the reserve is free");
        assert_eq!((pipe.replace(0, b"c"), pipe.emit_room()), (Err(NoRoom), 0));
        let mut body = self::pipe();
        body.grant(BUFFER_BYTES as u64 - 1);
        assert_eq!(body.room().len(), BUFFER_BYTES - 1, "nothing but the body goes into the reserve");
    }

    #[test]
    fn replace_moves_the_bytes_to_the_front_when_the_tail_is_in_the_way() {
        let mut pipe = pipe();
        pipe.grant(BUFFER_BYTES as u64 - 10);
        fill(&mut pipe, &[b'a'; BUFFER_BYTES - 10]);
        pipe.drained(BUFFER_BYTES - 20, NOW);
        let before = pipe.cleared().to_vec();
        pipe.emit(&[b'b'; 100]).expect("the spent part is free");
        assert_eq!(pipe.cleared().len(), 110);
        assert_eq!(&pipe.cleared()[..10], before);
    }

    #[test]
    fn what_was_sent_can_be_sent_again_until_it_is_released() {
        let mut pipe = pipe();
        fill(&mut pipe, b"GET");
        pipe.keep();
        pipe.pass(3);
        assert_eq!(drain(&mut pipe), b"GET");
        assert!(!pipe.is_empty(), "kept bytes hold the buffer");
        pipe.rewind();
        assert_eq!((drain(&mut pipe), pipe.sent()), (b"GET".to_vec(), 3));
        pipe.release();
        assert!(pipe.is_empty() && !pipe.can_rewind());
    }

    #[test]
    fn a_body_that_outgrows_the_buffer_is_not_kept() {
        let mut pipe = pipe();
        pipe.keep();
        pipe.grant(UNLIMITED);
        let mut moved = 0;
        while moved < 3 * BUFFER_BYTES {
            assert!(pipe.wants_bytes(), "stuck after {moved} bytes");
            let room = pipe.room().len();
            assert!(room > 0);
            pipe.filled(room, NOW);
            moved += drain(&mut pipe).len();
        }
        assert!(!pipe.can_rewind());
    }

    #[test]
    fn a_full_pipe_waits_for_its_sink_and_goes_on() {
        let mut pipe = pipe();
        pipe.grant(UNLIMITED);
        let room = pipe.room().len();
        pipe.filled(room, NOW);
        assert!(!pipe.wants_bytes());
        pipe.drained(BUFFER_BYTES / 2, NOW);
        assert!(pipe.wants_bytes());
        assert_eq!(pipe.room().len(), BUFFER_BYTES / 2);
    }

    #[test]
    fn a_pipe_that_wants_bytes_has_room_for_them() {
        let mut pipe = pipe();
        fill(&mut pipe, &[b'a'; 101]);
        pipe.pass(100);
        pipe.drained(100, NOW);
        pipe.keep();
        pipe.grant(BUFFER_BYTES as u64 - 100);
        let room = pipe.room().len();
        pipe.filled(room, NOW);
        drain(&mut pipe);
        assert_eq!((pipe.credit(), pipe.can_rewind()), (0, true));
        assert!(!pipe.wants_bytes() || !pipe.room().is_empty());
    }

    #[test]
    fn bytes_behind_a_stalled_sink_refresh_nothing() {
        let mut pipe = pipe();
        pipe.grant(UNLIMITED);
        pipe.filled(1, Time::from_millis(1));
        pipe.filled(1, Time::from_millis(2));
        assert_eq!(pipe.moved(), Time::from_millis(1));
        pipe.drained(1, Time::from_millis(3));
        assert_eq!(pipe.moved(), Time::from_millis(3));
    }

    #[test]
    fn the_sink_is_shut_down_after_the_last_byte_only() {
        let mut pipe = pipe();
        fill(&mut pipe, b"x");
        pipe.pass(1);
        pipe.end_source();
        pipe.finish();
        assert!(!pipe.wants_shutdown());
        drain(&mut pipe);
        assert!(pipe.wants_shutdown());
        pipe.shut();
        assert!(!pipe.wants_shutdown() && pipe.is_shut());
    }

    #[test]
    fn what_the_sink_owes_is_unsent_until_it_is_settled_or_the_sink_is_another_one() {
        let mut pipe = pipe();
        fill(&mut pipe, b"x");
        pipe.pass(1);
        drain(&mut pipe);
        pipe.owe();
        pipe.finish();
        assert!(pipe.has_unsent() && !pipe.has_cleared() && !pipe.wants_shutdown());
        pipe.settle(NOW);
        assert!(!pipe.has_unsent() && pipe.wants_shutdown());
        for other in [Pipe::break_sink, Pipe::renew_sink] {
            pipe.owe();
            other(&mut pipe);
            assert!(!pipe.owes());
        }
    }

    /// A model of two byte queues against the pipe, over random operations.
    #[test]
    fn bytes_leave_in_order_whatever_the_operations() {
        for seed in 0..300 {
            let mut rng = Lehmer(seed * 2 + 1);
            let mut pipe = pipe();
            let (mut next, mut expected, mut left) = (0u8, Vec::new(), Vec::new());
            for _ in 0..200 {
                match rng.below(4) {
                    0 if pipe.wants_bytes() => {
                        let count = rng.below(pipe.room().len().min(5000) + 1);
                        for byte in &mut pipe.room()[..count] {
                            *byte = next;
                            expected.push(next);
                            next = next.wrapping_add(1);
                        }
                        pipe.filled(count, NOW);
                    }
                    1 => pipe.pass(rng.below(pipe.pending().len() + 1)),
                    2 => {
                        let count = rng.below(pipe.pending().len().min(9) + 1);
                        let at = expected.len() - pipe.pending().len();
                        expected.drain(at..at + count);
                        pipe.discard(count);
                    }
                    _ => {
                        let count = rng.below(pipe.cleared().len() + 1);
                        left.extend_from_slice(&pipe.cleared()[..count]);
                        pipe.drained(count, NOW);
                    }
                }
            }
            left.extend_from_slice(pipe.cleared());
            left.extend_from_slice(pipe.pending());
            assert!(left == expected, "seed {seed}");
        }
    }

    struct Lehmer(u64);

    impl Lehmer {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(0xda94_2042_e4dd_58b5).rotate_left(17).wrapping_add(0x9e37_79b9);
            (self.0 >> 33) as usize % bound.max(1)
        }
    }
}
