//! `Outlet`: lines on their way out. They are gathered in a buffer and written once a turn; what does not fit is lost, and
//! counted.
//!
//! A line that was begun is finished before the next one. Nothing here waits, and no error ends anything: a reader that
//! stalls or is gone, or a full disk, is tried again, ever more rarely.

use std::time::Duration;

use memchr::memchr;
use nix::errno::Errno;

use super::sink::Sink;

/// The most bytes that wait to be written.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// How long a sink that does not take lines is left alone, for the first time and at the most.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(500)];

/// When lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once: nobody is served yet, or any more.
    AtOnce,
    /// Once a turn.
    EachTurn,
}

/// Lines on their way out.
#[derive(Debug)]
pub struct Outlet {
    sink: Sink,
    /// Whole lines, but for the first one, which may have begun to leave.
    waiting: Vec<u8>,
    pace: Pace,
    /// How long to leave the sink alone; zero while it takes lines.
    pause: Duration,
    lost: u64,
    lost_reported: u64,
}

impl Outlet {
    /// An outlet that writes at once.
    pub fn new(sink: Sink) -> Outlet {
        Outlet { sink, waiting: Vec::new(), pace: Pace::AtOnce, pause: Duration::ZERO, lost: 0, lost_reported: 0 }
    }

    /// Lines are written so from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Takes a line, with its end, that `write` appends.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.waiting.len();
        write(&mut self.waiting);
        if self.waiting.len() > WAITING_BYTES_MAX {
            self.waiting.truncate(before);
            self.lost += 1;
        }
        if self.pace == Pace::AtOnce {
            self.write();
        }
    }

    /// Writes what waits, unless the sink is left alone for the moment.
    pub fn write(&mut self) {
        if self.pause.is_zero() {
            self.try_write();
        }
    }

    /// Writes what waits, or finds out how long to leave the sink alone.
    pub fn try_write(&mut self) {
        let mut done = 0;
        let stalled = loop {
            let lines = &self.waiting[done..];
            if lines.is_empty() {
                break false;
            }
            match self.sink.write(lines) {
                Ok(count) if count > 0 => done += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EMSGSIZE) => {
                    done += memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
                    self.lost += 1;
                }
                Ok(_) | Err(_) => break true,
            }
        };
        self.waiting.drain(..done);
        let [least, most] = PAUSES;
        self.pause = match (stalled, done) {
            (false, _) => Duration::ZERO,
            (true, 0) => (2 * self.pause).clamp(least, most),
            (true, _) => least,
        };
    }

    /// How long to leave the sink alone; `None` when it has taken all.
    pub fn pause(&self) -> Option<Duration> {
        (!self.pause.is_zero()).then_some(self.pause)
    }

    /// The lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The lines that were lost since this was last asked for, once the sink takes lines again.
    pub fn take_lost(&mut self) -> Option<u64> {
        let news = self.lost - self.lost_reported;
        let tell = news > 0 && self.pause.is_zero();
        tell.then(|| {
            self.lost_reported = self.lost;
            news
        })
    }
}
