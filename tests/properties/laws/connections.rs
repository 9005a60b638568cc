//! Laws of whole connections: what a client or a backend may send, and what becomes of it behind plb.

use super::CONFIG;
use super::likeness::{assert_same_head, assert_same_request};
use super::reader::{self, Extent, Message, Writer};
use super::relay::{End, Feed, Outgoing, Relay};

/// What the second backend connection, and every later one, answers; the body says that it is this answer.
const MARKED: &[u8] = b"HTTP/1.1 200 OK\r\nX-Marked: yes\r\nDate: now\r\nContent-Length: 6\r\n\r\nmarked";

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
pub fn answers_to(mut received: &[u8], when: Answers) -> Vec<u8> {
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
        let mut answer = reader::response(got, method, Writer::Plb);
        if request.head.is_none() && answer.bytes < got.len() {
            // It was refused before its method had come.
            answer = reader::response(got, b"", Writer::Plb);
        }
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
