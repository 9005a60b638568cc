//! A directory with everything that one daemon needs, and what is known of the processes that run with it.

use crate::harness::plb::PROGRAM;
use crate::harness::{PATIENCE, Reservation, configuration, poll_until};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use tempfile::TempDir;

/// A directory with `plb.yaml`, where `plb.log` and `plb.pid` will be; whatever runs with it ends when it is dropped.
pub struct Site {
    directory: TempDir,
    reservation: Reservation,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` when a signal killed it.
    pub code: Option<i32>,
    /// Both its outputs.
    pub said: String,
}

impl Site {
    /// With an HTTP listener at [`Site::address`], these settings, and a backend that is not there.
    pub fn new(settings: &str) -> Site {
        Site::with_backends(settings, &[SocketAddr::from(([127, 0, 0, 1], 9))])
    }

    /// With these backends.
    pub fn with_backends(settings: &str, backends: &[SocketAddr]) -> Site {
        // Daemons whose parent is gone become children of the tests, which so learn how they end.
        set_child_subreaper(true).expect("Linux has it");
        let site = Site { directory: tempfile::tempdir().expect("there is room"), reservation: Reservation::new() };
        // So that an ordinary user may look at his daemon in /proc.
        let settings = format!("core_dumps: true\n{settings}");
        let yaml = configuration("http", &settings, backends).replace("127.0.0.1:0", &site.address().to_string());
        std::fs::write(site.config(), yaml).expect("there is room");
        site
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("plb.yaml")
    }

    /// Where its listener is.
    pub fn address(&self) -> SocketAddr {
        self.reservation.address()
    }

    /// `plb` with the configuration, the log and the pid file, and these arguments.
    pub fn plb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.config()).arg("-l").arg(self.path("plb.log"));
        command.arg("-g").arg(self.path("plb.pid")).args(arguments);
        command
    }

    /// Starts a daemon and checks that it says nothing and serves; its process.
    pub fn daemonize(&self) -> Pid {
        let ended = run(&mut self.plb(&["--daemonize"]));
        assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""), "{}", self.log());
        self.pid()
    }

    /// What the pid file says.
    pub fn pid_text(&self) -> String {
        std::fs::read_to_string(self.path("plb.pid")).expect("there is a pid file")
    }

    /// The process that the pid file names.
    pub fn pid(&self) -> Pid {
        let text = self.pid_text();
        Pid::from_raw(text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).expect("a pid in a line"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("plb.log")).unwrap_or_default()
    }

    /// The name of the directory, which stands in the command line of all that runs here.
    pub fn name(&self) -> &str {
        self.directory.path().file_name().and_then(|name| name.to_str()).expect("a plain name")
    }

    /// All processes whose command line has the name of this directory.
    pub fn processes(&self) -> BTreeSet<Pid> {
        let all = std::fs::read_dir("/proc").expect("this is Linux");
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(self.name())
        };
        pids.filter(is_ours).map(Pid::from_raw).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let processes = self.processes();
        for pid in &processes {
            _ = kill(*pid, Signal::SIGKILL); // it may have ended
        }
        for pid in processes {
            _ = waitpid(pid, None); // it may be the child of a command
        }
        if thread::panicking() {
            eprintln!("--- the log of plb\n{}\n---", self.log());
        }
    }
}

/// Asks a daemon to stop, and waits for its end: it has to say 0.
pub fn stop(pid: Pid) {
    kill(pid, Signal::SIGTERM).expect("it runs");
    assert_eq!(end_of(pid), WaitStatus::Exited(pid, 0));
}

/// Waits for the end of a daemon whose parent is gone.
pub fn end_of(pid: Pid) -> WaitStatus {
    let mut status = WaitStatus::StillAlive;
    poll_until("the end of the daemon", || {
        status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            // Its parent is about to be gone.
            Err(Errno::ECHILD) if Path::new(&format!("/proc/{pid}")).exists() => WaitStatus::StillAlive,
            result => result.expect("it is our child"),
        };
        status != WaitStatus::StillAlive
    });
    status
}

/// A command that runs, and is ended with the test.
pub struct Running {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).expect("descriptors are left");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("descriptors are left")).stderr(writer);
        let child = command.spawn().expect("it can be run");
        command.stdout(Stdio::null()).stderr(Stdio::null()); // so that only the child holds the pipe
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            drop(File::from(reader).read_to_end(&mut text));
            drop(sender.send(String::from_utf8_lossy(&text).into_owned()));
        });
        Running { child, said }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits"))
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until it has ended, and until nobody holds its outputs: who reads them all does not wait for a daemon.
    pub fn end(mut self) -> Ended {
        poll_until("the end of the command", || self.is_over());
        let said = self.said.recv_timeout(PATIENCE).expect("its outputs are closed");
        Ended { code: self.child.wait().expect("it is our child").code(), said }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended
        drop(self.child.wait());
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}
