//! What must hold for any bytes whatever: each law is a function that panics where it does not.
//!
//! `cargo test` tries them with seeded mutations, and the targets in `fuzz/` with whatever a fuzzer finds. A law knows
//! plb by its public types alone, and judges what comes out of it with a reader of its own.

pub mod reader;
pub mod relay;
pub mod specimens;

use std::sync::LazyLock;

use plb::balance::Keys;
use plb::config::{Config, Trailers};
use plb::protocol::http::body::{ChunkStep, Chunked};
use plb::protocol::http::head::{ClientText, GROWTH_BYTES_MAX, Method, Parsed, Scan, Version};
use plb::protocol::http::request::{RequestHead, RequestRules, parse_request};
use plb::protocol::http::response::{ResponseHead, ResponseRules, parse_response};
use plb::protocol::http::site::Site;
use reader::{Extent, Head, Message, Writer};
use relay::{End, Feed, Outgoing, Relay};

/// The moment at which everything happens.
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A listener for HTTP with limits that mutations reach.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = "head_max: 1KiB\nfields_max: 16\ntrailers: forward\nvia: true\nmethods: any\n\
                listeners: [{name: l, listen: \"127.0.0.1:80\", protocol: http, pool: p}]\n\
                pools: {p: {backends: [\"10.0.0.1:80\"]}}\n";
    plb::config::parse("laws", text).unwrap_or_else(|errors| panic!("{errors:?}"))
});

/// Fields that plb writes itself, or that concern one connection only; those it writes are looked at on their own.
#[rustfmt::skip] // a list of words
const OWN: &[&str] = &[
    "connection", "content-length", "date", "expect", "forwarded", "host", "http2-settings", "keep-alive",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-port", "x-forwarded-proto", "x-request-id",
];

/// What the second backend connection, and every later one, answers; the body says that it is this answer.
const MARKED: &[u8] = b"HTTP/1.1 200 OK\r\nX-Marked: yes\r\nDate: now\r\nContent-Length: 6\r\n\r\nmarked";

// A request head.

/// A request head is judged alike however it arrives; what is written of it is what the second reader reads of it; and
/// of a head that is refused, nothing is written.
pub fn request_head(input: &[u8]) {
    let client = "192.0.2.7".parse().expect("it is an address");
    let (listener, text) = (&CONFIG.listeners[0], ClientText::new(client));
    let mut site = Site::new(listener);
    let mut rules = RequestRules::new(listener, &mut site, client, &text);
    let parse = |input: &[u8], scan: &mut Scan, out: &mut Vec<u8>| parse_request(input, scan, &mut rules, out);
    let Some((head, out)) = judged_alike(input, parse) else { return };
    let RequestHead { bytes, .. } = head;
    assert!(bytes <= input.len() && out.len() <= bytes + GROWTH_BYTES_MAX, "{} bytes of {bytes}", out.len());
    let sent = reader::request(&input[..bytes], Writer::Peer);
    let written = reader::request(&out, Writer::Plb);
    assert_same_request(&written, &sent);
}

/// Judges the input whole and byte by byte, and gives the head with what was written of it, when it is whole and good.
fn judged_alike<T: PartialEq + std::fmt::Debug>(
    input: &[u8],
    mut parse: impl FnMut(&[u8], &mut Scan, &mut Vec<u8>) -> Parsed<T>,
) -> Option<(T, Vec<u8>)> {
    let mut out = Vec::new();
    let whole = parse(input, &mut Scan::default(), &mut out);
    assert!(matches!(whole, Parsed::Head(_)) || out.is_empty(), "only a judged head is written");
    let (mut scan, mut drip) = (Scan::default(), Vec::new());
    let mut dripped = (0..=input.len()).map(|end| parse(&input[..end], &mut scan, &mut drip));
    let dripped = dripped.find(|parsed| *parsed != Parsed::Partial).unwrap_or(Parsed::Partial);
    match (whole, dripped) {
        (Parsed::Head(head), dripped) => {
            assert_eq!(Parsed::Head(&head), as_ref(&dripped), "whole, and byte by byte");
            assert_eq!(out, drip, "whole, and byte by byte");
            Some((head, out))
        }
        // Which fault is met first may differ.
        (Parsed::Refused(_), Parsed::Refused(_)) | (Parsed::Partial, Parsed::Partial) => None,
        (whole, dripped) => panic!("{whole:?} as a whole, {dripped:?} byte by byte"),
    }
}

fn as_ref<T>(parsed: &Parsed<T>) -> Parsed<&T> {
    match parsed {
        Parsed::Partial => Parsed::Partial,
        Parsed::Refused(refusal) => Parsed::Refused(*refusal),
        Parsed::Head(head) => Parsed::Head(head),
    }
}

