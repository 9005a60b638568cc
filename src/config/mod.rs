//! The configuration: text becomes a model that cannot be wrong.
//!
//! ```text
//! text -> source (tree with positions) -> schema (serde, key by key) -> validate -> Config
//!                    |                          |                          |
//!                    +--------------------------+--------------------------+----> Vec<ConfigError>
//! ```
//! What `settings!` declares, in `schema` and here, mirrors the file: a setting has its key, its kind and its default in one
//! place. `validate` turns it into the [`Config`] below or into a list of [`ConfigError`]s.
//! Nothing here opens a file or a socket, resolves a name or reads a clock.

pub mod access;
pub mod affinity;
pub mod attempts;
mod auth;
pub mod balance;
pub mod check;
mod confinement;
mod error;
mod forwarding;
pub mod health;
mod leaf;
mod network;
mod pages;
mod proxy;
mod quick;
mod rate;
pub mod route;
mod sanitizer;
pub mod schema;
mod socket;
mod source;
pub mod status;
pub mod template;
pub mod units;
mod validate;
mod word;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use access::Access;
pub use affinity::Affinity;
pub use attempts::{Emergency, Mishap};
pub use auth::{Auth, USER_BYTES_MAX, Users};
pub use balance::{Balance, HashBalance, HashOn};
pub use confinement::{Account, Confinement};
pub use error::ConfigError;
pub(crate) use error::suggestion;
pub use forwarding::{Forwarding, RequestId};
pub use health::{Health, OnDown};
pub use network::{Network, Networks};
pub use pages::PAGE_STATUSES;
pub use proxy::{ProxyVersion, ProxyVersions};
pub use quick::{TRACKED_DEFAULT, quick_start, tracked_max};
pub use rate::RateLimit;
pub use route::Route;
pub use sanitizer::{Methods, PathFault};
pub use socket::{SocketOptions, Sources};

use attempts::{MishapName, RETRIES_ALL, Retries};
use leaf::{Bytes, FileName, Level, LogTo, Period, Size, Switch, Unrouted, Whole};
use sanitizer::PathFaults;
use status::StatusRange;
use word::{Nested, OrNone, Several, settings};

/// Where a daemon writes its pid unless it is told otherwise.
pub const PID_FILE_DEFAULT: &str = "/var/run/plb.pid";
/// The longest file that is read, in bytes; whoever reads the file need not read more than one byte beyond.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The most listeners.
pub const LISTENERS_MAX: usize = 1_000;
/// The most pools.
pub const POOLS_MAX: usize = 1_000;
/// The most backends, over all pools.
pub const BACKENDS_MAX: usize = 65_535;

/// Reads a file that the configuration names, or enough of one that is longer than so many bytes to see that it is;
/// otherwise says why it cannot. The configuration itself opens none.
pub type Files<'a> = dyn Fn(&Path, usize) -> Result<Vec<u8>, String> + 'a;

/// Reads the text of a configuration file that names no others.
///
/// # Errors
/// As [`parse_with`].
pub fn parse(file_name: &str, text: &str) -> Result<Config, Vec<ConfigError>> {
    parse_with(file_name, text, &|_, _| Err("there are no files here".to_string()))
}

/// Reads the text of a configuration file, and through `files` the files that it names. `file_name` is only named in the
/// errors.
///
/// # Errors
/// Everything that is wrong with the file, by line; never an empty list.
pub fn parse_with(file_name: &str, text: &str, files: &Files) -> Result<Config, Vec<ConfigError>> {
    let mut errors = error::Errors::new(file_name, text, files);
    let config = source::read(text, &mut errors).map(|root| validate::config(&root, &mut errors));
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors.sorted()),
    }
}

/// What the command line sets over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// How much is logged.
    pub log_level: Option<log::LevelFilter>,
    /// Where the log goes.
    pub log_file: Option<LogTarget>,
    /// Where the pid is written.
    pub pid_file: Option<PathBuf>,
    /// Whether plb leaves the terminal.
    pub mode: Mode,
}

/// Whether a process is attached to whoever started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    #[default]
    Foreground,
    /// It is a daemon.
    Background,
}

impl Config {
    /// Applies the command line, which beats the file.
    pub fn apply(&mut self, overrides: &Overrides) {
        if let Some(level) = overrides.log_level {
            self.log_level = level;
        }
        if let Some(target) = &overrides.log_file {
            self.log_file = target.clone();
        }
        if let Some(path) = &overrides.pid_file {
            self.pid_file.clone_from(path);
        }
    }

