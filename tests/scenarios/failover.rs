//! Proves that a failing backend costs no client its answer, is taken out, and comes back by a probe alone.

use crate::harness::client::{Client, bodies, get};
use crate::harness::{BlackHole, Origin, Plb, Reservation, configuration, ok};
use std::time::{Duration, Instant};

/// Settings under which a backend that went down stays down for the test.
const STAYS_DOWN: &str = "server_retry: 3\ntimeout_cleanup: 1h";

#[test]
fn a_refusing_backend_goes_down_without_a_failed_request_and_comes_back_by_a_probe() {
    let (one, mut two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    two.stop();
    let plb = Plb::http("server_retry: 3\ntimeout_cleanup: 200ms", &[one.address(), two.address(), three.address()]);
    bodies(plb.web(), 30);
    assert_eq!(one.requests() + three.requests(), 30);
    let line = plb.wait_for_log("backend web/b2: down after 3 failures: ");
    assert!(line.contains("refused"), "{line}");
    two.revive();
    plb.wait_for_log("backend web/b2: up");
    two.wait_for("the probe ends", |seen| seen.connections.first().is_some_and(|probe| probe.over));
    assert_eq!(two.seen(|seen| seen.bytes()), 0, "a probe, not a client");
    bodies(plb.web(), 9);
    assert!((2..=4).contains(&two.requests()), "its share, whoever comes first");
    assert!(!plb.stop().contains("b1: down"));
}

#[test]
fn a_backend_that_comes_back_under_load_sees_the_probe_before_any_client() {
    let (one, mut two) = (Origin::named("one"), Origin::named("two"));
    two.stop();
    let plb = Plb::http("server_retry: 1\ntimeout_cleanup: 100ms", &[one.address(), two.address()]);
    bodies(plb.web(), 4);
    plb.wait_for_log("backend web/b2: down after 1 failure");
    two.revive();
    let limit = Instant::now() + Duration::from_secs(20);
    while two.requests() == 0 {
        assert!(Instant::now() < limit, "it never came back");
        bodies(plb.web(), 1);
    }
    two.wait_for("the probe ends", |seen| seen.connections[0].over);
    assert_eq!(two.seen(|seen| seen.connections[0].bytes), 0, "the first connection is the probe");
}

#[test]
fn one_request_asks_each_backend_once_at_most() {
    let (refusing, good) = (Reservation::new(), Origin::named("good"));
    let yaml = configuration("http", "server_retry: 2\ntimeout_cleanup: 1h", &[refusing.address(), good.address()]);
    let plb = Plb::start(&yaml.replace("name: b1", "name: b1, weight: 200"));
    bodies(plb.web(), 1);
    plb.stop_unmarked();
    let nobody = Reservation::new();
    let plb = Plb::http("server_retry: 1000000", &[refusing.address(), nobody.address()]);
    assert_eq!(get(plb.web(), "/").status(), 503);
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_accepts_and_resets_goes_down_and_gets_no_more_clients() {
    let bad = Origin::raw(|connection| {
        drop(connection.request());
        connection.reset();
    });
    let good = Origin::named("good");
    let plb = Plb::http(STAYS_DOWN, &[bad.address(), good.address()]);
    bodies(plb.web(), 20);
    plb.wait_for_log("backend web/b1: down after 3 failures: ");
    let before = bad.connections();
    bodies(plb.web(), 10);
    assert_eq!(bad.connections(), before);
    assert_eq!(good.requests(), 30);
}

#[test]
fn a_backend_that_resets_in_the_middle_of_its_head_costs_no_get() {
    let bad = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\nContent-Le"));
            connection.reset();
        }
    });
    let good = Origin::named("good");
    let plb = Plb::http("server_retry: 1\ntimeout_cleanup: 1h", &[bad.address(), good.address()]);
    for _ in 0..4 {
        // A byte of the response came, so it may not be asked for again: an honest 502, or no such byte and another try.
        let response = get(plb.web(), "/");
        assert!([200, 502].contains(&response.status()), "{response:?}");
    }
    plb.wait_for_log("backend web/b1: down after 1 failure");
    bodies(plb.web(), 5);
}

