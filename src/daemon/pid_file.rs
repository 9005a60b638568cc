//! The pid file: names the process that runs, and is locked for as long as it does.
//!
//! The lock says who runs, not what the file says: a stale file is nobody's and is replaced, a running instance's is
//! never touched, and neither is one that holds something else than a pid. Only its owner can read it: flock(2) lets every reader lock, and whoever does keeps plb from starting.
//! At stop the file is emptied through its descriptor, because a confined process cannot remove it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// How often a file is opened that is replaced meanwhile.
const TRIES_MAX: usize = 10;
/// The longest pid, and a line feed, in bytes.
const PID_BYTES_MAX: u64 = 20;
/// Who may read and write it.
const MODE: u32 = 0o600;

/// A pid file that is ours. Empty once it is dropped; unlocked when the process ends, which needs no further call.
#[derive(Debug)]
pub struct PidFile(ManuallyDrop<Flock<File>>);

impl PidFile {
    /// Locks the file, and writes the pid of this process into it.
    ///
    /// # Errors
    /// Another process has locked it; there is no plain file; the system refuses. It was not changed then, unless it is
    /// writing that fails.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        let file = lock(path)?;
        check(&file)?;
        let mut file = PidFile(ManuallyDrop::new(file));
        // One of others may be left as it is.
        let _ = file.0.set_permissions(Permissions::from_mode(MODE));
        file.0.set_len(0)?;
        writeln!(file.0, "{}", std::process::id())?;
        Ok(file)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_len(0) {
            log::warn!("cannot empty the pid file: {error}");
        }
    }
}

/// The file at this path, locked, and at this path still.
fn lock(path: &Path) -> io::Result<Flock<File>> {
    for _ in 0..TRIES_MAX {
        let file = match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(io::Error::other(holder(&file))),
            Err((_, errno)) => return Err(errno.into()),
        };
        // Somebody may have removed or replaced it between the two calls: then the lock is on a file without a name.
        let (held, named) = (file.metadata()?, fs::symlink_metadata(path));
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
            return Ok(file);
        }
    }
    Err(io::Error::other("it is replaced all the time"))
}

/// A path that was mistyped, the configuration's for one, must not cost the file that is there.
fn check(file: &File) -> io::Result<()> {
    let mut bytes = [0; PID_BYTES_MAX as usize + 1];
    let count = file.read_at(&mut bytes, 0)?;
    let is_pid = count < bytes.len() && bytes[..count].trim_ascii().iter().all(u8::is_ascii_digit);
    if is_pid { Ok(()) } else { Err(io::Error::other("it holds something else than a pid, and is left alone")) }
}

fn open(path: &Path) -> io::Result<File> {
    let no_file = || io::Error::other("it is not a plain file of one name");
    // Without O_NONBLOCK a FIFO that somebody put there would hold the start up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(flags.bits());
    let file = options.open(path).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        // What open(2) says of a link that O_NOFOLLOW does not follow, here and on FreeBSD.
        Some(Errno::ELOOP | Errno::EMLINK | Errno::EISDIR) => no_file(),
        _ => error,
    })?;
    let facts = file.metadata()?;
    if facts.is_file() && facts.nlink() == 1 { Ok(file) } else { Err(no_file()) }
}

/// Who has locked the file.
fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(PID_BYTES_MAX).read_to_string(&mut text).map(|_| text.trim_end().parse::<u32>()) {
        Ok(Ok(pid)) => format!("already running as process {pid}"),
        _ => "locked by another process".to_string(),
    }
}
