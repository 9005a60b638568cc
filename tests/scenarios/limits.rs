//! Proves that the limits hold: clients beyond `max_clients` wait, descriptors run out without a spin.

use crate::harness::client::{Client, get};
use crate::harness::{Gate, Origin, Plb, configuration, ok, poll_until};
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_fifth_client_waits_until_one_of_four_leaves() {
    let origin = Origin::named("only");
    let plb = Plb::http("max_clients: 4", &[origin.address()]);
    let mut four: Vec<Client> = (0..4).map(|_| Client::connect(plb.web())).collect();
    for client in &mut four {
        assert_eq!(client.get("/").text(), "only");
    }
    let mut fifth = Client::connect(plb.web());
    fifth.ask("/fifth");
    for _ in 0..20 {
        for client in &mut four {
            assert_eq!(client.get("/").text(), "only");
        }
    }
    let served = origin.seen(|seen| seen.requests.iter().any(|request| request.target() == "/fifth"));
    assert!(!served && !fifth.has_news(Duration::from_millis(1)), "there is no place for it");
    drop(four.pop());
    assert_eq!(fifth.response().text(), "only");
}

/// Changes the limits of a running process (Linux: prlimit(2), through the program of that name).
pub(super) fn limit_descriptors(plb: &Plb, limit: u64) {
    // In its own name, because not even root may do it in another's without CAP_SYS_RESOURCE.
    let (uid, gid) = plb.identity();
    let status = Command::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--keep-groups".to_string()])
        .arg("prlimit")
        .arg(format!("--pid={}", plb.pid()))
        .arg(format!("--nofile={limit}:"))
        .status()
        .expect("prlimit is installed");
    assert!(status.success());
}

/// Lowers the limit so that plb can open no more than so many descriptors.
fn leave_descriptors(plb: &Plb, count: usize) {
    let open = plb.descriptors();
    limit_descriptors(plb, (0..).filter(|number| !open.contains(number)).nth(count).expect("numbers do not end"));
}

/// Asserts that plb does next to nothing while a client waits in vain.
fn quiet_while_waiting(plb: &Plb, waiting: &mut Client) {
    let before = plb.processor_time();
    assert!(!waiting.has_news(Duration::from_secs(1)), "there is no descriptor for it");
    let spent = plb.processor_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of processor time in a second of nothing");
}

#[test]
fn two_hundred_clients_are_served_in_turn_with_sixty_four_descriptors() {
    let origin = Origin::named("only");
    let yaml = configuration(
        "http",
        "max_clients: 8\nbacklog: 400\ntimeout_keep_alive: 1h\ncore_dumps: true",
        &[origin.address()],
    );
    let plb = Plb::launch_limited(&yaml, "64:64");
    plb.wait_for_log("plb: serving");
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(plb.web())).collect();
    for client in &mut clients {
        client.ask("/");
    }
    let mut waiting = clients.split_off(8);
    for client in &mut clients {
        assert_eq!(client.response().text(), "only");
    }
    quiet_while_waiting(&plb, &mut waiting[0]);
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "only", "who is in is served");
    }
    drop(clients);
    for mut client in waiting {
        assert_eq!(client.response().text(), "only");
    }
    assert!(plb.descriptors().len() <= 64);
    plb.stop_unmarked();
}

#[test]
fn clients_that_find_no_descriptor_for_a_backend_share_what_there_is() {
    let origin = Origin::named("only");
    let settings = "core_dumps: true\ntimeout_idle: 1h\ntimeout_keep_alive: 1h\nbacklog: 400\nserver_retry: 1";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(plb.web())).collect();
    poll_until("all are in", || summary(&plb).contains("200 clients"));
    leave_descriptors(&plb, 2);
    for client in &mut clients {
        client.ask("/");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "only");
    }
    assert!(origin.connections() <= 2, "{} connections", origin.connections());
    plb.stop_unmarked();
}