#[test]
fn a_connect_that_gets_no_answer_is_moved_to_the_next_backend() {
    let (hole, good) = (BlackHole::new(), Origin::named("good"));
    let settings = "server_retry: 1\ntimeout_cleanup: 1h\ntimeout_header_server_write: 200ms";
    let plb = Plb::http(settings, &[hole.address(), good.address()]);
    bodies(plb.web(), 3);
    plb.wait_for_log("backend web/b1: down after 1 failure");
}

#[test]
fn a_get_that_one_backend_does_not_answer_is_asked_of_another() {
    let (silent, good) = (Origin::silent(), Origin::named("good"));
    let settings = "server_retry: 2\ntimeout_cleanup: 1h\ntimeout_header_server_read: 200ms";
    let plb = Plb::http(settings, &[silent.address(), good.address()]);
    bodies(plb.web(), 6);
    plb.wait_for_log("backend web/b1: down after 2 failures: ");
    assert_eq!(good.requests(), 6);
}

#[test]
fn a_get_that_nobody_answers_gets_504() {
    let (one, two) = (Origin::silent(), Origin::silent());
    let plb = Plb::http("timeout_header_server_read: 200ms", &[one.address(), two.address()]);
    assert_eq!(get(plb.web(), "/").status(), 504);
    assert_eq!((one.requests(), two.requests()), (1, 1), "another one was asked, and nobody twice");
}

fn post(plb: &Plb) -> u16 {
    let mut client = Client::connect(plb.web());
    client.send("POST /buy HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 3\r\n\r\none");
    client.response_to("POST").expect("an answer").status()
}

#[test]
fn a_post_that_was_sent_is_never_sent_again() {
    let silent = || Origin::silent();
    let (one, two) = (silent(), silent());
    let plb = Plb::http("timeout_header_server_read: 200ms", &[one.address(), two.address()]);
    assert_eq!(post(&plb), 504);
    assert_eq!(one.requests() + two.requests(), 1);
    let resetting = || {
        Origin::raw(|connection| {
            drop(connection.request());
            connection.reset();
        })
    };
    let (one, two) = (resetting(), resetting());
    let plb = Plb::http("", &[one.address(), two.address()]);
    assert_eq!(post(&plb), 502);
    assert_eq!(one.requests() + two.requests(), 1);
}

#[test]
fn a_post_whose_backend_refuses_the_connection_is_moved() {
    let (refusing, good) = (Reservation::new(), Origin::named("good"));
    let plb = Plb::http("", &[refusing.address(), good.address()]);
    for _ in 0..4 {
        assert_eq!(post(&plb), 200);
    }
    assert_eq!(good.requests(), 4);
}

#[test]
fn with_all_backends_down_the_answer_is_503_at_once_until_one_is_back() {
    let (mut one, mut two) = (Origin::http(|_| ok("back")), Origin::named("two"));
    one.stop();
    two.stop();
    let plb = Plb::http("server_retry: 1\ntimeout_cleanup: 200ms", &[one.address(), two.address()]);
    assert_eq!(get(plb.web(), "/").status(), 503);
    plb.wait_for_log("backend web/b1: down after 1 failure");
    plb.wait_for_log("backend web/b2: down after 1 failure");
    let mut client = Client::connect(plb.web());
    let asked = Instant::now();
    assert_eq!(client.get("/").status(), 503);
    assert!(asked.elapsed() < Duration::from_secs(5), "nobody is waited for");
    one.revive();
    plb.wait_for_log("backend web/b1: up");
    assert_eq!(get(plb.web(), "/").text(), "back");
}

#[test]
fn a_tcp_client_is_moved_to_the_next_backend_and_closed_when_there_is_none() {
    let (refusing, mut echo) = (Reservation::new(), Origin::echo());
    let plb = Plb::tcp("server_retry: 1\ntimeout_cleanup: 1h", &[refusing.address(), echo.address()]);
    for _ in 0..3 {
        let mut client = Client::connect(plb.web());
        client.send("hello");
        assert_eq!(client.exactly(5), b"hello");
    }
    plb.wait_for_log("backend web/b1: down after 1 failure");
    echo.stop();
    let ends = || assert!(Client::connect(plb.web()).until_end().unwrap_or_default().is_empty());
    ends();
    plb.wait_for_log("backend web/b2: down after 1 failure");
    ends();
}