    /// Where a process in this mode writes its pid, if anywhere.
    pub fn pid_path(&self, mode: Mode) -> Option<&Path> {
        match (self.pid_file.to_str(), mode) {
            (Some("none"), _) | (Some("auto"), Mode::Foreground) => None,
            (Some("auto"), Mode::Background) => Some(Path::new(PID_FILE_DEFAULT)),
            _ => Some(&self.pid_file),
        }
    }
}

settings! {
    /// What one process serves: everything that the file and the command line decide, checked.
    Config {
        /// How much is logged.
        log_level: Level = log::LevelFilter::Info,
        /// Where the log goes.
        log_file: LogTo = LogTarget::Standard,
        /// Where the line of each exchange goes; `None` is nowhere.
        access_log: OrNone<LogTo> = None,
        /// What such a line looks like.
        access_log_format: AccessFormat = AccessFormat::Plb,
        /// Where the pid is written: a file, `auto` or `none`; see [`Config::pid_path`].
        pid_file: FileName = "auto".into(),
        /// The number of clients that are served at once; more wait in the backlog.
        max_clients: Whole<1, 1_000_000> = 1_000,
        /// The sum of all lent buffers, in bytes.
        buffer_memory: Size<{ 64 << 10 }, { 1 << 40 }> = 64 << 20,
        /// The number of idle connections to backends that are kept, over all pools.
        idle_max: Whole<0, 1_000_000> = 1_000,
        /// The number of kernel pipes that are in use at once; none means that all bytes are copied.
        kernel_pipes: Whole<0, 10_000> = 16,
        /// How long a graceful stop may take.
        timeout_shutdown: Period = Duration::from_secs(30),
        /// The listeners, in the order of the file; never empty. Each is read as [`schema::Listener`], [`Listener`],
        /// [`HttpSettings`], [`Forwarding`], [`SocketOptions`] and [`ClientTimeouts`].
        listeners: Nested<Vec<Listener>>,
        /// The pools, in the order of the file; never empty. Each is read as [`schema::Pool`], [`Pool`],
        /// [`SocketOptions`] and [`ServerTimeouts`].
        pools: Nested<Vec<Pool>>,
    } and {
        /// What the process gives up before it serves.
        confinement: Confinement,
    }
}

/// Where a log goes. Its text is what the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `-`: standard error for the daemon's log, standard output for the access log.
    Standard,
    /// The end of a file.
    File(PathBuf),
    /// `syslog`: the syslog of this host.
    Syslog,
    /// `udp://HOST:PORT`: a syslog server.
    Udp {
        /// A name or an address (without brackets), resolved at start.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// plb's own fields, separated by spaces.
    Plb,
    /// The combined format that web servers share.
    Combined,
    /// A JSON object with plb's own fields.
    Json,
}

settings! {
    /// A bound address (or several) with its protocol, its pool and its limits.
    Listener {
        /// The length of the kernel's queue of connections not accepted yet.
        backlog: Whole<1, 65_535> = 100,
        /// IPv6 sockets take no IPv4 clients.
        v6_only: Switch = true,
        /// The most open connections of one client (an IPv4 address, or a /64 of IPv6); `None` is no limit.
        clients_per_address_max as "max_clients_per_address": OrNone<Whole<1, 1_000_000>> = None,
        /// The versions of the PROXY protocol with which each connection of a trusted proxy begins; `None` is without.
        accept_proxy: OrNone<ProxyVersions> = None,
        /// The most clients that are taken from the backlog in a second; `None` is no limit.
        accept_rate: OrNone<Whole<1, 1_000_000>> = None,
        /// The rate in bytes a second that the body of a request must not fall below; never zero; `None` is any.
        body_bytes_per_second_min as "min_body_rate": OrNone<Bytes> = None,
    } and {
        /// Unique among the listeners.
        name: String,
        /// Where it listens; never empty.
        listen: Vec<ListenAddress>,
        /// What its clients speak.
        protocol: ProtocolName,
        /// The most of its clients that are served at once; more wait in its backlog. `None` leaves it to
        /// [`Config::max_clients`].
        clients_max: Option<u32>,
        /// Who may come in; `None`: everybody.
        access: Option<Access>,
        /// The pool that serves what no rule decides: an index into [`Config::pools`].
        pool: Option<usize>,
        /// What becomes of requests, the first one that fits each; the pool serves the others.
        routes: Vec<Route>,
        /// What concerns HTTP only.
        http: HttpSettings,
        /// The options of its clients' sockets.
        socket: SocketOptions,
        /// How long its clients are waited for.
        timeouts: ClientTimeouts,
    }
}

