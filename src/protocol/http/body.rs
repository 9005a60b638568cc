//! The framing of chunked bodies (RFC 9112 section 7.1), judged byte by byte before it is passed on.
//!
//! It says which bytes are framing, which are data and which are left away; it never holds, moves or changes one.
//!
//! ```text
//!  +-> Size --(extension)--> Extension --> SizeEnd -+-> data, DataEnd --+
//!  |    |  \--(plain)-------------------------------+-> Trailer -> Done |
//!  +--------------------------------------------------------------------+
//! ```

use memchr::memchr;

use super::fields::{self, Name};
use super::head::Refusal;
use super::reply::Status;
use crate::config::Trailers;

/// The most hexadecimal digits of a chunk size: no size overflows 60 bits.
const SIZE_DIGITS_MAX: usize = 15;
/// The most bytes of the extensions of one chunk.
const EXTENSION_BYTES_MAX: usize = 256;
/// The most bytes of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// The most fields of a trailer section.
const TRAILER_FIELDS_MAX: u8 = 64;

/// Fields that a trailer must not carry, besides those that [`Name`] knows: they authenticate, control, or say how
/// to read what came before (RFC 9110 section 6.5.1).
#[rustfmt::skip] // a list of words
const TRAILERS_REFUSED: &[&str] = &[
    "age", "authorization", "cache-control", "content-encoding", "content-range", "content-type", "cookie", "date",
    "expires", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "retry-after", "set-cookie",
    "vary", "via", "warning", "www-authenticate",
];

/// What to do with the bytes at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStep {
    /// No fault so far; ask again when there is more.
    NeedMore,
    /// So many bytes are framing that was judged: pass them on.
    Pass(usize),
    /// So many bytes are left away: chunk extensions, and trailers where they are not forwarded.
    Drop(usize),
    /// So many bytes are data, whether they have arrived or not. All are taken away before the next call.
    Data(u64),
    /// The body is over; the input is not part of it. Further calls say the same.
    Done,
}

/// The state of one chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// The data that may still come.
    bytes_left: u64,
    trailer_bytes: u16,
    trailer_fields: u8,
    trailers: Trailers,
    sender: Sender,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line with the size is next.
    Size,
    /// The extensions of a judged line are next.
    Extension {
        bytes: u16,
        size: u64,
    },
    /// The end of a judged line is next.
    SizeEnd {
        size: u64,
    },
    /// The line was passed.
    Announced {
        size: u64,
    },
    /// The CR LF after data is next.
    DataEnd,
    /// A trailer field or the last empty line is next.
    Trailer,
    Done,
}

impl Chunked {
    /// The body of a request, with the most bytes of data that it may have; more is refused with 413, faults with 400.
    pub fn of_request(body_bytes_max: Option<u64>, trailers: Trailers) -> Self {
        Self::new(Sender::Client, body_bytes_max.unwrap_or(u64::MAX), trailers)
    }

    /// The body of a response; faults have the status 502.
    pub fn of_response(trailers: Trailers) -> Self {
        Self::new(Sender::Backend, u64::MAX, trailers)
    }

    fn new(sender: Sender, bytes_max: u64, trailers: Trailers) -> Self {
        Self { state: State::Size, bytes_left: bytes_max, trailer_bytes: 0, trailer_fields: 0, trailers, sender }
    }

    /// What the bytes at the start of `input` are. `input` begins where the step before ended.
    ///
    /// # Errors
    /// The framing is broken or over a limit: nothing that follows on the connection can be trusted.
    pub fn next(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        self.step(input).map_err(|refusal| match self.sender {
            Sender::Client => refusal,
            Sender::Backend => refusal.of_backend(),
        })
    }

    fn step(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        match self.state {
            State::Size => self.size_line(input),
            State::Extension { bytes, size } => {
                self.state = State::SizeEnd { size };
                Ok(ChunkStep::Drop(usize::from(bytes)))
            }
            State::SizeEnd { size } => {
                self.state = State::Announced { size };
                Ok(ChunkStep::Pass(2))
            }
            State::Announced { size: 0 } | State::Trailer => self.trailer_line(input),
            State::Announced { size } => {
                self.state = State::DataEnd;
                Ok(ChunkStep::Data(size))
            }
            State::DataEnd => self.data_end(input),
            State::Done => Ok(ChunkStep::Done),
        }
    }

    fn size_line(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        let Some(line) = judge_size_line(input)? else {
            return Ok(ChunkStep::NeedMore);
        };
        let size = line.size;
        let too_long = Refusal::new(Status::ContentTooLarge, "the body is too long");
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or(too_long)?;
        if line.extension == 0 {
            self.state = State::Announced { size };
            return Ok(ChunkStep::Pass(line.digits + 2));
        }
        // At most `EXTENSION_BYTES_MAX`.
        self.state = State::Extension { bytes: line.extension as u16, size };
        Ok(ChunkStep::Pass(line.digits))
    }

