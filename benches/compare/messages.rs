//! The messages of the comparison: what clients send and what origins answer, known to both ends.
//!
//! Nothing here opens a socket; an answer that differs from the expected one by a byte is an error.

use httparse::{EMPTY_HEADER, Request, Response, Status};

/// The number of header fields that a message may have.
const FIELDS_MAX: usize = 32;
/// The request of a client that stays.
pub const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: compare.test\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n";
/// The request of a client that leaves after the answer.
pub const LAST_REQUEST: &[u8] =
    b"GET /small HTTP/1.1\r\nHost: compare.test\r\nUser-Agent: compare\r\nAccept: */*\r\nConnection: close\r\n\r\n";
/// What an echo client sends and must get back.
pub const ECHO: &[u8] = &[b'e'; 64];
/// The content of the origin's response.
const BODY: &[u8] = &[b'b'; 100];

/// What the origin has received at the start of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not yet a whole request head.
    Part,
    /// A request of this many bytes, after which the connection stays.
    Request(usize),
    /// A request that asks for the end of the connection.
    LastRequest,
}

/// The whole response of the origin, about 200 bytes.
pub fn response() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    [head.as_bytes(), BODY].concat()
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
    Ok(if is_last { Received::LastRequest } else { Received::Request(length) })
}

/// Whether `bytes` are the whole expected response; the error says how they differ from it.
pub fn is_whole_response(bytes: &[u8]) -> Result<bool, String> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = Response::new(&mut fields);
    let Status::Complete(length) = response.parse(bytes).map_err(|error| format!("bad response: {error}"))? else {
        return Ok(false);
    };
    if response.code != Some(200) {
        return Err(format!("status {:?} instead of 200", response.code));
    }
    let announced = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let announced = announced.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    if announced != Some(BODY.len()) {
        return Err(format!("Content-Length {announced:?} instead of {}", BODY.len()));
    }
    is_whole(&bytes[length..], BODY)
}

/// Whether `bytes` are all of `expected`; an error when they cannot become it.
pub fn is_whole(bytes: &[u8], expected: &[u8]) -> Result<bool, String> {
    if expected.starts_with(bytes) {
        return Ok(bytes.len() == expected.len());
    }
    Err(format!("{} bytes that are not the {} expected ones", bytes.len(), expected.len()))
}
