//! Proves what each layer refuses to somebody who has taken over the process: the layer is put on in a process of its
//! own, which then tries to get out and tells what it met. Without any layer every attempt succeeds, for root.
//!
//! It has its own `main`, because a process that is to be locked up must have one thread, as plb has: an identity is
//! changed in all of them, and a user namespace is made without others only.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::get_no_new_privs;
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchdir, geteuid, getppid, setgid, setgroups, setuid};
use plb::config::{Config, ProtocolName, quick_start};
use plb::daemon::{Source, privileges, sandbox, system_calls};
use plb::start::Bound;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode};
use std::{env, io, thread};

/// Which layer the process puts on, and whom it may connect to; set for the captive alone.
const LAYER: &str = "PLB_TEST_LAYER";
const BACKEND: &str = "PLB_TEST_BACKEND";

/// What is tried; what changes the process most comes last.
const ATTEMPTS: [&str; 13] = [
    "user",
    "group",
    "groups",
    "file",
    "new file",
    "way out",
    "port",
    "fixed port",
    "signal",
    "netlink",
    "thread",
    "program",
    "namespace",
];
/// What an ordinary user may not do in any case, or not everywhere.
const ROOTS: [&str; 4] = ["user", "group", "groups", "namespace"];

const TESTS: [(&str, fn()); 6] = [
    ("without_any_layer_everything_is_possible", without_any_layer_everything_is_possible),
    ("without_privileges_there_is_no_way_back_to_root", without_privileges_there_is_no_way_back_to_root),
    ("landlock_alone_refuses_files_ports_and_signals", landlock_alone_refuses_files_ports_and_signals),
    ("seccomp_alone_refuses_every_attempt", seccomp_alone_refuses_every_attempt),
    ("who_is_confined_gets_nowhere", who_is_confined_gets_nowhere),
    ("who_may_choose_a_source_can_still_listen_nowhere", who_may_choose_a_source_can_still_listen_nowhere),
];

fn main() -> ExitCode {
    if let (Ok(layer), Ok(backend)) = (env::var(LAYER), env::var(BACKEND)) {
        try_everything(&layer, &backend);
        return ExitCode::SUCCESS;
    }
    // As the usual runner does it: an argument picks the tests whose names have it, and the last line counts.
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let is_good = std::panic::catch_unwind(test).is_ok();
        *(if is_good { &mut passed } else { &mut failed }) += 1;
        println!("test {name} ... {}", if is_good { "ok" } else { "FAILED" });
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The captive: puts on its layer, tries to get out of it, and tells.
fn try_everything(layer: &str, backend: &str) {
    let root = open("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).expect("there is a root directory");
    put_on(layer, backend);
    TcpStream::connect(backend).expect("backends can be connected to in any case");
    for attempt in ATTEMPTS {
        let outcome = attempted(attempt, &root);
        println!("{attempt}: {}", outcome.map_or_else(|error| error.to_string(), |()| "done".to_string()));
    }
}

fn put_on(layer: &str, backend: &str) {
    let config: Config = quick_start(ProtocolName::Http, "127.0.0.1:0", &[backend.to_string()]).expect("it is right");
    match layer {
        "none" => {}
        "privileges" => {
            privileges::give_up(&config.confinement).expect("it can");
            assert_eq!(get_no_new_privs(), Ok(true), "the layers of the sandbox would set it too");
        }
        "paths" => drop(sandbox::close_paths(Source::System).expect("this kernel has Landlock")),
        "calls" => drop(system_calls::filter_calls(Source::System).expect("this kernel has seccomp")),
        "paths, with a source" => drop(sandbox::close_paths(Source::Configuration).expect("this kernel has Landlock")),
        "calls, with a source" => {
            drop(system_calls::filter_calls(Source::Configuration).expect("this kernel has seccomp"))
        }
        "all" => drop(Bound::new(config).and_then(Bound::confine).expect("it can")),
        other => panic!("{other} is no layer"),
    }
}

fn attempted(attempt: &str, root: &OwnedFd) -> io::Result<()> {
    let files = Mode::from_bits_truncate(0o600);
    let done = |result: nix::Result<()>| Ok(result?);
    match attempt {
        "user" => done(setuid(Uid::from_raw(0))),
        "group" => done(setgid(Gid::from_raw(0))),
        "groups" => done(setgroups(&[Gid::from_raw(0)])),
        "file" => done(openat(root, "etc/passwd", OFlag::O_RDONLY, files).map(drop)),
        "new file" => done(openat(root, "tmp", OFlag::O_TMPFILE | OFlag::O_WRONLY, files).map(drop)),
        "way out" => done(fchdir(root)),
        "port" => TcpListener::bind("127.0.0.1:0").map(drop),
        "fixed port" => fixed_port(),
        "signal" => done(kill(getppid(), None)),
        "netlink" => done(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), None).map(drop)),
        "thread" => {
            let thread = thread::Builder::new().spawn(|| {})?;
            thread.join().map_err(|_| io::Error::other("it panicked"))
        }
        "program" => Command::new("/bin/true").status().map(drop),
        "namespace" => done(unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)),
        other => panic!("{other} is no attempt"),
    }
}

