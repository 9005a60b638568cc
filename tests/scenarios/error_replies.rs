//! Proves what clients and origins that break the rules get, and that no ambiguous byte reaches an origin.

use crate::harness::client::{Client, get};
use crate::harness::{Origin, PATIENCE, Plb, noise, ok};
use std::time::Duration;

#[test]
fn what_follows_a_refused_request_is_not_a_request() {
    let origin = Origin::named("victim");
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    drop(client.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().status(), 400);
    client.closed();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_head_that_drips_gets_408_when_its_time_is_over() {
    let origin = Origin::named("patient");
    let plb = Plb::http("timeout_header_client_read: 300ms", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("GET / HTTP/1.1\r\nHost: plb.test\r\nX-Long: ");
    let drips = (0..2000).take_while(|_| {
        let answered = client.has_news(Duration::from_millis(20));
        !answered && client.try_send("x").is_ok()
    });
    let drips = drips.count();
    assert!((1..2000).contains(&drips), "{drips} drips");
    assert_eq!(client.response().status(), 408);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_that_stalls_gets_408_and_the_backend_no_mark() {
    let origin = Origin::named("patient");
    let plb = Plb::http("timeout_forward_client_read: 300ms\nserver_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 100\r\n\r\nonly this");
    assert_eq!(client.response_to("POST").expect("an answer").status(), 408);
    client.closed();
    assert_eq!(get(plb.web(), "/").status(), 200);
    assert_eq!(origin.requests(), 1, "the half request was no request");
    plb.stop_unmarked();
}

#[test]
fn bodies_targets_and_fields_have_their_limits() {
    let origin = Origin::named("small");
    let plb = Plb::http("body_max: 1KiB\nserver_retry: 1", &[origin.address()]);
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = "y".repeat(9_000);
    let chunk = "z".repeat(2_000);
    let cases = [
        (413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n".to_string()),
        (413, format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{chunk}\r\n0\r\n\r\n")),
        (414, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
    ];
    for (status, bytes) in cases {
        let mut client = Client::connect(plb.web());
        client.send(&bytes);
        let response = client.response_to("POST").expect("an answer");
        assert_eq!(response.status(), status, "{}", &bytes[..60]);
        client.closed();
    }
    assert_eq!(origin.requests(), 0);
    let mut client = Client::connect(plb.web());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}", "z".repeat(1024)));
    assert_eq!(client.response_to("POST").expect("an answer").status(), 200, "the limit itself is allowed");
    plb.stop_unmarked();
}

#[test]
fn an_error_reply_reaches_a_client_that_is_still_sending_a_megabyte() {
    let origin = Origin::named("small");
    let plb = Plb::http("body_max: 1KiB", &[origin.address()]);
    let body = noise(1, 1 << 20);
    for waits_for_the_reply in [true, false] {
        let mut client = Client::connect(plb.web());
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        assert!(!waits_for_the_reply || client.has_news(PATIENCE), "the reply does not wait for the body");
        client.send(&body);
        client.half_close();
        let response = client.response_to("POST").expect("no reset swallows the answer");
        assert_eq!(response.status(), 413);
        client.closed();
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_early_answer_of_the_origin_reaches_a_client_that_is_still_sending() {
    let origin = Origin::raw(|connection| {
        if connection.request_head().is_some() {
            drop(connection.send(ok("enough")));
            drop(connection.until_end());
        }
    });
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nstart");
    let response = client.response_to("POST").expect("an answer before the end of the request");
    assert_eq!(response.text(), "enough");
    plb.stop_unmarked();
}

#[test]
fn whoever_asks_for_a_head_gets_no_body_with_a_refusal() {
    let origin = Origin::named("idle");
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    let response = client.response_to("HEAD").expect("a refusal is a response");
    assert_eq!(response.status(), 400);
    client.closed();
}
