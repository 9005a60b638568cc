//! Proves that the sandbox leaves the service whole: exchanges, a backend's death and return, signals, a log in a file.

use crate::harness::client::{bodies, get};
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, Plb, configuration, noise, ok, poll_until};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::tempdir;

#[test]
fn a_confined_plb_serves_fails_over_probes_logs_and_stops() {
    let large = String::from_utf8(noise(7, 4_000_000).iter().map(|byte| byte % 26 + b'a').collect()).expect("letters");
    let one = Origin::http({
        let large = large.clone();
        move |request| ok(if request.target() == "/large" { &large } else { "one" })
    });
    let mut two = Origin::named("two");
    let room = tempdir().expect("there is room"); // which root alone may enter
    let (file, log) = (room.path().join("plb.yaml"), room.path().join("plb.log"));
    let settings = format!("server_retry: 1\ntimeout_cleanup: 50ms\nlog_file: {}", log.display());
    fs::write(&file, configuration("http", &settings, &[one.address(), two.address()])).expect("there is room");
    let mut plb = Plb::run(Command::new(PROGRAM).arg("-c").arg(&file));
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    let wait_for = |what: &str| poll_until(what, || logged().contains(what));
    wait_for("plb: serving");
    assert!(logged().contains("confined: ") && logged().contains(", seccomp\n"), "{}", logged());
    let (_, rest) = logged().split_once("listening on ").map(|(_, rest)| ((), rest.to_string())).expect("it is logged");
    let address: SocketAddr = rest.lines().next().and_then(|line| line.parse().ok()).expect("an address");

    let both = bodies(address, 6);
    assert!(both.contains(&"one".to_string()) && both.contains(&"two".to_string()), "{both:?}");
    two.stop();
    assert!(bodies(address, 6).iter().all(|body| body == "one"));
    wait_for("backend web/b2: down after 1 failure");
    assert!(get(address, "/large").text() == large);
    two.revive();
    wait_for("backend web/b2: up");
    poll_until("the one that came back serves", || get(address, "/").text() == "two");
    plb.signal(Signal::SIGUSR1);
    wait_for("summary: ");
    plb.signal(Signal::SIGSTOP);
    plb.signal(Signal::SIGCONT);
    assert_eq!(get(address, "/").status(), 200, "a call that was interrupted goes on");
    plb.signal(Signal::SIGTERM);
    assert_eq!(plb.wait_exit().code(), Some(0), "{}", logged());
    assert!(logged().contains("plb: stopped") && !logged().contains("EPERM"), "{}", logged());
}
