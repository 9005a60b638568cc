//! Proves that whatever may be wrong with one backend, clients get their answers from another one and every slot comes
//! back: with limits and a queue, without probes and with either kind of them.

use crate::harness::client::Client;
use crate::harness::{BlackHole, Origin, PATIENCE, Plb, Reservation, configuration, ok, poll_until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// More than both backends take at once, so that there always is a queue.
const CLIENTS: usize = 8;
/// What each of them asks for.
const REQUESTS: usize = 12;

const SETTINGS: &str = "max_connections: 2\nserver_retry: 2\ntimeout_cleanup: 100ms\n\
                        timeout_queue: 10s\ntimeout_header_server_write: 300ms\ntimeout_header_server_read: 300ms";

/// What the pool says of probes: nothing, that they connect, or that they ask.
const HEALTH: [&str; 3] = [
    "",
    "    health: { type: tcp, interval: 300ms, fast_interval: 50ms, rise: 1, fall: 2 }\n",
    "    health: { type: http, interval: 300ms, fast_interval: 50ms, rise: 1, fall: 2 }\n",
];

fn limited(protocol: &str, health: &str, backends: &[SocketAddr]) -> Plb {
    let yaml = configuration(protocol, SETTINGS, backends);
    Plb::start(&yaml.replace("    backends:\n", &format!("{health}    backends:\n")))
}

/// Clients that come one after the other, some of them to stay for a second request, until `is_over`; the statuses.
fn besiege(web: SocketAddr, is_over: impl Fn() -> bool + Sync) -> Vec<u16> {
    let limit = Instant::now() + 2 * PATIENCE;
    let client = || {
        let mut statuses = Vec::new();
        while !is_over() && Instant::now() < limit {
            let mut client = Client::connect(web);
            statuses.push(client.get("/").status());
            assert!([Some(&200), Some(&502)].contains(&statuses.last()), "{statuses:?}");
            if statuses.len() % 2 == 0 && statuses.last() == Some(&200) {
                statuses.push(client.get("/").status());
            }
        }
        statuses
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("every client gets an answer")).collect()
    })
}

/// The same until so many have been asked for.
fn besiege_for(web: SocketAddr, requests: usize) -> Vec<u16> {
    let asked = AtomicUsize::new(0);
    besiege(web, || asked.fetch_add(1, Ordering::Relaxed) >= requests)
}

/// Waits until nobody has a slot of a backend and nobody waits for one.
fn wait_for_free_slots(plb: &Plb) {
    poll_until("free slots", || {
        let before = plb.log_length();
        plb.signal(nix::sys::signal::Signal::SIGUSR1);
        plb.wait_for_line("a summary", |lines| {
            let of = |what: &str| lines[before..].iter().filter(|line| line.contains(what)).collect::<Vec<_>>();
            let (pools, backends) = (of("summary: pool web:"), of("summary: backend web/"));
            let is_whole = pools.len() == 1 && backends.len() == 2;
            is_whole.then(|| {
                pools.iter().all(|line| line.ends_with(" 0 clients wait"))
                    && backends.iter().all(|line| line.contains(", 0 connections, "))
            })
        })
    });
}

/// What the log says of the first backend when it goes `word`.
fn transitions(plb: &Plb, word: &str) -> usize {
    plb.log().matches(&format!("backend web/b1: {word}")).count()
}

/// `bad` beside a good backend, in every way of probing; how many clients got something else than 200.
fn failures_beside(bad: SocketAddr, is_noticed: impl Fn(&Plb)) -> [usize; 3] {
    HEALTH.map(|health| {
        let good = Origin::named("good");
        let plb = limited("http", health, &[bad, good.address()]);
        let statuses = besiege_for(plb.web(), CLIENTS * REQUESTS);
        is_noticed(&plb);
        wait_for_free_slots(&plb);
        assert!(transitions(&plb, "down") <= transitions(&plb, "up") + 1, "{}", plb.log());
        assert!(!plb.stop().contains("web/b2: down"), "{health}: the good one was blamed");
        statuses.iter().filter(|&&status| status != 200).count()
    })
}

fn goes_down(plb: &Plb) {
    plb.wait_for_log("backend web/b1: down ");
}

#[test]
fn a_backend_that_refuses_costs_no_answer_and_no_slot() {
    assert_eq!(failures_beside(Reservation::new().address(), goes_down), [0; 3]);
}

