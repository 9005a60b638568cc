//! The fields of a head: judged strictly, written anew.
//!
//! Strict means that two readers of the same bytes cannot disagree (RFC 9112 section 11): there is one framing or
//! none, in one spelling. The syntax of a complete head is httparse's work; what the fields mean is judged here, alike
//! for both directions. No field is passed on that concerns one connection only.

use std::ops::Range;

use httparse::Header;

use super::head::{Refusal, Version};
use super::reply::Status;
use super::upgrade::Protocol;

/// The most fields that a head can have whatever the settings say.
pub(super) const FIELDS_MAX: usize = 256;

/// The most options of all `Connection` fields of a head together.
const CONNECTION_OPTIONS_MAX: usize = 32;

/// The fields that mean something to plb, found by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Connection,
    ContentLength,
    TransferEncoding,
    /// Concerns one connection, or proxies on the client's side, only (RFC 9110 sections 7.6.1 and 11.7); never passed on.
    HopByHop,
    /// What of a connection's next sender is understood (RFC 9110 section 10.1.4); never passed on as it is.
    Te,
    Host,
    Date,
    Expect,
    /// Tells where a request comes from; not everybody is believed.
    Forwarding(Told),
    /// `Location` or `Content-Location`: may name the backend.
    Location,
    Trailer,
    /// Says how long the message is, to programs that take `_` for `-`.
    Disguised,
    Upgrade,
    Other,
}

/// The fields that tell where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    For,
    Proto,
    Host,
    Port,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    RequestId,
    /// A field of that kind of which plb knows the name only.
    Other,
    /// Any of them but `Forwarded`, in a spelling that some backends take for it.
    Misspelt,
}

impl Name {
    /// Compares by length and first letter: most fields are told apart so.
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |known: &str| is_name(name, known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            4 if is("date") => Self::Date,
            // Nobody sends it in earnest: for CGI it makes a variable that redirects what a server asks (httpoxy).
            5 if is("proxy") => Self::HopByHop,
            6 if is("expect") => Self::Expect,
            7 if is("trailer") => Self::Trailer,
            7 if is("upgrade") => Self::Upgrade,
            8 if is("location") => Self::Location,
            9 if is("forwarded") => Self::Forwarding(Told::Forwarded),
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::ContentLength,
            14 if is_spelled(name, b"content-length") => Self::Disguised,
            14 if is("http2-settings") => Self::HopByHop,
            16 if is("proxy-connection") => Self::HopByHop,
            16 if is("content-location") => Self::Location,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is_spelled(name, b"transfer-encoding") => Self::Disguised,
            9.. if name[0] | 0x20 == b'x' => told(name).map_or(Self::Other, Self::Forwarding),
            18 if is("proxy-authenticate") => Self::HopByHop,
            19 if is("proxy-authorization") => Self::HopByHop,
            25 if is("proxy-authentication-info") => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

/// Whether a field name is `known`, which is in lower case. Eight bytes at a time, for it is asked of every field; what
/// else than a letter has the bits of another one in lower case is in no token.
fn is_name(name: &[u8], known: &[u8]) -> bool {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let (words, known_words) = (name.chunks_exact(8), known.chunks_exact(8));
    name.len() == known.len()
        && words.remainder().eq_ignore_ascii_case(known_words.remainder())
        && words.zip(known_words).all(|(have, want)| word(have) | LOWER == word(want))
}

/// What a field of nine bytes and more tells that begins with an X.
fn told(name: &[u8]) -> Option<Told> {
    let is = |known: &str| is_spelled(name, known.as_bytes());
    let told = match name.len() {
        9 if is("x-real-ip") => Told::Other,
        12 if is("x-request-id") => Told::RequestId,
        15 if is("x-forwarded-for") => Told::For,
        16 if is("x-forwarded-host") => Told::Host,
        16 if is("x-forwarded-port") => Told::Port,
        17 if is("x-forwarded-proto") => Told::Proto,
        13.. if is("x-forwarded-") => Told::Other,
        _ => return None,
    };
    let is_plain = !name.iter().any(|byte| *byte != b'-' && is_mark(byte));
    Some(if is_plain { told } else { Told::Misspelt })
}

/// Whether a name begins as `known` does, in whatever spelling. Gateways such as CGI make the
/// same variable of `X_Forwarded_For`, some also of `X.Forwarded.For`: that would forge the address.
pub(super) fn is_spelled(name: &[u8], known: &[u8]) -> bool {
    let same = |(have, want): (&u8, &u8)| have.eq_ignore_ascii_case(want) || (is_mark(want) && is_mark(have));
    name[0] | 0x20 == known[0] | 0x20 && name.iter().zip(known).all(same)
}

fn is_mark(byte: &u8) -> bool {
    !byte.is_ascii_alphanumeric()
}

/// A set of the fields of one head, by index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet([u64; FIELDS_MAX / 64]);

impl FieldSet {
    pub(super) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }
}

/// What the fields say about framing and the connection, gathered field by field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judgement {
    /// The value of `Content-Length`.
    pub(super) length: Option<u64>,
    /// `Transfer-Encoding: chunked` was there.
    pub(super) chunked: bool,
    /// There is a `Location` or a `Content-Location`.
    pub(super) locates: bool,
    /// The fields that are not passed on as they are.
    pub(super) dropped: FieldSet,
    /// The index of the last `Date`.
    date: Option<usize>,
    close: bool,
    keep_alive: bool,
    /// A `Connection` option is `upgrade`.
    connects_upgrade: bool,
    /// `Upgrade` was there, and what it named if it was there once.
    upgrade: Option<Option<Protocol>>,
    options: usize,
    /// A `Connection` option names a field.
    names_fields: bool,
}

