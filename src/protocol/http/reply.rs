//! plb's own replies, for when there is no backend's.
//!
//! They tell the client what went wrong in one plain sentence. They never repeat a byte of the request and never
//! say anything about backends or about plb itself.

use super::fields::{write_length, write_number};
use super::head::KeepClient;
use crate::config::Document;

/// The statuses that plb replies with by itself (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// The request breaks the rules of HTTP.
    BadRequest = 400,
    /// Who asks has to say who that is.
    Unauthorized = 401,
    /// Nobody may.
    Forbidden = 403,
    /// There is nothing of that kind.
    NotFound = 404,
    /// The method is known, and not allowed.
    MethodNotAllowed = 405,
    /// The request did not arrive in time.
    RequestTimeout = 408,
    /// The body is over the limit.
    ContentTooLarge = 413,
    /// The request line is over the limit.
    TargetTooLong = 414,
    /// `Expect` asks for what plb does not know.
    ExpectationFailed = 417,
    /// Whoever asks does so too often (RFC 6585 section 4).
    TooManyRequests = 429,
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
        reason(self.code())
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

/// What plb answers a request with that it was to answer, or refuses by a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Further fields, as whole lines.
    pub fields: Vec<u8>,
    /// The content; without one, a page about the status.
    pub document: Option<Document>,
}

impl Answer {
    /// With this status and nothing more to say.
    pub fn of(status: Status) -> Answer {
        Answer { status: status.code(), fields: Vec::new(), document: None }
    }
}

/// The reason phrase of a status (RFC 9110 section 15); of one that is not known, none.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// What a page about a status says.
fn sentence(status: u16) -> &'static str {
    match status {
        300..=399 => "What was asked for is at another address.",
        400 => "The request could not be understood.",
        401 => "This address wants a name and a password.",
        403 => "This address is not for everybody.",
        404 => "There is nothing at this address.",
        405 => "The request asks for something that is not allowed here.",
        408 => "The request did not arrive in time.",
        413 => "The request carries more data than is allowed.",
        414 => "The address of the request is longer than is allowed.",
        417 => "The request expects something that is not offered here.",
        429 => "Too many requests came from where this one came from.",
        431 => "The head of the request is larger than is allowed.",
        501 => "The request asks for something that is not offered here.",
        502 => "The server behind this address gave no valid answer.",
        503 => "No server is available for this request at the moment.",
        504 => "The server behind this address did not answer in time.",
        505 => "The version of HTTP in the request is not supported.",
        _ => "",
    }
}

/// Appends a response, but for the content of a document, which may be long: without one, with a page about the status.
/// `date` is the time in the form of RFC 9110 section 5.6.7.
pub fn write_reply(out: &mut Vec<u8>, answer: &Answer, connection: KeepClient, date: &str, content: Content) {
    let mut digits = itoa::Buffer::new();
    let page = page(digits.format(answer.status), answer.status);
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(answer.status));
    write_parts(out, &[" ", reason(answer.status), "\r\nDate: ", date, "\r\n"]);
    out.extend_from_slice(&answer.fields);
    // What has no content has none to describe (RFC 9110 section 8.6).
    if answer.status != 204 {
        let content_type = answer.document.as_ref().map_or("text/html", |document| &document.content_type);
        write_parts(out, &["Content-Type: ", content_type, "\r\n"]);
        let page_bytes = || page.iter().map(|part| part.len()).sum();
        write_length(out, answer.document.as_ref().map_or_else(page_bytes, |document| document.body.len()) as u64);
    }
    out.extend_from_slice(match connection {
        KeepClient::Keep => b"Connection: keep-alive\r\n\r\n",
        KeepClient::Close => b"Connection: close\r\n\r\n",
    });
    if content == Content::Full && answer.document.is_none() && answer.status != 204 {
        write_parts(out, &page);
    }
}

fn page(code: &str, status: u16) -> [&str; 11] {
    let reason = reason(status);
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
        sentence(status),
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

    const ALL: [Status; 16] = [
        Status::Unauthorized,
        Status::Forbidden,
        Status::NotFound,
        Status::MethodNotAllowed,
        Status::TooManyRequests,
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
        write_reply(&mut out, &Answer::of(status), connection, "Sun, 06 Nov 1994 08:49:37 GMT", content);
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
    fn every_status_that_plb_answers_with_by_itself_can_have_a_page() {
        let mut codes = ALL.map(Status::code);
        codes.sort_unstable();
        assert_eq!(codes, crate::config::PAGE_STATUSES);
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