#[test]
fn a_backend_that_is_not_there_at_all_costs_no_answer_and_no_slot() {
    assert_eq!(failures_beside(BlackHole::new().address(), goes_down), [0; 3]);
}

#[test]
fn a_backend_that_stays_silent_costs_no_answer_and_no_slot() {
    assert_eq!(failures_beside(Origin::silent().address(), goes_down), [0; 3]);
}

#[test]
fn a_backend_that_resets_in_the_middle_of_its_head_costs_few_answers_and_no_slot() {
    let bad = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\nContent-Le"));
            connection.reset();
        }
    });
    let failures = failures_beside(bad.address(), goes_down);
    // Whoever has met a byte of an answer is not sent on. Two at once until it is down, and one on each trial.
    assert!(failures.iter().all(|&count| count < CLIENTS * REQUESTS / 4), "{failures:?}");
}

#[test]
fn a_backend_that_closes_what_was_idle_just_as_it_is_used_costs_no_answer_no_slot_and_no_blame() {
    for reset in [false, true] {
        let racing = Origin::raw(move |connection| {
            if connection.request().is_some() && connection.send(ok("once")).is_ok() {
                drop(connection.request());
                if reset {
                    connection.reset();
                }
            }
        });
        let is_never_down = |plb: &Plb| assert_eq!(transitions(plb, "down"), 0, "{}", plb.log());
        assert_eq!(failures_beside(racing.address(), is_never_down), [0; 3]);
        let twice = racing.seen(|seen| seen.received.iter().filter(|bytes| count(bytes) > 1).count());
        assert!(twice > 0, "no connection was used again: this proves nothing");
    }
}

/// The requests among some bytes.
fn count(bytes: &[u8]) -> usize {
    bytes.windows(5).filter(|window| window == b"GET /").count()
}

#[test]
fn a_backend_that_flaps_under_load_costs_no_answer_and_no_slot_and_is_told_of_once_each_time() {
    const ROUNDS: usize = 8;
    for health in HEALTH {
        let (mut flapping, good, is_over) = (Origin::named("flapping"), Origin::named("good"), AtomicBool::new(false));
        let plb = limited("http", health, &[flapping.address(), good.address()]);
        let web = plb.web();
        thread::scope(|scope| {
            let clients = scope.spawn(|| besiege(web, || is_over.load(Ordering::Relaxed)));
            for round in 1..=ROUNDS {
                for word in ["down", "up"] {
                    let before = flapping.requests();
                    if word == "down" {
                        flapping.stop()
                    } else {
                        flapping.revive()
                    }
                    poll_until(word, || transitions(&plb, word) >= round);
                    poll_until("it is served", || word == "down" || flapping.requests() > before);
                }
            }
            is_over.store(true, Ordering::Relaxed);
            let statuses = clients.join().expect("every client gets an answer");
            assert!(statuses.iter().all(|&status| status == 200), "{health}: {statuses:?}");
        });
        wait_for_free_slots(&plb);
        let (downs, ups) = (transitions(&plb, "down"), transitions(&plb, "up"));
        // A connection that was cut while it stopped may be found to be so after its return.
        assert!((ROUNDS..=2 * ROUNDS).contains(&downs) && downs.abs_diff(ups) <= 1, "{downs} downs, {ups} ups");
        assert!(!plb.stop().contains("web/b2: down"), "{health}: the good one was blamed");
    }
}

#[test]
fn tcp_clients_lose_no_connection_and_no_slot_to_a_backend_that_takes_none() {
    let (refusing, hole) = (Reservation::new(), BlackHole::new());
    for (bad, health) in
        [refusing.address(), hole.address()].into_iter().flat_map(|bad| [(bad, HEALTH[0]), (bad, HEALTH[1])])
    {
        let echo = Origin::echo();
        let plb = limited("tcp", health, &[bad, echo.address()]);
        let web = plb.web();
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let mut client = Client::connect(web);
                        client.send("hello");
                        assert_eq!(client.exactly(5), b"hello");
                    }
                });
            }
        });
        goes_down(&plb);
        wait_for_free_slots(&plb);
        assert!(!plb.stop().contains("web/b2: down"), "{health}: the good one was blamed");
    }
}