// A response head.

/// The same for a response head, to `GET` and to `HEAD`, for clients of both versions.
pub fn response_head(input: &[u8]) {
    let keys = Keys::default();
    for (request_method, name) in [(Method::Get, &b"GET"[..]), (Method::Head, b"HEAD")] {
        for client_version in [Version::Http11, Version::Http10] {
            let rules = ResponseRules::new(&CONFIG.listeners[0], &keys, DATE);
            let rules = ResponseRules { request_method, client_version, ..rules };
            let parse = |input: &[u8], scan: &mut Scan, out: &mut Vec<u8>| parse_response(input, scan, &rules, out);
            let Some((head, out)) = judged_alike(input, parse) else { continue };
            let ResponseHead { bytes, interim, .. } = head;
            assert!(bytes <= input.len() && out.len() <= bytes + GROWTH_BYTES_MAX, "{} bytes of {bytes}", out.len());
            let sent = reader::response(&input[..bytes], name, Writer::Peer);
            let written = reader::response(&out, name, Writer::Plb);
            assert_same_head(&written, &sent);
            let status = written.head.expect("it was compared").status();
            assert!(interim == (100..200).contains(&status), "{status}");
        }
    }
}

// A chunked body.

/// What is passed of a chunked body is a chunked body with the same data, and ends where the second reader says it ends.
pub fn chunked_body(input: &[u8]) {
    for (step, trailers) in [(usize::MAX, Trailers::Forward), (1, Trailers::Forward), (1, Trailers::Drop)] {
        let (passed, consumed, done) = pass_chunks(input, step, trailers);
        let sent = reader::chunks(input, Writer::Peer);
        let forwarded = reader::chunks(&passed, Writer::Plb);
        if done {
            assert_eq!((sent.extent, forwarded.extent), (Extent::Whole, Extent::Whole));
            assert_eq!((sent.bytes, forwarded.bytes), (consumed, passed.len()));
            assert_eq!(sent.body, forwarded.body);
            let wanted = if trailers == Trailers::Drop { Vec::new() } else { sent.trailers };
            assert_eq!(forwarded.trailers, wanted);
        } else {
            assert_eq!(forwarded.extent, Extent::Part, "an end that was not judged: {}", passed.escape_ascii());
            assert!(sent.body.starts_with(&forwarded.body), "{}", passed.escape_ascii());
        }
    }
}

/// What is passed of the input when it comes so many bytes at a time, how much of it was used, and whether the body ended.
fn pass_chunks(input: &[u8], step: usize, trailers: Trailers) -> (Vec<u8>, usize, bool) {
    let mut chunked = Chunked::of_request(None, trailers);
    let (mut passed, mut at, mut here) = (Vec::new(), 0, step.min(input.len()));
    loop {
        let pending = &input[at..here];
        let (pass, count) = match chunked.next(pending) {
            Ok(ChunkStep::Pass(count)) => (true, count),
            Ok(ChunkStep::Drop(count)) => (false, count),
            Ok(ChunkStep::Data(count)) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(input.len() - at);
                passed.extend_from_slice(&input[at..at + count]);
                at += count;
                here = here.max(at);
                if at == input.len() {
                    return (passed, at, false);
                }
                continue;
            }
            Ok(ChunkStep::NeedMore) if here < input.len() => {
                here = here.saturating_add(step).min(input.len());
                continue;
            }
            Ok(ChunkStep::NeedMore) | Err(_) => return (passed, at, false),
            Ok(ChunkStep::Done) => return (passed, at, true),
        };
        assert!(count <= pending.len(), "{count} bytes of {} are judged", pending.len());
        passed.extend_from_slice(&pending[..if pass { count } else { 0 }]);
        at += count;
    }
}

// A client's connection.

/// Whatever a client sends and however it is split, each exchange with a backend is one request and nothing more: the
/// one that the second reader finds at that place in what the client sent. Gives how many were forwarded whole.
pub fn requests(input: &[u8], splits: &[usize], answers: Answers) -> usize {
    let script = |_: usize, received: &[u8]| Feed::open(answers_to(received, answers));
    let outgoing = Relay::new(&CONFIG, Feed::split(input, splits), &script).run();
    check_exchanges(input, &outgoing, answers)
}

/// When backends answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// When the request is whole.
    InTime,
    /// When its head is.
    Early,
}

