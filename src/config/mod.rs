//! The configuration: text becomes a model that cannot be wrong.
//!
//! ```text
//! text -> source (tree with positions) -> schema (serde, key by key) -> validate -> Config
//!                    |                          |                          |
//!                    +--------------------------+--------------------------+----> Vec<ConfigError>
//! ```
//! `schema` mirrors the file, `validate` turns it into the [`Config`] below or into a list of [`ConfigError`]s.
//! Nothing here opens a file or a socket, resolves a name or reads a clock.

pub mod affinity;
mod auth;
mod error;
mod forwarding;
mod leaf;
mod network;
mod pages;
mod quick;
mod rate;
pub mod route;
mod sanitizer;
pub mod schema;
mod source;
pub mod template;
pub mod units;
mod validate;
mod word;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use affinity::Affinity;
pub use auth::{Auth, USER_BYTES_MAX, Users};
pub use error::ConfigError;
pub(crate) use error::suggestion;
pub use forwarding::{Forwarding, RequestId};
pub use network::{Network, NetworkList, Networks};
pub use pages::PAGE_STATUSES;
pub use quick::quick_start;
pub use rate::RateLimit;
pub use route::Route;
pub use sanitizer::{Methods, PathFault, PathFaults};

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

/// What one process serves: everything that the file and the command line decide, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How much is logged.
    pub log_level: log::LevelFilter,
    /// Where the log goes.
    pub log_file: LogTarget,
    /// Where the line of each exchange goes; `None` is nowhere.
    pub access_log: Option<LogTarget>,
    /// What such a line looks like.
    pub access_log_format: AccessFormat,
    /// Where the pid is written: a file, `auto` or `none`; see [`Config::pid_path`].
    pub pid_file: PathBuf,
    /// The number of clients that are served at once; more wait in the backlog.
    pub max_clients: u32,
    /// The sum of all lent buffers, in bytes.
    pub buffer_memory: u64,
    /// The number of idle connections to backends that are kept, over all pools.
    pub idle_max: u32,
    /// The number of kernel pipes that are in use at once; none means that all bytes are copied.
    pub kernel_pipes: u32,
    /// How long a graceful stop may take.
    pub timeout_shutdown: Duration,
    /// What the process gives up before it serves.
    pub confinement: Confinement,
    /// The listeners, in the order of the file; never empty.
    pub listeners: Vec<Listener>,
    /// The pools, in the order of the file; never empty.
    pub pools: Vec<Pool>,
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

/// What the process gives up before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Who it becomes when root starts it; `None` is `nobody`.
    pub user: Option<Account>,
    /// With which group; `None` is the user's own.
    pub group: Option<Account>,
    /// Its root directory when root starts it; `None` is `/var/empty`.
    pub chroot_dir: Option<PathBuf>,
    /// It makes the system calls of a list only, where the kernel can see to that.
    pub seccomp: bool,
    /// A crash may leave an image of the memory.
    pub core_dumps: bool,
}

/// A user or a group; never root's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By its name, which is looked up at the start.
    Name(String),
    /// By its number.
    Number(u32),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Name(name) => f.write_str(name),
            Account::Number(number) => number.fmt(f),
        }
    }
}

/// A bound address (or several) with its protocol, its pool and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique among the listeners.
    pub name: String,
    /// Where it listens; never empty.
    pub listen: Vec<ListenAddress>,
    /// What its clients speak.
    pub protocol: ProtocolName,
    /// The pool that serves what no rule decides: an index into [`Config::pools`].
    pub pool: Option<usize>,
    /// The length of the kernel's queue of connections not accepted yet.
    pub backlog: u32,
    /// What becomes of requests, the first one that fits each; the pool serves the others.
    pub routes: Vec<Route>,
    /// The most open connections of one client (an IPv4 address, or a /64 of IPv6); `None` is no limit.
    pub clients_per_address_max: Option<u32>,
    /// The rate in bytes a second that the body of a request must not fall below; never zero; `None` is any.
    pub body_bytes_per_second_min: Option<u64>,
    /// What concerns HTTP only.
    pub http: HttpSettings,
    /// How long its clients are waited for.
    pub timeouts: ClientTimeouts,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolName {
    /// HTTP/1.1 and HTTP/1.0.
    Http,
    /// Any protocol over TCP.
    Tcp,
}

/// What a listener does with HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The longest head (request line or status line and fields) in bytes.
    pub head_bytes_max: usize,
    /// The most fields in a head.
    pub fields_max: usize,
    /// The longest request body in bytes; `None` is no limit.
    pub body_bytes_max: Option<u64>,
    /// The most requests on one connection; `None` is no limit.
    pub requests_max: Option<u32>,
    /// How often each client may ask.
    pub rate_limit: Option<RateLimit>,
    /// The methods that are served.
    pub methods: Methods,
    /// What a path must not have.
    pub path_refused: PathFaults,
    /// Forward paths in their normal form, and not as they came.
    pub normalize_path: bool,
    /// What becomes of the fields after a chunked body.
    pub trailers: Trailers,
    /// What backends are told about clients.
    pub forwarding: Forwarding,
    /// Take the backend out of the URLs in `Location` and `Content-Location`.
    pub rewrite_location: bool,
    /// Add `Via` in both directions (RFC 9110 section 7.6.3).
    pub via: bool,
    /// What a client may change to.
    pub upgrade: Upgrade,
    /// The status for requests that no route takes, where there is no pool for them: 404 or 503.
    pub no_route: u16,
    /// What plb answers with in place of its own pages, by status.
    pub error_pages: Vec<(u16, Document)>,
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

/// How long the clients of a listener are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// The whole request head, from accept or from its first byte.
    pub header_client_read: Duration,
    /// The whole response head, from its first byte to be sent.
    pub header_client_write: Duration,
    /// A client that sends nothing of its body.
    pub forward_client_read: Duration,
    /// A client that takes nothing.
    pub forward_client_write: Duration,
    /// The first byte of the next request, from the end of the exchange before.
    pub keep_alive: Duration,
    /// A tunnel that is silent both ways.
    pub tunnel: Duration,
}

/// A named set of backends and how to choose among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique among the pools.
    pub name: String,
    /// How a backend is chosen.
    pub balance: Policy,
    /// Who serves; never empty.
    pub backends: Vec<Backend>,
    /// How clients are led back to who served them, if they are.
    pub affinity: Option<Affinity>,
    /// Consecutive failures that take a backend out of the pool; at least 1.
    pub server_retry: u32,
    /// The time between two probes of a backend that is down.
    pub timeout_cleanup: Duration,
    /// Idle connections kept to each backend.
    pub idle_backend_max: u32,
    /// How long its backends are waited for.
    pub timeouts: ServerTimeouts,
}

/// How a pool chooses a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Smooth weighted round robin.
    RoundRobin,
}

/// One origin server of a pool, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its pool; `host:port` unless it was given a name.
    pub name: String,
    /// A name or an address (without brackets), resolved at start.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its share of the clients, 1 to 256.
    pub weight: u32,
}

/// How long the backends of a pool are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTimeouts {
    /// The whole response head, from the end of the request.
    pub header_server_read: Duration,
    /// Connecting and sending the whole request head, each attempt.
    pub header_server_write: Duration,
    /// A backend that sends nothing of its body.
    pub forward_server_read: Duration,
    /// A backend that takes nothing of the request body.
    pub forward_server_write: Duration,
    /// An idle connection to a backend is closed after this time.
    pub idle: Duration,
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