impl Judgement {
    /// Judges a field that both directions treat alike; others are passed on.
    pub(super) fn field(&mut self, name: Name, index: usize, value: &[u8]) -> Result<(), Refusal> {
        match name {
            Name::ContentLength if self.length.is_some() => return Err(Refusal::bad("two Content-Length fields")),
            Name::ContentLength => self.length = Some(content_length(value)?),
            Name::TransferEncoding if self.chunked => return Err(Refusal::bad("two Transfer-Encoding fields")),
            Name::TransferEncoding => {
                check_chunked(value)?;
                self.chunked = true;
            }
            Name::Disguised => return Err(Refusal::bad("a framing field with an underscore")),
            Name::Connection => self.connection(value)?,
            Name::HopByHop | Name::Te => {}
            Name::Date => {
                self.date = Some(index);
                return Ok(());
            }
            Name::Upgrade => {
                let first = self.upgrade.is_none();
                self.upgrade = Some(Protocol::named(value).filter(|_| first));
            }
            Name::Host | Name::Expect | Name::Trailer => return Ok(()),
            Name::Forwarding(_) | Name::Location | Name::Other => return Ok(()),
        }
        self.dropped.insert(index);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.options += 1;
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connects_upgrade = true;
            } else {
                self.names_fields = true;
            }
            match Name::of(option) {
                Name::Host | Name::ContentLength | Name::TransferEncoding => {
                    return Err(Refusal::bad("Connection names a field that must not be dropped"));
                }
                _ if self.options > CONNECTION_OPTIONS_MAX => return Err(Refusal::bad("too many Connection options")),
                _ => {}
            }
        }
        Ok(())
    }

    /// The judgement of all the fields together, once each was seen.
    pub(super) fn finish(&mut self, version: Version, fields: &[Header]) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::bad("both Transfer-Encoding and Content-Length"));
        }
        if self.chunked && version == Version::Http10 {
            return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0"));
        }
        if self.names_fields {
            self.drop_named(fields);
        }
        Ok(())
    }

    /// Drops the fields that `Connection` names (RFC 9110 section 7.6.1).
    fn drop_named(&mut self, fields: &[Header]) {
        for connection in fields.iter().filter(|field| Name::of(field.name.as_bytes()) == Name::Connection) {
            for option in connection.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                for (index, field) in fields.iter().enumerate() {
                    if option.eq_ignore_ascii_case(field.name.as_bytes()) {
                        self.dropped.insert(index);
                    }
                }
            }
        }
    }

    /// Whether a `Date` is passed on.
    pub(super) fn has_date(&self) -> bool {
        self.date.is_some_and(|index| !self.dropped.contains(index))
    }

    /// The protocol that the sender of this head names to change to.
    pub(super) fn upgrade(&self) -> Option<Protocol> {
        self.upgrade.flatten().filter(|_| self.connects_upgrade)
    }

    /// Whether the sender of this head keeps its connection (RFC 9112 section 9.3).
    pub(super) fn is_persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// One run of digits (RFC 9110 section 8.6). What does not fit in 63 bits is refused with the rest: a backend that
