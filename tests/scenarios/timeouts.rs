//! Proves that nobody who does nothing is waited for longer than configured, and that this stays quiet.

use crate::harness::client::{Client, get};
use crate::harness::{Origin, Plb, noise, ok};
use std::time::Duration;

#[test]
fn an_idle_client_is_closed_without_a_word() {
    let origin = Origin::named("only");
    let plb = Plb::http("timeout_keep_alive: 200ms\ntimeout_header_client_read: 1h", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/").text(), "only");
    client.closed();
}

#[test]
fn a_client_that_never_says_anything_is_closed_without_a_word() {
    let origin = Origin::named("only");
    let plb = Plb::http("timeout_header_client_read: 200ms\ntimeout_keep_alive: 1h", &[origin.address()]);
    Client::connect(plb.web()).closed();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_second_request_that_stalls_in_its_head_gets_408() {
    let origin = Origin::named("only");
    let plb = Plb::http("timeout_header_client_read: 200ms", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/").text(), "only");
    client.send("GET / HT");
    assert_eq!(client.response().status(), 408);
    client.closed();
}

#[test]
fn a_client_that_stops_reading_is_cut_and_the_backend_is_not_blamed() {
    let origin = Origin::http(|_| ok(&"x".repeat(50 << 20)));
    let plb = Plb::http("timeout_forward_client_write: 300ms\nserver_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    client.response_head().expect("the response starts");
    origin.wait_for("plb gives the backend up", |seen| seen.over() == 1);
    let rest = client.until_end().map(|rest| rest.len());
    assert!(rest.is_err() || rest.is_ok_and(|length| length < 50 << 20), "it was cut");
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_stalls_in_its_body_is_cut_and_the_client_is_not_fooled() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
            drop(connection.until_end());
        }
    });
    let plb = Plb::http("timeout_forward_server_read: 200ms", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    assert!(client.response_to("GET").is_err(), "a part is not the whole");
    origin.wait_for("plb gives the backend up", |seen| seen.over() == 1);
}

#[test]
fn a_silent_tunnel_is_closed_on_both_sides() {
    let origin = Origin::echo();
    let plb = Plb::tcp("timeout_tunnel: 300ms\nserver_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..10 {
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
        assert!(!client.has_news(Duration::from_millis(60)), "it is in use");
    }
    assert!(client.until_end().unwrap_or_default().is_empty());
    origin.wait_for("the backend's side ends", |seen| seen.over() == 1);
    plb.stop_unmarked();
}

#[test]
fn a_head_that_drips_cannot_hold_the_only_place() {
    let origin = Origin::named("only");
    let plb = Plb::http("max_clients: 1\ntimeout_header_client_read: 300ms", &[origin.address()]);
    let mut slow = Client::connect(plb.web());
    slow.send("GET / HTTP/1.1\r\nHost: plb.test\r\nX: ");
    let mut next = Client::connect(plb.web());
    next.ask("/");
    let drips = (0..500).take_while(|_| {
        drop(slow.try_send("x"));
        !next.has_news(Duration::from_millis(20))
    });
    assert!(drips.count() < 500, "the drip held the place");
    assert_eq!(next.response().text(), "only");
}

#[test]
fn a_slow_but_steady_body_is_not_cut() {
    let origin = Origin::http(|request| ok(&request.body.len().to_string()));
    let plb = Plb::http("timeout_forward_client_read: 400ms", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 12\r\n\r\n");
    for byte in noise(1, 12) {
        assert!(!client.has_news(Duration::from_millis(60)), "progress refreshes the time");
        client.send([byte]);
    }
    assert_eq!(client.response_to("POST").expect("an answer").text(), "12");
    assert_eq!(get(plb.web(), "/").text(), "0");
}

#[test]
fn a_client_that_sends_ahead_does_not_gain_time_for_a_backend_that_is_silent() {
    let origin = Origin::silent();
    let plb = Plb::http("timeout_header_server_read: 300ms\nserver_retry: 100", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    let drips = (0..100).take_while(|_| {
        drop(client.try_send("G"));
        !client.has_news(Duration::from_millis(50))
    });
    assert!(drips.count() < 100, "what was sent ahead put the answer off");
    assert_eq!(client.response().status(), 504);
}

#[test]
fn nobody_is_to_blame_where_a_client_waits_to_be_told_to_go_on_and_its_backend_for_the_body() {
    let origin = Origin::raw(|connection| {
        connection.request_head();
        drop(connection.some());
    });
    let plb = Plb::http(
        "timeout_forward_client_read: 300ms\ntimeout_header_server_read: 400ms\nserver_retry: 1",
        &[origin.address()],
    );
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status(), 504);
    plb.stop_unmarked();
}

#[test]
fn a_client_that_was_told_to_go_on_and_does_not_is_to_blame() {
    let origin = Origin::raw(|connection| {
        connection.request_head();
        drop(connection.send("HTTP/1.1 100 Continue\r\n\r\n"));
        drop(connection.some());
    });
    let plb = Plb::http(
        "timeout_forward_client_read: 300ms\ntimeout_header_server_read: 1h\nserver_retry: 1",
        &[origin.address()],
    );
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response_head().expect("the interim one").status(), 100);
    assert_eq!(client.response().status(), 408);
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_answers_early_and_goes_on_reading_is_not_cut() {
    let origin = Origin::raw(|connection| {
        let Some(head) = connection.request_head() else { return };
        drop(connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"));
        if connection.request_body(head).is_some() {
            drop(connection.send("done"));
        }
    });
    let plb = Plb::http("timeout_forward_server_read: 400ms", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 20\r\n\r\n");
    client.response_head().expect("the response starts");
    for byte in noise(1, 20) {
        assert!(!client.has_news(Duration::from_millis(60)), "progress refreshes the time");
        client.send([byte]);
    }
    assert_eq!(client.exactly(4), b"done");
}
