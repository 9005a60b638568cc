//! A balancer under measurement: found, configured, started with origins of its own, and ended with its guard.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::configuration::{self, Affinity, Listen, Scene, Told};
use crate::load::{Life, Load, Speech, Visitor};
use crate::origin::Origin;
use crate::process::{self, BALANCER_CPU, LOOK_EVERY, Orphan, Process};
use crate::{messages, relay, shuttle};

/// Where the listeners of every balancer are, each with a port of its own for all of them.
const LISTEN_HOSTS: [Ipv4Addr; 3] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 8), Ipv4Addr::new(127, 0, 0, 9)];
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
    /// The first one, told to splice.
    HaproxySplice,
    /// None, but what this program itself can do with the same calls: the least that a balancer could cost.
    Relay,
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
    directory: TempDir,
}

impl Kind {
    /// All of them, in the order of a round.
    pub const ALL: [Kind; 5] = [Kind::Haproxy, Kind::Plb, Kind::Nginx, Kind::HaproxySplice, Kind::Relay];
    /// Those that are balancers and differ.
    pub const PEERS: [Kind; 3] = [Kind::Haproxy, Kind::Plb, Kind::Nginx];

    /// The name on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Haproxy => "haproxy",
            Kind::Plb => "plb",
            Kind::Nginx => "nginx",
            Kind::HaproxySplice => "haproxy-splice",
            Kind::Relay => "relay",
        }
    }
}

impl Contender {
    /// Looks for the program of `kind` and what it needs; the error says which package has it.
    pub fn find(kind: Kind, plb: &Path) -> Result<Contender, String> {
        let package = match kind {
            Kind::Haproxy | Kind::HaproxySplice => "haproxy",
            Kind::Nginx => "nginx",
            Kind::Plb | Kind::Relay => "",
        };
        let program = match kind {
            Kind::Plb => process::find(plb).ok_or_else(|| format!("there is no {}", plb.display())),
            Kind::Relay => std::env::current_exe().map_err(|error| format!("this program is not found: {error}")),
            _ => process::find(Path::new(package)).ok_or_else(|| format!("not installed (package {package})")),
        }?;
        let module = configuration::nginx_stream_module();
        if kind == Kind::Nginx && !module.is_file() {
            return Err(format!("there is no {} (package libnginx-mod-stream)", module.display()));
        }
        Ok(Contender { kind, program })
    }

    /// Starts it for `scene` with new origins on new ports and makes one exchange of each kind with it: a cold start ends there.
    pub fn start(&self, scene: Scene) -> Result<Balancer, String> {
        let mut origin = Origin::start(scene.backends)?;
        let listen = free_addresses(self.kind)?;
        let directory = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
        let configuration = configuration::write(self.kind, scene, listen, &origin, directory.path())
            .map_err(|error| format!("its configuration: {error}"))?;
        let log = directory.path().join("log");
        let mut process = self.spawn(&configuration, listen, &origin, &log)?;
        origin.outlive(process.id()).map_err(|error| format!("the origin is gone: {error}"))?;
        let serving = await_serving(&mut process, self.kind, listen, scene);
        if let Err(error) = serving.and_then(|()| verify_fields(self.kind, listen, scene)) {
            return Err(format!("{error}; it said: {}", fs::read_to_string(&log).unwrap_or_default().trim()));
        }
        let serving = match self.kind {
            Kind::Haproxy | Kind::HaproxySplice | Kind::Plb | Kind::Relay => process.id(),
            Kind::Nginx => *process::children(process.id()).first().ok_or("nginx has no worker")?,
        };
        if self.kind == Kind::Plb {
            process::verify_confined(serving)?;
        }
        Ok(Balancer { listen, serving, _process: process, _origin: origin, directory })
    }

