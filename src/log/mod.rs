//! The logs: the daemon's own lines, and one line for each exchange.
//!
//! ```text
//! log::info! .. ─▶ env_logger ─▶ outlet ─┐
//! records of sessions ─▶ format ─▶ outlet ─┴─▶ once a turn ─▶ sink
//! ```
//! A log is opened before the process gives up its privileges, and never again. No log ever holds up the service: see
//! [`outlet`] and [`sink`].

pub mod access;
pub mod outlet;
pub mod sink;
pub mod stamp;

use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use env_logger::{Builder, Target};
use log::{Level, Log};

use crate::base::time::Time;
use crate::config::{Config, LogTarget};
use crate::session::record::Records;
use access::Format;
use outlet::{Outlet, Pace};
use sink::Sink;
use stamp::{Calendar, wall};

/// Where a host's syslog listens: Linux and the BSDs, and where some of these keep it.
const LOCAL_SOCKETS: [&str; 2] = ["/dev/log", "/var/run/log"];

/// The facility of daemons (RFC 5424 section 6.2.1), times 8.
const FACILITY: u8 = 3 << 3;

/// All logs of the process.
pub struct Logs {
    daemon: Arc<Mutex<Outlet>>,
    access: Option<Access>,
    /// How often the access log ceased to take lines.
    troubles: u64,
}

/// The access log.
struct Access {
    outlet: Outlet,
    /// What syslog wants; the format itself says all else.
    preamble: Option<Preamble>,
    format: Format,
}

/// What stands before the text of a line.
#[derive(Clone, Debug)]
enum Preamble {
    /// Date and level.
    Plain,
    /// What syslog(3) puts there.
    Local,
    /// The header of RFC 5424, with the name of this host.
    Network(String),
}

impl Logs {
    /// Opens the logs that the configuration names, and installs the daemon's log for the whole process, unless there is
    /// one. Until [`Logs::set_pace`], lines are written at once.
    ///
    /// # Errors
    /// A log that cannot be opened: the step, and what it met.
    pub fn open(config: &Config) -> Result<Logs, (String, io::Error)> {
        let failed = |name: &str, target: &LogTarget, error| (format!("cannot open the {name} {target}"), error);
        let target = &config.log_file;
        let (sink, preamble) = open(target, io::stderr().as_fd()).map_err(|error| failed("log", target, error))?;
        let daemon = Arc::new(Mutex::new(Outlet::new(sink)));
        let log = daemon_log(config.log_level, preamble, Arc::clone(&daemon));
        if log::set_boxed_logger(Box::new(log)).is_ok() {
            log::set_max_level(config.log_level);
            // Rust's own one writes to standard error, and waits for whoever reads that.
            panic::set_hook(Box::new(|bug| log::error!("{}", bug.to_string().replace('\n', " "))));
        }
        let access = config.access_log.as_ref().map(|target| {
            let (sink, preamble) =
                open(target, io::stdout().as_fd()).map_err(|error| failed("access log", target, error))?;
            let preamble = Some(preamble).filter(|preamble| !matches!(preamble, Preamble::Plain));
            Ok(Access { outlet: Outlet::new(sink), preamble, format: Format::new(config.access_log_format) })
        });
        Ok(Logs { daemon, access: access.transpose()?, troubles: 0 })
    }

    /// Lines are written so from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        locked(&self.daemon).set_pace(pace);
        self.access.iter_mut().for_each(|access| access.outlet.set_pace(pace));
    }

    /// Writes what waits, with the lines of the exchanges that ended, and reports what was lost.
    pub fn write(&mut self, records: &mut Records, config: &Config, now: Time) {
        if let Some(access) = &mut self.access {
            access.take(records, config, now);
            access.outlet.write();
            if let Some(errno) = access.outlet.take_trouble() {
                self.troubles += 1;
                // Once for the first time, and then ever more rarely.
                if self.troubles.is_power_of_two() {
                    log::warn!("the access log takes no lines: {} (so far {} times)", errno.desc(), self.troubles);
                }
            }
            if let Some(lost) = access.outlet.take_lost() {
                log::warn!("{lost} access log lines were lost");
            }
        }
        locked(&self.daemon).write();
        let lost = locked(&self.daemon).take_lost();
        if let Some(lost) = lost {
            log::warn!("{lost} log lines were lost");
            locked(&self.daemon).write();
        }
    }

    /// When to try again what could not be written; `None` when all was.
    pub fn pause(&self) -> Option<Duration> {
        let access = self.access.as_ref().and_then(|access| access.outlet.pause());
        [locked(&self.daemon).pause(), access].into_iter().flatten().min()
    }

    /// Tries again.
    pub fn retry(&mut self) {
        locked(&self.daemon).try_write();
        self.access.iter_mut().for_each(|access| access.outlet.try_write());
    }

    /// The lines that were lost since the start.
    pub fn lost(&self) -> u64 {
        locked(&self.daemon).lost() + self.access.as_ref().map_or(0, |access| access.outlet.lost())
    }
}

