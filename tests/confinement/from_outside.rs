//! Proves what the kernel tells of a plb that root started: who it is, where it is, what it holds.

use crate::harness::client::get;
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, Plb, configuration};
use crate::{Status, is_root, link, open_directory, planted, set_mode, written};
use nix::unistd::User;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Groups and capabilities that an administrator's shell may have.
const PLANTED: &[&str] = &["--groups=4,5,4711", "--inh-caps=+net_raw,+setuid", "--ambient-caps=+net_raw,+setuid"];
/// Descriptors that a careless parent leaves open.
const OPENED: &str = "7</etc/passwd 8</ 9>>/dev/full";

fn nobody() -> User {
    User::from_name("nobody").expect("users can be looked up").expect("there is nobody")
}

#[test]
fn root_becomes_nobody_in_an_empty_root_directory_and_keeps_nothing() {
    if !is_root() {
        return;
    }
    let shown = planted(PLANTED, OPENED, &["cat", "/proc/self/status"]).output().expect("setpriv is installed");
    let before = Status::new(&String::from_utf8_lossy(&shown.stdout));
    assert_eq!(before.get("Groups"), "4 5 4711", "they are planted");
    assert!(before.get("CapAmb") != before.get("CapPrm") && before.get("CapAmb").contains("2080"), "they are planted");

    let origin = Origin::named("only");
    let directory = open_directory();
    let file = written(&directory, "plb.yaml", &configuration("http", "", &[origin.address()]));
    let plb = Plb::run(&mut planted(PLANTED, OPENED, &[PROGRAM, "-c", file.to_str().expect("plain")]));
    plb.wait_for_log("plb: serving");
    assert_eq!(get(plb.web(), "/").text(), "only");

    let (status, nobody) = (Status::of(&plb), nobody());
    status.assert_ids(nobody.uid.as_raw(), nobody.gid.as_raw());
    assert_eq!(status.get("Groups"), "");
    status.assert_no_capabilities(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    assert_eq!(status.get("Seccomp"), "2", "a filter");
    assert_eq!((link(&plb, "root"), link(&plb, "cwd")), ("/var/empty".to_string(), "/var/empty".to_string()));
    for number in plb.descriptors() {
        let target = link(&plb, &format!("fd/{number}"));
        let is_own = ["socket:", "pipe:", "anon_inode:"].iter().any(|kind| target.starts_with(kind));
        assert!(is_own || (number < 3 && target == "/dev/null"), "{number} is {target}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", plb.pid())).expect("it runs");
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("it is a limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    assert!(!has_images(&plb));
    let line = plb.wait_for_log("confined: ");
    let identity = format!("user nobody ({}:{}), root directory /var/empty, ", nobody.uid, nobody.gid);
    assert!(line.contains(&identity) && line.ends_with(", seccomp"), "{line}");
    let empty = fs::metadata("/var/empty").expect("it was made");
    assert_eq!((empty.uid(), empty.mode() & 0o022), (0, 0));
    plb.stop();
}

/// Whether a crash leaves an image: then the process belongs to its user in /proc, otherwise to root (proc(5)).
fn has_images(plb: &Plb) -> bool {
    let owner = fs::metadata(format!("/proc/{}/fd", plb.pid())).expect("it runs").uid();
    owner == plb.identity().0
}

#[test]
fn user_group_and_root_directory_are_those_of_the_configuration() {
    if !is_root() {
        return;
    }
    let (origin, room) = (Origin::named("only"), open_directory());
    let empty = room.path().join("empty");
    fs::create_dir(&empty).expect("there is room");
    set_mode(&empty, 0o555);
    let daemon = User::from_name("daemon").expect("users can be looked up").expect("there is a daemon");
    let (uid, gid) = (daemon.uid.as_raw(), daemon.gid.as_raw());
    let nobodys = nobody().gid.as_raw();
    let cases = [
        ("user: daemon".to_string(), uid, gid),
        (format!("user: {uid}"), uid, gid),
        ("user: daemon\ngroup: 4711".to_string(), uid, 4711),
        ("user: 4711\ngroup: 4712".to_string(), 4711, 4712),
        ("group: daemon".to_string(), nobody().uid.as_raw(), gid),
        (format!("user: 4711\ngroup: {nobodys}\nchroot_dir: {}/", empty.display()), 4711, nobodys),
    ];
    for (settings, uid, gid) in cases {
        let root = if settings.contains("chroot") { empty.to_str().expect("plain") } else { "/var/empty" };
        let plb = Plb::http(&settings, &[origin.address()]);
        let status = Status::of(&plb);
        status.assert_ids(uid, gid);
        assert_eq!((status.get("Groups"), link(&plb, "root").as_str()), ("", root), "{settings}");
        status.assert_no_capabilities(&["CapPrm", "CapBnd"]);
        assert_eq!(get(plb.web(), "/").text(), "only");
        plb.stop();
    }
}

#[test]
fn the_filter_and_the_core_dumps_are_settings() {
    if !is_root() {
        return;
    }
    let origin = Origin::named("only");
    let plb = Plb::http("seccomp: false\ncore_dumps: true", &[origin.address()]);
    let status = Status::of(&plb);
    assert_eq!(status.get("Seccomp"), "0");
    status.assert_no_capabilities(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    assert!(has_images(&plb));
    assert!(!plb.stop().contains("seccomp"));
}