/// Listens on a port that nobody has; another process may take any of them just now.
fn fixed_port() -> io::Result<()> {
    let ports = (30_000..32_000).map(|port| TcpListener::bind(("127.0.0.1", port)));
    ports
        .into_iter()
        .find(|bound| !matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse))
        .map_or(Err(io::ErrorKind::AddrInUse.into()), |bound| bound.map(drop))
}

/// What was refused under this layer, each with the reason. Exactly `expected` must be; what takes root is left out
/// where the tests have none.
fn refused_under(layer: &str, expected: &[&str]) -> Vec<(String, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let backend = listener.local_addr().expect("it is bound").to_string();
    let mut command = Command::new(env::current_exe().expect("it runs"));
    let output = command.env(LAYER, layer).env(BACKEND, backend).output().expect("it can be executed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: Vec<_> = said.lines().filter_map(|line| line.split_once(": ")).collect();
    let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ATTEMPTS, "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let counts = |name: &str| geteuid().is_root() || !ROOTS.contains(&name);
    let refused = told.into_iter().filter(|(name, outcome)| counts(name) && *outcome != "done");
    let refused: Vec<_> = refused.map(|(name, reason)| (name.to_string(), reason.to_string())).collect();
    let found: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = expected.iter().copied().filter(|name| counts(name)).collect();
    assert_eq!(found, expected, "under {layer}: {refused:?}");
    refused
}

fn without_any_layer_everything_is_possible() {
    refused_under("none", &[]);
}

fn without_privileges_there_is_no_way_back_to_root() {
    if geteuid().is_root() {
        // No program, for lack of one in its root directory. Who has a descriptor of the old one gets out of it.
        refused_under("privileges", &["user", "group", "groups", "signal", "program", "namespace"]);
    }
}

fn landlock_alone_refuses_files_ports_and_signals() {
    for (attempt, reason) in refused_under("paths", &["file", "new file", "port", "fixed port", "signal", "program"]) {
        let errno = if attempt == "signal" { Errno::EPERM } else { Errno::EACCES };
        assert!(reason.contains(errno.desc()), "{attempt}: {reason}");
    }
}

fn seccomp_alone_refuses_every_attempt() {
    for (attempt, reason) in refused_under("calls", &ATTEMPTS) {
        assert!(reason.contains(Errno::EPERM.desc()), "{attempt}: {reason}");
    }
}

fn who_is_confined_gets_nowhere() {
    refused_under("all", &ATTEMPTS);
}

/// Landlock leaves the ports that the system chooses, and seccomp leaves bind(2) but not listen(2).
fn who_may_choose_a_source_can_still_listen_nowhere() {
    let refused = refused_under("paths, with a source", &["file", "new file", "fixed port", "signal", "program"]);
    assert!(refused[2].1.contains(Errno::EACCES.desc()), "{refused:?}");
    refused_under("calls, with a source", &ATTEMPTS);
}
