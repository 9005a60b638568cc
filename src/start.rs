//! Start-up as types: a `Config` becomes `Bound`, that becomes `Confined`, and only what is confined can serve.
//!
//! Whatever can fail for want of a name, an address, a port or a descriptor fails in `Bound`, with the step and the
//! reason. Whatever else needs a path or a privilege is opened between the two; afterwards there is neither.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::{self, Config, Mode};
use crate::daemon::daemonize::Readiness;
use crate::daemon::limits::{Descriptors, plan_descriptors, raise_descriptors};
use crate::daemon::notify::Notify;
use crate::daemon::pid_file::PidFile;
use crate::daemon::{self, Supervision, privileges};
use crate::net::addresses::{Addresses, Alternatives};
use crate::net::listener::Listener;
use crate::net::probe::PROBES_MAX;
use crate::net::socket::bound_to;

/// Everything that a server needs from the system: names resolved, sockets bound, descriptors counted.
pub struct Bound {
    pub(crate) config: Config,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) addresses: Addresses,
    pub(crate) descriptors: Descriptors,
}

/// What is bound, in a process that has no privilege and no path any more, and cannot get them back.
pub struct Confined(Bound);

/// Why plb did not start: the step and what it met.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// A step that met an error of the system.
    pub fn new(step: impl fmt::Display, error: impl fmt::Display) -> StartError {
        StartError(format!("{step}: {error}"))
    }
}

impl Bound {
    /// Resolves, counts and binds what the configuration names.
    ///
    /// # Errors
    /// The first thing that the system refuses.
    pub fn new(config: Config) -> Result<Bound, StartError> {
        let descriptors = plan_descriptors(&config, PROBES_MAX, raise_descriptors()).map_err(|few| {
            let step = format!("max_clients {} needs {} descriptors", config.max_clients, few.needed);
            let advice = format!("the limit is {}: raise it, or serve at most {} clients", few.limit, few.clients_max);
            StartError::new(step, advice)
        })?;
        let pools = config.pools.iter().map(resolve_pool).collect::<Result<_, _>>()?;
        config.pools.iter().try_for_each(try_sources)?;
        let probed = config.pools.iter().map(resolve_probed).collect::<Result<_, _>>()?;
        let mut listeners = Vec::new();
        for (position, listener) in (0..).zip(&config.listeners) {
            bind(position, listener, &mut listeners)?;
        }
        Ok(Bound { config, listeners, addresses: Addresses::new(pools).with_probed(probed), descriptors })
    }

    /// Gives up what the process may do beyond serving: identity, root directory, capabilities, paths, system calls.
    /// It is the whole process that loses its privileges; the sandbox holds for the calling thread.
    ///
    /// # Errors
    /// A privilege that cannot be given up. A sandbox that the kernel lacks is none.
    pub fn confine(self) -> Result<Confined, StartError> {
        let wanted = &self.config.confinement;
        let identity = privileges::give_up(wanted).map_err(|refusal| StartError::new(refusal.step, refusal.reason))?;
        let mut done = vec![identity.to_string()];
        for layer in sandbox(&self.config) {
            match layer {
                Ok(name) => done.push(name),
                Err(reason) => log::warn!("{reason}"),
            }
        }
        log::info!("confined: {}", done.join(", "));
        Ok(Confined(self))
    }
}

impl Confined {
    pub(crate) fn into_parts(self) -> Bound {
        self.0
    }
}

/// Each layer of the sandbox that is wanted: its name, or why there is none.
fn sandbox(config: &Config) -> Vec<Result<String, String>> {
    #[cfg(target_os = "linux")]
    let source = match config.pools.iter().any(|pool| pool.source.iter().next().is_some()) {
        true => daemon::Source::Configuration,
        false => daemon::Source::System,
    };
    #[cfg(target_os = "linux")]
    let mut layers = vec![daemon::sandbox::close_paths(source)];
    #[cfg(not(target_os = "linux"))]
    let mut layers = Vec::new();
    if config.confinement.seccomp {
        #[cfg(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
        ))]
        layers.push(daemon::system_calls::filter_calls(source));
    }
    layers
}

/// Connects to the service manager, and locks and writes the pid file. A daemon is in no directory afterwards but `/`:
/// whatever has a relative path is open.
///
/// # Errors
/// The pid file belongs to somebody else, or cannot be written.
pub fn supervise(config: &Config, readiness: Option<Readiness>) -> Result<Supervision, StartError> {
    let mode = if readiness.is_some() { Mode::Background } else { Mode::Foreground };
    let notify = Notify::connect().unwrap_or_else(|error| {
        log::warn!("the service manager cannot be told anything: {error}");
        Notify::default()
    });
    let pid_file = config.pid_path(mode).map(|path| {
        PidFile::write(path).map_err(|error| StartError::new(format!("pid file {}", path.display()), error))
    });
    let pid_file = pid_file.transpose()?;
    if mode == Mode::Background {
        std::env::set_current_dir("/").map_err(|error| StartError::new("cannot change to the directory /", error))?;
    }
    Ok(Supervision { readiness, notify, pid_file })
}

fn resolve_pool(pool: &config::Pool) -> Result<Vec<Alternatives>, StartError> {
    let named = |backend: &config::Backend| format!("backend {}/{}", pool.name, backend.name);
    pool.backends.iter().map(|backend| resolve(&backend.host, backend.port, || named(backend))).collect()
}

/// Who is probed for the backends of a pool, where that is another host.
fn resolve_probed(pool: &config::Pool) -> Result<Option<Alternatives>, StartError> {
    let host = pool.health.as_ref().and_then(|health| health.address.as_deref());
    host.map(|host| resolve(host, 0, || format!("pool {}: health", pool.name))).transpose()
}

fn resolve(host: &str, port: u16, who: impl Fn() -> String) -> Result<Alternatives, StartError> {
    let step = || format!("{}: cannot resolve {host}", who());
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs().map_err(|error| StartError::new(step(), error))? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(StartError::new(step(), "it has no address"));
    }
    Ok(Alternatives::new(found))
}

/// Whether this host has the addresses that connections to backends are to come from.
fn try_sources(pool: &config::Pool) -> Result<(), StartError> {
    let step = |source| format!("pool {}: no connection can come from {source}", pool.name);
    pool.source.iter().try_for_each(|source| match bound_to(source) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::new(step(source), error)),
    })
}

fn bind(position: u16, listener: &config::Listener, bound: &mut Vec<Listener>) -> Result<(), StartError> {
    for listen in &listener.listen {
        match Listener::bind(position, *listen, listener) {
            Ok(socket) => bound.push(socket),
            Err(error) if listen.optional && is_absent(&error) => {
                log::info!("listener {}: not listening on {}: {error}", listener.name, listen.address);
            }
            Err(error) => {
                let step = format!("listener {}: cannot listen on {}", listener.name, listen.address);
                return Err(StartError::new(step, error));
            }
        }
    }
    Ok(())
}

/// Whether the host has no such address, as one without IPv6 says.
fn is_absent(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT)
}
