//! A balancer under measurement: found, configured, started with origins of its own, and ended with its guard.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::configuration::{self, Listen};
use crate::load::{Life, Load, Speech};
use crate::origin::Origin;
use crate::process::{self, BALANCER_CPU, LOOK_EVERY, Process};

/// How long a balancer may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Which balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one that the others are compared with.
    Haproxy,
    /// This project.
    Plb,
    /// The other one that many use.
    Nginx,
}

/// A balancer that is there to be measured.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Which one it is.
    pub kind: Kind,
    program: PathBuf,
}

/// A balancer that serves.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub listen: Listen,
    /// The process that does the work.
    pub serving: u32,
    // Ended in this order: nobody sees its origin die.
    _process: Process,
    _origin: Origin,
    _directory: TempDir,
}

impl Kind {
    /// All of them, in the order of a round.
    pub const ALL: [Kind; 3] = [Kind::Haproxy, Kind::Plb, Kind::Nginx];

    /// The name on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Haproxy => "haproxy",
            Kind::Plb => "plb",
            Kind::Nginx => "nginx",
        }
    }
}

impl Contender {
    /// Looks for the program of `kind` and what it needs; the error says which package has it.
    pub fn find(kind: Kind, plb: &Path) -> Result<Contender, String> {
        let name = match kind {
            Kind::Plb => plb,
            Kind::Haproxy | Kind::Nginx => Path::new(kind.name()),
        };
        let program = process::find(name).ok_or_else(|| match kind {
            Kind::Plb => format!("there is no {}", plb.display()),
            Kind::Haproxy | Kind::Nginx => format!("not installed (package {})", kind.name()),
        })?;
        let module = configuration::nginx_stream_module();
        if kind == Kind::Nginx && !module.is_file() {
            return Err(format!("there is no {} (package libnginx-mod-stream)", module.display()));
        }
        Ok(Contender { kind, program })
    }

    /// Starts it with new origins on new ports and makes one exchange of each kind with it: a cold start ends there.
    pub fn start(&self) -> Result<Balancer, String> {
        let origin = Origin::start()?;
        let listen = Listen { http: free_address()?, tcp: free_address()? };
        let directory = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
        let configuration = directory.path().join("configuration");
        let text = configuration::text(&self.kind, listen, &origin, directory.path());
        fs::write(&configuration, text).map_err(|error| format!("{}: {error}", configuration.display()))?;
        let log = directory.path().join("log");
        let mut process = self.spawn(&configuration, &log)?;
        if let Err(error) = await_serving(&mut process, listen) {
            return Err(format!("{error}; it said: {}", fs::read_to_string(&log).unwrap_or_default().trim()));
        }
        let serving = match self.kind {
            Kind::Haproxy | Kind::Plb => process.id(),
            Kind::Nginx => *process::children(process.id()).first().ok_or("nginx has no worker")?,
        };
        Ok(Balancer { listen, serving, _process: process, _origin: origin, _directory: directory })
    }

    fn spawn(&self, configuration: &Path, log: &Path) -> Result<Process, String> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Haproxy => command.args(["-db", "-f"]).arg(configuration),
            Kind::Plb => command.arg("--config").arg(configuration),
            Kind::Nginx => command.args(["-e", "stderr", "-c"]).arg(configuration),
        };
        let errors = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let started = Process::start(&command, BALANCER_CPU, Stdio::null(), Stdio::null(), errors.into());
        started.map_err(|error| format!("setpriv: {error} (package util-linux)"))
    }
}

/// Waits until both listeners take connections and an exchange with each succeeds.
fn await_serving(process: &mut Process, listen: Listen) -> Result<(), String> {
    let limit = Instant::now() + START_LIMIT;
    for (address, speech) in [(listen.http, Speech::Http), (listen.tcp, Speech::Echo)] {
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = process.child().try_wait() {
                return Err(format!("it has ended with {status}"));
            }
            if Instant::now() > limit {
                return Err(format!("it does not listen on {address} after {} s", START_LIMIT.as_secs()));
            }
            thread::sleep(LOOK_EVERY);
        }
        let first = Load::new(address, speech, Life::Single, 1)?.run(1);
        first.map_err(|error| format!("the first exchange with {address} fails: {error}"))?;
    }
    Ok(())
}

/// An address that nobody listens on, with a port that this program has not handed out yet and that lies below those
/// that the kernel gives to outgoing connections: what an earlier round has left in TIME_WAIT never meets a later one.
fn free_address() -> Result<SocketAddr, String> {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    // Two runs in a row start in different places.
    let first_port = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = first_port + HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) if port > 32_000 => return Err(format!("no free port: {error}")),
            Err(_) => {}
        }
    }
}
