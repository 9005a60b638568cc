//! Proves that the pid file names who runs and nobody else, whatever happened before.

use crate::harness::plb::PROGRAM;
use crate::harness::{Reservation, poll_until};
use crate::site::{Running, Site, end_of, run, stop};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `plb -B` with the pid file of the site, but with another port and another log.
fn rival(site: &Site, place: &Reservation) -> Command {
    let yaml = std::fs::read_to_string(site.config()).expect("it was written");
    let other = yaml.replace(&site.address().to_string(), &place.address().to_string());
    std::fs::write(site.path("rival.yaml"), other).expect("there is room");
    let mut command = Command::new(PROGRAM);
    command.arg("-B").arg("-c").arg(site.path("rival.yaml")).arg("-l").arg(site.path("rival.log"));
    command.arg("-g").arg(site.path("plb.pid"));
    command
}

#[test]
fn it_holds_the_pid_while_plb_runs_and_nothing_afterwards() {
    let site = Site::new("");
    let pid = site.daemonize();
    assert_eq!(site.processes(), [pid].into());
    let mode = std::fs::metadata(site.path("plb.pid")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "who can read it can lock it: {mode:o}");
    stop(pid);
    assert_eq!(site.pid_text(), "");
}

#[test]
fn a_stale_one_is_replaced() {
    let site = Site::new("");
    std::fs::write(site.path("plb.pid"), "000004194304\n").expect("there is room");
    std::fs::set_permissions(site.path("plb.pid"), Permissions::from_mode(0o644)).expect("it is ours");
    let pid = site.daemonize();
    assert_eq!(site.pid_text(), format!("{pid}\n"));
    let mode = std::fs::metadata(site.path("plb.pid")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    stop(pid);
}

#[test]
fn a_file_that_holds_something_else_is_left_alone() {
    let site = Site::new("");
    for text in ["listeners: []\n", "12 or so\n", &"1".repeat(64)] {
        std::fs::write(site.path("plb.pid"), text).expect("there is room");
        let ended = run(&mut site.plb(&["-B"]));
        assert_eq!(ended.code, Some(1));
        assert!(ended.said.ends_with(": it holds something else than a pid, and is left alone\n"), "{}", ended.said);
        assert_eq!(site.pid_text(), text);
    }
}

#[test]
fn a_killed_daemon_leaves_a_file_that_hinders_nobody() {
    let site = Site::new("");
    let first = site.daemonize();
    kill(first, Signal::SIGKILL).expect("it runs");
    assert!(matches!(end_of(first), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(site.pid_text(), format!("{first}\n"));
    let second = site.daemonize();
    assert_ne!(first, second);
    stop(second);
}

#[test]
fn a_second_daemon_on_the_same_port_names_the_port_and_leaves_the_file() {
    let site = Site::new("");
    let pid = site.daemonize();
    for arguments in [&["-B"][..], &[]] {
        let ended = run(&mut site.plb(arguments));
        let message = format!("plb: listener web: cannot listen on {}: Address already in use", site.address());
        assert_eq!(ended.code, Some(1));
        assert!(ended.said.starts_with(&message), "{}", ended.said);
        assert_eq!(site.pid_text(), format!("{pid}\n"));
    }
    stop(pid);
    assert_eq!(site.pid_text(), "");
}

#[test]
fn a_second_daemon_with_the_same_file_names_the_first_one_and_leaves_the_file() {
    let (site, place) = (Site::new(""), Reservation::new());
    let pid = site.daemonize();
    for _ in 0..2 {
        let ended = run(&mut rival(&site, &place));
        let message = format!("plb: pid file {}: already running as process {pid}\n", site.path("plb.pid").display());
        assert_eq!((ended.code, ended.said), (Some(1), message));
        assert_eq!(site.pid_text(), format!("{pid}\n"));
    }
    stop(pid);
    assert_eq!(run(&mut rival(&site, &place)).code, Some(0), "it is free now");
    stop(site.pid());
}

#[test]
fn a_file_that_was_removed_is_not_the_one_that_is_emptied() {
    let (site, place) = (Site::new(""), Reservation::new());
    let first = site.daemonize();
    std::fs::remove_file(site.path("plb.pid")).expect("it is there");
    assert_eq!(run(&mut rival(&site, &place)).code, Some(0));
    let second = site.pid();
    stop(first);
    assert_eq!(site.pid(), second);
    stop(second);
}

#[test]
fn the_foreground_has_one_when_it_is_asked_for() {
    let site = Site::new("");
    let command = Running::start(&mut site.plb(&[]));
    poll_until("plb serves", || site.log().contains("plb: serving"));
    assert_eq!(site.pid(), command.pid());
    kill(command.pid(), Signal::SIGTERM).expect("it runs");
    assert_eq!(command.end().code, Some(0));
    assert_eq!(site.pid_text(), "");
}

#[test]
fn the_command_line_beats_the_file() {
    let site = Site::new("pid_file: one.pid");
    let mut command = Command::new(PROGRAM);
    command.current_dir(site.path("")).arg("-Bc").arg(site.config()).args(["-l", "plb.log"]);
    assert_eq!(run(&mut command).code, Some(0));
    std::fs::rename(site.path("one.pid"), site.path("plb.pid")).expect("plb has written it");
    stop(site.pid());
    assert_eq!(run(command.args(["-g", "plb.pid"])).code, Some(0));
    assert!(!site.path("one.pid").exists());
    stop(site.pid());
}

#[test]
fn a_daemon_may_have_none() {
    let site = Site::new("pid_file: none");
    let mut command = Command::new(PROGRAM);
    command.arg("-Bc").arg(site.config()).arg("-l").arg(site.path("plb.log"));
    assert_eq!(run(&mut command).code, Some(0));
    let pid = site.processes().pop_first().expect("it runs");
    assert!(!site.path("plb.pid").exists());
    stop(pid);
}
