//! The pid file: names the process that runs, and is locked for as long as it does.
//!
//! The lock says who runs, not what the file says: a stale file is nobody's and is replaced, a running instance's is
//! never touched. It ends with the process, however that ends. At stop the file is emptied through the descriptor that
//! is held, because a confined process cannot remove it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// How often a file is opened that is replaced meanwhile.
const TRIES_MAX: usize = 10;
/// The longest pid, and a line feed, in bytes.
const PID_BYTES_MAX: u64 = 20;

/// A pid file that is ours. Empty once it is dropped.
#[derive(Debug)]
pub struct PidFile {
    /// Never unlocked but by the end of the process: a confined one may make no such call.
    file: ManuallyDrop<Flock<File>>,
}

/// Why there is no pid file.
#[derive(Debug)]
pub enum PidFileError {
    /// Another process runs with it; what it says of that process, if anything.
    Taken(Option<u32>),
    /// What is there is no plain file: a link, a directory, a device.
    NoPlainFile,
    /// The system refuses.
    System(io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::Taken(Some(pid)) => write!(f, "already running as process {pid}"),
            PidFileError::Taken(None) => f.write_str("locked by another process"),
            PidFileError::NoPlainFile => f.write_str("there is something else than a plain file with one name"),
            PidFileError::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PidFileError {}

impl From<io::Error> for PidFileError {
    fn from(error: io::Error) -> PidFileError {
        match error.raw_os_error().map(Errno::from_raw) {
            // What open(2) says of a link that O_NOFOLLOW does not follow, here and on FreeBSD.
            Some(Errno::ELOOP | Errno::EMLINK | Errno::EISDIR) => PidFileError::NoPlainFile,
            _ => PidFileError::System(error),
        }
    }
}

impl PidFile {
    /// Locks the file, and writes the pid of this process into it.
    ///
    /// # Errors
    /// It is locked by another process, which is told, or cannot be had. It was not changed then, except when writing
    /// itself failed.
    pub fn write(path: &Path) -> Result<PidFile, PidFileError> {
        let mut file = PidFile { file: ManuallyDrop::new(lock(path)?) };
        file.file.set_len(0)?;
        writeln!(file.file, "{}", std::process::id())?;
        Ok(file)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0) {
            log::warn!("cannot empty the pid file: {error}");
        }
    }
}

/// The file at this path, locked, and at this path still.
fn lock(path: &Path) -> Result<Flock<File>, PidFileError> {
    for _ in 0..TRIES_MAX {
        let file = open(path)?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(PidFileError::Taken(pid_in(&file))),
            Err((_, errno)) => return Err(io::Error::from(errno).into()),
        };
        // Somebody may have removed or replaced it between the two calls: then the lock is on a file without a name.
        let (held, named) = (file.metadata()?, fs::symlink_metadata(path));
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
            return Ok(file);
        }
    }
    Err(PidFileError::Taken(None))
}

fn open(path: &Path) -> Result<File, PidFileError> {
    // Without O_NONBLOCK a named pipe that somebody put there would hold the start up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags.bits());
    let file = options.open(path)?;
    let facts = file.metadata()?;
    if facts.is_file() && facts.nlink() == 1 { Ok(file) } else { Err(PidFileError::NoPlainFile) }
}

fn pid_in(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}