/// counts with a sign would see no body.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let mut length = 0_u64;
    for &byte in value {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        let next = length.checked_mul(10).and_then(|tens| tens.checked_add(digit));
        match next {
            Some(next) if digit <= 9 && next <= i64::MAX as u64 => length = next,
            _ => return Err(Refusal::bad("Content-Length is not a number")),
        }
    }
    if value.is_empty() { Err(Refusal::bad("Content-Length is empty")) } else { Ok(length) }
}

/// `chunked`, once and alone, is all that plb can frame (RFC 9112 section 6.1).
fn check_chunked(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut ended = false;
    for coding in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if ended || !is_token(coding) {
            return Err(Refusal::bad("Transfer-Encoding does not end with one chunked"));
        }
        ended = coding.eq_ignore_ascii_case(b"chunked");
    }
    Err(Refusal::new(Status::NotImplemented, "a transfer coding other than chunked"))
}

/// Whether this is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    const IN_TOKEN: [bool; 256] = bytes_among(b"!#$%&'*+-.^_`|~");
    IN_TOKEN[usize::from(byte)]
}

/// A table of letters, digits and these marks.
pub(super) const fn bytes_among(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
}

/// Whether these bytes may stand in a field value: no control characters but the tab (RFC 9110 section 5.5).
pub(super) fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Whether every line of a head that httparse took ends with CR LF: it takes a bare LF too, and empty lines before
/// the first one. Where a field begins, the line before has ended.
pub(super) fn is_strict(head: &[u8], fields: &[Header]) -> bool {
    let begins_line = |field: &Header| {
        let start = (field.name.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        start >= 2 && head.get(start - 2..start) == Some(b"\r\n")
    };
    head.first().is_some_and(|&first| is_token_byte(first))
        && head.ends_with(b"\r\n\r\n")
        && fields.iter().all(begins_line)
}

/// Writes the fields that are not dropped, in their order, as `name: value`.
///
/// Neighbours that came in exactly this form, which is nearly all, are copied together.
pub(super) fn write_fields(input: &[u8], fields: &[Header], dropped: &FieldSet, out: &mut Vec<u8>) {
    let mut run = 0..0;
    for (index, field) in fields.iter().enumerate() {
        if dropped.contains(index) {
            continue;
        }
        match plain_line(input, field) {
            Some(line) if line.start == run.end => run.end = line.end,
            Some(line) => {
                out.extend_from_slice(&input[run]);
                run = line;
            }
            None => {
                out.extend_from_slice(&input[run]);
                run = 0..0;
                write_field(out, field.name, field.value);
            }
        }
    }
    out.extend_from_slice(&input[run]);
}

/// Where in the input the line of this field is, when it is what [`write_field`] would write.
fn plain_line(input: &[u8], field: &Header) -> Option<Range<usize>> {
    let start = (field.name.as_ptr() as usize).checked_sub(input.as_ptr() as usize)?;
    let value = start + field.name.len() + 2;
    let end = value + field.value.len() + 2;
    let line = input.get(start..end)?;
    // Values are trimmed, and a line ends once: where it is exactly this long, there was nothing to trim.
    (line[field.name.len()..].starts_with(b": ") && line.ends_with(b"\r\n")).then_some(start..end)
}

/// Appends one field line.
pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `Content-Length`.
pub(super) fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// The line that says chunked, the same whatever the sender's spelling was.
pub(super) const CHUNKED_LINE: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// The `Via` line for a message that was received in this version (RFC 9110 section 7.6.3).
pub(super) fn via_line(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"Via: 1.0 plb\r\n",
        Version::Http11 => b"Via: 1.1 plb\r\n",
    }
}
