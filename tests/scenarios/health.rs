//! Proves that probes take backends out and bring them back as `health` says: counted, spread, bounded, and together with
//! what clients meet.

use crate::harness::client::{Client, bodies, get, greeting};
use crate::harness::lines::Lines;

use crate::harness::{BlackHole, Gate, Origin, PATIENCE, Plb, Reservation, configuration};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A pool that is probed as `health` says.
fn probed(protocol: &str, settings: &str, health: &str, backends: &[SocketAddr]) -> String {
    let section = format!("    health: {{ type: tcp, {health} }}\n    backends:\n");
    configuration(protocol, settings, backends).replace("    backends:\n", &section)
}

/// A pool of tcp whose only backend is an echo, and whose probes go to another origin.
fn probed_aside(settings: &str, echo: &Origin, checked: &Origin) -> Plb {
    let health = format!("port: {}, interval: 50ms, fall: 2", checked.address().port());
    Plb::start(&probed("tcp", settings, &health, &[echo.address()]))
}

/// What stands behind `label` in a line: a number of seconds.
fn seconds(line: &str, label: &str) -> f64 {
    let (_, rest) = line.split_once(label).unwrap_or_else(|| panic!("no {label:?} in {line:?}"));
    rest.split('s').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

#[test]
fn a_backend_goes_down_with_the_last_probe_of_fall_and_comes_back_with_the_last_one_of_rise() {
    let mut origin = Origin::named("one");
    let plb = Plb::start(&probed("http", "", "interval: 100ms, rise: 3, fall: 4", &[origin.address()]));
    origin.wait_for("the first probes", |seen| seen.connections.len() >= 2);
    let stopped = Instant::now();
    origin.stop();
    let line = plb.wait_for_log("backend web/b1: down ");
    assert!(line.contains("down after 4 failed probes: connection refused"), "{line}");
    assert!(stopped.elapsed() >= Duration::from_millis(290), "three times the interval lie between four probes");
    plb.wait_for_log("pool web: no backend is up");
    assert_eq!(get(plb.web(), "/").status(), 503);
    let before = origin.connections();
    origin.revive();
    plb.wait_for_log("backend web/b1: up after 3 probes");
    origin.wait_for("three probes", |seen| seen.connections.len() >= before + 3);
    assert_eq!(get(plb.web(), "/").status(), 200);
    assert_eq!(plb.stop().matches("no backend is up").count(), 1);
}

#[test]
fn the_fast_interval_is_kept_while_probes_are_counted_and_at_no_other_time() {
    let mut origin = Origin::named("one");
    let health = "interval: 1h, fast_interval: 20ms, timeout: 1s, rise: 5, fall: 6, initial: down";
    let plb = Plb::start(&probed("http", "log_level: debug", health, &[origin.address()]));
    plb.wait_for_log("backend web/b1: up after 5 probes");
    bodies(plb.web(), 20);
    origin.wait_for("the ends of the probes", |seen| seen.connections.iter().take(5).all(|probe| probe.over));
    assert_eq!(origin.seen(|seen| seen.connections.iter().filter(|seen| seen.bytes == 0).count()), 5, "and no more");
    plb.stop();
    origin.stop();
    let plb = Plb::start(&probed("http", "log_level: debug", &health.replace("down", "up"), &[origin.address()]));
    plb.wait_for_log("backend web/b1: down after 6 failed probes");
    bodies_of_503(&plb, 20);
    assert!(!plb.stop().contains("still down"), "the next one comes in an hour");
}

fn bodies_of_503(plb: &Plb, count: usize) {
    (0..count).for_each(|_| assert_eq!(get(plb.web(), "/").status(), 503));
}

#[test]
fn a_backend_that_begins_down_serves_once_probes_have_found_it() {
    let mut origin = Origin::named("one");
    origin.stop();
    let plb = Plb::start(&probed("http", "", "interval: 50ms, initial: down", &[origin.address()]));
    bodies_of_503(&plb, 3);
    origin.revive();
    plb.wait_for_log("backend web/b1: up after 2 probes");
    assert_eq!(bodies(plb.web(), 3), ["one"; 3]);
    assert!(!plb.stop().contains("down after"), "it never was up before");
}

#[test]
fn probes_of_many_backends_do_not_come_at_once() {
    let arrivals = Arc::<Mutex<Vec<Instant>>>::default();
    let origins: Vec<Origin> = (0..8)
        .map(|_| {
            let arrivals = Arc::clone(&arrivals);
            Origin::raw(move |_| arrivals.lock().unwrap().push(Instant::now()))
        })
        .collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let _plb = Plb::start(&probed("tcp", "", "interval: 1600ms", &addresses));
    for origin in &origins {
        origin.wait_for("two probes", |seen| seen.connections.len() >= 2);
    }
    let arrivals = arrivals.lock().unwrap();
    for &begin in arrivals.iter() {
        let window = arrivals.iter().filter(|&&at| at >= begin && at < begin + Duration::from_millis(400)).count();
        assert!(window <= 5, "{window} probes within a quarter of the interval, which is for two: {arrivals:?}");
    }
}

#[test]
fn a_session_outlives_its_backend_unless_the_pool_closes_it() {
    for closes in [false, true] {
        let (echo, mut checked, lines) = (Origin::echo(), Origin::silent(), Lines::new());
        let on_down = if closes { "close" } else { "keep" };
        let settings = format!("access_log: {}\non_down: {on_down}", lines.path().display());
        let plb = probed_aside(&settings, &echo, &checked);
        let mut client = Client::connect(plb.web());
        client.send("hello");
        assert_eq!(client.exactly(5), b"hello");
        checked.stop();
        plb.wait_for_log("backend web/b1: down after 2 failed probes");
        if closes {
            assert!(client.until_end().is_err(), "a reset, and no orderly end");
            assert!(lines.line().ends_with(" backend_down"), "{}", lines.line());
            echo.wait_for("its end", |seen| seen.over() == 1);
        } else {
            client.send("still there");
            assert_eq!(client.exactly(11), b"still there");
            client.half_close();
            client.closed();
            assert!(lines.line().ends_with(" done"), "{}", lines.line());
        }
    }
}

/// Accepts one connection that says something, on which `answer` comes when the gate is open, and refuses all others.
fn once(answer: &'static str, gate: Gate) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (asked, is_asked) = mpsc::channel();
    std::thread::spawn(move || {
        let spoken = listener.incoming().filter_map(Result::ok).find_map(|mut stream| {
            let mut bytes = [0; 1_024];
            stream.read(&mut bytes).ok().filter(|&count| count > 0).map(|_| stream)
        });
        drop(listener);
        let mut stream = spoken.expect("somebody comes");
        drop(stream.write_all(answer.as_bytes()));
        asked.send(()).expect("the test waits for it");
        gate.pass();
    });
    (address, is_asked)
}

#[test]
fn what_was_not_answered_yet_is_asked_of_another_backend_and_what_has_begun_is_cut() {
    for (answer, is_cut) in [("", false), ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun", true)] {
        let (gate, other) = (Gate::default(), Origin::named("other"));
        let (address, is_asked) = once(answer, gate.clone());
        let yaml = probed("http", "on_down: close", "interval: 100ms", &[address, other.address()]);
        let plb = Plb::start(&yaml);
        let mut client = Client::connect(plb.web());
        client.ask("/");
        is_asked.recv_timeout(PATIENCE).expect("it is asked");
        plb.wait_for_log("backend web/b1: down after 3 failed probes");
        match is_cut {
            true => assert!(client.response_to("GET").is_err(), "half an answer must not look whole"),
            false => assert_eq!(client.response().text(), "other"),
        }
        assert_eq!(bodies(plb.web(), 2), ["other"; 2]);
        gate.open();
    }
}

#[test]
fn a_backend_that_fails_clients_again_and_again_stays_out_for_longer_each_time() {
    for health in ["", "    health: { interval: 20ms, rise: 2 }\n"] {
        let bad = Origin::raw(|connection| {
            if connection.request().is_some() {
                connection.reset();
            }
        });
        let good = Origin::named("good");
        let settings = "server_retry: 1\ntimeout_cleanup: 200ms\ntimeout_cleanup_max: 800ms";
        let yaml = configuration("http", settings, &[bad.address(), good.address()]);
        let plb = Plb::start(&yaml.replace("    backends:\n", &format!("{health}    backends:\n")));
        let transitions = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.contains("web/b1: ")).cloned().collect()
        };
        let web = plb.web();
        let (begun, mut told) = (Instant::now(), Vec::new());
        let grown = |told: &[String]| told.iter().any(|line| line.contains("out for 0.8s"));
        while told.len() < 8 || !grown(&told) {
            assert!(begun.elapsed() < PATIENCE, "{told:#?}");
            bodies(web, 1);
            told = plb.wait_for_line("anything", |lines| Some(transitions(lines)));
        }
        let mut last = 0.0_f64;
        for pair in told.chunks_exact(2) {
            let [down, up] = pair else { panic!("{told:?}") };
            let (lived, out, was_down) =
                (seconds(down, "was up for "), seconds(down, "out for "), seconds(up, "was down for "));
            // What is told is rounded to tenths.
            let is_early = lived + 0.1 < last;
            let expected = if is_early { (2.0 * last).min(0.8) } else { out };
            assert!((out - expected).abs() < 0.01 && (0.2..=0.8).contains(&out), "{told:#?}");
            assert!(was_down + 0.06 > out, "{down}\n{up}");
            last = out;
        }
        assert!(bad.requests() >= 4);
    }
}

