//! Proves what a client and an origin get for every kind of message that plb refuses, as the table in README.md says, and
//! the exact bytes of what it passes on.

use crate::harness::client::Client;
use crate::harness::{Connection, Origin, Plb};
use std::collections::BTreeSet;
use std::io::ErrorKind;

const README: &str = include_str!("../../README.md");

/// Nothing is added to a request, so that its bytes can be compared; small limits are reached with little.
pub const SETTINGS: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\nhead_max: 1KiB\n\
                        fields_max: 8\nbody_max: 1KiB\nserver_retry: 1000\nmethods: [GET, HEAD, POST, OPTIONS, TRACE]";

/// The kind of a request in README.md, the status that it gets, and requests of that kind.
type Refused = (&'static str, u16, &'static [&'static [u8]]);

/// Nothing of these reaches an origin.
#[rustfmt::skip] // a table
const HEADS: &[Refused] = &[
    ("a first line that is not a method, a target and a version with one space between them", 400, &[
        b"GET\r\n\r\n", b"GET /\r\n", b"GET / \r\nHost: a\r\n\r\n", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ]),
    ("a target that is no path, no `http://` or `https://` with a host, and no `*` with OPTIONS", 400, &[
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
    ("a fragment, a control character or a byte beyond ASCII in the target", 400, &[
        b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /?\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
    ("what `path_refuse` names in the path", 400, &[
        b"GET /a%00.gif HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a%5Cb HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a/..;x/b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /;/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /100% HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a/%zz?x HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
    ("a known method that is not in `methods`", 405, &[
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
    ("another one that is not in `methods`, and `CONNECT`", 501, &[
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    ]),
    ("another version than HTTP/1.0 and HTTP/1.1", 505, &[
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n",
    ]),
    ("a line that ends with a line feed alone, or has a carriage return in it", 400, &[
        b"GET / HTTP/1.1\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
    ("more than four empty lines before the first one", 400, &[b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"]),
    ("a field without colon or name, with white space before its colon, or folded", 400, &[
        b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\ty\r\n\r\n",
    ]),
    ("a field name that is no token, or a control character but the tab in a value", 400, &[
        b"GET / HTTP/1.1\r\nHost: a\r\na(b): x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\xe9: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\na b: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n",
    ]),
    ("no `Host` in HTTP/1.1, two of them, or one that is no host with or without a port", 400, &[
        b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", b"GET http://b/ HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
    ]),
    ("a `Connection` that names `Host`, `Content-Length` or `Transfer-Encoding`, or more than 32 options", 400, &[
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, content-length\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n\r\n",
    ]),
    ("a `Content-Length` that is there twice, or is not one number below 2^63", 400, &[
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 0\r\n\r\nabc", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ]),
    ("a `Transfer-Encoding` in HTTP/1.0, twice, beside `Content-Length`, or that does not end with one `chunked`", 400, &[
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
    ]),
    ("another transfer coding than `chunked`", 501, &[
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ]),
    ("an `Expect` that is not one `100-continue`", 417, &[
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", b"GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    ]),
    ("a `Content_Length` or `Transfer_Encoding`, which some programs take for the real ones", 400, &[
        b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\nx", b"POST / HTTP/1.1\r\nHost: a\r\ntransfer_encoding: chunked\r\n\r\n0\r\n\r\n",
    ]),
    ("TRACE with a body", 400, &[b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"]),
];

/// What follows the head of a chunked request, whose beginning may have reached an origin.
#[rustfmt::skip] // a table
const CHUNKS: &[Refused] = &[
    ("a chunk size that is not 1 to 15 hexadecimal digits", 400, &[
        b"\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n", b"3\rabc\r\n0\r\n\r\n", b"g\r\n", b"fffffffffffffffff\r\n", b"0000000000000003\r\nabc\r\n0\r\n\r\n", b"3_0\r\n",
    ]),
    ("a chunk extension with a control character but the tab", 400, &[b"3;a\nbc\r\n0\r\n\r\n", b"3;a\rb\r\nabc\r\n0\r\n\r\n", b"3;\0\r\nabc\r\n0\r\n\r\n"]),
    ("a chunk that is longer or shorter than its size", 400, &[
        b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nab\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"3\r\nabc\r0\r\n\r\n",
    ]),
    ("a trailer that is no field, or that belongs in a head", 400, &[
        b"0\r\nX\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX: y\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\nX: \0\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nHost: b\r\n\r\n", b"0\r\nAuthorization: x\r\n\r\n",
        b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", b"0\r\nConnection: close\r\n\r\n", b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ]),
];

/// The kind of a head or of chunks in README.md that some length is too much for, and how they begin, go on and end.
type TooMuch = (&'static str, u16, &'static str, &'static str, &'static str);

#[rustfmt::skip] // a table
const LENGTHS: &[TooMuch] = &[
    ("a first line longer than `head_max`", 414, "GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a head longer than `head_max`, or of more than `fields_max` fields", 431, "GET / HTTP/1.1\r\nHost: a\r\nX: ", "y", "\r\n\r\n"),
    ("a head longer than `head_max`, or of more than `fields_max` fields", 431, "GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", "\r\n"),
    ("a body longer than `body_max`", 413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n", "x", ""),
    ("a body longer than `body_max`", 413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", "0\r\n\r\n"),
    ("a chunk extension longer than 256 bytes", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x", "\r\nx\r\n0\r\n\r\n"),
    ("trailers of more than 64 fields or 8 KiB", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n", "\r\n"),
];

/// A response that a backend must not give, of this kind in README.md.
type Faulty = (&'static str, &'static [&'static [u8]]);

/// The client gets 502.
#[rustfmt::skip] // a table
const RESPONSES: &[Faulty] = &[
    ("a first line that is no status line of HTTP/1.0 or HTTP/1.1", &[
        b"SSH-2.0-x\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 99 x\r\n\r\n", b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n", b"http/1.1 200 OK\r\n\r\n", b"<html>", b"\r\nHTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 O\0K\r\n\r\n",
    ]),
    ("lines, fields and framing that are refused in requests", &[
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n",
    ]),
    ("a 101 that nobody asked for, or an interim response with a body", &[
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]),
];

/// The client's connection is reset in the middle of the response, so that it cannot pass for a whole one.
#[rustfmt::skip] // a table
const BROKEN_OFF: Faulty = ("a fault in a chunked body", &[
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n",
]);

/// The beginning of some bytes as text.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// Serves every whole request, and ends each connection with its first response.
fn brief() -> Origin {
    Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"));
            connection.half_close();
            drop(connection.until_end());
        }
    })
}

/// A request that gets this status, after which its connection is closed in order.
pub fn gets_refused(client: &mut Client, sent: &[u8], status: u16) {
    drop(client.try_send(sent)); // it may be refused before all is sent
    let response = client.response_to("POST").unwrap_or_else(|error| panic!("{error}: {}", shown(sent)));
    assert_eq!(response.status(), status, "{}", shown(sent));
    assert_eq!(response.field("connection"), Some("close"), "{}", shown(sent));
    let allow = (status == 405).then_some("GET, HEAD, POST, OPTIONS, TRACE");
    assert_eq!(response.field("allow"), allow, "{}", shown(sent));
    client.closed();
}

#[test]
fn a_head_that_is_refused_is_answered_and_its_connection_closed_and_no_byte_of_it_is_forwarded() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for (status, sent) in HEADS.iter().flat_map(|(_, status, all)| all.iter().map(move |sent| (*status, *sent))) {
        gets_refused(&mut Client::connect(plb.web()), sent, status);
        assert_eq!(origin.connections(), 0, "{}", shown(sent));
    }
    plb.stop_unmarked();
}

#[test]
fn a_later_head_is_judged_as_the_first() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for (index, (_, status, all)) in HEADS.iter().enumerate() {
        let mut client = Client::connect(plb.web());
        assert_eq!(client.get("/").text(), "ok");
        gets_refused(&mut client, all[0], *status);
        assert_eq!(origin.requests(), index + 1);
    }
    plb.stop_unmarked();
}

#[test]
fn chunks_that_are_refused_never_make_a_whole_request() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    let cases = CHUNKS.iter().flat_map(|(_, status, all)| all.iter().map(move |sent| (*status, *sent)));
    let cases: Vec<(u16, Vec<u8>)> = cases
        .enumerate()
        .map(|(number, (status, chunks))| {
            let head = format!("POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            (status, [head.as_bytes(), chunks].concat())
        })
        .collect();
    cases.iter().for_each(|(status, sent)| gets_refused(&mut Client::connect(plb.web()), sent, *status));
    plb.stop_unmarked();
    origin.wait_for("the end of all connections", |seen| seen.over() == seen.connections.len());
    assert_eq!(origin.requests(), 0);
    for received in origin.seen(|seen| seen.received.clone()) {
        assert!(cases.iter().any(|(_, sent)| sent.starts_with(&received)), "{}", shown(&received));
    }
}

#[test]
fn what_is_too_long_or_too_much_is_refused() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for (what, status, start, piece, end) in LENGTHS {
        let sent = [start, piece.repeat(1026).as_str(), end].concat();
        gets_refused(&mut Client::connect(plb.web()), sent.as_bytes(), *status);
        assert_eq!(origin.requests(), 0, "{what}");
    }
    plb.stop_unmarked();
}

const EARLY_END: &str = "a body that ends too early";

#[test]
fn a_body_that_ends_too_early_is_refused() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    for body in [
        "Content-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client = Client::connect(plb.web());
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        client.half_close();
        assert_eq!(client.response().status(), 400, "{body}");
        client.closed();
    }
    assert_eq!(origin.requests(), 0);
    plb.stop_unmarked();
}

/// What a client sends on a connection that it keeps, and the exact bytes that become of it.
#[rustfmt::skip] // a table
const FORWARDED: &[(&[u8], &[u8])] = &[
    (b"GET / HTTP/1.1\r\nhost:a\r\nX-A:  b \t\r\nX-B:\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nX-A: b\r\nX-B: \r\n\r\n"),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x?y HTTP/1.1\r\nHost: b:81\r\n\r\n"),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET /x/../%61;y//./z?%00%2F%zz\\ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x/../%61;y//./z?%00%2F%zz\\ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    (b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 007\r\nX: y\r\n\r\nGET /sm", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 7\r\n\r\nGET /sm"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\nTE: trailers\r\n\r\n03;a=b\r\nabc\r\n0;c\r\nX: y\r\n\r\n",
     b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eA==\r\nProxy: x\r\nAuthorization: Basic eA==\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\n\r\n"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
];

fn is_forwarded(plb: &Plb, origin: &Origin, sent: &[u8], want: &[u8]) {
    let before = origin.connections();
    let mut client = Client::connect(plb.web());
    client.send(sent);
    assert_eq!(client.response().text(), "ok", "{}", shown(sent));
    assert_eq!(shown(&origin.received_since(before)), shown(want));
    assert_eq!(client.get("/").text(), "ok", "the connection is kept");
}

#[test]
fn what_is_forwarded_is_written_anew_to_the_byte() {
    let origin = brief();
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    FORWARDED.iter().for_each(|(sent, want)| is_forwarded(&plb, &origin, sent, want));
    plb.stop_unmarked();
}

#[test]
fn the_settings_let_more_pass() {
    let origin = brief();
    let plain = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false";
    let settings = format!("{plain}\nmethods: any\npath_refuse: none\nnormalize_path: true\ntrailers: forward");
    let plb = Plb::http(&settings, &[origin.address()]);
    is_forwarded(
        &plb,
        &origin,
        b"BREW /x/%2e./%61%2fb//\\./%;/..;/%00?/../%61 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW /a%2Fb/\\./%25;/..;/%00?/../%61 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    is_forwarded(
        &plb,
        &origin,
        b"POST http://b HTTP/1.1\r\nHost: a\r\nTE: Trailers, x\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: b\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n0\r\nX: y\r\n\r\n",
    );
    let grown = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "%".repeat(7_000));
    gets_refused(&mut Client::connect(plb.web()), grown.as_bytes(), 431);
    for sent in [
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
    ] {
        let mut client = Client::connect(plb.web());
        client.send(sent);
        assert!([400, 501].contains(&client.response().status()), "some things never pass: {sent}");
        client.closed();
    }
    plb.stop_unmarked();
}

/// Answers a request for `/attack` with these bytes, others with a greeting, and keeps its connections.
fn faulty(response: &'static [u8]) -> Origin {
    Origin::raw(move |connection: &mut Connection| {
        while let Some(request) = connection.request() {
            let sent = match request.target() {
                "/attack" => connection.send(response),
                _ => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest"),
            };
            if sent.is_err() {
                return;
            }
        }
    })
}

/// A client asks for the attack between two honest exchanges, of which the second one must not share its connection.
pub fn attacked(response: &'static [u8], look: impl FnOnce(&mut Client)) {
    let origin = faulty(response);
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    assert_eq!(Client::connect(plb.web()).get("/").text(), "honest");
    let mut client = Client::connect(plb.web());
    client.ask("/attack");
    look(&mut client);
    assert_eq!(Client::connect(plb.web()).get("/").text(), "honest", "{}", shown(response));
    assert_eq!((origin.requests(), origin.connections()), (3, 2), "{}", shown(response));
}

#[test]
fn a_response_that_is_refused_becomes_502_and_its_connection_is_not_used_again() {
    for response in RESPONSES.iter().flat_map(|(_, all)| all.iter()) {
        attacked(response, |client| {
            let answer = client.response();
            assert_eq!(answer.status(), 502, "{}", shown(response));
            assert_eq!(
                answer.field("connection"),
                Some("keep-alive"),
                "the client is not to blame: {}",
                shown(response)
            );
        });
    }
}

#[test]
fn a_response_whose_chunks_are_refused_is_cut_off_with_a_reset() {
    for response in BROKEN_OFF.1 {
        attacked(response, |client| {
            let error = client.response_to("GET").expect_err("it is not whole");
            // A reset is told once.
            let is_reset = error.kind() == ErrorKind::ConnectionReset || client.until_end().is_err();
            assert!(is_reset, "{error}: {}", shown(response));
        });
    }
}

/// The kind in README.md of a response that is passed on although its connection is not used again, what the backend
/// sends, and the exact bytes that its client gets.
#[rustfmt::skip] // a table
const CONTAINED: &[(&str, &[u8], &[u8])] = &[
    ("bytes behind a response", b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
     b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"),
    ("bytes behind a response", b"HTTP/1.1 304 x\r\nDate: x\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 304 x\r\nDate: x\r\nContent-Length: 2\r\n\r\n"),
    ("bytes behind a response", b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n0\r\nX: y\r\n\r\n0\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("a 204 that announces a body", b"HTTP/1.1 204 x\r\nDate: x\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 204 x\r\nDate: x\r\n\r\n"),
    ("a 204 that announces a body", b"HTTP/1.1 204 x\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 204 x\r\nDate: x\r\n\r\n"),
];

#[test]
fn what_a_backend_sends_behind_its_response_reaches_nobody() {
    for (_, response, want) in CONTAINED {
        attacked(response, |client| assert_eq!(shown(&client.exactly(want.len())), shown(want)));
    }
}

/// What a backend sends, and the exact bytes that become of it.
#[rustfmt::skip] // a table
const RELAYED: &[(&[u8], &[u8])] = &[
    (b"HTTP/1.1 404 Not  here\r\nServer:x \r\nDate: x\r\ncontent-length: 02\r\n\r\nok", b"HTTP/1.1 404 Not  here\r\nServer: x\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"),
    (b"HTTP/1.1 200 OK\r\nDate: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nContent-Length: 2\r\n\r\nok",
     b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"),
    (b"HTTP/1.1 426 x\r\nDate: x\r\nUpgrade: websocket\r\nTE: x\r\nProxy-Authenticate: Basic\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok",
     b"HTTP/1.1 426 x\r\nDate: x\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok"),
    (b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: CHUNKED\r\nTrailer: X\r\n\r\n02;a=b\r\nok\r\n0;c\r\nX: y\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n02\r\nok\r\n0\r\n\r\n"),
];

#[test]
fn what_is_relayed_is_written_anew_to_the_byte() {
    for (response, want) in RELAYED {
        let origin = faulty(response);
        let plb = Plb::http(SETTINGS, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.ask("/attack");
        assert_eq!(shown(&client.exactly(want.len())), shown(want));
        assert_eq!(client.get("/").text(), "honest");
        assert_eq!((origin.requests(), origin.connections()), (2, 1), "both connections are kept");
    }
}

#[test]
fn a_response_without_date_gets_one() {
    let origin = Origin::named("undated");
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    let date = client.response().field("date").expect("there is one").to_string();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
}

/// Kinds that other scenarios try: those of timeouts, of limits and of passwords.
const ELSEWHERE: [(&str, &str); 3] = [
    ("a head, or a body, that does not come in time", "408"),
    ("more requests than `rate_limit` allows, or more passwords than can be verified", "429"),
    ("no user with the right password, for a route with `basic_auth`", "401"),
];

/// Kinds and their outcomes, as the table under this heading of README.md has them.
fn documented(heading: &str) -> BTreeSet<(String, String)> {
    let (_, section) = README.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    let rows = section.split("\n## ").next().unwrap_or_default().lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("in a re"));
    let cells =
        |row: &str| row.trim_end_matches(" |").split_once(" | ").map(|(kind, outcome)| (kind.into(), outcome.into()));
    rows.filter_map(cells).collect()
}

#[test]
fn the_readme_has_every_kind_with_what_becomes_of_it_and_no_other() {
    let heads = HEADS.iter().chain(CHUNKS).map(|(kind, status, _)| (*kind, status.to_string()));
    let lengths = LENGTHS.iter().map(|(kind, status, ..)| (*kind, status.to_string()));
    let responses = RESPONSES.iter().map(|(kind, _)| (*kind, "502".to_string()));
    let contained = CONTAINED.iter().map(|(kind, ..)| (*kind, "the response without them".to_string()));
    let others = [(EARLY_END, "400".to_string()), (BROKEN_OFF.0, "a reset in its middle".to_string())];
    let others = others.into_iter().chain(ELSEWHERE.map(|(kind, status)| (kind, status.to_string())));
    let tried = heads.chain(lengths).chain(responses).chain(contained).chain(others);
    let tried: BTreeSet<_> = tried.map(|(kind, outcome)| (kind.to_string(), outcome)).collect();
    assert_eq!(documented("### What is refused"), tried);
}
