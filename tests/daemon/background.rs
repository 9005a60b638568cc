//! Proves what `--daemonize` promises: it returns when plb serves and not before, and nothing ties the daemon to whoever
//! started it.

use crate::harness::client::get;
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, PATIENCE, poll_until};
use crate::site::{Running, Site, end_of, run, stop};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, mkfifo};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A field of /proc/PID/stat, by its number in proc(5); it begins behind the name.
fn stat(pid: Pid, field: usize) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(") ").expect("the name is in parentheses");
    fields.split(' ').nth(field - 3).and_then(|value| value.parse().ok()).expect("a number")
}

/// What a link of /proc/PID points to.
fn link(pid: Pid, name: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/{name}")).expect("it runs, and we may look")
}

fn assert_is_detached(pid: Pid) {
    assert_eq!((stat(pid, 5), stat(pid, 6)), (pid.as_raw(), pid.as_raw()), "a process group and a session of its own");
    assert_eq!(stat(pid, 7), 0, "no terminal");
    assert_eq!(link(pid, "cwd"), link(pid, "root"), "what it calls /");
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(pid, descriptor), Path::new("/dev/null"), "{descriptor}");
    }
}

/// A site whose configuration is a named pipe, so that the daemon waits for the second reading of it.
fn held_up() -> (Site, Vec<u8>) {
    let site = Site::new("");
    let yaml = std::fs::read(site.config()).expect("it was written");
    std::fs::remove_file(site.config()).expect("it is ours");
    mkfifo(&site.config(), Mode::S_IRUSR | Mode::S_IWUSR).expect("the directory takes it");
    (site, yaml)
}

/// Lets one reader of the configuration go on.
fn feed(site: &Site, yaml: &[u8]) {
    let mut pipe = std::fs::OpenOptions::new().write(true).open(site.config()).expect("somebody reads");
    pipe.write_all(yaml).expect("somebody reads");
}

/// The daemon that a command has started; it has the mark, which its parent has not.
fn daemon_of(site: &Site) -> Pid {
    let mut daemon = None;
    poll_until("the daemon", || {
        let environment = |pid: &Pid| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_marked = |pid: &Pid| String::from_utf8_lossy(&environment(pid)).contains("PLB_READINESS=");
        daemon = site.processes().into_iter().find(is_marked);
        daemon.is_some()
    });
    daemon.expect("it was found")
}

#[test]
fn the_command_returns_0_when_the_daemon_serves() {
    let origin = Origin::named("only");
    for _ in 0..5 {
        let site = Site::with_backends("", &[origin.address()]);
        let pid = site.daemonize();
        assert_eq!(get(site.address(), "/").text(), "only");
        assert_is_detached(pid);
        assert_eq!(stat(pid, 4), std::process::id() as i32, "its parent is gone, and the tests adopted it");
        assert_eq!(site.processes(), [pid].into());
        stop(pid);
        assert!(site.log().contains("plb: stopped"), "{}", site.log());
        assert!(site.processes().is_empty());
    }
}

#[test]
fn the_command_does_not_return_before() {
    let (site, yaml) = held_up();
    let mut command = Running::start(&mut site.plb(&["-B"]));
    feed(&site, &yaml);
    daemon_of(&site);
    assert!(!command.is_over(), "it waits");
    feed(&site, &yaml);
    let ended = command.end();
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    stop(site.pid());
}

#[test]
fn the_quick_start_runs_in_the_background_too() {
    let (site, origin) = (Site::new(""), Origin::named("only"));
    let mut command = Command::new(PROGRAM);
    command.arg("-B").arg("-g").arg(site.path("plb.pid")).arg("-l").arg(site.path("plb.log"));
    let ended = run(command.args([site.address(), origin.address()].map(|address| address.to_string())));
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    assert_eq!(get(site.address(), "/").text(), "only");
    if nix::unistd::geteuid().is_root() {
        assert_is_detached(site.pid());
    }
    stop(site.pid());
}

