//! Those who watch over the process: the parent that waits until it serves, the service manager, and whoever reads the
//! pid file.
//!
//! Held from the start to the end of the server, which tells what it does; all that needs a path happens at the start.

use std::io;
use std::time::Duration;

use super::daemonize::Readiness;
use super::notify::Notify;
use super::pid_file::PidFile;

/// Whoever has to be told what becomes of the process.
#[derive(Debug, Default)]
pub struct Supervision {
    /// The parent, until it knows.
    pub readiness: Option<Readiness>,
    /// The service manager.
    pub notify: Option<Notify>,
    /// Emptied when this is dropped.
    pub pid_file: Option<PidFile>,
}

impl Supervision {
    /// Tells that plb serves; from now on a daemon has no terminal.
    ///
    /// # Errors
    /// The parent is gone.
    pub fn serving(&mut self, status: &str) -> io::Result<()> {
        if let Some(readiness) = self.readiness.take() {
            readiness.announce()?;
        }
        self.send(&format!("READY=1\nSTATUS={status}"));
        Ok(())
    }

    /// Tells how plb is.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// Tells that plb stops gracefully.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Tells that the loop turns, and when to tell it again; `None` when nobody asks.
    pub fn alive(&self) -> Option<Duration> {
        let pause = self.notify.as_ref()?.watchdog()?;
        self.send("WATCHDOG=1");
        Some(pause)
    }

    fn send(&self, message: &str) {
        if let Some(notify) = &self.notify {
            notify.send(message);
        }
    }
}
