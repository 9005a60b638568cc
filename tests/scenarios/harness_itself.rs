//! Proves that the harness tells the truth: clients and origins against each other, without plb.

use crate::harness::client::{Client, get};
use crate::harness::message::Framing;
use crate::harness::{BlackHole, Gate, Message, Origin, Reservation, checksum, noise};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn an_origin_counts_connections_requests_and_bytes() {
    let origin = Origin::named("me");
    let mut client = Client::connect(origin.address());
    assert_eq!(client.get("/a").text(), "me");
    assert_eq!(client.get("/b").text(), "me");
    assert_eq!(get(origin.address(), "/c").text(), "me");
    let targets = origin.seen(|seen| seen.requests.iter().map(|r| r.target().to_string()).collect::<Vec<_>>());
    assert_eq!(targets, ["/a", "/b", "/c"]);
    assert_eq!(origin.connections(), 2);
    let length = "GET /a HTTP/1.1\r\nHost: plb.test\r\n\r\n".len() as u64;
    assert_eq!(origin.seen(|seen| seen.bytes()), 3 * length);
}

#[test]
fn a_stopped_origin_refuses_and_comes_back_on_its_port() {
    let mut origin = Origin::named("me");
    let mut client = Client::connect(origin.address());
    client.get("/");
    origin.stop();
    client.closed();
    let refused = TcpStream::connect(origin.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    origin.revive();
    assert_eq!(get(origin.address(), "/").text(), "me");
    assert_eq!(origin.connections(), 2, "the wake-up of the acceptor does not count");
}

#[test]
fn reservations_refuse_and_black_holes_do_not_answer() {
    let refused = TcpStream::connect(Reservation::new().address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let hole = BlackHole::new();
    let silent = TcpStream::connect_timeout(&hole.address(), Duration::from_millis(200)).expect_err("no answer");
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_reset_is_a_reset_and_an_end_is_an_end() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some_and(|request| request.target() == "/reset") {
            drop(connection.send("HTTP/1.1 200 O"));
            connection.reset();
        }
    });
    let mut client = Client::connect(origin.address());
    client.ask("/reset");
    assert_eq!(client.until_end().expect_err("cut").kind(), ErrorKind::ConnectionReset);
    let mut client = Client::connect(origin.address());
    client.ask("/close");
    client.closed();
}

#[test]
fn a_client_that_resets_is_seen_by_the_script() {
    let (told, tell) = std::sync::mpsc::channel();
    let origin =
        Origin::raw(move |connection| told.send(connection.until_end().map_err(|e| e.kind())).expect("awaited"));
    let mut client = Client::connect(origin.address());
    client.send("x");
    origin.wait_for("the byte", |seen| seen.bytes() == 1);
    client.reset();
    assert_eq!(tell.recv().expect("the script tells"), Err(ErrorKind::ConnectionReset));
}

#[test]
fn messages_are_read_by_their_framing() {
    let origin = Origin::http(|request| match request.target() {
        "/chunks" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nSum: 5\r\n\r\n").into_bytes()
        }
        "/none" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => crate::harness::ok(&request.text()),
    });
    let mut client = Client::connect(origin.address());
    let chunks = client.get("/chunks");
    assert_eq!((chunks.text().as_str(), chunks.trailers[0].1.as_str()), ("abcde", "5"));
    assert_eq!(client.get("/none").status(), 204);
    client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "wxyz");
    let head = Message { start: "HTTP/1.0 200 OK".into(), ..Message::default() };
    assert_eq!(head.response_framing("GET"), Framing::UntilClose);
    assert_eq!(head.response_framing("HEAD"), Framing::Empty);
}

#[test]
fn news_are_told_from_silence_and_gates_hold() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            gate.pass();
            drop(connection.send("hello"));
        }
    });
    let mut client = Client::connect(origin.address());
    assert!(!client.has_news(Duration::from_millis(50)));
    gate.open();
    assert!(client.has_news(Duration::from_secs(20)));
    assert_eq!(client.exactly(5), b"hello");
}

#[test]
fn noise_is_the_same_for_the_same_seed_only() {
    assert_eq!(checksum(&noise(7, 1000)), checksum(&noise(7, 1000)));
    assert_ne!(checksum(&noise(7, 1000)), checksum(&noise(8, 1000)));
    assert_eq!(noise(7, 1001).len(), 1001);
}
