//! Proves that the sandbox leaves the service whole: exchanges, a backend's death and return, signals, a log in a file.

use crate::harness::client::{bodies, get};
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, Plb, configuration, noise, ok, poll_until};
use nix::libc::{ENOSYS, SYS_landlock_create_ruleset, SYS_seccomp};
use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs};
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

/// Names the file for the process that pretends to run on an old kernel; nobody else sets it.
const OLD_KERNEL: &str = "PLB_TEST_OLD_KERNEL";

/// Not a test of its own: the kernel that it leaves to plb has neither Landlock nor seccomp.
#[test]
fn as_on_an_old_kernel() {
    let Ok(file) = env::var(OLD_KERNEL) else { return };
    let rules = [SYS_landlock_create_ruleset, SYS_seccomp].map(|call| (call, Vec::new())).into();
    let missing = SeccompAction::Errno(ENOSYS as u32);
    let architecture = env::consts::ARCH.try_into().expect("the filter knows it");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, architecture).expect("it is right");
    let program: BpfProgram = filter.try_into().expect("it is short");
    apply_filter(&program).expect("this kernel has seccomp");
    panic!("{}", Command::new(PROGRAM).args(["-c", &file]).exec());
}

#[test]
fn a_kernel_without_a_sandbox_is_told_of_and_no_reason_not_to_serve() {
    let origin = Origin::named("only");
    let (_directory, file) = crate::harness::plb::written(&configuration("http", "", &[origin.address()]));
    let mut command = Command::new(env::current_exe().expect("it runs"));
    command.args(["--exact", "service::as_on_an_old_kernel", "--nocapture"]).env(OLD_KERNEL, &file);
    let plb = Plb::run(&mut command);
    plb.wait_for_log("plb: serving");
    assert_eq!(get(plb.web(), "/").text(), "only");
    let log = plb.stop();
    assert_eq!(log.matches("WARN  no Landlock: this kernel has none").count(), 1, "{log}");
    assert_eq!(log.matches("WARN  no seccomp: ").count(), 1, "{log}");
    assert!(log.contains("confined: user ") && !log.contains("Landlock ABI"), "{log}");
}
