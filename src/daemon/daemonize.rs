//! Going into the background: the program runs itself again, and waits until that daemon serves.
//!
//! ```text
//! parent  spawn ─────── read ──────────────────────────── a byte: 0 ── an end: the daemon's status
//! daemon        setsid, chdir, bind, lock, confine ── serves: a byte
//! ```
//! The daemon has a mark in its environment: the name of the socket that is its standard output, so that a mark set by
//! somebody else means nothing. Its standard input is /dev/null, and takes the place of the others where there may be no
//! path any more. Until then, errors of its start appear on the terminal.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};

use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

/// The variable that marks the daemon.
const MARK: &str = "PLB_READINESS";

/// Runs this program again, with the same arguments, as a daemon, and waits until it serves; or how it ended instead.
///
/// # Errors
/// It cannot be run.
pub fn spawn() -> io::Result<Option<ExitStatus>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(MARK, mark_of(theirs.as_fd())?);
    let mut daemon = command.stdin(null).stdout(OwnedFd::from(theirs)).spawn()?;
    // It holds the daemon's end: there would be no end of file.
    drop(command);
    match ours.read_exact(&mut [0]) {
        Ok(()) => Ok(None),
        Err(_) => daemon.wait().map(Some),
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
        match env::var_os(MARK) {
            Some(mark) if mark == *mark_of(io::stdout().as_fd())? => setsid()?,
            _ => return Ok(None),
        };
        Ok(Some(Readiness(())))
    }

    /// Leaves the caller's standard streams, and tells the parent that plb serves.
    ///
    /// # Errors
    /// The parent is gone, so that nobody learnt of a daemon that runs.
    pub fn announce(self) -> io::Result<()> {
        let mut parent = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        dup2_stdout(io::stdin())?;
        dup2_stderr(io::stdin())?;
        parent.write_all(b"\n")
    }
}

/// What no other open file of this system is called.
fn mark_of(socket: BorrowedFd<'_>) -> io::Result<String> {
    let facts = File::from(socket.try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", facts.dev(), facts.ino()))
}