impl Drop for Logs {
    /// What waits is written, as far as that can be; who logs later does so at once.
    fn drop(&mut self) {
        self.set_pace(Pace::AtOnce);
        self.retry();
        let lost = self.access.as_mut().map_or(0, |access| access.outlet.abandon());
        if lost > 0 {
            log::warn!("{lost} access log lines were lost");
        }
    }
}

impl Access {
    fn take(&mut self, records: &mut Records, config: &Config, now: Time) {
        let mut read = None;
        records.drain(|record| {
            let wall = *read.get_or_insert_with(wall);
            self.outlet.line(|line| {
                if let Some(preamble) = &self.preamble {
                    preamble.write(Level::Info, self.format.calendar(), line);
                }
                self.format.write(record, wall.saturating_sub(now.since(record.began)), config, line);
            });
        });
    }
}

/// Whether this host has a syslog that takes lines.
pub fn has_syslog() -> bool {
    Sink::local(&LOCAL_SOCKETS.map(PathBuf::from)).is_ok()
}

/// The end of a log's lines where they leave the process.
fn open(target: &LogTarget, standard: BorrowedFd) -> io::Result<(Sink, Preamble)> {
    Ok(match target {
        LogTarget::Standard => (Sink::standard(standard)?, Preamble::Plain),
        LogTarget::File(path) => (Sink::file(path)?, Preamble::Plain),
        LogTarget::Syslog => (Sink::local(&LOCAL_SOCKETS.map(PathBuf::from))?, Preamble::Local),
        LogTarget::Udp { host, port } => {
            let server = (host.as_str(), *port).to_socket_addrs()?.next();
            let server = server.ok_or_else(|| io::Error::other("it has no address"))?;
            let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            (Sink::udp(server)?, Preamble::Network(name))
        }
    })
}

fn daemon_log(level: log::LevelFilter, preamble: Preamble, outlet: Arc<Mutex<Outlet>>) -> impl Log {
    let calendar = Mutex::new(Calendar::default());
    let format = move |line: &mut env_logger::fmt::Formatter, record: &log::Record| {
        let mut start = Vec::new();
        preamble.write(record.level(), &mut locked(&calendar), &mut start);
        line.write_all(&start)?;
        writeln!(line, "{}", record.args())
    };
    Builder::new().filter_level(level).format(format).target(Target::Pipe(Box::new(Daemon(outlet)))).build()
}

/// The daemon's outlet as env_logger sees it, which writes each line whole.
struct Daemon(Arc<Mutex<Outlet>>);

impl Write for Daemon {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        locked(&self.0).line(|lines| lines.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Preamble {
    fn write(&self, level: Level, calendar: &mut Calendar, line: &mut Vec<u8>) {
        let severity = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        let (priority, process) = (FACILITY + severity, std::process::id());
        if let Preamble::Network(_) = self {
            line.extend_from_slice(format!("<{priority}>1 ").as_bytes());
        }
        if !matches!(self, Preamble::Local) {
            calendar.write_rfc3339(wall(), line);
        }
        let rest = match self {
            Preamble::Plain => format!(" {level:5} "),
            Preamble::Local => format!("<{priority}>plb[{process}]: "),
            Preamble::Network(host) => format!(" {host} plb {process} - - "),
        };
        line.extend_from_slice(rest.as_bytes());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
