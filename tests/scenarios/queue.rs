//! Proves that no backend gets more connections than it may have, that whoever has to wait is served in turn, and when a
//! later tier serves.

use crate::harness::client::{Client, bodies, get};
use crate::harness::gate::Gate;
use crate::harness::lines::Lines;
use crate::harness::{BlackHole, Origin, Plb, configuration, locked, ok, poll_until};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Connections that an origin has, and the most that were open at once.
#[derive(Default)]
struct Presence {
    connections: Mutex<Vec<TcpStream>>,
    most: AtomicUsize,
}

impl Presence {
    /// Another one came. What was ended before shows its end by now.
    fn note(&self, connection: TcpStream) {
        let mut all = locked(&self.connections);
        all.push(connection);
        all.retain(|stream| !is_ended(stream));
        self.most.fetch_max(all.len(), Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Whether the peer has ended the connection, and all before its end was read.
fn is_ended(stream: &TcpStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(recv(stream.as_raw_fd(), &mut [0], flags), Ok(1) | Err(Errno::EAGAIN))
}

/// Answers each request with its target, once the gate is open.
fn gated(gate: &Gate) -> (Origin, Arc<Presence>) {
    let presence = Arc::new(Presence::default());
    let (gate, inside) = (gate.clone(), presence.clone());
    let origin = Origin::raw(move |connection| {
        inside.note(connection.sender());
        while let Some(request) = connection.request() {
            gate.pass();
            if connection.send(ok(request.target())).is_err() {
                break;
            }
        }
    });
    (origin, presence)
}

/// The configuration of `backends`, each with its further settings, in a pool with these.
fn pool(protocol: &str, settings: &str, backends: &[(SocketAddr, &str)]) -> String {
    let addresses: Vec<_> = backends.iter().map(|(address, _)| *address).collect();
    let mut yaml = configuration(protocol, settings, &addresses);
    for (index, (_, own)) in backends.iter().enumerate() {
        let name = format!("name: b{} }}", index + 1);
        yaml = yaml.replace(&name, &format!("name: b{}, {own} }}", index + 1));
    }
    yaml
}

fn wait_for_waiting(plb: &Plb, count: usize) {
    wait_for_summary(plb, "summary: pool web:", &format!(" {count} clients wait"));
}

/// Waits until the line of a summary about `what` says this.
fn wait_for_summary(plb: &Plb, what: &str, says: &str) {
    poll_until(&format!("{what} {says}"), || {
        let before = plb.log_length();
        plb.signal(Signal::SIGUSR1);
        let line =
            plb.wait_for_line("a summary", |lines| lines[before..].iter().find(|line| line.contains(what)).cloned());
        line.contains(says)
    });
}

/// Clients that have asked for `/1`, `/2` and so on, in this order: the first one is with the backend, the others wait.
fn line_up(plb: &Plb, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 1..=count {
        let mut client = Client::connect(plb.web());
        client.ask(&format!("/{number}"));
        clients.push(client);
        wait_for_waiting(plb, number - 1);
    }
    clients
}

#[test]
fn a_burst_never_exceeds_what_a_backend_may_have_and_everybody_is_served() {
    let gate = Gate::default();
    let ((one, in_one), (two, in_two)) = (gated(&gate), gated(&gate));
    let settings = "max_connections: 3";
    let plb =
        Plb::start(&pool("http", settings, &[(one.address(), "max_connections: 2"), (two.address(), "weight: 2")]));
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(plb.web())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Requests that may not use an idle connection, and others.
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        client.send(format!("{method} /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    }
    wait_for_waiting(&plb, 55);
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    assert_eq!((one.requests() + two.requests(), in_one.most(), in_two.most()), (60, 2, 3));
}

#[test]
fn who_came_first_is_served_first_and_who_left_is_not_served() {
    let gate = Gate::default();
    let (origin, _) = gated(&gate);
    let plb = Plb::http("max_connections: 1", &[origin.address()]);
    let mut clients = line_up(&plb, 6);
    clients.remove(4).reset();
    let mut ended = clients.remove(2);
    ended.half_close();
    wait_for_waiting(&plb, 3);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    let targets =
        origin.seen(|seen| seen.requests.iter().map(|request| request.target().to_string()).collect::<Vec<_>>());
    assert_eq!(targets, ["/1", "/2", "/4", "/6"]);
    // Its end is taken for its giving up.
    assert!(ended.until_end().is_err());
}

#[test]
fn who_finds_the_queue_full_or_waits_for_too_long_gets_503() {
    let (gate, log) = (Gate::default(), Lines::new());
    let (origin, _) = gated(&gate);
    let settings = format!(
        "max_connections: 1\nmax_queue: 1\ntimeout_queue: 300ms\naccess_log: {}\ntimeout_header_server_read: 60s",
        log.path().display()
    );
    let plb = Plb::http(&settings, &[origin.address()]);
    let mut first = Client::connect(plb.web());
    first.ask("/1");
    origin.wait_for("it is asked", |seen| seen.requests.len() == 1);
    let mut second = Client::connect(plb.web());
    second.ask("/2");
    wait_for_waiting(&plb, 1);
    assert_eq!(get(plb.web(), "/3").status(), 503, "the queue is full");
    assert_eq!(second.response().status(), 503, "it waited for too long");
    gate.open();
    assert_eq!(first.response().status(), 200);
    assert_eq!(get(plb.web(), "/4").status(), 200);
    let ends = log.wait_for(4);
    assert_eq!(ends.iter().filter(|line| line.contains("busy")).count(), 2, "{ends:?}");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn who_is_bound_waits_for_its_own_backend_while_others_are_free_and_leaves_it_when_it_goes_down() {
    let gate = Gate::default();
    let (mut one, _) = gated(&gate);
    let two = Origin::named("two");
    let yaml = pool(
        "http",
        "server_retry: 1\ntimeout_cleanup: 1h\nmax_connections: 1",
        &[(one.address(), "max_connections: 1"), (two.address(), "weight: 1")],
    );
    let plb =
        Plb::start(&yaml.replace("    backends:\n", "    affinity: { type: insert_cookie, name: S }\n    backends:\n"));
    let bound = || {
        let mut client = Client::connect(plb.web());
        client.send("GET /bound HTTP/1.1\r\nHost: a\r\nCookie: S=7dc96f77\r\n\r\n");
        client
    };
    let mut first = bound();
    one.wait_for("it is asked", |seen| seen.requests.len() == 1);
    let mut second = bound();
    wait_for_waiting(&plb, 1);
    assert_eq!(get(plb.web(), "/").text(), "two", "the other one is free");
    wait_for_waiting(&plb, 1);
    // It breaks off what it does, and is down.
    one.stop();
    assert_eq!(second.response().text(), "two");
    // An idempotent request is sent again.
    assert_eq!(first.response().text(), "two");
    gate.open();
}

#[test]
fn who_waits_because_another_backend_could_not_be_reached_in_time_gets_its_turn() {
    let (gate, hole) = (Gate::default(), BlackHole::new());
    let (good, _) = gated(&gate);
    let settings = "balance: first\nmax_connections: 1\nserver_retry: 1000\ntimeout_queue: 1h\n\
                    timeout_header_server_write: 300ms\ntimeout_header_server_read: 1h";
    let plb = Plb::http(settings, &[hole.address(), good.address()]);
    let mut first = Client::connect(plb.web());
    first.ask("/first");
    wait_for_summary(&plb, "backend web/b1:", " 1 connections");
    let mut second = Client::connect(plb.web());
    second.ask("/second");
    good.wait_for("it is asked", |seen| seen.requests.len() == 1);
    wait_for_waiting(&plb, 1);
    gate.open();
    assert_eq!((second.response().text(), first.response().text()), ("/second".into(), "/first".into()));
}

#[test]
fn a_tcp_client_waits_for_a_backend_and_loses_nothing_meanwhile() {
    let origin = Origin::echo();
    let plb = Plb::tcp("max_connections: 1\ntimeout_queue: 30s", &[origin.address()]);
    let mut first = Client::connect(plb.web());
    first.send("one");
    assert_eq!(first.exactly(3), b"one");
    let mut second = Client::connect(plb.web());
    second.send("two");
    second.half_close();
    wait_for_waiting(&plb, 1);
    assert_eq!(origin.connections(), 1);
    drop(first);
    assert_eq!(second.until_end().expect("an orderly end"), b"two");
}

#[test]
fn an_idle_connection_counts_and_goes_before_another_one_comes() {
    let gate = Gate::default();
    gate.open();
    let (origin, presence) = gated(&gate);
    let plb = Plb::http("max_connections: 1\ntimeout_idle: 60s", &[origin.address()]);
    for number in 0..20 {
        assert_eq!(get(plb.web(), "/idle").status(), 200);
        // The first request of a client that may not be sent twice takes no idle connection.
        let mut client = Client::connect(plb.web());
        client.send("POST /fresh HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response_to("POST").expect("an answer").status(), 200, "{number}");
    }
    assert_eq!((presence.most(), origin.connections()), (1, 21));
}

#[test]
fn a_later_tier_serves_while_the_first_one_is_down_and_no_longer() {
    let (mut first, second) = (Origin::named("first"), Origin::named("second"));
    let settings = "server_retry: 1\ntimeout_cleanup: 50ms";
    let plb = Plb::start(&pool("http", settings, &[(first.address(), "tier: 1"), (second.address(), "tier: 3")]));
    assert_eq!(bodies(plb.web(), 4), ["first"; 4]);
    first.stop();
    assert_eq!(bodies(plb.web(), 4), ["second"; 4]);
    first.revive();
    plb.wait_for_log("web/b1: up");
    poll_until("the first tier serves", || get(plb.web(), "/").text() == "first");
    assert_eq!(bodies(plb.web(), 4), ["first"; 4]);
}

#[test]
fn a_tier_that_lives_again_is_held_back_for_as_long_as_is_said() {
    let (mut first, second) = (Origin::named("first"), Origin::named("second"));
    let settings = "server_retry: 1\ntimeout_cleanup: 50ms\ntier_hold: 1h";
    let plb = Plb::start(&pool("http", settings, &[(first.address(), "tier: 0"), (second.address(), "tier: 1")]));
    assert_eq!(bodies(plb.web(), 4), ["first"; 4]);
    first.stop();
    assert_eq!(bodies(plb.web(), 4), ["second"; 4]);
    first.revive();
    plb.wait_for_log("web/b1: up");
    assert_eq!(bodies(plb.web(), 4), ["second"; 4]);
}

#[test]
fn a_backend_that_drains_serves_those_who_are_bound_and_one_in_maintenance_nobody() {
    let origins = ["b1", "b2", "b3", "b4"].map(Origin::named);
    let states = ["state: drain", "state: maintenance", "weight: 0", "weight: 1"];
    let backends: Vec<_> = origins.iter().zip(states).map(|(origin, state)| (origin.address(), state)).collect();
    let yaml = pool("http", "", &backends);
    let plb =
        Plb::start(&yaml.replace("    backends:\n", "    affinity: { type: insert_cookie, name: S }\n    backends:\n"));
    assert_eq!(bodies(plb.web(), 8), ["b4"; 8]);
    // The ids are how the SHA-256 sums of the names begin.
    for (cookie, who) in [("7dc96f77", "b1"), ("4814d920", "b4"), ("", "b4")] {
        let mut client = Client::connect(plb.web());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: S={cookie}\r\n\r\n"));
        assert_eq!(client.response().text(), who, "{cookie}");
    }
    plb.signal(Signal::SIGUSR1);
    for (name, state) in [("b1", "Drain"), ("b2", "Maintenance"), ("b3", "Ready")] {
        plb.wait_for_line("the state of a backend", |lines| {
            let tells =
                |line: &&String| line.contains(&format!("/{name}: Up")) && line.ends_with(&format!(", {state}"));
            lines.iter().find(tells).cloned()
        });
    }
}

#[test]
fn the_wait_in_the_queue_is_no_failure_of_the_backend() {
    let gate = Gate::default();
    let (origin, _) = gated(&gate);
    let plb = Plb::http("max_connections: 1\nserver_retry: 1\ntimeout_queue: 50ms", &[origin.address()]);
    let mut first = Client::connect(plb.web());
    first.ask("/1");
    origin.wait_for("it is asked", |seen| seen.requests.len() == 1);
    assert_eq!(get(plb.web(), "/2").status(), 503);
    let mut last = Client::connect(plb.web());
    last.ask("/3");
    assert!(!first.has_news(Duration::from_millis(1)));
    gate.open();
    assert_eq!(first.response().status(), 200);
    assert!([200, 503].contains(&last.response().status()));
    assert!(!plb.log().contains("down"), "{}", plb.log());
}

#[test]
fn whoever_turns_to_a_full_backend_after_another_one_was_silent_for_too_long_gets_it_when_it_has_room() {
    let gate = Gate::default();
    let behind = gate.clone();
    let slow = Origin::raw(move |connection| {
        while connection.request().is_some() {
            if connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl").is_err() {
                break;
            }
            behind.pass();
            if connection.send("ow").is_err() {
                break;
            }
        }
    });
    let silent = Origin::silent();
    let settings = "timeout_header_server_read: 300ms\ntimeout_queue: 10s\nserver_retry: 9";
    let plb =
        Plb::start(&pool("http", settings, &[(slow.address(), "max_connections: 1"), (silent.address(), "tier: 0")]));
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(plb.web())).collect();
    clients[0].ask("/0");
    clients[0].response_head().expect("its answer has begun");
    clients[1..].iter_mut().for_each(|client| client.ask("/"));
    wait_for_waiting(&plb, 3);
    gate.open();
    for client in &mut clients[1..] {
        assert_eq!(client.response().text(), "slow");
    }
}

#[test]
fn whoever_is_refused_while_it_waits_gives_its_place_back_and_gets_no_connection() {
    let gate = Gate::default();
    let (origin, _) = gated(&gate);
    let settings = "max_connections: 1\ntimeout_queue: 1h\nserver_retry: 1\ntimeout_header_server_write: 100ms";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut first = Client::connect(plb.web());
    first.ask("/1");
    origin.wait_for("it is asked", |seen| seen.requests.len() == 1);
    let mut refused = Client::connect(plb.web());
    refused.send("POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait_for_waiting(&plb, 1);
    refused.send("no length\r\n");
    assert_eq!(refused.response().status(), 400);
    wait_for_waiting(&plb, 0);
    gate.open();
    assert_eq!(first.response().status(), 200);
    assert_eq!(get(plb.web(), "/3").text(), "/3");
    // It still lingers, and nobody lets a deadline of the backend's pass for it.
    assert!(refused.until_end().is_ok());
    assert!(!plb.stop().contains("down after"));
    assert_eq!(origin.requests(), 2);
}
