//! Laws of single heads and of chunked bodies, wherever they end up.

use plb::balance::Keys;
use plb::config::Trailers;
use plb::protocol::http::body::{ChunkStep, Chunked};
use plb::protocol::http::head::{ClientText, GROWTH_BYTES_MAX, Method, Parsed, Scan, Version};
use plb::protocol::http::request::{RequestHead, RequestRules, parse_request};
use plb::protocol::http::response::{ResponseHead, ResponseRules, parse_response};
use plb::protocol::http::site::Site;

use super::likeness::{assert_same_head, assert_same_request};
use super::reader::{self, Extent, Writer};
use super::{CONFIG, DATE};

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
