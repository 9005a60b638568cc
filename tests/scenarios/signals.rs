//! Proves what signals do: a graceful stop that loses nothing, an impatient second one, and harmless others.

use crate::harness::client::{Client, get};
use crate::harness::{Gate, Origin, PATIENCE, Plb, ok, poll_until};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::TcpStream;

/// Answers `/slow` in two halves with the gate between them, everything else at once.
fn slow(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::raw(move |connection| {
        while let Some(request) = connection.request() {
            let sent = match request.target() {
                "/slow" => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").and_then(|()| {
                    gate.pass();
                    connection.send("final")
                }),
                _ => connection.send(ok("quick")),
            };
            if sent.is_err() {
                return;
            }
        }
    })
}

/// A client in the middle of its response.
fn halfway(plb: &Plb) -> Client {
    let mut client = Client::connect(plb.web());
    client.ask("/slow");
    client.response_head().expect("the response starts");
    assert_eq!(client.exactly(5), b"first");
    client
}

fn wait_until_nobody_listens(plb: &Plb) {
    let address = plb.web();
    poll_until("the listener is closed", || {
        TcpStream::connect_timeout(&address, PATIENCE).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

fn a_running_response_is_delivered_whole_after(signal: Signal) {
    let gate = Gate::default();
    let origin = slow(&gate);
    let mut plb = Plb::http("", &[origin.address()]);
    let mut client = halfway(&plb);
    plb.signal(signal);
    wait_until_nobody_listens(&plb);
    gate.open();
    assert_eq!(client.exactly(5), b"final");
    client.closed();
    assert_eq!(plb.wait_exit().code(), Some(0));
    assert!(plb.log().contains("plb: stopped"), "{}", plb.log());
}

#[test]
fn sigterm_lets_a_running_response_finish() {
    a_running_response_is_delivered_whole_after(Signal::SIGTERM);
}

#[test]
fn sigint_lets_a_running_response_finish() {
    a_running_response_is_delivered_whole_after(Signal::SIGINT);
}

#[test]
fn sigterm_serves_those_who_wait_in_the_backlog() {
    let origin = Origin::named("only");
    let mut plb = Plb::http("max_clients: 2", &[origin.address()]);
    let address = plb.web();
    plb.signal(Signal::SIGSTOP);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.ask("/");
    }
    plb.signal(Signal::SIGTERM);
    plb.signal(Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.response().text(), "only");
        client.closed();
    }
    assert_eq!(plb.wait_exit().code(), Some(0));
}

#[test]
fn clients_that_are_served_during_a_stop_are_told_that_it_was_the_last_time() {
    let gate = Gate::default();
    let origin = Origin::http({
        let gate = gate.clone();
        move |_| {
            gate.pass();
            ok("last")
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    origin.wait_for("the request", |seen| seen.requests.len() == 1);
    plb.signal(Signal::SIGTERM);
    wait_until_nobody_listens(&plb);
    gate.open();
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("last", Some("close")));
    client.closed();
}

#[test]
fn a_client_that_says_nothing_does_not_hold_a_stop() {
    let origin = Origin::named("only");
    let settings = "timeout_shutdown: 1h\ntimeout_header_client_read: 1h\ntimeout_keep_alive: 1h";
    let mut plb = Plb::http(settings, &[origin.address()]);
    let mut silent = Client::connect(plb.web());
    // Clients are accepted in order: this one's answer says that the silent one is in.
    assert_eq!(Client::connect(plb.web()).get("/").text(), "only");
    plb.signal(Signal::SIGTERM);
    silent.closed();
    assert_eq!(plb.wait_exit().code(), Some(0));
}

#[test]
fn sigterm_closes_idle_clients_at_once() {
    let origin = Origin::named("only");
    let mut plb = Plb::http("timeout_shutdown: 1h\ntimeout_keep_alive: 1h", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/").text(), "only");
    plb.signal(Signal::SIGTERM);
    client.closed();
    assert_eq!(plb.wait_exit().code(), Some(0));
}

#[test]
fn a_stop_takes_no_longer_than_allowed() {
    let gate = Gate::default();
    let origin = slow(&gate);
    let mut plb = Plb::http("timeout_shutdown: 300ms", &[origin.address()]);
    let mut client = halfway(&plb);
    plb.signal(Signal::SIGTERM);
    plb.wait_exit();
    assert!(client.until_end().is_err(), "a cut response has no orderly end");
    gate.open();
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let gate = Gate::default();
    let origin = slow(&gate);
    let mut plb = Plb::http("timeout_shutdown: 1h", &[origin.address()]);
    let _client = halfway(&plb);
    plb.signal(Signal::SIGTERM);
    wait_until_nobody_listens(&plb);
    plb.signal(Signal::SIGTERM);
    plb.wait_exit();
    gate.open();
}

#[test]
fn sighup_is_logged_and_changes_nothing() {
    let origin = Origin::named("only");
    let plb = Plb::http("", &[origin.address()]);
    plb.signal(Signal::SIGHUP);
    plb.wait_for_log("SIGHUP");
    assert_eq!(get(plb.web(), "/").text(), "only");
    plb.stop_unmarked();
}

#[test]
fn sigusr1_logs_a_summary() {
    let origin = Origin::named("only");
    let plb = Plb::http("", &[origin.address()]);
    get(plb.web(), "/");
    let before = plb.log_length();
    plb.signal(Signal::SIGUSR1);
    plb.wait_for_line("a summary", |lines| (lines.len() > before).then_some(()));
    assert_eq!(get(plb.web(), "/").text(), "only");
    plb.stop_unmarked();
}

#[test]
fn sigpipe_and_clients_that_vanish_harm_nobody() {
    let gate = Gate::default();
    let origin = slow(&gate);
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    let gone = halfway(&plb);
    gone.reset();
    gate.open();
    plb.signal(Signal::SIGPIPE);
    assert_eq!(get(plb.web(), "/").text(), "quick");
    plb.stop_unmarked();
}
