//! Confinement: what plb gave up, as the kernel tells it of the running program; and that it serves all the same. What
//! somebody meets who tries to get it back is in `captive.rs`, which needs a process without threads.
//!
//! Most of it takes root. Run by somebody else, a test that needs root passes without a word of proof, and says so.

#[path = "../scenarios/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "most of it is for the scenarios")]
mod harness;

mod from_outside;
mod ordinary_user;
mod refusals;
mod service;

use harness::Plb;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whether root runs the tests.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("not proved: this takes root");
    }
    is_root
}

/// A directory that everybody may look into, gone with the test.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    set_mode(directory.path(), 0o755);
    directory
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A file with this text that everybody may read.
fn written(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, text).expect("there is room for a file");
    set_mode(&path, 0o644);
    path
}

/// The command through a shell that opens descriptors and allows core dumps first, under `setpriv` with these options.
fn planted(options: &[&str], opened: &str, command: &[&str]) -> Command {
    let mut planted = Command::new("setpriv");
    planted
        .args(options)
        .args(["sh", "-c", &format!("exec {opened}; ulimit -c unlimited; exec \"$@\""), "sh"])
        .args(command);
    planted
}

/// What /proc/PID/status says, by key, with single blanks.
struct Status(BTreeMap<String, String>);

impl Status {
    fn of(plb: &Plb) -> Status {
        Status::new(&fs::read_to_string(format!("/proc/{}/status", plb.pid())).expect("it runs"))
    }

    fn new(text: &str) -> Status {
        let entries = text.lines().filter_map(|line| line.split_once(':'));
        let blanks = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        Status(entries.map(|(key, value)| (key.to_string(), blanks(value))).collect())
    }

    fn get(&self, key: &str) -> &str {
        &self.0[key]
    }

    /// The real, effective, saved and file-system ids of user and group are these.
    fn assert_ids(&self, uid: u32, gid: u32) {
        assert_eq!(self.get("Uid"), format!("{uid} {uid} {uid} {uid}"));
        assert_eq!(self.get("Gid"), format!("{gid} {gid} {gid} {gid}"));
    }

    fn assert_no_capabilities(&self, sets: &[&str]) {
        for set in sets {
            assert_eq!(u64::from_str_radix(self.get(set), 16), Ok(0), "{set}");
        }
        assert_eq!(self.get("NoNewPrivs"), "1");
    }
}

/// Where a link of /proc/PID leads.
fn link(plb: &Plb, name: &str) -> String {
    let path = format!("/proc/{}/{name}", plb.pid());
    fs::read_link(path).expect("it runs").to_string_lossy().into_owned()
}