#[test]
fn a_daemon_of_an_ordinary_user_is_in_no_directory_of_his() {
    if !nix::unistd::geteuid().is_root() {
        return; // all the other tests are about it
    }
    let site = Site::new("");
    std::fs::set_permissions(site.path(""), Permissions::from_mode(0o777)).expect("it is ours");
    // Where everybody can execute it. Were it written by this process, a child that another test has just forked could
    // hold it open for writing, and it could not be executed.
    assert_eq!(run(Command::new("cp").arg(PROGRAM).arg(site.path("program"))).code, Some(0));
    let mut command = Command::new("setpriv");
    command.current_dir(site.path("")).args(["--reuid=54321", "--regid=54321", "--clear-groups", "./program"]);
    let ended = run(command.args(site.plb(&["-B"]).get_args()));
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    assert_is_detached(site.pid());
    assert_eq!(link(site.pid(), "cwd"), Path::new("/"));
    stop(site.pid());
    assert_eq!(site.pid_text(), "");
}

#[test]
fn paths_are_those_of_the_caller() {
    let site = Site::new("");
    let mut command = Command::new(PROGRAM);
    let config = format!("../{}/plb.yaml", site.name());
    command.current_dir(site.path("")).args(["-B", "-c", &config, "-l", "./plb.log", "-g", "plb.pid"]);
    assert_eq!(run(&mut command).code, Some(0));
    let pid = site.pid();
    assert_is_detached(pid);
    assert!(site.log().contains("plb: serving"));
    stop(pid);
    assert_eq!(site.pid_text(), "");
}

#[test]
fn a_shell_that_takes_what_the_command_says_goes_on() {
    let site = Site::new("");
    let script = "said=$(\"$@\" 2>&1); echo \"$? [$said]\"";
    let plb = site.plb(&["-B"]);
    let ended = run(Command::new("sh").args(["-c", script, "sh", PROGRAM]).args(plb.get_args()));
    assert_eq!(ended.said, "0 []\n");
    stop(site.pid());
}

#[test]
fn the_end_of_its_terminal_is_not_the_end_of_the_daemon() {
    let origin = Origin::named("only");
    let site = Site::with_backends("", &[origin.address()]);
    let words: Vec<String> =
        site.plb(&["-B"]).get_args().map(|word| word.to_str().expect("a plain path").to_string()).collect();
    let line = format!("{PROGRAM} {}", words.join(" "));
    let ended = run(Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_is_detached(site.pid());
    assert_eq!(get(site.address(), "/").text(), "only");
    stop(site.pid());
}

#[test]
fn nothing_that_the_caller_had_open_stays_open() {
    let site = Site::new("");
    std::fs::write(site.path("planted"), "").expect("there is room");
    let script = "exec 7<\"$0\" 8>>\"$0\" 250<\"$0\"; exec \"$@\"";
    let (planted, plb) = (site.path("planted"), site.plb(&["-B"]));
    let ended = run(Command::new("bash").args(["-c", script]).arg(&planted).arg(PROGRAM).args(plb.get_args()));
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    let open = std::fs::read_dir(format!("/proc/{}/fd", site.pid())).expect("it runs, and we may look");
    let open: Vec<PathBuf> = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    let files: BTreeSet<&PathBuf> = open.iter().filter(|path| path.starts_with(site.path(""))).collect();
    assert_eq!(files, [&site.path("plb.log"), &site.path("plb.pid")].into(), "{open:?}");
    stop(site.pid());
}

#[test]
fn a_daemon_without_a_place_for_its_log_says_so_on_the_terminal() {
    let site = Site::new("access_log: \"-\"");
    let ended = run(Command::new(PROGRAM).arg("-Bc").arg(site.config()).arg("-g").arg(site.path("plb.pid")));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    if !Path::new("/dev/log").exists() {
        assert!(ended.said.contains("plb: warning: the log goes nowhere in the background"), "{}", ended.said);
    }
    assert!(ended.said.contains("plb: warning: there is no access log in the background"), "{}", ended.said);
    assert_is_detached(site.pid());
    stop(site.pid());
}

#[test]
fn a_daemon_without_a_log_file_logs_to_syslog() {
    let may_mount = run(Command::new("unshare").args(["--mount", "true"])).code == Some(0);
    let has_syslog = std::fs::symlink_metadata("/dev/log").is_ok_and(|facts| facts.file_type().is_socket());
    if !may_mount || has_syslog {
        return; // this host's syslog is not ours to listen to
    }
    let site = Site::new("");
    std::fs::create_dir(site.path("run")).expect("there is room");
    let syslog = UnixDatagram::bind(site.path("run/log")).expect("the directory takes it");
    syslog.set_read_timeout(Some(PATIENCE)).expect("a socket takes it");
    // Where no one else sees it, /run is the directory with the socket.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /run && exec \"$@\""]).arg(site.path("run"));
    let ended = run(command.args([PROGRAM, "-B", "-c"]).arg(site.config()).arg("-g").arg(site.path("plb.pid")));
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    let mut line = [0; 1024];
    let prefix = format!("<30>plb[{}]: ", site.pid());
    let count = syslog.recv(&mut line).expect("plb has something to say");
    assert!(line[..count].starts_with(prefix.as_bytes()), "{}", String::from_utf8_lossy(&line[..count]));
    stop(site.pid());
}

#[test]
fn a_daemon_that_is_killed_before_it_serves_is_reported() {
    let (site, yaml) = held_up();
    let command = Running::start(&mut site.plb(&["-B"]));
    feed(&site, &yaml);
    kill(daemon_of(&site), Signal::SIGKILL).expect("it runs");
    let ended = command.end();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.said, "plb: the daemon ended before it served: signal: 9 (SIGKILL)\n");
}