#[test]
fn a_flapping_backend_costs_no_client_its_answer() {
    let (good, mut flapping) = (Origin::named("good"), Origin::http(|_| greeting("flapping")));
    let health = "interval: 20ms, rise: 1, fall: 1";
    let plb = Plb::start(&probed("http", "timeout_cleanup: 20ms", health, &[good.address(), flapping.address()]));
    let web = plb.web();
    for round in 1..=4 {
        flapping.stop();
        let count = |needle: &'static str| {
            plb.wait_for_line(needle, |lines| {
                (lines.iter().filter(|l| l.contains(needle)).count() >= round).then_some(())
            });
        };
        bodies(web, 4);
        count("backend web/b2: down ");
        flapping.revive();
        bodies(web, 4);
        count("backend web/b2: up ");
    }
    assert!(!plb.stop().contains("b1: down"));
}

#[test]
fn probes_of_very_many_dead_backends_are_few_at_once_and_each_has_its_turn_while_clients_are_served() {
    let (hole, good) = (BlackHole::new(), Origin::named("good"));
    let mut yaml = configuration("http", "max_clients: 20", &[good.address()]);
    yaml += "  dead:\n    health: { interval: 200ms, fall: 2 }\n    backends:\n";
    for position in 0..200 {
        yaml += &format!("      - {{ address: \"{}\", name: d{position} }}\n", hole.address());
    }
    let plb = Plb::start(&yaml);
    let web = plb.web();
    let (mut highest, mut down) = (0, 0);
    while down < 200 {
        // The kernel gives the lowest number that is free (open(2)).
        highest = highest.max(plb.descriptors().last().copied().unwrap_or_default());
        bodies(web, 1);
        down = plb.wait_for_line("anything", |lines| {
            Some(lines.iter().filter(|line| line.contains("down after 2 failed probes: timed out")).count())
        });
    }
    let limit = plb::net::probe::PROBES_MAX as u64;
    assert!((limit / 2..limit + 32).contains(&highest), "{highest}: at most {limit} descriptors are for probes");
}

