//! The messages of the comparison: what clients send and what origins answer, known to both ends.
//!
//! Nothing here opens a socket; an answer that differs from the expected one by a byte is an error.

use httparse::{EMPTY_HEADER, Request, Response, Status};

/// The number of header fields that a message may have.
const FIELDS_MAX: usize = 32;
/// The request of a client that leaves after the answer.
pub const LAST_REQUEST: &[u8] =
    b"GET /small HTTP/1.1\r\nHost: compare.test\r\nUser-Agent: compare\r\nAccept: */*\r\nConnection: close\r\n\r\n";
/// The last request of a client that wants to know how it has reached the origin.
pub const MIRROR_REQUEST: &[u8] = b"GET /mirror HTTP/1.1\r\nHost: compare.test\r\nConnection: close\r\n\r\n";
/// The name of the cookie that a balancer inserts.
pub const COOKIE: &str = "S";
/// What an echo client sends and must get back.
pub const ECHO: &[u8] = &[b'e'; 64];
/// The content of the origin's response.
const BODY: &[u8] = &[b'b'; 100];
/// What precedes the number of bytes in the path of a request for a long response.
const BULK_PATH: &str = "/bytes/";
/// The path of a request that is its own answer.
const MIRROR_PATH: &str = "/mirror";

/// What the origin has received at the start of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not yet a whole request head.
    Part,
    /// A request of this many bytes, after which the connection stays.
    Request(usize),
    /// A request that asks for the end of the connection.
    LastRequest,
    /// A request of `length` bytes for a response whose body has this many; the connection stays.
    BulkRequest {
        /// Of the request.
        length: usize,
        /// Of the body of its response.
        bytes: u64,
    },
    /// A request of this many bytes that is the body of its own response; the connection stays.
    MirrorRequest(usize),
}

/// What is looked at of a response's head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Its bytes.
    pub length: usize,
    /// The balancer's cookie that it sets, as name and value.
    pub cookie: Option<&'a str>,
}

/// The whole response of the origin, about 240 bytes.
pub fn response() -> Vec<u8> {
    [&response_head(BODY.len() as u64), BODY].concat()
}

/// The head of the origin's response with a body of so many bytes; dated, so that no balancer has to do that.
pub fn response_head(bytes: u64) -> Vec<u8> {
    let fields = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nCache-Control: no-store";
    format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {bytes}\r\n\r\n").into_bytes()
}

/// The host that is asked for, one of many: all names have the same length, and the first is the one that stands in the
/// requests of those who know only one.
pub fn host(position: u16) -> String {
    if position == 0 { "compare.test".to_string() } else { format!("h{position:06}.test") }
}

/// The small request for `host` of a client that stays.
pub fn request(host: &str) -> Vec<u8> {
    format!("GET /small HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// The same of a client that has this cookie, given as name and value.
pub fn request_with_cookie(cookie: &str) -> Vec<u8> {
    let host = host(0);
    format!("GET /small HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\nCookie: {cookie}\r\n\r\n")
        .into_bytes()
}

/// The request for a body of so many bytes, of a client that stays.
pub fn bulk_request(bytes: u64) -> Vec<u8> {
    format!("GET {BULK_PATH}{bytes} HTTP/1.1\r\nHost: compare.test\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// Finds the request that `bytes` start with; the error says why they are none.
pub fn read_request(bytes: &[u8]) -> Result<Received, String> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    let Status::Complete(length) = request.parse(bytes).map_err(|error| format!("bad request: {error}"))? else {
        return Ok(Received::Part);
    };
    let is_last = request.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("connection") && field.value.to_ascii_lowercase() == b"close".as_slice()
    });
    if request.path == Some(MIRROR_PATH) {
        return Ok(Received::MirrorRequest(length));
    }
    let bytes = request.path.and_then(|path| path.strip_prefix(BULK_PATH)).map(str::parse);
    match bytes.transpose().map_err(|error| format!("bad path: {error}"))? {
        Some(bytes) => Ok(Received::BulkRequest { length, bytes }),
        None if is_last => Ok(Received::LastRequest),
        None => Ok(Received::Request(length)),
    }
}

/// The head of the whole expected response; the error says how `bytes` differ from that.
pub fn whole_response(bytes: &[u8]) -> Result<Option<ResponseHead<'_>>, String> {
    let Some(head) = read_response_head(bytes, BODY.len() as u64)? else { return Ok(None) };
    Ok(is_whole(&bytes[head.length..], BODY)?.then_some(head))
}

/// The response head that `bytes` start with, once it is whole; an error when it does not announce a body of `announced`
/// bytes.
pub fn read_response_head(bytes: &[u8], announced: u64) -> Result<Option<ResponseHead<'_>>, String> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = Response::new(&mut fields);
    let Status::Complete(length) = response.parse(bytes).map_err(|error| format!("bad response: {error}"))? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(format!("status {:?} instead of 200", response.code));
    }
    let (mut found, mut cookie) = (None, None);
    for field in response.headers.iter() {
        let text = std::str::from_utf8(field.value);
        if field.name.eq_ignore_ascii_case("content-length") {
            found = text.ok().and_then(|text| text.parse::<u64>().ok());
        } else if field.name.eq_ignore_ascii_case("set-cookie") {
            cookie = cookie.or(text.ok().and_then(own_cookie));
        }
    }
    match found {
        Some(bytes) if bytes == announced => Ok(Some(ResponseHead { length, cookie })),
        _ => Err(format!("Content-Length {found:?} instead of {announced}")),
    }
}

/// Name and value of the balancer's cookie, when it is that which the value of a Set-Cookie sets.
fn own_cookie(text: &str) -> Option<&str> {
    let pair = text.split(';').next()?;
    pair.strip_prefix(COOKIE)?.starts_with('=').then_some(pair)
}

/// Whether `bytes` are all of `expected`; an error when they cannot become it.
pub fn is_whole(bytes: &[u8], expected: &[u8]) -> Result<bool, String> {
    if expected.starts_with(bytes) {
        return Ok(bytes.len() == expected.len());
    }
    Err(format!("{} bytes that are not the {} expected ones", bytes.len(), expected.len()))
}
