//! `Outlet`: lines on their way out. They are gathered in a buffer and written once a turn; what does not fit is lost, and
//! counted.
//!
//! A line that was begun is finished before the next one. Nothing here waits, and no error ends anything: a reader that
//! stalls or is gone, or a full disk, is tried again, ever more rarely.

use std::time::Duration;

use memchr::{memchr, memchr_iter};
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
    /// Why it takes none, until that was told.
    trouble: Option<Errno>,
    lost: u64,
    lost_reported: u64,
}

impl Outlet {
    /// An outlet that writes at once.
    pub fn new(sink: Sink) -> Outlet {
        Outlet {
            sink,
            waiting: Vec::new(),
            pace: Pace::AtOnce,
            pause: Duration::ZERO,
            trouble: None,
            lost: 0,
            lost_reported: 0,
        }
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
                outcome => {
                    if self.pause.is_zero() {
                        self.trouble = outcome.err();
                    }
                    break true;
                }
            }
        };
        self.waiting.drain(..done);
        self.trouble.take_if(|_| !stalled);
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

    /// Why the sink takes no lines, told once each time that it ceases to. That it is merely busy is no trouble until
    /// lines are lost.
    pub fn take_trouble(&mut self) -> Option<Errno> {
        let is_busy = self.trouble == Some(Errno::EAGAIN) && self.lost == self.lost_reported;
        if is_busy { None } else { self.trouble.take() }
    }

    /// Gives up what waits, and tells how many lines were lost since that was last told.
    pub fn abandon(&mut self) -> u64 {
        self.lost += memchr_iter(b'\n', &self.waiting).count() as u64;
        self.waiting.clear();
        self.lost - self.lost_reported
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn datagrams() -> (UnixDatagram, Outlet, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("socket");
        let reader = UnixDatagram::bind(&path).expect("a socket can be made");
        reader.set_nonblocking(true).expect("a socket takes it");
        (reader, Outlet::new(Sink::local(&[path]).expect("somebody listens")), directory)
    }

    fn read(reader: &UnixDatagram) -> Vec<String> {
        let mut room = [0; 4096];
        let next = || reader.recv(&mut room).ok().map(|count| String::from_utf8_lossy(&room[..count]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn every_line_is_written_in_its_order_or_counted() {
        let (reader, mut outlet, _directory) = datagrams();
        outlet.line(|line| line.extend(b"at once\n"));
        assert_eq!(read(&reader), ["at once"]);
        outlet.set_pace(Pace::EachTurn);
        let padding = "x".repeat(1_000);
        let count = 1_000;
        for number in 0..count {
            outlet.line(|line| line.extend(format!("{number} {padding}\n").bytes()));
        }
        assert!(read(&reader).is_empty(), "not before the turn's end");
        let lost = outlet.lost();
        assert!(lost > 0 && outlet.waiting.len() <= WAITING_BYTES_MAX);
        outlet.write();
        assert_eq!(outlet.pause(), Some(PAUSES[0]), "a socket holds less");
        assert_eq!(outlet.take_lost(), None, "it takes nothing yet");
        let mut lines = Vec::new();
        while outlet.pause().is_some() {
            lines.extend(read(&reader));
            outlet.write();
            assert!(outlet.pause().is_some(), "it is left alone until it is tried again");
            outlet.try_write();
        }
        lines.extend(read(&reader));
        let numbers: Vec<u64> = lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        assert_eq!(numbers, (0..count - lost).collect::<Vec<_>>());
        assert_eq!((outlet.take_lost(), outlet.take_lost()), (Some(lost), None));
    }

    #[test]
    fn a_sink_that_takes_nothing_is_tried_ever_more_rarely() {
        let (reader, mut outlet, _directory) = datagrams();
        drop(reader);
        outlet.line(|line| line.extend(b"a\n"));
        let mut pauses = vec![outlet.pause().expect("nobody listens")];
        for _ in 0..12 {
            outlet.try_write();
            pauses.push(outlet.pause().expect("nobody listens"));
        }
        assert!(pauses.is_sorted() && pauses[0] == PAUSES[0] && pauses[12] == PAUSES[1], "{pauses:?}");
    }
}
