//! What a probe says to a backend, and how the answer is judged.
//!
//! A [`Script`] is for one connection. It tells which bytes are to be sent, takes those that come, and says as soon as it
//! knows whether the backend serves; wherever the bytes are split, it says the same. It knows no socket and no clock,
//! keeps 16 KiB of an answer at most, and believes nothing that it says of itself.

use std::mem;
use std::ops::RangeInclusive;

use memchr::memmem;

use super::http::body::{ChunkStep, Chunked};
use crate::balance::Failure;
use crate::config::Trailers;
use crate::config::check::{Check, HttpCheck, HttpVersion};
use crate::config::status::includes;

/// How far into an answer the expected text is looked for, and the most bytes of a mail server's replies.
const SEARCH_BYTES_MAX: usize = 16 * 1024;
/// The longest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most fields in such a head.
const FIELDS_MAX: usize = 100;
/// The most bytes that are taken of any answer, framing and interim responses included, so that none keeps a turn for
/// itself.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// So many bytes are judged at once: what is taken out of them moves the others.
const PIECE_BYTES: usize = 4 * 1024;

/// What is known of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    More,
    /// It serves.
    Good,
    /// It does not.
    Bad(Failure),
}

/// One conversation with a backend.
pub struct Script {
    /// What is to be said.
    unsent: Vec<u8>,
    /// What has come and is not judged yet.
    pending: Vec<u8>,
    /// The bytes that may still come.
    bytes_left: usize,
    answer: Answer,
}

/// What is waited for.
enum Answer {
    /// Nothing: it is enough that all has been sent.
    Nothing,
    Http(Http),
    Smtp(Smtp),
    Text(Search),
}

impl Script {
    /// What this check says to the backend that `authority` names, as `host:port`. It begins with `header`, which may be
    /// empty.
    pub fn new(check: &Check, authority: &str, header: Vec<u8>) -> Script {
        let mut unsent = header;
        let answer = match check {
            Check::Tcp => Answer::Nothing,
            Check::Http(check) => {
                write_request(check, authority, &mut unsent);
                Answer::Http(Http::new(check))
            }
            Check::Smtp(check) => Answer::Smtp(Smtp { helo: check.helo.clone(), awaited: Reply::Banner }),
            Check::Exchange(exchange) => {
                unsent.extend_from_slice(exchange.send.as_deref().unwrap_or_default().as_bytes());
                Answer::Text(Search::new(&exchange.expect))
            }
        };
        let bytes_left = if let Answer::Smtp(_) = answer { SEARCH_BYTES_MAX } else { ANSWER_BYTES_MAX };
        Script { unsent, pending: Vec::new(), bytes_left, answer }
    }

    /// What is to be sent now.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many bytes of it were sent.
    pub fn sent(&mut self, count: usize) -> Verdict {
        self.unsent.drain(..count);
        self.verdict()
    }

    /// What is known without another byte.
    pub fn verdict(&self) -> Verdict {
        match self.answer {
            Answer::Nothing if self.unsent.is_empty() => Verdict::Good,
            _ => Verdict::More,
        }
    }

    /// Judges what came.
    pub fn receive(&mut self, bytes: &[u8]) -> Verdict {
        for piece in bytes[..bytes.len().min(self.bytes_left)].chunks(PIECE_BYTES) {
            self.bytes_left -= piece.len();
            match self.judge(piece) {
                Verdict::More => {}
                verdict => return verdict,
            }
        }
        if self.bytes_left == 0 { Verdict::Bad(Failure::Unexpected) } else { Verdict::More }
    }

    fn judge(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.answer {
            // Whoever speaks first says nothing against itself.
            Answer::Nothing => Verdict::More,
            Answer::Http(http) => {
                self.pending.extend_from_slice(bytes);
                http.judge(&mut self.pending)
            }
            Answer::Smtp(smtp) => {
                self.pending.extend_from_slice(bytes);
                smtp.judge(&mut self.pending, &mut self.unsent)
            }
            Answer::Text(search) => search.look(bytes),
        }
    }

    /// The backend sends no more. What is not good by now never is.
    pub fn ended(&self) -> Failure {
        match &self.answer {
            Answer::Http(Http { part: Part::Body { .. }, .. }) => Failure::Unexpected,
            Answer::Text(search) if search.has_begun() => Failure::Unexpected,
            _ => Failure::Ended,
        }
    }

