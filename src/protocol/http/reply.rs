//! plb's own replies, for when there is no backend's.
//!
//! They tell the client what went wrong in one plain sentence. They never repeat a byte of the request and never
//! say anything about backends or about plb itself.

use super::fields::{write_length, write_number};
use super::head::KeepClient;

/// The statuses that plb replies with by itself (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// The request breaks the rules of HTTP.
    BadRequest = 400,
    /// The request did not arrive in time.
    RequestTimeout = 408,
    /// The body is over the limit.
    ContentTooLarge = 413,
    /// The request line is over the limit.
    TargetTooLong = 414,
    /// `Expect` asks for what plb does not know.
    ExpectationFailed = 417,
    /// The head is over the limit (RFC 6585 section 5).
    HeadTooLarge = 431,
    /// plb does not do this.
    NotImplemented = 501,
    /// The backend's answer was none.
    BadGateway = 502,
    /// No backend can serve.
    Unavailable = 503,
    /// The backend did not answer in time.
    GatewayTimeout = 504,
    /// HTTP, but neither 1.0 nor 1.1.
    VersionNotSupported = 505,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reason phrase.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::RequestTimeout => "Request Timeout",
            Self::ContentTooLarge => "Content Too Large",
            Self::TargetTooLong => "URI Too Long",
            Self::ExpectationFailed => "Expectation Failed",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::NotImplemented => "Not Implemented",
            Self::BadGateway => "Bad Gateway",
            Self::Unavailable => "Service Unavailable",
            Self::GatewayTimeout => "Gateway Timeout",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::BadRequest => "The request could not be understood.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::ContentTooLarge => "The request carries more data than is allowed.",
            Self::TargetTooLong => "The address of the request is longer than is allowed.",
            Self::ExpectationFailed => "The request expects something that is not offered here.",
            Self::HeadTooLarge => "The head of the request is larger than is allowed.",
            Self::NotImplemented => "The request asks for something that is not offered here.",
            Self::BadGateway => "The server behind this address gave no valid answer.",
            Self::Unavailable => "No server is available for this request at the moment.",
            Self::GatewayTimeout => "The server behind this address did not answer in time.",
            Self::VersionNotSupported => "The version of HTTP in the request is not supported.",
        }
    }
}

/// Whether a reply has a body; the answer to `HEAD` only announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Head and body.
    Full,
    /// The head alone, with the length that the body would have.
    HeadOnly,
}

/// Appends a complete response. `date` is the time in the form of RFC 9110 section 5.6.7.
pub fn write_reply(out: &mut Vec<u8>, status: Status, connection: KeepClient, date: &str, content: Content) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(status.code()));
    write_parts(out, &[" ", status.reason(), "\r\nDate: ", date, "\r\nContent-Type: text/html\r\n"]);
    let mut digits = itoa::Buffer::new();
    let page = page(digits.format(status.code()), status);
    write_length(out, page.iter().map(|part| part.len() as u64).sum());
    out.extend_from_slice(match connection {
        KeepClient::Keep => b"Connection: keep-alive\r\n\r\n",
        KeepClient::Close => b"Connection: close\r\n\r\n",
    });
    if content == Content::Full {
        write_parts(out, &page);
    }
}

fn page(code: &str, status: Status) -> [&str; 11] {
    let reason = status.reason();
    [
        "<!DOCTYPE html>\n<html lang=\"en\">\n<title>",
        code,
        " ",
        reason,
        "</title>\n<h1>",
        code,
        " ",
        reason,
        "</h1>\n<p>",
        status.sentence(),
        "</p>\n</html>\n",
    ]
}

fn write_parts(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 11] = [
        Status::BadRequest,
        Status::RequestTimeout,
        Status::ContentTooLarge,
        Status::TargetTooLong,
        Status::ExpectationFailed,
        Status::HeadTooLarge,
        Status::NotImplemented,
        Status::BadGateway,
        Status::Unavailable,
        Status::GatewayTimeout,
        Status::VersionNotSupported,
    ];

    fn reply(status: Status, connection: KeepClient, content: Content) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, status, connection, "Sun, 06 Nov 1994 08:49:37 GMT", content);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_is_a_whole_response() {
        let text = reply(Status::Unavailable, KeepClient::Close, Content::Full);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\n\
                 Content-Length: {}\r\nConnection: close",
                body.len()
            )
        );
        assert!(body.contains("<h1>503 Service Unavailable</h1>\n<p>No server is available"), "{body}");
    }

    #[test]
    fn every_reply_is_framed_by_its_length() {
        for status in ALL {
            let text = reply(status, KeepClient::Keep, Content::Full);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason())), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert!(head.ends_with("\r\nConnection: keep-alive"), "{head}");
        }
    }

    #[test]
    fn the_answer_to_head_announces_the_body_that_it_leaves_away() {
        let full = reply(Status::BadRequest, KeepClient::Close, Content::Full);
        let head = reply(Status::BadRequest, KeepClient::Close, Content::HeadOnly);
        assert!(full.starts_with(&head) && head.ends_with("\r\n\r\n") && full.len() > head.len());
    }
}