    fn spawn(&self, configuration: &Path, listen: Listen, origin: &Origin, log: &Path) -> Result<Process, String> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Haproxy | Kind::HaproxySplice => command.args(["-db", "-f"]).arg(configuration),
            Kind::Plb => command.arg("--config").arg(configuration),
            Kind::Nginx => command.args(["-e", "stderr", "-c"]).arg(configuration),
            // Where there are several backends, exchanges are spread over them; where there is one, bytes go through.
            Kind::Relay => command
                .arg(if origin.web.len() > 1 { shuttle::ARGUMENT } else { relay::ARGUMENT })
                .arg(listen.http.to_string())
                .args(origin.web.iter().map(ToString::to_string)),
        };
        let errors = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let started =
            Process::start(&command, BALANCER_CPU, Orphan::Ends, [Stdio::null(), Stdio::null(), errors.into()]);
        started.map_err(|error| format!("setpriv: {error} (package util-linux)"))
    }
}

impl Balancer {
    /// The number of lines in its access log.
    pub fn access_log_lines(&self) -> io::Result<u64> {
        let text = fs::read(configuration::access_log(self.directory.path()))?;
        Ok(text.iter().filter(|&&letter| letter == b'\n').count() as u64)
    }
}

/// Waits until all listeners take connections and an exchange with each succeeds.
fn await_serving(process: &mut Process, kind: Kind, listen: Listen, scene: Scene) -> Result<(), String> {
    let limit = Instant::now() + START_LIMIT;
    let plain = Speech::Http(Visitor::Plain);
    let web = if scene.affinity == Affinity::Cookie { Speech::Http(Visitor::Forgetful) } else { plain };
    let all = [(listen.http, web), (listen.tunnel, plain), (listen.echo, Speech::Echo)];
    // The relay of exchanges does not know which answer is the last.
    let (served, life) = if kind == Kind::Relay { (&all[..1], Life::KeepAlive) } else { (&all[..], Life::Single) };
    for &(address, speech) in served {
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = process.child().try_wait() {
                return Err(format!("it has ended with {status}"));
            }
            if Instant::now() > limit {
                return Err(format!("it does not listen on {address} after {} s", START_LIMIT.as_secs()));
            }
            thread::sleep(LOOK_EVERY);
        }
        let first = Load::new(address, speech, life, 1)?.run(1);
        first.map_err(|error| format!("the first exchange with {address} fails: {error}"))?;
    }
    Ok(())
}

/// Looks at how a request reaches the origin: with the fields that are to be added to it, and no others of their kind.
fn verify_fields(kind: Kind, listen: Listen, scene: Scene) -> Result<(), String> {
    if kind == Kind::Relay {
        return Ok(());
    }
    let answer = mirrored(listen.http).map_err(|error| format!("the request that is its own answer: {error}"))?;
    let names: Vec<String> =
        answer.lines().filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
    let wanted = [
        ("x-forwarded-for", scene.told != Told::Nothing),
        ("x-request-id", scene.told == Told::AddressAndId),
        ("x-forwarded-proto", false),
        ("x-forwarded-host", false),
        ("x-forwarded-port", false),
        ("forwarded", false),
        ("via", false),
    ];
    for (name, is_wanted) in wanted {
        let count = names.iter().filter(|found| *found == name).count();
        if count != usize::from(is_wanted) {
            return Err(format!("{count} fields {name} reach the origin, which has got {answer:?}"));
        }
    }
    Ok(())
}

/// What a client gets who wants to know how its request has reached the origin.
fn mirrored(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START_LIMIT))?;
    stream.write_all(messages::MIRROR_REQUEST)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Addresses that nobody listens on, with a port that this program has not handed out yet and that lies below those
/// that the kernel gives to outgoing connections: what an earlier round has left in TIME_WAIT never meets a later one.
fn free_addresses(kind: Kind) -> Result<Listen, String> {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    // Two runs in a row start in different places.
    let first_port = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = first_port + HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let [http, echo, tunnel] = LISTEN_HOSTS.map(|host| SocketAddr::from((host, port)));
        match [http, echo, tunnel].map(TcpListener::bind).into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(_) if kind == Kind::Relay => return Ok(Listen { http, echo: http, tunnel: http }),
            Ok(_) => return Ok(Listen { http, echo, tunnel }),
            Err(error) if port > 32_000 => return Err(format!("no free port: {error}")),
            Err(_) => {}
        }
    }
}