    /// The time is up. An answer without a form can only be another one than is expected, and never be incomplete.
    pub fn timed_out(&self) -> Failure {
        match &self.answer {
            Answer::Text(search) if search.has_begun() => Failure::Unexpected,
            _ => Failure::TimedOut,
        }
    }

    /// Whether the connection is to be closed in order, as the other end calls anything else a failure of ours; otherwise
    /// by a reset, so that the system need not remember it.
    pub fn ends_in_order(&self) -> bool {
        matches!(self.answer, Answer::Smtp(_))
    }
}

/// The search for a text at the beginning of an answer.
struct Search {
    text: Vec<u8>,
    /// The last bytes, among which the text may have begun.
    window: Vec<u8>,
    bytes_left: usize,
}

impl Search {
    fn new(text: &str) -> Search {
        Search { text: text.as_bytes().to_vec(), window: Vec::new(), bytes_left: SEARCH_BYTES_MAX }
    }

    fn has_begun(&self) -> bool {
        self.bytes_left < SEARCH_BYTES_MAX
    }

    fn look(&mut self, bytes: &[u8]) -> Verdict {
        let bytes = &bytes[..bytes.len().min(self.bytes_left)];
        self.bytes_left -= bytes.len();
        self.window.extend_from_slice(bytes);
        if memmem::find(&self.window, &self.text).is_some() {
            return Verdict::Good;
        }
        let superfluous = (self.window.len() + 1).saturating_sub(self.text.len());
        self.window.drain(..superfluous);
        if self.bytes_left == 0 { Verdict::Bad(Failure::Unexpected) } else { Verdict::More }
    }
}

/// A response to a request of ours.
struct Http {
    good: Vec<RangeInclusive<u16>>,
    search: Option<Search>,
    part: Part,
}

/// What comes next of it.
enum Part {
    Head,
    Body {
        /// The framing, where there are chunks.
        chunks: Option<Chunked>,
        /// So many bytes of data come before the next framing, or before the end.
        data_bytes: u64,
    },
}

fn write_request(check: &HttpCheck, authority: &str, out: &mut Vec<u8>) {
    let HttpCheck { method, path, host, .. } = check;
    let (version, close, host) = match check.version {
        HttpVersion::Http10 => ("1.0", "", host.as_deref()),
        HttpVersion::Http11 => ("1.1", "Connection: close\r\n", host.as_deref().or(Some(authority))),
    };
    let host = host.map_or(String::new(), |host| format!("Host: {host}\r\n"));
    let request = format!("{method} {path} HTTP/{version}\r\n{host}User-Agent: plb\r\n{close}\r\n");
    out.extend_from_slice(request.as_bytes());
}

impl Http {
    fn new(check: &HttpCheck) -> Http {
        Http { good: check.status.clone(), search: check.body.as_deref().map(Search::new), part: Part::Head }
    }