#[test]
fn a_client_that_finds_no_descriptor_for_a_backend_waits_quietly_for_one_and_not_forever() {
    let gate = Gate::default();
    let origin = Origin::http({
        let gate = gate.clone();
        move |request| {
            if request.target() == "/slow" {
                gate.pass();
            }
            ok("only")
        }
    });
    let settings = "core_dumps: true\ntimeout_header_server_write: 2s\nidle_max: 0\nserver_retry: 1";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut slow = Client::connect(plb.web());
    let [mut patient, mut late] = [Client::connect(plb.web()), Client::connect(plb.web())];
    slow.ask("/slow");
    origin.wait_for("the request", |seen| seen.requests.len() == 1);
    poll_until("all are in", || summary(&plb).contains("3 clients"));
    leave_descriptors(&plb, 0);
    patient.ask("/");
    quiet_while_waiting(&plb, &mut patient);
    gate.open();
    assert_eq!(slow.response().text(), "only");
    assert_eq!(patient.response().text(), "only", "it got the descriptor that the slow one left");
    poll_until("the connection is closed", || summary(&plb).contains("b1: Up, 0 connections, 0 idle"));
    leave_descriptors(&plb, 0);
    late.ask("/");
    assert_eq!(late.response().status(), 503);
    limit_descriptors(&plb, 1024);
    assert_eq!(late.get("/").text(), "only");
    plb.stop_unmarked();
}

#[test]
fn running_out_of_descriptors_pauses_accepting_without_a_spin_and_it_resumes() {
    let origin = Origin::named("only");
    let plb = Plb::http(
        "timeout_idle: 1h
backlog: 400",
        &[origin.address()],
    );
    let mut first = Client::connect(plb.web());
    assert_eq!(first.get("/").text(), "only");
    leave_descriptors(&plb, 0);
    let mut waiting: Vec<Client> = (0..200).map(|_| Client::connect(plb.web())).collect();
    for client in &mut waiting {
        client.ask("/");
    }
    assert_eq!(first.get("/").text(), "only", "who is in is served");
    quiet_while_waiting(&plb, &mut waiting[0]);
    limit_descriptors(&plb, 1024);
    drop(first);
    for client in &mut waiting {
        assert_eq!(client.response().text(), "only");
    }
    plb.stop_unmarked();
}

#[test]
fn a_limit_that_cannot_be_met_is_refused_at_start_with_the_numbers() {
    let origin = Origin::named("never");
    let yaml = configuration("http", "max_clients: 1000", &[origin.address()]);
    let mut plb = Plb::launch_limited(&yaml, "100:100");
    let status = plb.wait_exit();
    let log = plb.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("100") && log.contains("1000"), "{log}");
    assert!(!log.contains("serving"), "{log}");
}

#[test]
fn a_soft_limit_is_raised_as_far_as_needed() {
    let origin = Origin::named("only");
    let yaml = configuration("http", "max_clients: 200", &[origin.address()]);
    let plb = Plb::launch_limited(&yaml, "64:4096");
    plb.wait_for_log("plb: serving");
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(plb.web())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "only");
    }
    assert!(plb.descriptors().len() > 64);
}

#[test]
fn a_shortage_of_buffers_makes_clients_wait_and_not_fail() {
    let origin = Origin::named("only");
    let plb = Plb::http("buffer_memory: 128KiB", &[origin.address()]);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(plb.web())).collect();
    for client in &mut clients {
        client.ask("/");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "only");
    }
    assert_eq!(get(plb.web(), "/").text(), "only");
}

/// A new summary.
pub(super) fn summary(plb: &Plb) -> String {
    let length = plb.log_length();
    plb.signal(Signal::SIGUSR1);
    plb.wait_for_line("a summary", |lines| {
        lines[length..].iter().any(|line| line.contains("picked")).then(|| lines[length..].join(" "))
    })
}

#[test]
fn a_backend_that_answered_while_there_was_no_buffer_is_not_blamed() {
    let gate = Gate::default();
    let origin = Origin::http({
        let gate = gate.clone();
        move |request| {
            if request.method() == "GET" {
                return ok(&"x".repeat(20 << 20));
            }
            gate.pass();
            ok("late")
        }
    });
    let settings = "kernel_pipes: 0\nbuffer_memory: 64KiB\ntimeout_header_server_read: 2s\nserver_retry: 1";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(format!("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 40000\r\n\r\n{}", "x".repeat(40_000)));
    origin.wait_for("the request", |seen| seen.requests.len() == 1);
    let mut stalled: Vec<Client> = (0..3).map(|_| Client::connect(plb.web())).collect();
    stalled.iter_mut().for_each(|client| client.ask("/"));
    let bytes_down = |text: &str| text.split(", ").find_map(|part| Some(part.split_once(" bytes down")?.0.to_string()));
    let (mut before, mut times) = (None, 0);
    poll_until("all stall, and there is no pair of buffers left", || {
        let text = summary(&plb);
        let now = text.contains("3 of 4 buffers").then(|| bytes_down(&text)).flatten();
        times = if now.is_some() && now == before { times + 1 } else { 0 };
        before = now;
        times == 40
    });
    gate.open();
    drop(client.response_to("POST"));
    assert!(!summary(&plb).contains(": Down"), "it answered in time");
}
