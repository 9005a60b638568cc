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
    /// So many bytes are left away: chunk extensions.
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
    /// The data so far.
    bytes: u64,
    /// The most data.
    bytes_max: u64,
    trailer_bytes: usize,
    trailer_fields: u8,
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
        bytes: usize,
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
    pub fn of_request(body_bytes_max: Option<u64>) -> Self {
        Self::new(Sender::Client, body_bytes_max.unwrap_or(u64::MAX))
    }

    /// The body of a response; faults have the status 502.
    pub fn of_response() -> Self {
        Self::new(Sender::Backend, u64::MAX)
    }

    fn new(sender: Sender, bytes_max: u64) -> Self {
        Self { state: State::Size, bytes: 0, bytes_max, trailer_bytes: 0, trailer_fields: 0, sender }
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
                Ok(ChunkStep::Drop(bytes))
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
        self.bytes = self.bytes.checked_add(size).ok_or(Refusal::bad("a body without end"))?;
        if self.bytes > self.bytes_max {
            return Err(Refusal::new(Status::ContentTooLarge, "the body is too long"));
        }
        if line.extension == 0 {
            self.state = State::Announced { size };
            return Ok(ChunkStep::Pass(line.digits + 2));
        }
        self.state = State::Extension { bytes: line.extension, size };
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
        let window = &input[..input.len().min(TRAILER_BYTES_MAX - self.trailer_bytes)];
        let Some(end) = memchr(b'\n', window) else {
            let full = window.len() < input.len() || self.trailer_bytes + window.len() == TRAILER_BYTES_MAX;
            return if full { Err(Refusal::bad("too long a trailer section")) } else { Ok(ChunkStep::NeedMore) };
        };
        let line = window[..end].strip_suffix(b"\r").ok_or(Refusal::bad("a line feed without carriage return"))?;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(ChunkStep::Pass(2));
        }
        check_trailer(line)?;
        self.trailer_bytes += end + 1;
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(Refusal::bad("too many trailer fields"));
        }
        Ok(ChunkStep::Pass(end + 1))
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