    fn judge(&mut self, pending: &mut Vec<u8>) -> Verdict {
        loop {
            let verdict = match &mut self.part {
                Part::Head => self.head(pending),
                Part::Body { chunks, data_bytes } => {
                    let count = usize::try_from(*data_bytes).unwrap_or(usize::MAX).min(pending.len());
                    *data_bytes -= count as u64;
                    let search = self.search.as_mut().expect("there is no other reason to read a body");
                    match search.look(&pending.drain(..count).collect::<Vec<u8>>()) {
                        Verdict::More if *data_bytes == 0 => framing(chunks.as_mut(), data_bytes, pending),
                        verdict => Some(verdict),
                    }
                }
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }

    /// Judges a head; `None` when something behind it is to be judged.
    fn head(&mut self, pending: &mut Vec<u8>) -> Option<Verdict> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let window = &pending[..pending.len().min(HEAD_BYTES_MAX)];
        let (bytes, status) = match (head.parse(window), head.code) {
            (Ok(httparse::Status::Complete(bytes)), Some(status @ 100..=599)) => (bytes, status),
            (Ok(httparse::Status::Partial), _) if window.len() < HEAD_BYTES_MAX => return Some(Verdict::More),
            _ => return Some(Verdict::Bad(Failure::Malformed)),
        };
        let is_interim = status < 200 && status != 101;
        if !is_interim && !includes(&self.good, status) {
            return Some(Verdict::Bad(Failure::Status(status)));
        }
        if !is_interim && self.search.is_none() {
            return Some(Verdict::Good);
        }
        let body = if is_interim { Some(Part::Head) } else { body(status, head.headers) };
        pending.drain(..bytes);
        self.part = match body {
            Some(part) => part,
            None => return Some(Verdict::Bad(Failure::Malformed)),
        };
        None
    }
}

/// How the body behind a head begins (RFC 9112 section 6.3); `None` when the head does not say.
fn body(status: u16, fields: &[httparse::Header]) -> Option<Part> {
    let field = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let (chunks, data_bytes) = match (field("transfer-encoding"), field("content-length")) {
        _ if matches!(status, 204 | 304) => (None, 0),
        (Some(_), _) => (Some(Chunked::of_response(Trailers::Drop)), 0),
        (None, Some(length)) => (None, std::str::from_utf8(length).ok()?.parse().ok()?),
        (None, None) => (None, u64::MAX),
    };
    Some(Part::Body { chunks, data_bytes })
}

/// Judges what stands behind data; `None` when that is data again.
fn framing(chunks: Option<&mut Chunked>, data_bytes: &mut u64, pending: &mut Vec<u8>) -> Option<Verdict> {
    let Some(chunks) = chunks else { return Some(Verdict::Bad(Failure::Unexpected)) };
    match chunks.next(pending) {
        Ok(ChunkStep::NeedMore) => return Some(Verdict::More),
        Ok(ChunkStep::Pass(count) | ChunkStep::Drop(count)) => drop(pending.drain(..count)),
        Ok(ChunkStep::Data(bytes)) => *data_bytes = bytes,
        Ok(ChunkStep::Done) => return Some(Verdict::Bad(Failure::Unexpected)),
        Err(_) => return Some(Verdict::Bad(Failure::Malformed)),
    }
    None
}

/// A mail server's part.
struct Smtp {
    helo: String,
    awaited: Reply,
}

/// The replies, in their order.
enum Reply {
    Banner,
    Hello,
    Farewell,
}

impl Smtp {
    /// Judges the lines that have come, and says what answers them.
    fn judge(&mut self, pending: &mut Vec<u8>, unsent: &mut Vec<u8>) -> Verdict {
        while let Some(end) = memchr::memchr(b'\n', pending) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = &line[..end];
            if !is_reply(line) || line.len() < 3 {
                return Verdict::Bad(Failure::Malformed);
            }
            if line.get(3) == Some(&b'-') {
                continue;
            }
            if line[0] != b'2' {
                let code = line[..3].iter().fold(0, |code, digit| 10 * code + u16::from(digit - b'0'));
                return Verdict::Bad(Failure::Status(code));
            }
            match mem::replace(&mut self.awaited, Reply::Farewell) {
                Reply::Banner => {
                    self.awaited = Reply::Hello;
                    unsent.extend_from_slice(format!("EHLO {}\r\n", self.helo).as_bytes());
                }
                Reply::Hello => unsent.extend_from_slice(b"QUIT\r\n"),
                Reply::Farewell => return Verdict::Good,
            }
        }
        if is_reply(pending) { Verdict::More } else { Verdict::Bad(Failure::Malformed) }
    }
}

