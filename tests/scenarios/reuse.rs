//! Proves that connections to backends are used again, and that one that died while idle harms nobody.

use crate::harness::client::{Client, bodies, get};
use crate::harness::{Connection, Gate, Origin, Plb, ok};

#[test]
fn fifty_clients_after_each_other_share_one_backend_connection() {
    let origin = Origin::named("only");
    let plb = Plb::http("", &[origin.address()]);
    bodies(plb.web(), 50);
    assert_eq!((origin.requests(), origin.connections()), (50, 1));
}

/// Its first connection answers once and then, when the gate opens, ends as `end` says; later ones serve on.
fn fickle(gate: &Gate, end: fn(&mut Connection)) -> Origin {
    let gate = gate.clone();
    Origin::raw(move |connection| {
        while connection.request().is_some() {
            if connection.send(ok("served")).is_err() {
                return;
            }
            if connection.number == 0 {
                gate.pass();
                end(connection);
                return;
            }
        }
    })
}

fn an_idle_connection_that_ends_is_dropped(end: fn(&mut Connection)) {
    let gate = Gate::default();
    let origin = fickle(&gate, end);
    let plb = Plb::http("server_retry: 1\ntimeout_idle: 1h", &[origin.address()]);
    assert_eq!(get(plb.web(), "/").text(), "served");
    gate.open();
    origin.wait_for("plb drops the connection", |seen| seen.over() == 1);
    for _ in 0..5 {
        assert_eq!(get(plb.web(), "/").text(), "served");
    }
    assert_eq!(origin.connections(), 2);
    plb.stop_unmarked();
}

#[test]
fn an_end_on_an_idle_connection_is_no_failure() {
    an_idle_connection_that_ends_is_dropped(|connection| {
        connection.half_close();
        drop(connection.until_end()); // returns once plb has closed
    });
}

#[test]
fn stray_bytes_on_an_idle_connection_reach_no_client() {
    an_idle_connection_that_ends_is_dropped(|connection| {
        drop(connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"));
        drop(connection.until_end());
    });
}

#[test]
fn a_reset_of_an_idle_connection_is_no_failure() {
    an_idle_connection_that_ends_is_dropped(|connection| connection.reset());
}

#[test]
fn idle_connections_are_closed_in_time() {
    let origin = Origin::named("only");
    let plb = Plb::http("timeout_idle: 200ms", &[origin.address()]);
    get(plb.web(), "/");
    origin.wait_for("the idle connection is closed", |seen| seen.over() == 1);
    assert_eq!(get(plb.web(), "/").text(), "only");
    plb.stop_unmarked();
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    let gate = Gate::default();
    let origin = Origin::http({
        let gate = gate.clone();
        move |_| {
            gate.pass();
            ok("together")
        }
    });
    let plb = Plb::http("idle_backend_max: 1\ntimeout_idle: 1h", &[origin.address()]);
    let address = plb.web();
    let clients: Vec<_> = (0..3).map(|_| std::thread::spawn(move || get(address, "/").text())).collect();
    origin.wait_for("three at once", |seen| seen.connections.iter().filter(|c| c.bytes > 0).count() == 3);
    gate.open();
    for client in clients {
        assert_eq!(client.join().expect("served"), "together");
    }
    origin.wait_for("two are closed", |seen| seen.over() == 2);
    get(address, "/");
    assert_eq!(origin.connections(), 3, "the third was kept");
}

#[test]
fn a_first_request_that_could_not_be_sent_again_gets_a_fresh_connection() {
    let origin = Origin::http(|_| ok("done"));
    let plb = Plb::http("timeout_idle: 1h", &[origin.address()]);
    let connections_after = |request: &str, length: usize| {
        let mut client = Client::connect(plb.web());
        let body = "x".repeat(length);
        client.send(format!("{request} / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.response().text(), "done");
        origin.connections()
    };
    assert_eq!(connections_after("PUT", 1_000), 1);
    assert_eq!(connections_after("PUT", 1_000), 1, "it is idempotent and held");
    assert_eq!(connections_after("PUT", 20_000), 2, "it is not held");
    assert_eq!(connections_after("POST", 1), 3, "it is not idempotent");
}