/// One marked answer to each request.
fn answers_to(mut received: &[u8], when: Answers) -> Vec<u8> {
    let mut answers = Vec::new();
    while !received.is_empty() {
        let request = reader::request(received, Writer::Plb);
        let head_only = match (&request.head, request.extent) {
            (_, Extent::Bad(why)) => panic!("{why} in what was forwarded: {}", received.escape_ascii()),
            (None, _) => return answers,
            (_, Extent::Part) if when == Answers::InTime => return answers,
            (Some(head), _) => head.line[0] == b"HEAD",
        };
        answers.extend_from_slice(&MARKED[..MARKED.len() - if head_only { 6 } else { 0 }]);
        received = &received[request.bytes..];
    }
    answers
}

fn check_exchanges(input: &[u8], outgoing: &Outgoing, answers: Answers) -> usize {
    let (mut sent, mut got) = (input, outgoing.to_client.as_slice());
    let mut exchanges = outgoing.requests.iter();
    let mut spoiled = Vec::new();
    let mut forwarded = 0;
    loop {
        let request = reader::request(sent, Writer::Peer);
        // Of a head that is refused, so much may be known.
        let method: &[u8] = if sent.trim_ascii_start().starts_with(b"HEAD ") { b"HEAD" } else { b"" };
        let answer = reader::response(got, method, Writer::Plb);
        let Some(answer_head) = &answer.head else {
            assert_eq!((answer.extent, exchanges.next()), (Extent::Part, None), "forwarded, and never answered");
            assert_ne!(request.extent, Extent::Whole, "a request was forgotten");
            return forwarded;
        };
        assert_eq!(answer.extent, Extent::Whole, "an answer is cut: {}", got.escape_ascii());
        let is_marked = !answer_head.all("x-marked").is_empty();
        let (exchange, mut last) = (exchanges.next(), false);
        if let Some(exchange) = exchange {
            let written = reader::request(&exchange.bytes, Writer::Plb);
            let whole = written.extent == Extent::Whole;
            assert!(!spoiled.contains(&exchange.connection), "a connection is used after half a request");
            if !whole {
                spoiled.push(exchange.connection);
            }
            let agrees = is_marked == whole || (is_marked && answers == Answers::Early);
            assert!(agrees, "answered {answer_head:?}: {}", exchange.bytes.escape_ascii());
            (last, forwarded) = (last || !whole, forwarded + usize::from(whole));
            assert_eq!(written.bytes, exchange.bytes.len(), "more than a request: {}", exchange.bytes.escape_ascii());
            assert_same_request(&written, &request);
        }
        assert!(is_marked == (exchange.is_some() && answer_head.status() == 200), "an answer without its request");
        (sent, got) = (&sent[request.bytes..], &got[answer.bytes..]);
        if last || !answer_head.is_persistent() || request.extent != Extent::Whole {
            assert!(got.is_empty(), "after the last answer: {}", got.escape_ascii());
            assert_eq!(exchanges.next(), None, "after the last answer");
            return forwarded;
        }
    }
}

/// Of a request that is cut, what was written is a beginning.
fn assert_same_request(written: &Message, sent: &Message) {
    let Some(head) = &written.head else { return };
    let Some(original) = &sent.head else { panic!("{:?}: the second reader sees no such head", sent.extent) };
    assert!(!matches!(written.extent, Extent::Bad(_)), "{:?}", written.extent);
    assert!(written.extent == sent.extent || written.extent == Extent::Part, "{:?} as whole", sent.extent);
    assert_eq!(head.line[0], original.line[0]);
    let (authority, target) = split_target(original);
    assert_eq!((&head.line[1][..], &head.line[2][..]), (&target[..], &b"HTTP/1.1"[..]));
    let host = authority.or(original.all("host").first().copied()).unwrap_or_default();
    assert_eq!(head.all("host"), [host]);
    assert_same_fields(head, original);
    let is_prefix = written.extent == Extent::Part && sent.body.starts_with(&written.body);
    assert!(is_prefix || sent.body == written.body, "the body is another one");
    assert!(written.trailers.is_empty() || sent.trailers == written.trailers, "other trailers");
}

/// The authority of the absolute form, and the target in origin form (RFC 9112 section 3.2).
fn split_target(head: &Head) -> (Option<&[u8]>, Vec<u8>) {
    let [method, target, _] = &head.line;
    let colon = target.windows(3).position(|bytes| bytes == b"://").filter(|_| !target.starts_with(b"/"));
    let Some(colon) = colon else { return (None, target.clone()) };
    let rest = &target[colon + 3..];
    let (authority, path) = rest.split_at(rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len()));
    let root: &[u8] = match path.first() {
        Some(b'/') => b"",
        None if method == b"OPTIONS" => b"*",
        _ => b"/",
    };
    (Some(authority), [root, path].concat())
}