/// Whether the line of a reply may begin so (RFC 5321 section 4.2).
fn is_reply(line: &[u8]) -> bool {
    let is_good = |(at, byte): (usize, &u8)| match at {
        0 => matches!(byte, b'2'..=b'5'),
        1 | 2 => byte.is_ascii_digit(),
        _ => matches!(byte, b' ' | b'-' | b'\r'),
    };
    line.iter().take(4).enumerate().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::config::check::{Exchange, SmtpCheck};

    fn http(body: Option<&str>) -> Check {
        Check::Http(HttpCheck { body: body.map(str::to_string), ..HttpCheck::default() })
    }

    fn smtp() -> Check {
        Check::Smtp(SmtpCheck { helo: "mx.example".to_string() })
    }

    fn expecting(expect: &str) -> Check {
        Check::Exchange(Exchange { send: Some("PING\r\n".to_string()), expect: expect.to_string() })
    }

    fn script(check: &Check) -> Script {
        Script::new(check, "a.example:8080", Vec::new())
    }

    /// What is known when this has come in pieces that end at these places; the end of it counts when nothing is.
    fn judged(check: &Check, answer: &[u8], ends: impl Iterator<Item = usize>) -> Result<(), Failure> {
        let (mut script, mut start) = (script(check), 0);
        for end in ends {
            match script.receive(&answer[start..end]) {
                Verdict::More => start = end,
                Verdict::Good => return Ok(()),
                Verdict::Bad(failure) => return Err(failure),
            }
        }
        Err(script.ended())
    }

    fn whole(check: &Check, answer: &[u8]) -> Result<(), Failure> {
        judged(check, answer, std::iter::once(answer.len()))
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

    /// Answers, whether they are good, and to what.
    fn specimens() -> Vec<(Check, Vec<u8>, Result<(), Failure>)> {
        let page = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes();
        let chunked = "200 OK\r\nTransfer-Encoding: chunked";
        let unexpected = Err(Failure::Unexpected);
        let far = format!("{}alive", "x".repeat(SEARCH_BYTES_MAX - 5));
        let too_far = format!("x{far}");
        let chunks = |text: &str| text.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect::<String>();
        vec![
            (http(None), page("200 OK", ""), Ok(())),
            (http(None), page("302 Found\r\nLocation: /", ""), Ok(())),
            (http(None), b"HTTP/1.0 204 No Content\r\nServer: x\r\n\r\n".to_vec(), Ok(())),
            (http(None), [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK.as_bytes()].concat(), Ok(())),
            (http(None), page("503 Service Unavailable\r\nConnection: close", "no"), Err(Failure::Status(503))),
            (http(None), page("101 Switching Protocols\r\nUpgrade: x", ""), Err(Failure::Status(101))),
            (http(None), page("600 What", ""), Err(Failure::Malformed)),
            (http(None), b"SSH-2.0-x\r\n".to_vec(), Err(Failure::Malformed)),
            (http(None), b"HTTP/2.0 200 OK\r\n\r\n".to_vec(), Err(Failure::Malformed)),
            (http(None), b"HTTP/1.1 200 OK\r\n".to_vec(), Err(Failure::Ended)),
            (http(None), b"".to_vec(), Err(Failure::Ended)),
            (http(None), page(&format!("200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)), ""), Err(Failure::Malformed)),
            (http(Some("alive")), page("200 OK\r\nContent-Length: 9", "I'm alive"), Ok(())),
            (http(Some("alive")), page("200 OK\r\nContent-Length: 8", "I'm alive"), unexpected),
            (http(Some("alive")), page("200 alive\r\nContent-Length: 0", "alive"), unexpected),
            (http(Some("alive")), page("204 No Content", "alive"), unexpected),
            (http(Some("alive")), page("200 OK\r\nContent-Length: alive", "alive"), Err(Failure::Malformed)),
            (http(Some("alive")), page("200 OK", &far), Ok(())),
            (http(Some("alive")), page("200 OK", &too_far), unexpected),
            (http(Some("alive")), page(chunked, "2\r\nal\r\n3\r\nive\r\n0\r\n\r\n"), Ok(())),
            (http(Some("alive")), page(chunked, "2\r\nal\r\n2\r\niv\r\n0\r\nE: alive\r\n\r\n"), unexpected),
            (http(Some("alive")), page(chunked, "3;alive\r\nali\r\n3\r\n"), unexpected),
            (http(Some("alive")), page(chunked, "alive"), Err(Failure::Malformed)),
            (http(Some("alive")), page(chunked, &chunks(&far)), Ok(())),
            (http(Some("alive")), page(chunked, &chunks(&too_far)), unexpected),
            (http(Some("alive")), page(chunked, &format!("fffffff\r\n{far}")), Ok(())),
            (http(Some("503")), page("503 Service Unavailable", "503"), Err(Failure::Status(503))),
            (http(None), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000), unexpected),
            (smtp(), b"220 a\r\n250 b\r\n221 c\r\n".to_vec(), Ok(())),
            (smtp(), b"220-a\r\n220-\r\n220 b\r\n250-c\r\n250 d\r\n221\r\n".to_vec(), Ok(())),
            (smtp(), b"220 a\n250 b\n221 c\n".to_vec(), Ok(())),
            (smtp(), b"421 too busy\r\n".to_vec(), Err(Failure::Status(421))),
            (smtp(), b"554-no\r\n554 service\r\n".to_vec(), Err(Failure::Status(554))),
            (smtp(), b"220 a\r\n502 what\r\n".to_vec(), Err(Failure::Status(502))),
            (smtp(), b"220 a\r\n250 b\r\n421 c\r\n".to_vec(), Err(Failure::Status(421))),
            (smtp(), b"220 a\r\n250 b\r\n".to_vec(), Err(Failure::Ended)),
            (smtp(), b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Err(Failure::Malformed)),
            (smtp(), b"22\r\n".to_vec(), Err(Failure::Malformed)),
            (smtp(), b"220x\r\n".to_vec(), Err(Failure::Malformed)),
            (smtp(), b"J\0\0\x005.7.1".to_vec(), Err(Failure::Malformed)),
            (smtp(), b"220-a\r\n".repeat(SEARCH_BYTES_MAX), unexpected),
            (expecting("+PONG"), b"+PONG\r\n".to_vec(), Ok(())),
            (expecting("+PONG"), b"-LOADING\r\n+PONG\r\n".to_vec(), Ok(())),
            (expecting("+PONG"), b"-NOAUTH\r\n".to_vec(), unexpected),
            (expecting("aab"), b"aaab".to_vec(), Ok(())),
            (expecting("x"), b"".to_vec(), Err(Failure::Ended)),
            (expecting("alive"), far.clone().into_bytes(), Ok(())),
            (expecting("alive"), too_far.clone().into_bytes(), unexpected),
        ]
    }

    #[test]
    fn answers_are_judged_for_what_they_are() {
        for (check, answer, outcome) in specimens() {
            let shown = &answer[..answer.len().min(100)];
            assert_eq!(whole(&check, &answer), outcome, "{check:?}: {}", shown.escape_ascii());
        }
    }

    #[test]
    fn an_answer_is_judged_the_same_wherever_it_is_split() {
        for (check, answer, outcome) in specimens() {
            let length = answer.len();
            let shown = &answer[..length.min(100)];
            let pieces = (1..length).step_by(if length > 1_000 { 31 } else { 1 }).chain([length]);
            assert_eq!(judged(&check, &answer, pieces), outcome, "bit by bit: {}", shown.escape_ascii());
            let splits = (0..length).step_by(length / 500 * 25 + 1).chain([length]);
            for split in splits {
                let ends = [split, length].into_iter();
                assert_eq!(judged(&check, &answer, ends), outcome, "{check:?}: {}, at {split}", shown.escape_ascii());
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_better_and_one_that_is_good_stays_so() {
        for (check, answer, _) in specimens().iter().filter(|(_, _, outcome)| outcome.is_ok()) {
            let step = answer.len() / 1_000 * 25 + 1;
            let good: Vec<bool> =
                (0..=answer.len()).step_by(step).map(|end| whole(check, &answer[..end]).is_ok()).collect();
            assert!(good.is_sorted() && !good[0], "{check:?}: {}", answer[..answer.len().min(100)].escape_ascii());
        }
    }

    #[test]
    fn damaged_answers_do_no_harm_and_mean_the_same_in_pieces() {
        let specimens = specimens();
        for seed in 0..4_000 {
            let mut rng = Rng::new(seed);
            let mut below = |limit: usize| rng.below(limit as u64) as usize;
            let (check, answer, _) = &specimens[below(specimens.len())];
            let mut answer = answer[..answer.len().min(2_000)].to_vec();
            for _ in 0..=below(3) {
                let at = below(answer.len() + 1);
                let end = answer.len().min(at + below(6));
                match below(3) {
                    0 => drop(answer.drain(at..end)),
                    1 => answer
                        .splice(at..end, [b"\r\n", b"\0\xff", b"0 ", b"2-"][below(4)].iter().copied())
                        .for_each(drop),
                    _ => answer.truncate(at),
                }
            }
            let mut ends: Vec<usize> = (0..below(5)).map(|_| below(answer.len() + 1)).chain([answer.len()]).collect();
            ends.sort();
            let outcome = whole(check, &answer);
            assert_eq!(judged(check, &answer, ends.into_iter()), outcome, "seed {seed}: {}", answer.escape_ascii());
            assert_eq!(judged(check, &answer, 1..=answer.len()), outcome, "seed {seed}: {}", answer.escape_ascii());
        }
    }

    #[test]
    fn little_is_kept_of_an_answer() {
        for (check, answer, _) in specimens() {
            let mut script = script(&check);
            for piece in answer.chunks(1_000) {
                let verdict = script.receive(piece);
                let searched = match &script.answer {
                    Answer::Http(Http { search: Some(search), .. }) | Answer::Text(search) => search.window.len(),
                    _ => 0,
                };
                assert!(script.pending.len() + searched <= 16 * 1024, "{check:?}");
                if verdict != Verdict::More {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_request_says_what_its_version_knows() {
        let request = |check: HttpCheck| String::from_utf8(script(&Check::Http(check)).unsent().to_vec()).unwrap();
        assert_eq!(
            request(HttpCheck::default()),
            "GET / HTTP/1.1\r\nHost: a.example:8080\r\nUser-Agent: plb\r\nConnection: close\r\n\r\n"
        );
        let old = HttpCheck {
            method: "HEAD".to_string(),
            path: "/check.txt?a".to_string(),
            version: HttpVersion::Http10,
            ..HttpCheck::default()
        };
        assert_eq!(request(old.clone()), "HEAD /check.txt?a HTTP/1.0\r\nUser-Agent: plb\r\n\r\n");
        let named = HttpCheck { host: Some("b".to_string()), ..old };
        assert_eq!(request(named), "HEAD /check.txt?a HTTP/1.0\r\nHost: b\r\nUser-Agent: plb\r\n\r\n");
    }

    #[test]
    fn a_mail_server_is_asked_nothing_before_it_has_answered() {
        let mut script = script(&smtp());
        let mut said = |answer: &str, verdict: Verdict| {
            assert_eq!(script.receive(answer.as_bytes()), verdict, "{answer}");
            let said = String::from_utf8(script.unsent().to_vec()).unwrap();
            assert_eq!(script.sent(said.len()), Verdict::More);
            said
        };
        assert_eq!(said("", Verdict::More), "");
        assert_eq!(said("220-mx.example\r\n", Verdict::More), "");
        assert_eq!(said("220 ESMTP\r", Verdict::More), "");
        assert_eq!(said("\n", Verdict::More), "EHLO mx.example\r\n");
        assert_eq!(said("250-mx.example\r\n250", Verdict::More), "");
        assert_eq!(said(" HELP\r\n", Verdict::More), "QUIT\r\n");
        assert_eq!(said("221 Bye\r\n", Verdict::Good), "");
        assert!(script.ends_in_order());
    }

    #[test]
    fn a_connection_is_enough_where_nothing_is_asked() {
        let mut plain = script(&Check::Tcp);
        assert_eq!(
            (plain.verdict(), plain.receive(b"hello"), plain.ended()),
            (Verdict::Good, Verdict::More, Failure::Ended)
        );
        let mut greeted = Script::new(&Check::Tcp, "", b"PROXY".to_vec());
        assert_eq!((greeted.verdict(), greeted.unsent()), (Verdict::More, &b"PROXY"[..]));
        assert_eq!(greeted.sent(3), Verdict::More);
        assert_eq!((greeted.sent(2), greeted.unsent()), (Verdict::Good, &b""[..]));
        let after = Script::new(&expecting("x"), "", b"PROXY".to_vec());
        assert_eq!((after.unsent(), after.ends_in_order()), (&b"PROXYPING\r\n"[..], false));
    }

    #[test]
    fn what_is_late_is_silence_unless_it_was_something_else() {
        let late = |check: &Check, answer: &str| {
            let mut script = script(check);
            assert_eq!(script.receive(answer.as_bytes()), Verdict::More);
            script.timed_out()
        };
        assert_eq!(late(&expecting("+PONG"), ""), Failure::TimedOut);
        assert_eq!(late(&expecting("+PONG"), "-NOAUTH"), Failure::Unexpected);
        assert_eq!(late(&http(Some("x")), OK), Failure::TimedOut);
        assert_eq!(late(&smtp(), "220-a\r\n"), Failure::TimedOut);
    }
}
