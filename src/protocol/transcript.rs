//! `Transcript`: what was said in an exchange, kept for the access log because the rewritten heads no longer have it.
//!
//! It keeps the peer's bytes as they came; whoever writes them somewhere escapes them.

use std::net::IpAddr;

use memchr::{memchr, memmem};

use super::http::auth;
use super::http::forwarding::Identity;
use super::refusal::Cause;
use crate::config::AccessFormat;

/// The longest part of a text that the log shows, in bytes; what is longer is cut and marked.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// Nobody yet.
    Nobody,
    /// A backend.
    Backend,
    /// plb itself.
    Plb,
}

/// What the client and whoever answered it said.
#[derive(Debug)]
pub struct Transcript {
    format: AccessFormat,
    /// The texts one after the other, so that one buffer serves them all.
    text: Vec<u8>,
    ends: [usize; 4],
    /// Whose request it is, where that is not who is connected.
    pub client: Option<IpAddr>,
    /// What the request is called.
    pub identity: Option<Identity>,
    /// Who answered.
    pub author: Author,
    /// The status of the answer; 0 while there is none.
    pub status: u16,
    /// Why plb refused the request, if it did.
    pub cause: Option<Cause>,
    /// Which rule of HTTP the request or the response broke, in words.
    pub fault: Option<&'static str>,
    /// The length of the heads of the answer as they are sent, interim ones included.
    pub head_bytes: u64,
}

impl Transcript {
    /// Nothing was said yet; what the format does not show is not kept.
    pub fn new(format: AccessFormat) -> Transcript {
        Transcript {
            format,
            text: Vec::new(),
            ends: [0; 4],
            client: None,
            identity: None,
            author: Author::Nobody,
            status: 0,
            cause: None,
            fault: None,
            head_bytes: 0,
        }
    }

    /// The same, in the memory of a former one.
    pub fn renew(&mut self) {
        self.text.clear();
        *self = Transcript { text: std::mem::take(&mut self.text), ..Transcript::new(self.format) };
    }

    /// The request's head as it came, or as much of it as did.
    pub fn ask(&mut self, head: &[u8]) {
        let mut lines = head.trim_ascii_start().split(|byte| *byte == b'\n');
        let mut texts = [lines.next().unwrap_or_default(), b"", b"", b""];
        let mut buffer = [0; auth::CREDENTIALS_ROOM];
        let mut authorization = None;
        texts[0] = texts[0].strip_suffix(b"\r").unwrap_or(texts[0]);
        if self.format == AccessFormat::Combined {
            for (name, value) in lines.filter_map(|line| Some(line.split_at(memchr(b':', line)?))) {
                match name {
                    name if name.eq_ignore_ascii_case(b"referer") => texts[1] = value[1..].trim_ascii(),
                    name if name.eq_ignore_ascii_case(b"user-agent") => texts[2] = value[1..].trim_ascii(),
                    name if name.eq_ignore_ascii_case(b"authorization") => {
                        authorization = Some(value[1..].trim_ascii())
                    }
                    _ => {}
                }
            }
        }
        texts[3] = authorization.and_then(|value| auth::user(value, &mut buffer)).unwrap_or_default().as_bytes();
        self.text.clear();
        for (end, text) in self.ends.iter_mut().zip(texts) {
            // One byte more than is shown tells that it is cut.
            self.text.extend_from_slice(&text[..text.len().min(TEXT_BYTES_MAX + 1)]);
            *end = self.text.len();
        }
    }

    /// A part of the answer's head: an interim response.
    pub fn interim(&mut self, head: &[u8]) {
        self.head_bytes += head.len() as u64;
    }

    /// A backend's answer began with this head, as it is sent.
    pub fn answer(&mut self, status: u16, head: &[u8]) {
        self.interim(head);
        (self.author, self.status) = (Author::Backend, status);
    }

    /// plb answered with these bytes.
    pub fn reply(&mut self, status: u16, reply: &[u8]) {
        let end = memmem::find(reply, b"\r\n\r\n").map_or(reply.len(), |at| at + 4);
        self.interim(&reply[..end]);
        (self.author, self.status) = (Author::Plb, status);
    }

    /// The request line as the client wrote it; empty while there is none.
    pub fn request_line(&self) -> &[u8] {
        &self.text[..self.ends[0]]
    }

    /// `Referer`; empty without one.
    pub fn referer(&self) -> &[u8] {
        &self.text[self.ends[0]..self.ends[1]]
    }

    /// `User-Agent`; empty without one.
    pub fn user_agent(&self) -> &[u8] {
        &self.text[self.ends[1]..self.ends[2]]
    }

    /// Who the client says to be (RFC 7617), as UTF-8; empty where it does not say so.
    pub fn user(&self) -> &[u8] {
        &self.text[self.ends[2]..self.ends[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nreferer:  http://b/ \r\nUser-Agent: x y\r\n\
        Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";

    fn texts(format: AccessFormat, head: &[u8]) -> [Vec<u8>; 4] {
        let mut transcript = Transcript::new(format);
        transcript.ask(b"POST /other HTTP/1.1\r\nReferer: c\r\n");
        transcript.ask(head);
        let texts = [transcript.request_line(), transcript.referer(), transcript.user_agent(), transcript.user()];
        texts.map(<[u8]>::to_vec)
    }

    #[test]
    fn a_head_is_kept_as_far_as_the_format_shows_it_wherever_it_is_cut() {
        assert_eq!(texts(AccessFormat::Combined, HEAD), [&b"GET /a HTTP/1.1"[..], b"http://b/", b"x y", b"Aladdin"]);
        assert_eq!(texts(AccessFormat::Plb, HEAD), [&b"GET /a HTTP/1.1"[..], b"", b"", b""]);
        for end in 0..HEAD.len() {
            let [line, ..] = texts(AccessFormat::Combined, &HEAD[..end]);
            assert!(b"GET /a HTTP/1.1\r".starts_with(&line), "{end}");
        }
    }

    #[test]
    fn a_long_text_is_kept_one_byte_beyond_what_is_shown() {
        let line = [b'x'; 5000];
        assert_eq!(texts(AccessFormat::Json, &line)[0].len(), TEXT_BYTES_MAX + 1);
    }
}