/// What was written has the fields that nobody on the way may change, in their order, and of the others only plb's own.
fn assert_same_fields(written: &Head, sent: &Head) {
    let own = |name: &[u8]| OWN.contains(&String::from_utf8_lossy(name).to_lowercase().replace('_', "-").as_str());
    let dropped = sent.options();
    let crosses = |name: &[u8]| !own(name) && !dropped.contains(&name.to_ascii_lowercase());
    let sent: Vec<_> = sent.fields.iter().filter(|(name, _)| crosses(name)).collect();
    let written: Vec<_> = written.fields.iter().filter(|(name, _)| !own(name)).collect();
    assert_eq!(written, sent);
}

// A backend's connection.

/// Whatever a backend says, the client gets the answer that the second reader sees, or one that is not the backend's, or
/// one that is cut and shows it; and never a byte of it as the answer to the next request.
pub fn responses(input: &[u8], splits: &[usize]) {
    for (method, end) in [(&b"GET"[..], End::AtOnce), (b"GET", End::AtLast), (b"HEAD", End::AtLast)] {
        let script = |number: usize, received: &[u8]| match number {
            _ if received.is_empty() => Feed::default(),
            0 => Feed::split(input, splits).ending(end),
            _ => Feed::open(answers_to(received, Answers::InTime)),
        };
        let asked = [method, b" / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let outgoing = Relay::new(&CONFIG, Feed::whole(&asked), &script).run();
        let used = check_answers(input, method, &outgoing);
        let again = outgoing.requests.iter().skip(1).any(|exchange| exchange.connection == 0);
        assert!(!again || used == input.len() || !splits.is_empty(), "used again after more than an answer");
    }
}

/// Gives how many bytes the backend's answer has.
fn check_answers(input: &[u8], method: &[u8], outgoing: &Outgoing) -> usize {
    let (sent_interim, sent) = final_response(input, method, Writer::Peer);
    let (got_interim, got) = final_response(&outgoing.to_client, method, Writer::Plb);
    let Some(head) = &got.head else {
        assert!(outgoing.end.is_abrupt() && got.extent == Extent::Part, "no answer: {outgoing:?}");
        return 0;
    };
    assert!(got_interim.len() <= sent_interim.len(), "an interim response from nowhere");
    got_interim.iter().zip(&sent_interim).for_each(|(got, sent)| assert_same_head(got, sent));
    let foreign = !head.all("x-marked").is_empty() || head.status() == 502;
    if !foreign {
        assert_same_head(&got, &sent);
        let until_close = got.head.as_ref().is_some_and(|head| !head.is_persistent()) && sent.extent == Extent::Whole;
        let cut = got.extent == Extent::Part || (until_close && outgoing.end.is_abrupt());
        assert!(!cut || outgoing.end.is_abrupt(), "an answer is cut and looks whole");
        assert!(cut || sent.extent == Extent::Whole, "{:?} as a whole answer", sent.extent);
        assert!(if cut { sent.body.starts_with(&got.body) } else { sent.body == got.body }, "another body");
    }
    let rest = &outgoing.to_client[got_interim.iter().map(|interim| interim.bytes).sum::<usize>() + got.bytes..];
    if !head.is_persistent() || got.extent != Extent::Whole {
        assert!(rest.is_empty() || got.extent != Extent::Whole, "more after the last answer");
    } else {
        let next = reader::response(rest, b"GET", Writer::Plb);
        let marked = (&next.body[..], next.bytes) == (b"marked", rest.len());
        assert!(marked || rest.is_empty(), "the next request was answered with {}", rest.escape_ascii());
    }
    sent_interim.iter().map(|interim| interim.bytes).sum::<usize>() + sent.bytes
}

/// The interim responses, and what follows them.
fn final_response(mut input: &[u8], method: &[u8], writer: Writer) -> (Vec<Message>, Message) {
    let mut interim = Vec::new();
    loop {
        let response = reader::response(input, method, writer);
        let is_interim = response.head.as_ref().is_some_and(|head| head.status() < 200);
        if !is_interim || response.extent != Extent::Whole {
            return (interim, response);
        }
        input = &input[response.bytes..];
        interim.push(response);
    }
}

fn assert_same_head(written: &Message, sent: &Message) {
    let (Some(head), Some(original)) = (&written.head, &sent.head) else {
        panic!("{:?}: the second reader sees no such head", (written.extent, sent.extent));
    };
    assert_eq!(head.status(), original.status());
    assert_same_fields(head, original);
}

// A configuration.

/// No text makes the reading of a configuration panic, and each error names a line that is there.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Err(errors) = plb::config::parse("plb.yaml", text) else { return };
    assert!(!errors.is_empty(), "refused for no reason");
    for error in errors {
        assert!(error.to_string().starts_with("plb.yaml:"), "{error}");
    }
}
