//! Proves that whatever hinders the start is said on the terminal and in the exit status, in the foreground and with
//! `--daemonize`, and that nothing is left running.

use crate::harness::plb::PROGRAM;
use crate::site::{Ended, Site, run, stop};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Both ways to start.
const WAYS: [&[&str]; 2] = [&[], &["--daemonize"]];

/// Runs the command, and with `--daemonize`, and checks the status and what is said first.
fn assert_fails(site: &Site, command: impl Fn(&[&str]) -> Command, code: i32, message: &str) {
    for way in WAYS {
        let Ended { code: ended, said } = run(&mut command(way));
        assert_eq!(ended, Some(code), "{way:?}: {said}");
        assert!(said.starts_with(message), "{way:?}: {message:?} is expected, not {said:?}");
        assert!(site.processes().is_empty(), "{way:?}");
    }
}

/// The same for plb with the files of the site.
fn assert_plb_fails(site: &Site, code: i32, message: &str) {
    assert_fails(site, |way| site.plb(way), code, message);
}

/// A site whose configuration has `old` replaced.
fn site_but(old: &str, new: &str) -> Site {
    let site = Site::new("");
    let yaml = fs::read_to_string(site.config()).expect("it was written");
    assert!(yaml.contains(old), "{yaml}");
    fs::write(site.config(), yaml.replace(old, new)).expect("there is room");
    site
}

#[test]
fn an_address_that_this_host_has_not() {
    let site = site_but("listen: \"127.0.0.1", "listen: \"192.0.2.1");
    assert_plb_fails(&site, 1, "plb: listener web: cannot listen on 192.0.2.1:");
    assert!(!site.path("plb.pid").exists());
}

#[test]
fn a_name_that_cannot_be_resolved() {
    let site = site_but("127.0.0.1:9", "no-such-host.invalid:9");
    assert_plb_fails(&site, 1, "plb: backend web/b1: cannot resolve no-such-host.invalid: ");
    assert!(!site.path("plb.pid").exists());
}

#[test]
fn a_log_that_cannot_be_opened() {
    let site = Site::new("");
    let log = site.path("absent/plb.log");
    let command = |way: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(site.config()).arg("-l").arg(&log).arg("-g").arg(site.path("plb.pid")).args(way);
        command
    };
    assert_fails(&site, command, 1, &format!("plb: cannot open the log {}: No such file", log.display()));
}

#[test]
fn too_few_descriptors() {
    let site = Site::new("");
    let command = |way: &[&str]| {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=100:100").arg(PROGRAM).args(site.plb(way).get_args());
        command
    };
    assert_fails(&site, command, 1, "plb: max_clients 1000 needs ");
}

/// Whether root runs the tests: an ordinary user's plb changes neither its user nor its root directory.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_user_that_is_not_there() {
    if is_root() {
        let site = Site::new("user: no-such-user");
        assert_plb_fails(&site, 1, "plb: ");
        assert!(site.log().contains("no-such-user"), "{}", site.log());
        assert_eq!(site.pid_text(), "", "it was ours");
    }
}

#[test]
fn a_root_directory_that_is_not_there() {
    if is_root() {
        let site = Site::new("chroot_dir: /nonexistent/plb");
        assert_plb_fails(&site, 1, "plb: ");
        assert!(site.log().contains("/nonexistent/plb"), "{}", site.log());
        assert_eq!(site.pid_text(), "", "it was ours");
    }
}

#[test]
fn a_pid_file_in_a_directory_that_is_not_there() {
    let site = Site::new("");
    let path = site.path("absent/plb.pid");
    let command = |way: &[&str]| {
        let mut command = Command::new(PROGRAM);
        // What becomes of the log is no matter when nothing serves.
        command.arg("-c").arg(site.config()).args(["-d", "error", "-g"]).arg(&path).args(way);
        command
    };
    assert_fails(&site, command, 1, &format!("plb: pid file {}: No such file", path.display()));
}

#[test]
fn a_pid_file_that_is_no_plain_file() {
    let message =
        |site: &Site| format!("plb: pid file {}: it is not a plain file of one name\n", site.path("plb.pid").display());
    let put: [fn(&Site); 4] = [
        |site| symlink(site.path("precious"), site.path("plb.pid")).expect("the directory takes it"),
        |site| fs::hard_link(site.path("precious"), site.path("plb.pid")).expect("the directory takes it"),
        |site| fs::create_dir(site.path("plb.pid")).expect("the directory takes it"),
        |site| mkfifo(&site.path("plb.pid"), Mode::S_IRUSR | Mode::S_IWUSR).expect("the directory takes it"),
    ];
    for put in put {
        let site = Site::new("");
        fs::write(site.path("precious"), "precious").expect("there is room");
        put(&site);
        assert_plb_fails(&site, 1, &message(&site));
        assert_eq!(fs::read_to_string(site.path("precious")).expect("it is there"), "precious");
    }
}

#[test]
fn a_pid_file_that_another_process_holds() {
    let (holder, site) = (Site::new(""), Site::new(""));
    let pid = holder.daemonize();
    let path = holder.path("plb.pid");
    let command = |way: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(site.config()).arg("-l").arg(site.path("plb.log")).arg("-g").arg(&path).args(way);
        command
    };
    assert_fails(&site, command, 1, &format!("plb: pid file {}: already running as process {pid}\n", path.display()));
    assert_eq!(holder.pid(), pid);
    stop(pid);
}

#[test]
fn a_configuration_that_is_not_there() {
    let site = Site::new("");
    fs::remove_file(site.config()).expect("it is there");
    assert_plb_fails(&site, 78, &format!("plb: {}: No such file", site.config().display()));
}

#[test]
fn a_configuration_that_is_wrong() {
    let site = site_but("pool: web", "pool: wbe");
    assert_plb_fails(&site, 78, &format!("{}:6:11: listeners[0].pool: ", site.config().display()));
    assert!(!site.path("plb.pid").exists() && !site.path("plb.log").exists(), "nothing was touched");
}

#[test]
fn a_command_line_that_is_wrong() {
    let site = Site::new("");
    for (arguments, message) in [
        (&["--nonsense"][..], "plb: unknown option \"--nonsense\""),
        (&["8080"], "plb: LISTEN needs at least one BACKEND"),
        (&["80x", "127.0.0.1:9"], "plb: where to listen must be"),
    ] {
        let command = |way: &[&str]| {
            let mut command = Command::new(PROGRAM);
            command.args(way).args(arguments);
            command
        };
        assert_fails(&site, command, 2, message);
    }
    let bad = [&["-B", "demo"][..], &["-B", "--check"], &["-Bc", "/dev/fd/63"], &["-g", "f", "demo"], &["-g", ""]];
    for arguments in bad {
        assert_eq!(run(Command::new(PROGRAM).args(arguments)).code, Some(2), "{arguments:?}");
    }
}