    fn data_end(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        match input {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(ChunkStep::Pass(2))
            }
            [] | [b'\r'] => Ok(ChunkStep::NeedMore),
            _ => Err(Refusal::bad("a chunk longer than its size")),
        }
    }

    fn trailer_line(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        self.state = State::Trailer;
        let left = TRAILER_BYTES_MAX - usize::from(self.trailer_bytes);
        let window = &input[..input.len().min(left)];
        let Some(end) = memchr(b'\n', window) else {
            let full = window.len() < input.len() || window.len() == left;
            return if full { Err(Refusal::bad("too long a trailer section")) } else { Ok(ChunkStep::NeedMore) };
        };
        let line = window[..end].strip_suffix(b"\r").ok_or(Refusal::bad("a line feed without carriage return"))?;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(ChunkStep::Pass(2));
        }
        check_trailer(line)?;
        // Within the window, hence within the limit.
        self.trailer_bytes += (end + 1) as u16;
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(Refusal::bad("too many trailer fields"));
        }
        Ok(match self.trailers {
            Trailers::Forward => ChunkStep::Pass(end + 1),
            Trailers::Drop => ChunkStep::Drop(end + 1),
        })
    }
}

/// A judged line: so many digits of size, so many bytes of extensions, CR LF.
struct SizeLine {
    digits: usize,
    extension: usize,
    size: u64,
}

/// `None` when the line has not ended and is good so far.
fn judge_size_line(input: &[u8]) -> Result<Option<SizeLine>, Refusal> {
    let mut size = 0_u64;
    let mut digits = 0;
    while let Some(digit) = input.get(digits).and_then(|&byte| char::from(byte).to_digit(16)) {
        if digits == SIZE_DIGITS_MAX {
            return Err(Refusal::bad("too long a chunk size"));
        }
        size = size << 4 | u64::from(digit);
        digits += 1;
    }
    let rest = &input[digits..];
    if digits == 0 && !rest.is_empty() {
        return Err(Refusal::bad("a chunk without size"));
    }
    let extension = match rest.first() {
        Some(b';') => rest.iter().position(|&byte| !fields::is_value(&[byte])).unwrap_or(rest.len()),
        _ => 0,
    };
    if extension > EXTENSION_BYTES_MAX {
        return Err(Refusal::bad("too long a chunk extension"));
    }
    match &rest[extension..] {
        [b'\r', b'\n', ..] => Ok(Some(SizeLine { digits, extension, size })),
        [] | [b'\r'] => Ok(None),
        _ => Err(Refusal::bad("a malformed chunk size")),
    }
}