#[test]
fn the_status_of_the_daemon_is_the_status_of_the_command() {
    let (site, yaml) = held_up();
    let command = Running::start(&mut site.plb(&["-B"]));
    feed(&site, &yaml);
    daemon_of(&site);
    // Its parent has read what was right.
    feed(&site, b"listeners: []\n");
    let ended = command.end();
    assert_eq!(ended.code, Some(78));
    assert!(ended.said.contains("plb.yaml:1:1: the key 'pools' is missing"), "{}", ended.said);
}

#[test]
fn a_daemon_whose_parent_was_killed_does_not_serve() {
    let (site, yaml) = held_up();
    let command = Running::start(&mut site.plb(&["-B"]));
    feed(&site, &yaml);
    let daemon = daemon_of(&site);
    kill(command.pid(), Signal::SIGKILL).expect("it runs");
    drop(command);
    feed(&site, &yaml);
    assert_eq!(end_of(daemon), WaitStatus::Exited(daemon, 1));
    assert_eq!(site.pid_text(), "", "nobody runs");
}

#[test]
fn a_mark_that_somebody_else_set_changes_nothing() {
    let site = Site::new("");
    for mark in ["", "1", "0:0", "99:99"] {
        let ended = run(site.plb(&["-B"]).env("PLB_READINESS", mark));
        assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""), "{mark:?}");
        assert_is_detached(site.pid());
        stop(site.pid());
    }
}

#[test]
fn signals_that_the_caller_has_blocked_arrive() {
    let site = Site::new("");
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block().expect("it is a signal");
    let pid = site.daemonize();
    signals.thread_unblock().expect("it is a signal");
    stop(pid);
}

#[test]
fn a_log_that_reaches_the_largest_size_of_files_is_not_the_end() {
    let origin = Origin::named("only");
    let site = Site::with_backends("", &[origin.address()]);
    let ended = run(Command::new("prlimit").args(["--fsize=4096:4096", PROGRAM]).args(site.plb(&["-B"]).get_args()));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    poll_until("the log is full", || {
        kill(site.pid(), Signal::SIGUSR1).expect("it runs");
        site.log().len() == 4096
    });
    kill(site.pid(), Signal::SIGUSR1).expect("it runs");
    assert_eq!(get(site.address(), "/").text(), "only");
    stop(site.pid());
}
