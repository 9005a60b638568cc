//! Proves that each listener has a number of clients and a rate of its own, that those beyond wait in its backlog while
//! others are served, and that waiting costs nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::Client;
use crate::harness::{Origin, Plb};

/// Two listeners, of which the one named `narrow` has this setting, with one pool for both.
fn two_doors(settings: &str, narrow: &str, backend: SocketAddr) -> Plb {
    let listener = |name: &str, setting: &str| {
        format!("  - {{ name: {name}, listen: 127.0.0.1:0, pool: web, backlog: 400, {setting} }}\n")
    };
    Plb::start(&format!(
        "core_dumps: true\n{settings}\nlisteners:\n{}{}pools:\n  web: {{ backends: [\"{backend}\"] }}\n",
        listener("narrow", narrow),
        listener("wide", "max_clients: none"),
    ))
}

#[test]
fn who_finds_a_listener_full_waits_quietly_while_another_one_serves() {
    let origin = Origin::named("only");
    let plb = two_doors("timeout_keep_alive: 1h", "max_clients: 2", origin.address());
    let narrow = plb.address("narrow");
    let mut two = [Client::connect(narrow), Client::connect(narrow)];
    two.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only"));
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(narrow)).collect();
    waiting.iter_mut().for_each(|client| client.ask("/waiting"));
    plb.wait_for_log("listener narrow: max_clients (2) are being served, others wait (so far 1 times)");
    for _ in 0..20 {
        assert_eq!(Client::connect(plb.address("wide")).get("/").text(), "only");
        two.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only"));
    }
    let before = plb.processor_time();
    assert!(!waiting[0].has_news(Duration::from_secs(1)), "there is no place for it");
    let spent = plb.processor_time() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of processor time in a second of nothing");
    assert!(!origin.seen(|seen| seen.requests.iter().any(|request| request.target() == "/waiting")));
    // One place, which they take in turn.
    let [first, mut second] = two;
    drop(first);
    for mut client in waiting {
        assert_eq!(client.response().text(), "only");
    }
    assert_eq!(second.get("/").text(), "only");
    plb.stop_unmarked();
}

#[test]
fn a_listener_that_is_full_takes_a_client_for_each_that_leaves_however_that_leaves() {
    let origin = Origin::named("only");
    let plb = two_doors("timeout_keep_alive: 1h", "max_clients: 2", origin.address());
    let narrow = plb.address("narrow");
    for round in 0..30 {
        let [mut one, mut other] = [Client::connect(narrow), Client::connect(narrow)];
        assert_eq!(one.get("/").text(), "only", "round {round}");
        match round % 3 {
            0 => one.reset(),
            1 => one.half_close(),
            _ => drop(one.try_send("no request\r\n\r\n")),
        }
        assert_eq!(other.get("/").text(), "only", "round {round}");
    }
    let mut last = [Client::connect(narrow), Client::connect(narrow)];
    last.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only"));
    let mut third = Client::connect(narrow);
    third.ask("/");
    plb.wait_for_log("listener narrow: max_clients (2) are being served");
    assert!(!third.has_news(Duration::from_millis(100)), "nobody was forgotten");
}

#[test]
fn a_listener_takes_clients_at_its_rate_and_waits_quietly_for_the_next_one() {
    let origin = Origin::named("only");
    let plb = two_doors("", "accept_rate: 8", origin.address());
    let begin = Instant::now();
    let mut clients: Vec<Client> = (0..9).map(|_| Client::connect(plb.address("narrow"))).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    let before = plb.processor_time();
    assert_eq!(Client::connect(plb.address("wide")).get("/").text(), "only", "it has no rate");
    for client in &mut clients {
        assert_eq!(client.response().text(), "only");
    }
    let spent = plb.processor_time() - before;
    let elapsed = begin.elapsed();
    assert!(elapsed >= Duration::from_millis(990), "one at once, and 8 in a second: {elapsed:?}");
    assert!(spent < Duration::from_millis(150), "{spent:?} of processor time in {elapsed:?}");
    // Who is in has no rate.
    (0..50).for_each(|_| assert_eq!(clients[0].get("/").text(), "only"));
    plb.stop_unmarked();
}

#[test]
fn a_stop_takes_everybody_who_waits_for_the_rate_at_once() {
    let origin = Origin::named("only");
    let mut plb = two_doors("timeout_shutdown: 10s", "accept_rate: 1", origin.address());
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(plb.address("narrow"))).collect();
    clients.iter_mut().for_each(|client| client.ask("/"));
    assert_eq!(clients[0].response().text(), "only");
    plb.signal(Signal::SIGTERM);
    for client in &mut clients[1..] {
        assert_eq!(client.response().text(), "only");
    }
    drop(clients);
    assert_eq!(plb.wait_exit().code(), Some(0));
    assert!(!plb.log().contains("cut off"), "{}", plb.log());
}