/// One trailer field, as strict as a field of a head.
fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    let colon = memchr(b':', line).ok_or(Refusal::bad("a malformed trailer field"))?;
    let (name, value) = line.split_at(colon);
    if !fields::is_token(name) || !fields::is_value(value) {
        return Err(Refusal::bad("a malformed trailer field"));
    }
    let refused = TRAILERS_REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused.as_bytes()));
    if refused || Name::of(name) != Name::Other {
        return Err(Refusal::bad("a trailer field that belongs in the head"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::specimens::{Chance, damaged};
    use super::*;

    const GOOD: &[&[u8]] = &[
        b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        b"00a;x=\"y z\";\tq\r\n0123456789\r\nD\r\n\r\n0\r\n\r\n4\r\nabc\r\n1\r\nz\r\n000\r\nX-Sum: 1\r\nServer-Timing:\r\n\r\n0\r\n",
        b"1;a\r\nb\r\n0;last\r\n\r\n",
        b"0\r\n\r\n",
    ];

    /// What became of a body: the bytes passed, the data alone, and how many bytes of the input it took.
    #[derive(Debug, Default, PartialEq)]
    struct Outcome {
        passed: Vec<u8>,
        data: Vec<u8>,
        used: usize,
        done: bool,
    }

    /// Offers the input in pieces that end at these places, and takes data as it arrives.
    fn run(mut body: Chunked, input: &[u8], ends: impl Iterator<Item = usize>) -> Result<Outcome, Refusal> {
        let mut outcome = Outcome::default();
        let mut owed = 0;
        for end in ends {
            loop {
                if owed > 0 {
                    let count = (end - outcome.used).min(usize::try_from(owed).unwrap_or(usize::MAX));
                    let data = &input[outcome.used..][..count];
                    outcome.data.extend_from_slice(data);
                    outcome.passed.extend_from_slice(data);
                    (outcome.used, owed) = (outcome.used + count, owed - count as u64);
                    if owed > 0 {
                        break;
                    }
                }
                match body.next(&input[outcome.used..end])? {
                    ChunkStep::NeedMore => break,
                    ChunkStep::Pass(count) => {
                        outcome.passed.extend_from_slice(&input[outcome.used..end][..count]);
                        outcome.used += count;
                    }
                    ChunkStep::Drop(count) => {
                        assert!(count <= end - outcome.used);
                        outcome.used += count;
                    }
                    ChunkStep::Data(count) => owed = count,
                    ChunkStep::Done => {
                        outcome.done = true;
                        return Ok(outcome);
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn whole(input: &[u8]) -> Result<Outcome, Refusal> {
        run(Chunked::of_request(None, Trailers::Forward), input, [input.len()].into_iter())
    }

    fn status(input: &[u8]) -> Option<u16> {
        whole(input).err().map(|refusal| refusal.status.code())
    }

    #[test]
    fn framing_passes_and_extensions_do_not() {
        let outcome = whole(GOOD[1]).unwrap();
        assert_eq!(
            outcome.passed,
            b"00a\r\n0123456789\r\nD\r\n\r\n0\r\n\r\n4\r\nabc\r\n1\r\nz\r\n000\r\nX-Sum: 1\r\nServer-Timing:\r\n\r\n"
        );
        assert_eq!(outcome.data, b"0123456789\r\n0\r\n\r\n4\r\nabcz");
        assert_eq!(&GOOD[1][outcome.used..], b"0\r\n", "what follows is not touched");
        assert!(outcome.done);
    }

    #[test]
    fn trailers_that_are_dropped_leave_a_whole_body_and_are_judged_all_the_same() {
        let run = |input: &[u8]| run(Chunked::of_request(None, Trailers::Drop), input, 0..=input.len());
        let outcome = run(GOOD[1]).unwrap();
        assert_eq!(outcome.passed, b"00a\r\n0123456789\r\nD\r\n\r\n0\r\n\r\n4\r\nabc\r\n1\r\nz\r\n000\r\n\r\n");
        assert_eq!(outcome.used, whole(GOOD[1]).unwrap().used);
        assert!(outcome.done);
        for bad in ["0\r\nX : y\r\n\r\n", "0\r\nHost: y\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n y: z\r\n\r\n"] {
            assert!(run(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn data_is_announced_before_it_arrives() {
        let mut body = Chunked::of_response(Trailers::Forward);
        assert_eq!(body.next(b"fFfFfFfFfFf\r\n"), Ok(ChunkStep::Pass(13)));
        assert_eq!(body.next(b""), Ok(ChunkStep::Data(0xfff_ffff_ffff)));
        assert_eq!(body.next(b""), Ok(ChunkStep::NeedMore));
        assert_eq!(body.next(b"\r\n0\r\n\r\nrest"), Ok(ChunkStep::Pass(2)));
        assert_eq!(body.next(b"0\r\n\r\nrest"), Ok(ChunkStep::Pass(3)));
        assert_eq!(body.next(b"\r\nrest"), Ok(ChunkStep::Pass(2)));
        assert_eq!(body.next(b"rest"), Ok(ChunkStep::Done));
        assert_eq!(body.next(b""), Ok(ChunkStep::Done));
    }

    #[test]
    fn a_body_means_the_same_wherever_it_is_split_and_is_not_over_before_its_end() {
        for input in GOOD {
            let want = whole(input).unwrap();
            for split in 0..=input.len() {
                let pieces = run(Chunked::of_request(None, Trailers::Forward), input, [split, input.len()].into_iter());
                assert_eq!(pieces.as_ref(), Ok(&want), "split at {split} of {}", input.escape_ascii());
                let cut = run(Chunked::of_request(None, Trailers::Forward), input, [split].into_iter()).unwrap();
                assert_eq!(cut.done, split >= want.used, "cut at {split}");
                assert!(want.passed.starts_with(&cut.passed), "cut at {split}");
            }
            assert_eq!(
                run(Chunked::of_request(None, Trailers::Forward), input, 0..=input.len()).as_ref(),
                Ok(&want),
                "byte by byte"
            );
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        let cases: &[&[u8]] = &[
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\t\r\n",
            b"5 ;a\r\nhello",
            b"\r\n",
            b";a\r\n",
            b"g\r\n",
            b"5_0\r\n",
            b"5.\r\n",
            b"5\nhello\r\n",
            b"5\rhello",
            b"5\r\r\n",
            b"5;a\nhello",
            b"5;a\rb\r\n",
            b"5;a\0\r\n",
            b"5;\x7f\r\n",
            b"5;\x0b\r\n",
            b"5\0\r\n",
            b"5h",
            b"0000000000000005\r\nhello",
            b"fffffffffffffffff\r\n",
            b"10000000000000005\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhelloX",
            b"5\r\nhello\n0\r\n",
            b"5\r\nhello\r0\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"0\r\nX\r\n",
            b"0\r\n: y\r\n",
            b"0\r\nX : y\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\n",
            b"0\r\n X: y\r\n",
            b"0\r\nX: a\r\n b\r\n",
            b"0\r\nX: a\0\r\n",
            b"0\r\nX: a\rb\r\n",
            b"0\r\n\xe9: a\r\n",
            b"0\r\nGET / HTTP/1.1\r\n",
        ];
        for input in cases {
            assert_eq!(status(input), Some(400), "{}", input.escape_ascii());
            let pieces = run(Chunked::of_request(None, Trailers::Forward), input, 0..=input.len());
            assert!(pieces.is_err(), "{} byte by byte", input.escape_ascii());
        }
        let backend = run(Chunked::of_response(Trailers::Forward), b"0x5\r\n", [5].into_iter()).unwrap_err();
        assert_eq!(backend.status, Status::BadGateway);
    }

    #[test]
    fn trailers_that_belong_in_the_head_are_refused() {
        let names = [
            "Content-Length",
            "transfer-encoding",
            "HOST",
            "Connection",
            "Trailer",
            "Authorization",
            "Set-Cookie",
            "TE",
            "Cookie",
            "Expect",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "Forwarded",
            "Keep-Alive",
            "Upgrade",
            "Content-Type",
        ];
        for name in names {
            assert_eq!(status(format!("0\r\n{name}: 1\r\n\r\n").as_bytes()), Some(400), "{name}");
        }
        assert_eq!(status(b"0\r\nETag: \"x\"\r\nX-Sum: \xe9\t1\r\n\r\n"), None);
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let extension = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length - 1));
        assert_eq!(status(extension(256).as_bytes()), None);
        assert_eq!(status(extension(257).as_bytes()), Some(400));
        assert_eq!(status(&extension(300).as_bytes()[..260]), Some(400), "it need not end to be refused");
        assert_eq!(status(b"000000000000001\r\nx\r\n0\r\n\r\n"), None);
        assert_eq!(status(b"0000000000000001"), Some(400));

        let trailers = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(whole(trailers(64).as_bytes()).unwrap().done);
        assert_eq!(status(trailers(65).as_bytes()), Some(400));
        let long = |length: usize| format!("0\r\na: {}\r\n", "x".repeat(length - 5));
        assert_eq!(status(long(8190).as_bytes()), None);
        assert!(whole(format!("{}\r\n", long(8190)).as_bytes()).unwrap().done);
        assert_eq!(status(long(8193).as_bytes()), Some(400));
        assert_eq!(status(&long(9000).as_bytes()[..8195]), Some(400), "it need not end to be refused");
        let two = |length: usize| format!("{}{}", long(5000), &long(length)[3..]);
        assert_eq!(status(two(3190).as_bytes()), None);
        assert_eq!(status(two(3200).as_bytes()), Some(400), "the lines count together");
    }

    #[test]
    fn the_data_is_counted_before_it_is_passed() {
        let run = |input: &[u8]| run(Chunked::of_request(Some(9), Trailers::Forward), input, [input.len()].into_iter());
        assert!(run(b"5\r\nhello\r\n4\r\nwide\r\n0\r\n\r\n").unwrap().done);
        assert_eq!(run(b"5\r\nhello\r\n5\r\n").unwrap_err().status, Status::ContentTooLarge);
        assert_eq!(run(b"fffffffffffffff\r\n").unwrap_err().status, Status::ContentTooLarge);
        let mut endless = Chunked::of_response(Trailers::Forward);
        endless.bytes_left = 1;
        assert_eq!(endless.next(b"1\r\n"), Ok(ChunkStep::Pass(3)));
        endless.state = State::Size;
        assert!(endless.next(b"1\r\n").is_err(), "the sum does not wrap");
    }

    #[test]
    fn damage_never_makes_two_readers_disagree() {
        let mut finished = 0;
        for seed in 0..40_000 {
            let mut chance = Chance(seed);
            let input = damaged(&mut chance, GOOD);
            let split = chance.below(input.len() + 1);
            let pieces = run(Chunked::of_request(None, Trailers::Forward), &input, [split, input.len()].into_iter());
            let Ok(outcome) = whole(&input) else {
                assert!(pieces.is_err(), "seed {seed}");
                continue;
            };
            assert_eq!(pieces.as_ref(), Ok(&outcome), "seed {seed}");
            let again = whole(&outcome.passed).unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}"));
            assert_eq!((&again.data, again.done), (&outcome.data, outcome.done), "seed {seed}");
            assert_eq!(again.passed, outcome.passed, "seed {seed}: nothing is left to drop");
            finished += usize::from(outcome.done);
        }
        assert!(finished > 2_000, "only {finished} survived: the damage is too heavy to mean much");
    }
}
