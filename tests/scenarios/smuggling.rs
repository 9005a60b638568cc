//! Proves that no message hidden in another one, in any of the ways that are known, comes out of plb as a message: neither
//! a request at an origin, nor a response at somebody else's client.

use crate::framing::{SETTINGS, attacked, gets_refused, shown};
use crate::harness::client::Client;
use crate::harness::{Origin, Plb, ok};

/// The request that is hidden in each of the others.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// The head of a request that is split in two by who reads one of these fields otherwise; chunks end before what is
/// hidden, lengths before or behind it.
#[rustfmt::skip] // a table
const FIELDS: &[(&str, u16, &str)] = &[
    ("CL.TE", 400, "Content-Length: 40\r\nTransfer-Encoding: chunked"),
    ("TE.CL", 400, "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("CL.TE, shouted", 400, "CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED"),
    ("CL.TE, a tab before the value", 400, "Content-Length: 5\r\nTransfer-Encoding:\tchunked"),
    ("CL.CL", 400, "Content-Length: 5\r\nContent-Length: 40"),
    ("CL.CL, the same", 400, "Content-Length: 5\r\nContent-Length: 5"),
    ("CL.CL in a list", 400, "Content-Length: 5, 40"),
    ("CL.0, the second empty", 400, "Content-Length: 5\r\nContent-Length:"),
    ("0.CL", 400, "Content-Length: 0\r\nContent-Length: 40"),
    ("a length with a sign", 400, "Content-Length: +5"),
    ("a negative length", 400, "Content-Length: -0"),
    ("a length in base 16", 400, "Content-Length: 0x5"),
    ("a length in base 10, with an exponent", 400, "Content-Length: 5e0"),
    ("a length with an underscore", 400, "Content-Length: 4_0"),
    ("a length with a space in it", 400, "Content-Length: 4 0"),
    ("a length behind a vertical tab", 400, "Content-Length: \x0b5"),
    ("a length that wraps at 32 bits and would be 5", 413, "Content-Length: 4294967301"),
    ("a length that wraps at 64 bits and would be 5", 400, "Content-Length: 18446744073709551621"),
    ("a length before a space", 400, "Content-Length : 5"),
    ("a length before a tab", 400, "Content-Length\t: 5"),
    ("a length before a NUL", 400, "Content-Length\0: 5"),
    ("a length with an underscore in its name", 400, "Content_Length: 5"),
    ("a length that is folded", 400, "Content-Length:\r\n 5"),
    ("a length behind a bare LF", 400, "X: y\nContent-Length: 5"),
    ("a length behind a bare CR", 400, "X: y\rContent-Length: 5"),
    ("a coding before a space", 400, "Content-Length: 5\r\nTransfer-Encoding : chunked"),
    ("a coding before a tab", 400, "Content-Length: 5\r\nTransfer-Encoding\t: chunked"),
    ("a coding before a vertical tab", 400, "Content-Length: 5\r\nTransfer-Encoding\x0b: chunked"),
    ("a coding before a line feed", 400, "Content-Length: 5\r\nTransfer-Encoding\n: chunked"),
    ("a coding behind a space", 400, "Content-Length: 5\r\n Transfer-Encoding: chunked"),
    ("a coding behind a vertical tab", 400, "Content-Length: 5\r\nTransfer-Encoding: \x0bchunked"),
    ("a coding behind a form feed", 400, "Content-Length: 5\r\nTransfer-Encoding: \x0cchunked"),
    ("a coding before a vertical tab at the end", 400, "Content-Length: 5\r\nTransfer-Encoding: chunked\x0b"),
    ("a coding before a bare CR at the end", 400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\r"),
    ("a coding with a no-break space", 400, "Content-Length: 5\r\nTransfer-Encoding: \u{a0}chunked"),
    ("a coding behind a bare LF", 400, "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked"),
    ("a coding behind a bare CR", 400, "Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked"),
    ("a coding that is folded", 400, "Content-Length: 5\r\nTransfer-Encoding:\r\n chunked"),
    ("a coding that goes on in a folded line", 400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\t, identity"),
    ("a coding with an underscore in its name", 400, "Content-Length: 5\r\nTransfer_Encoding: chunked"),
    ("a coding without colon", 400, "Content-Length: 5\r\nTransfer-Encoding chunked"),
    ("a coding in quotes", 400, "Transfer-Encoding: \"chunked\""),
    ("a coding with an apostrophe", 501, "Transfer-Encoding: 'chunked'"),
    ("a coding with a letter too many", 501, "Transfer-Encoding: xchunked"),
    ("a coding with a parameter", 400, "Transfer-Encoding: chunked;q=1"),
    ("a coding with a comma behind it", 400, "Transfer-Encoding: chunked,"),
    ("a coding with a comma before it", 400, "Transfer-Encoding: ,chunked"),
    ("TE.TE", 400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("TE.TE, the second unknown", 400, "Transfer-Encoding: chunked\r\nTransfer-encoding: cow"),
    ("TE.TE, the first unknown", 501, "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked"),
    ("TE.TE, the first empty", 400, "Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    ("TE.TE in a list", 400, "Transfer-Encoding: chunked, chunked"),
    ("a list with identity behind", 400, "Transfer-Encoding: chunked, identity"),
    ("a list with identity before", 501, "Transfer-Encoding: identity, chunked"),
    ("a coding that Connection takes away", 400, "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked"),
    ("a length that Connection takes away", 400, "Connection: close, content-length\r\nContent-Length: 5"),
    ("an expectation that some see", 417, "Expect: y 100-continue\r\nContent-Length: 40"),
    ("an empty line of spaces", 400, "X: y\r\n \r\nX: z"),
];

/// Chunks that end before, or behind, what is hidden in them, depending on who reads.
#[rustfmt::skip] // a table
const CHUNKS: &[(&str, &str)] = &[
    ("a size in C", "0x0\r\n\r\n"),
    ("a size with a sign", "+0\r\n\r\n"),
    ("a size behind a space", " 0\r\n\r\n"),
    ("a size before a space", "0 \r\n\r\n"),
    ("a size before a vertical tab", "0\x0b\r\n\r\n"),
    ("a size with an underscore", "0_0\r\n\r\n"),
    ("no size", "\r\n\r\n"),
    ("a size that wraps at 64 bits", "10000000000000000\r\n\r\n"),
    ("a size that wraps at 60 bits", "1000000000000000\r\n\r\n"),
    ("a size before a bare LF", "0\n\r\n"),
    ("a size before a bare CR", "0\r\r\n"),
    ("a bare LF at the end", "0\r\n\n"),
    ("a bare CR at the end", "0\r\n\r\r\n"),
    ("an extension that ends with a bare LF", "1;\nx\r\n0\r\n\r\n"),
    ("an extension that ends with a bare CR", "1;a\rx\r\n0\r\n\r\n"),
    ("an extension with a line of its own", "1;a\n0\r\nx\r\n0\r\n\r\n"),
    ("data without an end", "1\r\nx0\r\n\r\n"),
    ("data that end with a bare LF", "1\r\nx\n0\r\n\r\n"),
    ("data that end with two other bytes", "1\r\nxyz0\r\n\r\n"),
    ("data that are longer than their size", "1\r\nx5\r\n0\r\n\r\n"),
    ("a trailer with a length", "0\r\nContent-Length: 33\r\n\r\n"),
    ("a trailer with a coding", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a trailer that is the hidden request", "0\r\n"),
];

/// What has two requests in it for nobody: the exact bytes that the origin gets.
#[rustfmt::skip] // a table
const DATA: &[(&str, &str, &str)] = &[
    ("a body with a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n\r\n"),
    ("a body of a GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tChunked \r\n\r\n21\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n21\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n"),
    ("an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;GET /hidden HTTP/1.1\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: GET /hidden HTTP/1.1\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an upgrade to HTTP/2", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two hosts", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
    ("two paths", "GET /?/../x HTTP/1.1\r\nHost: a\r\nX-Original-Url: /hidden\r\n\r\n", "GET /?/../x HTTP/1.1\r\nHost: a\r\nX-Original-Url: /hidden\r\n\r\n"),
];

/// Answers with the target that it was asked for, and keeps its connections.
fn honest() -> Origin {
    Origin::http(|request| ok(request.target()))
}

fn targets(origin: &Origin) -> Vec<String> {
    origin.seen(|seen| seen.requests.iter().map(|request| request.target().to_string()).collect())
}

#[test]
fn no_request_comes_out_of_fields_that_two_readers_read_differently() {
    let origin = honest();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for (name, status, fields) in FIELDS {
        let sent = format!("POST /attack HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}");
        gets_refused(&mut Client::connect(plb.web()), sent.as_bytes(), *status);
        assert_eq!(Client::connect(plb.web()).get("/victim").text(), "/victim", "{name}");
    }
    assert_eq!(targets(&origin), vec!["/victim"; FIELDS.len()]);
    plb.stop_unmarked();
}

#[test]
fn no_request_comes_out_of_chunks_that_two_readers_read_differently() {
    let origin = honest();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for (name, chunks) in CHUNKS {
        let head = "POST /attack HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        gets_refused(&mut Client::connect(plb.web()), format!("{head}{chunks}{HIDDEN}").as_bytes(), 400);
        assert_eq!(Client::connect(plb.web()).get("/victim").text(), "/victim", "{name}");
    }
    assert_eq!(targets(&origin), vec!["/victim"; CHUNKS.len()]);
    plb.stop_unmarked();
}

#[test]
fn what_is_data_arrives_as_data() {
    for (name, sent, want) in DATA {
        let origin = honest();
        let plb = Plb::http(SETTINGS, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.send(sent);
        assert_eq!(client.response().status(), 200, "{name}");
        assert_eq!(client.get("/own").text(), "/own", "{name}");
        let own = "GET /own HTTP/1.1\r\nHost: plb.test\r\n\r\n";
        assert_eq!(
            shown(&origin.seen(|seen| seen.received.concat())),
            shown([want, own].concat().as_bytes()),
            "{name}"
        );
    }
}

#[test]
fn requests_sent_ahead_are_requests_of_their_own_and_wait_for_their_turn() {
    let origin = honest();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{HIDDEN}GET /3\n"));
    let answers = [client.response(), client.response(), client.response()];
    assert_eq!(answers.map(|answer| answer.status()), [200, 200, 400]);
    client.closed();
    assert_eq!(targets(&origin), ["/1", "/hidden"]);
}

/// A response with another one hidden in it, which somebody else would get.
#[rustfmt::skip] // a table
const RESPONSES: &[(&str, &[u8])] = &[
    ("CL.TE", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("TE.TE", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("CL.CL", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 50\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a coding in HTTP/1.0", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a coding before a space", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding : chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a length with an underscore in its name", b"HTTP/1.1 200 OK\r\nContent_Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a head that ends with bare LFs", b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a bare CR", b"HTTP/1.1 200 OK\r\nX: y\r\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("an interim response with a body", b"HTTP/1.1 100 Continue\r\nContent-Length: 50\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a change of protocol", b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
];

#[test]
fn no_response_comes_out_of_one_that_two_readers_read_differently() {
    for (name, response) in RESPONSES {
        attacked(response, |client| assert_eq!(client.response().status(), 502, "{name}"));
    }
}

/// Responses whose end is certain, with another one behind it.
#[rustfmt::skip] // a table
const AHEAD: &[(&str, &[u8])] = &[
    ("no length needed", b"HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a length of no meaning", b"HTTP/1.1 304 x\r\nContent-Length: 47\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("a length", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
    ("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
];

#[test]
fn what_a_backend_sends_ahead_answers_no_request() {
    for (name, response) in AHEAD {
        attacked(response, |client| {
            assert!(client.response().status() < 400, "{name}");
        });
    }
}

/// It takes no body, whatever a request says (CL.0), and so for every request that is hidden in one answers twice.
#[test]
fn a_backend_that_takes_a_body_for_a_request_answers_nobody_else() {
    let origin = Origin::raw(|connection| {
        while let Some(head) = connection.request_head() {
            let hidden = if head.target() == "/attack" { ok("hidden") } else { Vec::new() };
            if connection.send([ok(head.target()), hidden].concat()).is_err() {
                return;
            }
        }
    });
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for _ in 0..3 {
        let mut client = Client::connect(plb.web());
        client.send(format!("POST /attack HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()));
        assert_eq!(client.response().text(), "/attack");
        assert_eq!(Client::connect(plb.web()).get("/victim").text(), "/victim");
        assert_eq!(client.get("/own").text(), "/own");
    }
}
