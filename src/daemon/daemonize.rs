//! Going into the background: the program runs itself again, and waits until that daemon serves.
//!
//! ```text
//! parent  spawn ─────── read ──────────────────────────── a byte: 0 ── an end: the daemon's status
//! daemon        setsid, chdir, bind, lock, confine ── serves: a byte
//! ```
//! No fork: a process that has forked may only do what is safe in a signal handler. The daemon knows what it is by a
//! mark in its environment, which names the socket that is its standard output, so that a mark set by somebody else
//! means nothing. Its standard input is /dev/null, opened for both directions: from there it gets to the other two
//! descriptors, when there may be no file system any more. Errors of its start appear on the terminal through standard
//! error, which it keeps until it serves.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

/// The variable that marks the daemon.
const MARK: &str = "PLB_READINESS";

/// How the start of the daemon ended, as its parent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It serves.
    Serves,
    /// It ended with this status, which is not 0, and has said why.
    Failed(u8),
    /// A signal killed it.
    Killed(Signal),
}

/// Runs this program again, with the same arguments, as a daemon, and waits until it serves or has ended.
///
/// # Errors
/// It cannot be run.
pub fn spawn() -> io::Result<Outcome> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(MARK, mark_of(theirs.as_fd())?);
    command.stdin(null).stdout(OwnedFd::from(theirs));
    let mut daemon = command.spawn()?;
    // It holds the daemon's end: there would be no end of file.
    drop(command);
    match ours.read_exact(&mut [0]) {
        Ok(()) => Ok(Outcome::Serves),
        Err(_) => Ok(outcome(daemon.wait()?)),
    }
}

/// What a daemon's end means that did not serve.
fn outcome(status: ExitStatus) -> Outcome {
    let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
    match (signal, status.code().and_then(|code| u8::try_from(code).ok())) {
        (Some(signal), _) => Outcome::Killed(signal),
        (None, Some(code @ 1..)) => Outcome::Failed(code),
        (None, _) => Outcome::Failed(1),
    }
}

/// What the daemon owes to the parent that waits for it, on its standard output.
#[derive(Debug)]
pub struct Readiness(());

impl Readiness {
    /// Whether this process is the daemon that [`spawn`] runs; it is the head of a session of its own then.
    ///
    /// # Errors
    /// There is no standard output, or no new session.
    pub fn claim() -> io::Result<Option<Readiness>> {
        let Some(mark) = env::var_os(MARK) else { return Ok(None) };
        if mark != *mark_of(io::stdout().as_fd())? {
            return Ok(None);
        }
        setsid()?;
        Ok(Some(Readiness(())))
    }

    /// Leaves the terminal and whatever the caller's descriptors were, and tells the parent that plb serves.
    ///
    /// # Errors
    /// The parent is gone, so that nobody learnt of a daemon that runs.
    pub fn announce(self) -> io::Result<()> {
        let mut parent = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let null = io::stdin();
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        parent.write_all(b"\n")
    }
}

/// What no other open file of this system is called.
fn mark_of(socket: BorrowedFd<'_>) -> io::Result<String> {
    let facts = File::from(socket.try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", facts.dev(), facts.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_ends_without_serving_has_failed() {
        assert_eq!(outcome(ExitStatus::from_raw(78 << 8)), Outcome::Failed(78));
        assert_eq!(outcome(ExitStatus::from_raw(0)), Outcome::Failed(1));
        assert_eq!(outcome(ExitStatus::from_raw(9)), Outcome::Killed(Signal::SIGKILL));
    }

    #[test]
    fn two_sockets_have_different_marks() {
        let (one, other) = UnixStream::pair().unwrap();
        let mark = |socket: &UnixStream| mark_of(socket.as_fd()).unwrap();
        assert_ne!(mark(&one), mark(&other));
        assert_eq!(mark(&one), mark(&one.try_clone().unwrap()));
    }
}
