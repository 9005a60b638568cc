//! Proves that plb runs for somebody who is not root: it stays who it is, says so, and still gives up what it can.

use crate::harness::client::get;
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, Plb, configuration};
use crate::{Status, link, open_directory, set_mode, written};
use nix::unistd::{getegid, geteuid};
use std::process::Command;
use tempfile::TempDir;

/// Who plb is started as when root runs the tests; nobody has this number.
const SOMEBODY: u32 = 54_321;

/// plb with these settings, started by an ordinary user, with `options` for setpriv where root runs the tests.
fn started(settings: &str, options: &[&str], origin: &Origin) -> (TempDir, Plb) {
    let room = open_directory();
    let program = room.path().join("plb");
    // Where everybody can execute it. Not copied by this process: another thread's child could inherit the descriptor that
    // is written to, and a file that somebody writes to cannot be executed.
    let copied = Command::new("cp").arg(PROGRAM).arg(&program).status().expect("there is a cp");
    assert!(copied.success(), "there is no room for the program");
    set_mode(&program, 0o755);
    let file = written(&room, "plb.yaml", &configuration("http", settings, &[origin.address()]));
    let mut command = Command::new("setpriv");
    if geteuid().is_root() {
        command.args([format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"), "--clear-groups".to_string()]);
        command.args(options);
    }
    let plb = Plb::run(command.arg(program).arg("-c").arg(file));
    plb.wait_for_log("plb: serving");
    (room, plb)
}

fn somebody() -> (u32, u32) {
    if geteuid().is_root() { (SOMEBODY, SOMEBODY) } else { (geteuid().as_raw(), getegid().as_raw()) }
}

#[test]
fn an_ordinary_user_serves_as_himself_without_capabilities() {
    let origin = Origin::named("only");
    let (uid, gid) = somebody();
    // Such as a service manager gives for a low port.
    let options = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"];
    let (_room, plb) = started("", &options, &origin);
    let status = Status::of(&plb);
    status.assert_ids(uid, gid);
    status.assert_no_capabilities(&["CapInh", "CapPrm", "CapEff", "CapAmb"]);
    assert_eq!((status.get("Seccomp"), link(&plb, "root").as_str()), ("2", "/"));
    assert_eq!(get(plb.web(), "/").text(), "only");
    let log = plb.stop();
    let said = "not started by root: no change of user, no root directory of its own\n";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert!(log.contains(&format!(" ({uid}:{gid}), Landlock ABI ")) && log.contains(", seccomp\n"), "{log}");
}

#[test]
fn settings_that_take_root_are_ignored_with_a_word() {
    let origin = Origin::named("only");
    let ignored = "; user, group and chroot_dir are ignored";
    let own = format!("user: {}", somebody().0);
    for (settings, is_said) in
        [("user: daemon", true), ("group: 4711", true), ("chroot_dir: /nonexistent", true), (&own, false)]
    {
        let (_room, plb) = started(settings, &[], &origin);
        assert_eq!(plb.wait_for_log("not started by root").ends_with(ignored), is_said, "{settings}");
        Status::of(&plb).assert_ids(somebody().0, somebody().1);
        plb.stop();
    }
}
