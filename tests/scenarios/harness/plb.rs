//! The program under test: started with a configuration, watched through its log, ended with the test.

use super::{PATIENCE, locked};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_plb");

/// A file with one listener `web` and one pool `web`; the backends are named b1, b2 and so on. Unless root runs the
/// tests, plb may leave core dumps: otherwise the kernel lets nobody else look at it in /proc (proc(5)).
pub fn configuration(protocol: &str, settings: &str, backends: &[SocketAddr]) -> String {
    let visible = if geteuid().is_root() || settings.contains("core_dumps") { "" } else { "core_dumps: true\n" };
    let mut text = format!(
        "{visible}{}\nlisteners:\n  - name: web\n    listen: \"127.0.0.1:0\"\n    protocol: {protocol}\n    pool: web\n\
         pools:\n  web:\n    backends:\n",
        settings.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    );
    for (index, address) in backends.iter().enumerate() {
        writeln!(text, "      - {{ address: \"{address}\", name: b{} }}", index + 1).expect("a string takes all");
    }
    text
}

/// A running plb.
pub struct Plb {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    _directory: Option<TempDir>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Plb {
    /// Runs with this file and waits until it serves.
    pub fn start(yaml: &str) -> Plb {
        let plb = Plb::launch(yaml);
        plb.wait_for_log("plb: serving");
        plb
    }

    /// An HTTP listener with these top-level settings, serving.
    pub fn http(settings: &str, backends: &[SocketAddr]) -> Plb {
        Plb::start(&configuration("http", settings, backends))
    }

    /// A TCP listener with these top-level settings, serving.
    pub fn tcp(settings: &str, backends: &[SocketAddr]) -> Plb {
        Plb::start(&configuration("tcp", settings, backends))
    }

    /// Runs with this file and waits for nothing.
    pub fn launch(yaml: &str) -> Plb {
        let (directory, file) = written(yaml);
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(file);
        Plb::run(&mut command).keeping(directory)
    }

    /// Runs with this file under these limits of open files and waits for nothing.
    pub fn launch_limited(yaml: &str, descriptors: &str) -> Plb {
        let (directory, file) = written(yaml);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}")).arg(PROGRAM).arg("-c").arg(file);
        Plb::run(&mut command).keeping(directory)
    }

    /// Runs this command and waits for nothing.
    pub fn run(command: &mut Command) -> Plb {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::<Log>::default();
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || collect(stderr, &log)
        });
        Plb { child, log, reader: Some(reader), _directory: None }
    }

    fn keeping(mut self, directory: TempDir) -> Plb {
        self._directory = Some(directory);
        self
    }

    /// Where listener `name` listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        let needle = format!("listener {name}: listening on ");
        let line = self.wait_for_log(&needle);
        let (_, address) = line.split_once(&needle).expect("the line has it");
        address.trim().parse().expect("a listener logs an address")
    }

    /// Where the listener `web` listens.
    pub fn web(&self) -> SocketAddr {
        self.address("web")
    }

    /// The first line that contains `needle`, as soon as there is one.
    pub fn wait_for_log(&self, needle: &str) -> String {
        self.wait_for_line(&format!("a line with {needle:?}"), |lines| {
            lines.iter().find(|line| line.contains(needle)).cloned()
        })
    }

    /// Waits until `find` finds something in the lines of the log.
    pub fn wait_for_line<T>(&self, what: &str, mut find: impl FnMut(&[String]) -> Option<T>) -> T {
        let limit = Instant::now() + PATIENCE;
        let mut lines = locked(&self.log.lines);
        loop {
            if let Some(found) = find(&lines.lines) {
                return found;
            }
            let left = limit.saturating_duration_since(Instant::now());
            let goes_on = !lines.ended && !left.is_zero();
            assert!(goes_on, "never logged: {what}; but\n{}", lines.lines.join("\n"));
            lines = self.log.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        locked(&self.log.lines).lines.join("\n")
    }

    /// The number of lines logged so far.
    pub fn log_length(&self) -> usize {
        locked(&self.log.lines).lines.len()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs, or is not reaped yet");
    }

    /// Waits for its end; the log is complete then.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        super::poll_until("the end of plb", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        status.expect("it was awaited")
    }

    /// Asks it to stop, checks that it says 0, and returns the whole log.
    pub fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(0), "{status}");
        self.log()
    }

    /// Stops it and asserts that no backend was ever taken out.
    pub fn stop_unmarked(self) {
        let log = self.stop();
        assert!(!log.contains("down after"), "a backend was blamed:\n{log}");
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits"))
    }

    /// Memory of its own in bytes (Linux: /proc/PID/statm, resident pages of 4 KiB).
    pub fn resident_bytes(&self) -> u64 {
        let text = self.proc("statm");
        4096 * text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second field")
    }

    /// Its share of the memory that it uses, in bytes (Linux: /proc/PID/smaps_rollup).
    pub fn proportional_bytes(&self) -> u64 {
        let text = self.proc("smaps_rollup");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel tells it");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kilobytes")
    }

    /// Processor time that it used (Linux: /proc/PID/stat, fields 14 and 15 in ticks of 10 ms).
    pub fn processor_time(&self) -> Duration {
        let text = self.proc("stat");
        let (_, fields) = text.rsplit_once(") ").expect("the name is in parentheses");
        let ticks = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        Duration::from_millis(10 * ticks)
    }

    /// Its effective user and group (Linux: /proc/PID/status).
    pub fn identity(&self) -> (u32, u32) {
        let status = self.proc("status");
        let effective = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the line is there");
            line.split_whitespace().nth(1).and_then(|id| id.parse().ok()).expect("a number")
        };
        (effective("Uid:"), effective("Gid:"))
    }

    /// The numbers of its open descriptors (Linux: /proc/PID/fd).
    pub fn descriptors(&self) -> BTreeSet<u64> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("it runs")
    }
}

impl Drop for Plb {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended
        drop(self.child.wait());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        if std::thread::panicking() {
            eprintln!("--- the log of plb\n{}\n---", self.log());
        }
    }
}

fn collect(stderr: ChildStderr, log: &Log) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        locked(&log.lines).lines.push(line);
        log.changed.notify_all();
    }
    locked(&log.lines).ended = true;
    log.changed.notify_all();
}

/// The text as a file in a directory that goes with the test.
pub fn written(yaml: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("there is room for a file");
    let file = directory.path().join("plb.yaml");
    std::fs::write(&file, yaml).expect("there is room for a file");
    (directory, file)
}
