//! The heads of messages: the types that requests and responses share, and the search for the end of a head.
//!
//! Lines end with CR LF and nothing else; a line feed alone is refused as soon as it is seen. Nothing here keeps a
//! byte of the peer's beyond the call, and a refusal never carries one.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::fields::is_token_byte;
use super::reply::Status;

/// The most bytes by which a rewritten head is longer than the one that was read.
///
/// At most 256 fields gain a space after the colon, and some fields are added; the longest are `X-Forwarded-Host` and
/// `Forwarded` with 261 bytes of host each. Lines of one field that become one line do not make it longer.
pub const GROWTH_BYTES_MAX: usize = 1280;

/// Empty lines before a request line that are skipped (RFC 9112 section 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// A request method (RFC 9110 section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH` (RFC 5789)
    Patch,
    /// `CONNECT`, which plb does not serve
    Connect,
    /// Any other token, passed as it is.
    Other,
}

impl Method {
    /// The method of this name; names are case-sensitive.
    pub fn named(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether sending it twice means the same as once (RFC 9110 section 9.2.2); unknown methods do not.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// The version that a peer speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// How the body that follows a head is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks, see [`super::body::Chunked`].
    Chunked,
    /// All that comes until the sender closes; responses only.
    UntilClose,
}

/// What becomes of the client's connection after a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepClient {
    /// It serves the next request.
    Keep,
    /// It is closed.
    #[default]
    Close,
}

/// How the client reached plb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why a message is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub status: Status,
    /// What the log says; never bytes of a peer.
    pub why: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }

    /// A message that breaks the rules (400).
    pub(super) const fn bad(why: &'static str) -> Self {
        Self::new(Status::BadRequest, why)
    }

    /// The same fault in what a backend sent: the client is not to blame.
    pub(super) const fn of_backend(self) -> Self {
        Self::new(Status::BadGateway, self.why)
    }
}

/// The outcome of parsing the head at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// No fault so far, but no end either.
    Partial,
    /// The head was judged, and its rewritten form was appended to the output.
    Head(T),
    /// It is not passed on. The output is as it was before the call.
    Refused(Refusal),
}

/// A client's address as `X-Forwarded-For` shows it, written once a session.
///
/// An IPv4-mapped IPv6 address is shown as the IPv4 address that it is; IPv6 is shown without brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientText {
    bytes: [u8; 39],
    length: u8,
}

impl ClientText {
    /// The text of this address.
    pub fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 39], length: 0 };
        write!(text, "{}", address.to_canonical()).expect("no IPv6 address is longer than 39 characters");
        text
    }

    /// The text, in ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Write for ClientText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.length);
        let room = self.bytes.get_mut(start..start + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len() as u8;
        Ok(())
    }
}

/// Where the search for the end of a head stopped, so that a head that drips in is looked at once.
///
/// It starts as the default for every head, and it is the default again after `Head` and `Refused`. Between two
/// calls the input may only grow at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Where the first line starts, after skipped empty lines.
    first: u32,
    /// Where the line starts that has not ended yet.
    line: u32,
    /// The first byte that was not looked at.
    position: u32,
}

/// How much is known of the end of a head.
///
/// Nearly every head comes whole. It is parsed at once then, and what is not whole or not strict is left to the scan,
/// which knows where to go on and why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The input may begin with a whole head.
    Open,
    /// The input is a whole head, found by a scan.
    Known,
}

/// What a scan came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing new.
    Nothing,
    /// The end of the first line, there.
    FirstLine(Range<usize>),
    /// The whole head, there.
    Head(Range<usize>),
}

/// Whether empty lines may precede a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyLines {
    Skipped,
    Refused,
}

impl Scan {
    /// Looks at the lines that are new, for the end of the head and for what can be refused before it.
    fn advance(&mut self, input: &[u8], bytes_max: usize, empty: EmptyLines) -> Result<Found, Refusal> {
        let window = &input[..input.len().min(bytes_max).min(u32::MAX as usize)];
        let (mut first, mut line) = (self.first as usize, self.line as usize);
        let had_first_line = line > first;
        for offset in memchr_iter(b'\n', window.get(self.position as usize..).unwrap_or_default()) {
            let end = self.position as usize + offset + 1;
            if end < line + 2 || window[end - 2] != b'\r' {
                return Err(Refusal::bad("a line feed without carriage return"));
            }
            if end > line + 2 {
                line = end;
            } else if line > first {
                return Ok(Found::Head(first..end));
            } else if empty == EmptyLines::Refused || end > 2 * EMPTY_LINES_MAX {
                return Err(Refusal::bad("empty lines before the first line"));
            } else {
                (first, line) = (end, end);
            }
        }
        if line == first {
            check_first_byte(&window[first..])?;
        }
        if input.len() >= bytes_max {
            return Err(match line > first {
                true => Refusal::new(Status::HeadTooLarge, "the head is too long"),
                false => Refusal::new(Status::TargetTooLong, "the first line is too long"),
            });
        }
        *self = Self { first: first as u32, line: line as u32, position: window.len() as u32 };
        if line > first && !had_first_line {
            let length = memchr(b'\n', &window[first..]).map_or(0, |at| at + 1);
            return Ok(Found::FirstLine(first..first + length));
        }
        Ok(Found::Nothing)
    }
}

/// Finds the head at the start of `input` and has it judged and written anew by `rewrite`. Tells how many bytes of empty
/// lines were skipped before it; `None` when it is not whole yet.
pub(super) fn parse<T>(
    input: &[u8],
    scan: &mut Scan,
    (bytes_max, empty): (usize, EmptyLines),
    check_first_line: fn(&[u8]) -> Result<(), Refusal>,
    mut rewrite: impl FnMut(&[u8], Extent) -> Result<Option<T>, Refusal>,
) -> Result<Option<(usize, T)>, Refusal> {
    if *scan == Scan::default() && input.len() <= bytes_max {
        if let Some(head) = rewrite(input, Extent::Open)? {
            return Ok(Some((0, head)));
        }
    }
    let outcome = match scan.advance(input, bytes_max, empty) {
        Ok(Found::Nothing) => return Ok(None),
        Ok(Found::FirstLine(line)) => match check_first_line(&input[line]) {
            Ok(()) => return Ok(None),
            Err(refusal) => Err(refusal),
        },
        Ok(Found::Head(range)) => match rewrite(&input[range.clone()], Extent::Known) {
            Ok(Some(head)) => Ok(Some((range.start, head))),
            Ok(None) => Err(Refusal::bad("a malformed head")),
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    *scan = Scan::default();
    outcome
}

/// Anything but HTTP, such as a TLS handshake, need not end a line before it is refused.
fn check_first_byte(line: &[u8]) -> Result<(), Refusal> {
    match line {
        [] | [b'\r'] => Ok(()),
        [first, ..] if is_token_byte(*first) => Ok(()),
        _ => Err(Refusal::bad("not HTTP")),
    }
}