/// One address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// An IPv6 socket takes no IPv4 clients.
    pub v6_only: bool,
    /// A host without this address family does without it (the quick start's second address).
    pub optional: bool,
}

/// The protocol of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolName {
    /// HTTP/1.1 and HTTP/1.0.
    #[default]
    Http,
    /// Any protocol over TCP.
    Tcp,
}

settings! {
    /// What a listener does with HTTP.
    HttpSettings {
        /// The longest head (request line or status line and fields) in bytes.
        head_bytes_max as "head_max": Size<256, { 14 << 10 }, usize> = 8 << 10,
        /// The most fields in a head.
        fields_max: Whole<1, 256, usize> = 100,
        /// The longest request body in bytes; `None` is no limit.
        body_bytes_max as "body_max": OrNone<Bytes> = None,
        /// The most requests on one connection; `None` is no limit.
        requests_max as "max_requests": OrNone<Whole<1, 1_000_000_000>> = None,
        /// The methods that are served.
        methods: Methods = Methods::default(),
        /// What a path must not have.
        path_refused as "path_refuse": PathFaults = PathFault::ALL.to_vec(),
        /// Forward paths in their normal form, and not as they came.
        normalize_path: Switch = false,
        /// What becomes of the fields after a chunked body.
        trailers: Trailers = Trailers::Drop,
        /// Take the backend out of the URLs in `Location` and `Content-Location`.
        rewrite_location: Switch = true,
        /// Add `Via` in both directions (RFC 9110 section 7.6.3).
        via: Switch = false,
        /// What a client may change to.
        upgrade: Upgrade = Upgrade::Websocket,
        /// The status for requests that no route takes, where there is no pool for them: 404 or 503.
        no_route: Unrouted = 503,
        /// What plb answers with in place of its own pages, by status.
        error_pages: Nested<Vec<(u16, Document)>>,
    } and {
        /// How often each client may ask.
        rate_limit: Option<RateLimit>,
        /// What backends are told about clients.
        forwarding: Forwarding,
    }
}

/// The content of an answer of plb's own, read at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its media type.
    pub content_type: Arc<str>,
    /// Its bytes.
    pub body: Arc<[u8]>,
}

/// What becomes of trailers: the fields after a chunked body (RFC 9110 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// They are judged, and forwarded.
    Forward,
    /// They are judged, and left away.
    Drop,
}

/// The protocols that a client may change to from HTTP/1.1 (RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Only `websocket` (RFC 6455).
    Websocket,
    /// Any but those in which further HTTP requests would follow.
    Any,
    /// None.
    None,
}

settings! {
    /// How long the clients of a listener are waited for.
    ClientTimeouts {
        /// The whole header of the PROXY protocol, from accept.
        proxy_header as "timeout_proxy_header": Period = Duration::from_secs(3),
        /// The whole request head, from accept or from its first byte.
        header_client_read as "timeout_header_client_read": Period = Duration::from_secs(30),
        /// The whole response head, from its first byte to be sent.
        header_client_write as "timeout_header_client_write": Period = Duration::from_secs(30),
        /// A client that sends nothing of its body.
        forward_client_read as "timeout_forward_client_read": Period = Duration::from_secs(30),
        /// A client that takes nothing.
        forward_client_write as "timeout_forward_client_write": Period = Duration::from_secs(30),
        /// The first byte of the next request, from the end of the exchange before.
        keep_alive as "timeout_keep_alive": Period = Duration::from_secs(60),
        /// A tunnel (TCP; an upgrade) that is silent both ways.
        tunnel as "timeout_tunnel": Period = Duration::from_secs(3_600),
    }
}

