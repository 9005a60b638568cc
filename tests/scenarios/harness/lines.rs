//! Files and FIFOs that a program appends lines to, and what is in them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::poll_until;

/// A file that lines are appended to, in a directory that goes with the test.
pub struct Lines {
    path: PathBuf,
    _directory: TempDir,
}

impl Lines {
    /// A file that is not there yet.
    pub fn new() -> Lines {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        Lines { path: directory.path().join("lines"), _directory: directory }
    }

    /// A FIFO.
    pub fn fifo() -> Lines {
        let lines = Lines::new();
        nix::unistd::mkfifo(&lines.path, Mode::from_bits_truncate(0o600)).expect("a FIFO can be made");
        lines
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file, which has at least `count` lines.
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        wait_for(&self.path, count)
    }

    /// The only line of the file, as soon as there is one.
    pub fn line(&self) -> String {
        let lines = self.wait_for(1);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.into_iter().next().expect("there is one")
    }

    /// The reading end of the FIFO, which does not wait.
    pub fn reader(&self) -> File {
        let mut options = File::options();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(&self.path).expect("a FIFO can be read before it is written")
    }
}

/// The lines of a file, as soon as it has so many whole ones.
pub fn wait_for(path: &Path, count: usize) -> Vec<String> {
    let mut text = String::new();
    poll_until(&format!("{count} lines in {}", path.display()), || {
        text = std::fs::read_to_string(path).unwrap_or_default();
        text.matches('\n').count() >= count
    });
    text.lines().map(str::to_owned).collect()
}

/// Appends what there is to read to `text`.
pub fn read_more(reader: &mut File, text: &mut String) {
    let mut room = [0; 65_536];
    loop {
        match reader.read(&mut room) {
            Ok(0) => return,
            Ok(count) => text.push_str(std::str::from_utf8(&room[..count]).expect("logs are ASCII")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("a FIFO cannot be read: {error}"),
        }
    }
}
