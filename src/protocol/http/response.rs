//! Response heads: parsed, judged and written anew for the client in one step.
//!
//! A backend is held to the same rules as a client, because a response that two readers frame differently poisons
//! the next one on the connection. What it breaks ends in 502, and no byte of it reaches the client.

use std::mem::MaybeUninit;

use httparse::Header;

use super::fields::{self, CHUNKED_LINE, FIELDS_MAX, Judgement, Name};
use super::head::{self, Body, EmptyLines, Found, KeepClient, Method, Parsed, Refusal, Scan, Version};
use crate::config::HttpSettings;

/// What a response is judged by and rewritten with.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRules<'a> {
    /// The limits and wishes of the listener.
    pub settings: &'a HttpSettings,
    /// What it answers.
    pub request_method: Method,
    /// What the client speaks.
    pub client_version: Version,
    /// What shall become of the client's connection where the framing allows it.
    pub keep_client: KeepClient,
}

/// A response head that was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The length in the input, the empty line at the end included.
    pub bytes: usize,
    /// 100 to 599.
    pub status: u16,
    /// What the backend speaks; the client gets HTTP/1.1 always.
    pub version: Version,
    /// What follows. Chunks for an HTTP/1.0 client have to be taken out of their framing.
    pub body: Body,
    /// The backend keeps its connection.
    pub persistent: bool,
    /// What becomes of the client's connection after the body; the rewritten head says so. Means nothing when interim.
    pub keep_client: KeepClient,
    /// Another response follows (1xx). HTTP/1.0 clients must not get it.
    pub interim: bool,
}

/// Parses the response head at the start of `input`; when it is whole and good, its rewritten form is appended to
/// `out`. Every refusal has the status 502.
pub fn parse_response(input: &[u8], scan: &mut Scan, rules: &ResponseRules, out: &mut Vec<u8>) -> Parsed<ResponseHead> {
    let outcome = match scan.advance(input, rules.settings.head_bytes_max, EmptyLines::Refused) {
        Ok(Found::Nothing) => return Parsed::Partial,
        Ok(Found::FirstLine(line)) => match check_first_line(&input[line]) {
            Ok(()) => return Parsed::Partial,
            Err(refusal) => Err(refusal),
        },
        Ok(Found::Head(head)) => rewrite(&input[head], rules, out),
        Err(refusal) => Err(refusal),
    };
    *scan = Scan::default();
    outcome.map_or_else(|refusal| Parsed::Refused(refusal.of_backend()), Parsed::Head)
}

/// A backend that greets its clients in another protocol waits after its first line.
fn check_first_line(line: &[u8]) -> Result<(), Refusal> {
    httparse::Response::new(&mut []).parse(line).map(|_| ()).map_err(syntax_refusal)
}

fn syntax_refusal(error: httparse::Error) -> Refusal {
    Refusal::bad(match error {
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "an HTTP version other than 1.0 and 1.1",
        httparse::Error::HeaderName => "a malformed field name",
        httparse::Error::HeaderValue => "a malformed field value",
        _ => "a malformed status line",
    })
}

/// Judges a complete head and writes it for the client.
fn rewrite(input: &[u8], rules: &ResponseRules, out: &mut Vec<u8>) -> Result<ResponseHead, Refusal> {
    let mut storage = [const { MaybeUninit::<Header>::uninit() }; FIELDS_MAX];
    let room = &mut storage[..rules.settings.fields_max.min(FIELDS_MAX)];
    let mut syntax = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut syntax, input, room) {
        Ok(httparse::Status::Complete(end)) if end == input.len() => {}
        Ok(_) => return Err(Refusal::bad("a malformed head")),
        Err(error) => return Err(syntax_refusal(error)),
    }
    let version = if syntax.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let status = match syntax.code {
        Some(101) => return Err(Refusal::bad("a change of protocol that nobody asked for")),
        Some(status @ 100..=599) => status,
        _ => return Err(Refusal::bad("a status that is none")),
    };
    let fields: &[Header] = syntax.headers;

    let mut shared = judge(version, fields, rules)?;
    let head = judge_response(input.len(), status, version, &mut shared, rules)?;
    out.reserve(input.len() + head::GROWTH_BYTES_MAX);
    write_status_line(status, syntax.reason.unwrap_or_default(), out);
    fields::write_fields(input, fields, &shared.dropped, out);
    write_own_fields(&head, &shared, rules, out);
    Ok(head)
}

fn judge(version: Version, fields: &[Header], rules: &ResponseRules) -> Result<Judgement, Refusal> {
    let mut shared = Judgement::default();
    for (index, field) in fields.iter().enumerate() {
        match Name::of(field.name.as_bytes()) {
            Name::Other => {}
            // An HTTP/1.0 client gets no chunks, hence no trailers.
            Name::Trailer if rules.client_version == Version::Http10 => shared.dropped.insert(index),
            name => shared.field(name, index, field.value)?,
        }
    }
    shared.finish(version, fields)?;
    Ok(shared)
}

fn judge_response(
    bytes: usize,
    status: u16,
    version: Version,
    shared: &mut Judgement,
    rules: &ResponseRules,
) -> Result<ResponseHead, Refusal> {
    let interim = status < 200;
    let body = judge_body(status, shared, rules.request_method);
    let mut persistent = shared.is_persistent(version) && body != Body::UntilClose;
    if interim || status == 204 {
        // These have no body whatever they announce, and must not announce one (RFC 9112 section 6.1, RFC 9110
        // section 8.6). Whoever does may send it all the same: nothing that follows can be trusted.
        let announced = shared.chunked || shared.length.is_some_and(|length| length > 0);
        if interim && announced {
            return Err(Refusal::bad("an interim response with a body"));
        }
        persistent &= !announced;
        (shared.chunked, shared.length) = (false, None);
    }
    let needs_close = body == Body::UntilClose || (body == Body::Chunked && rules.client_version == Version::Http10);
    let keep_client = if needs_close { KeepClient::Close } else { rules.keep_client };
    Ok(ResponseHead { bytes, status, version, body, persistent, keep_client, interim })
}

/// RFC 9112 section 6.3.
fn judge_body(status: u16, shared: &Judgement, request_method: Method) -> Body {
    match shared.length {
        _ if request_method == Method::Head || matches!(status, 100..=199 | 204 | 304) => Body::None,
        _ if shared.chunked => Body::Chunked,
        Some(0) => Body::None,
        Some(length) => Body::Length(length),
        None => Body::UntilClose,
    }
}

fn write_status_line(status: u16, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    fields::write_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The framing and the client's connection, in plb's own words; then the head is over.
fn write_own_fields(head: &ResponseHead, shared: &Judgement, rules: &ResponseRules, out: &mut Vec<u8>) {
    match shared.length {
        Some(length) => fields::write_length(out, length),
        None if shared.chunked && rules.client_version == Version::Http11 => out.extend_from_slice(CHUNKED_LINE),
        None => {}
    }
    if rules.settings.via {
        out.extend_from_slice(fields::via_line(head.version));
    }
    match (head.keep_client, rules.client_version) {
        _ if head.interim => {}
        (KeepClient::Close, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (KeepClient::Keep, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (KeepClient::Keep, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
}