settings! {
    /// A named set of backends and how to choose among them.
    Pool {
        /// How a backend is chosen.
        balance: balance::WordOrMap = Balance::RoundRobin,
        /// Consecutive failures that take a backend out of the pool; at least 1.
        server_retry: Whole<1, 1_000_000> = 5,
        /// The statuses of responses that count as failures.
        failure_statuses: Several<StatusRange> = Vec::new(),
        /// How many further attempts at other backends may follow the first one; [`RETRIES_ALL`]: each is asked once.
        retries: Retries = RETRIES_ALL,
        /// What another attempt is made for.
        retry_on: Several<MishapName> = Mishap::DEFAULT.to_vec(),
        /// Whoever was to be served by a backend that cannot is served by another one.
        failover: Switch = true,
        /// The time for which a backend that failed clients is out, and then between two probes of it; with `health`
        /// it is probed as that says, and comes back no sooner.
        timeout_cleanup: Period = Duration::from_secs(15),
        /// Such times double with each outage that follows soon on the last one, up to this; `None`, and
        /// what is less than `timeout_cleanup`, mean that they do not.
        timeout_cleanup_max: OrNone<Period> = None,
        /// What becomes of sessions when their backend goes down.
        on_down: OnDown = OnDown::Keep,
        /// The most connections to each backend that does not say so itself, those included that are asked for; `None` is
        /// no limit.
        max_connections: OrNone<Whole<1, 1_000_000>> = None,
        /// The most clients that wait for a backend which may take no more.
        max_queue: Whole<0, 1_000_000> = 1_000,
        /// How long a tier that lives again waits before it takes over; `None` is no time.
        tier_hold: OrNone<Period> = None,
        /// How long a backend that lives again takes to get to its weight; `None` is no time.
        slow_start: OrNone<Period> = None,
        /// Idle connections kept to each backend.
        idle_backend_max: Whole<0, 1_000_000> = 100,
        /// Where connections to its backends come from.
        source: Sources = Sources::default(),
        /// The version of the PROXY protocol with which each connection to a backend begins; `None` is without.
        send_proxy: OrNone<ProxyVersion> = None,
    } and {
        /// Unique among the pools.
        name: String,
        /// Who serves; never empty.
        backends: Vec<Backend>,
        /// How clients are led back to who served them, if they are.
        affinity: Option<Affinity>,
        /// The options of the sockets of its backends.
        socket: SocketOptions,
        /// How its backends are probed while they serve, if they are.
        health: Option<Health>,
        /// Who answers when none of its backends lives.
        emergency: Option<Emergency>,
        /// How long its backends are waited for.
        timeouts: ServerTimeouts,
    }
}

/// One origin server of a pool, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its pool; `host:port` unless it was given a name.
    pub name: String,
    /// A name or an address (without brackets), resolved at start.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its share of the clients, 0 to 256; 0 takes no new ones.
    pub weight: u32,
    /// The most connections to it, those included that are asked for; `None` is no limit.
    pub max_connections: Option<u32>,
    /// It serves while none of a tier before its own can: 0, the first one, to 9.
    pub tier: u8,
    /// What the administrator says of it.
    pub state: Administration,
}

/// What the administrator says of a backend, whatever its health is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Administration {
    /// It serves.
    #[default]
    Ready,
    /// It serves those who are bound to it, and takes nobody new.
    Drain,
    /// It serves nobody, and is not probed.
    Maintenance,
}

settings! {
    /// How long the backends of a pool are waited for.
    ServerTimeouts {
        /// The whole response head, from the end of the request.
        header_server_read as "timeout_header_server_read": Period = Duration::from_secs(30),
        /// Connecting and sending the whole request head, each attempt.
        header_server_write as "timeout_header_server_write": Period = Duration::from_secs(30),
        /// A backend that sends nothing of its body.
        forward_server_read as "timeout_forward_server_read": Period = Duration::from_secs(30),
        /// A backend that takes nothing of the request body.
        forward_server_write as "timeout_forward_server_write": Period = Duration::from_secs(30),
        /// A client that waits for a backend which may take no more.
        queue as "timeout_queue": Period = Duration::from_secs(5),
        /// An idle connection to a backend is closed after this time.
        idle as "timeout_idle": Period = Duration::from_secs(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_beats_the_file() {
        let text = "log_level: warn\nlog_file: /f\nlisteners: [{name: a, listen: 1.2.3.4:0, pool: p}]\n\
                    pools: {p: {backends: [a:1]}}";
        let mut config = parse("f", text).unwrap();
        config.apply(&Overrides::default());
        assert_eq!(config.log_file, LogTarget::File("/f".into()));
        assert_eq!(config.log_level, log::LevelFilter::Warn);
        assert_eq!(config.pid_path(Mode::Foreground), None);
        assert_eq!(config.pid_path(Mode::Background), Some(Path::new(PID_FILE_DEFAULT)));
        config.apply(&Overrides {
            log_level: Some(log::LevelFilter::Debug),
            log_file: Some(LogTarget::Standard),
            pid_file: Some("/p".into()),
            mode: Mode::Background,
        });
        assert_eq!((config.log_level, &config.log_file), (log::LevelFilter::Debug, &LogTarget::Standard));
        assert_eq!(config.pid_path(Mode::Foreground), Some(Path::new("/p")));
        config.pid_file = "none".into();
        assert_eq!(config.pid_path(Mode::Background), None);
    }
}
