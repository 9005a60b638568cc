//! Proves that plb does not start where it could not give up its privileges safely, and says why.

use crate::harness::{Plb, configuration};
use crate::{is_root, open_directory, set_mode};
use nix::unistd::{Gid, Uid, chown};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

/// The exit code of a start with these settings, and what it said.
fn outcome(settings: &str) -> (Option<i32>, String) {
    let backend = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut plb = Plb::launch(&configuration("http", settings, &[backend]));
    let status = plb.wait_exit();
    assert!(!plb.log().contains("confined") && !plb.log().contains("serving"), "{settings}: {}", plb.log());
    (status.code(), plb.log())
}

fn assert_refused(settings: &str, status: i32, said: &str) {
    let (code, log) = outcome(settings);
    assert_eq!(code, Some(status), "{settings}: {log}");
    assert!(log.contains(said), "{settings}: {said:?} is not in {log}");
}

#[test]
fn a_root_directory_that_others_could_change_is_refused() {
    if !is_root() {
        return;
    }
    let room = open_directory();
    let at = |name: &str| room.path().join(name);
    for (name, mode) in [("good", 0o755), ("foreign", 0o755), ("group", 0o775), ("others", 0o757), ("sticky", 0o1777)] {
        fs::create_dir(at(name)).expect("there is room");
        set_mode(&at(name), mode);
    }
    chown(&at("foreign"), Some(Uid::from_raw(65_534)), None).expect("root may");
    chown(&at("group"), None, Some(Gid::from_raw(65_534))).expect("root may");
    fs::write(at("file"), "").expect("there is room");
    symlink(at("good"), at("link")).expect("there is room");
    let cases = [
        ("foreign", "it must be root's, but is that of user 65534"),
        ("group", "only root may write to it, but its mode is 0775"),
        ("others", "only root may write to it, but its mode is 0757"),
        ("sticky", "only root may write to it, but its mode is 1777"),
        ("file", "it is not a directory"),
        ("link", "it is not a directory (a link to one does not do)"),
        ("link/", "it is not a directory (a link to one does not do)"),
        ("missing", "ENOENT"),
    ];
    for (name, said) in cases {
        let path = at(name).display().to_string();
        let message = format!("plb: chroot_dir {}: {said}", path.trim_end_matches('/'));
        assert_refused(&format!("chroot_dir: {path}"), 1, &message);
    }
    assert!(!at("missing").exists(), "only the default is made");
}

#[test]
fn a_user_that_is_not_there_or_is_root_is_refused() {
    if !is_root() {
        return;
    }
    let cases = [
        ("user: no-such-user", "plb: cannot become user no-such-user: there is no such user"),
        ("group: no-such-group", "plb: cannot become group no-such-group: there is no such group"),
        ("user: 4711", "plb: cannot become user 4711: the system knows no group of it; set group"),
        ("user: root", "plb: cannot become user root: 0:0 is root, and plb does not serve as root"),
        ("user: root\ngroup: nogroup", "0:65534 is root"),
        ("group: root", "plb: cannot become user nobody with group root: 65534:0 is root"),
    ];
    for (settings, said) in cases {
        assert_refused(settings, 1, said);
    }
}

#[test]
fn what_is_wrong_in_the_file_itself_is_a_matter_of_the_file() {
    for settings in ["user: 0", "group: 0", "chroot_dir: var/empty", "chroot_dir: /"] {
        assert_refused(settings, 78, "must be ");
    }
}