#[test]
fn a_daemon_that_stops_probes_no_more() {
    let (echo, checked) = (Origin::echo(), Origin::raw(|_| {}));
    let plb = probed_aside("", &echo, &checked);
    let mut client = Client::connect(plb.web());
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    checked.wait_for("probes", |seen| seen.connections.len() >= 2);
    plb.signal(Signal::SIGTERM);
    plb.wait_for_log("stopping");
    // One may be in flight.
    let before = checked.connections();
    assert!(!client.has_news(Duration::from_millis(500)), "it is still served");
    assert!(checked.connections() <= before + 1, "{} probes came", checked.connections() - before);
    client.half_close();
    client.closed();
    plb.stop();
}

#[test]
fn probes_may_go_to_a_host_of_their_own() {
    let (refusing, checked) = (Reservation::new(), Origin::raw(|_| {}));
    let health = format!("address: localhost, port: {}, interval: 50ms, initial: down", checked.address().port());
    let plb = Plb::start(&probed("http", "", &health, &[refusing.address()]));
    plb.wait_for_log("backend web/b1: up after 2 probes");
    let nowhere = probed("http", "", "address: plb.invalid", &[refusing.address()]);
    let mut plb = Plb::launch(&nowhere);
    assert_eq!(plb.wait_exit().code(), Some(1));
    assert!(plb.log().contains("pool web: health: cannot resolve plb.invalid"), "{}", plb.log());
}
