//! The file as serde sees it: which keys there are, of which kind, and their defaults. `plb.yaml.sample` mirrors it.
//!
//! A map of the file may be read by several of these structs; a key that none of them knows is unknown. What is
//! nested is a plain [`Value`] here, because `validate` reads it entry by entry to report every mistake.

use std::time::Duration;

use log::LevelFilter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

mod limits;
mod route;

pub use super::affinity::{AffinityKind, SameSite};
use super::affinity::{Kind, Site};
pub use super::leaf::{
    AccountName, Balance, Directory, FileName, Format, HostPort, Identity, Level, Name, Period, Protocol, Size,
    SizeOrNone, Switch, Target, TargetOrNone, TrailersTo, Unrouted, UpgradeTo, Whole, WholeOrNone,
};
pub use super::network::NetworkList;
use super::word::{CookiePath, Domain, One, Text, Token};
use super::{AccessFormat, LogTarget, Methods, PathFaults, Policy, ProtocolName, RequestId, Trailers, Upgrade};
pub use limits::{BasicAuth, RateLimit};
pub use route::{Conditions, FieldEdits, Named, Negation, Redirect, ReplacePrefix, Respond, Route};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// One struct of the schema: its default has every key.
pub trait Schema: Default + DeserializeOwned + Serialize {
    /// Every key with its default. Null, empty text: there is none, and the sample shows an example.
    fn defaults() -> Mapping {
        match serde_yaml::to_value(Self::default()) {
            Ok(Value::Mapping(mapping)) => mapping,
            _ => Mapping::new(),
        }
    }
}

impl<T: Default + DeserializeOwned + Serialize> Schema for T {}

/// Top level: what concerns the process, and the two sections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Process {
    /// How much is logged.
    pub log_level: Level,
    /// Where the log goes.
    pub log_file: Target,
    /// Where the line of each exchange goes.
    pub access_log: TargetOrNone,
    /// What such a line looks like.
    pub access_log_format: Format,
    /// Where the pid is written.
    pub pid_file: FileName,
    /// Clients served at once.
    pub max_clients: Whole<1, 1_000_000>,
    /// The sum of all buffers.
    pub buffer_memory: Size<{ 64 * KIB }, TIB>,
    /// Idle connections to backends, over all pools.
    pub idle_max: Whole<0, 1_000_000>,
    /// Kernel pipes in use at once.
    pub kernel_pipes: Whole<0, 10_000>,
    /// How long a graceful stop may take.
    pub timeout_shutdown: Period,
    /// Who plb becomes when root starts it.
    pub user: AccountName,
    /// With which group; the user's own unless it is set.
    pub group: AccountName,
    /// Its root directory when root starts it.
    pub chroot_dir: Directory,
    /// A filter of system calls.
    pub seccomp: Switch,
    /// A crash may leave an image of the memory.
    pub core_dumps: Switch,
    /// A list of maps, each read as [`Listener`] and [`ListenerSettings`].
    pub listeners: Value,
    /// A map from names to maps, each read as [`Pool`] and [`PoolSettings`].
    pub pools: Value,
}

/// A listener: what only it can say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Listener {
    /// Its name, in the log.
    pub name: Name,
    /// `ADDRESS:PORT`, or a list of them.
    pub listen: Value,
    /// What its clients speak.
    pub protocol: Protocol,
    /// The name of the pool that serves it.
    pub pool: Name,
    /// A list of maps, each read as [`Route`].
    pub routes: Value,
    /// How often each client may ask: `none`, or a map that is read as [`RateLimit`].
    pub rate_limit: Value,
}

/// What a listener can set; at top level, the default of all listeners.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct ListenerSettings {
    /// The kernel's queue of connections not accepted yet.
    pub backlog: Whole<1, 65_535>,
    /// IPv6 sockets take no IPv4 clients.
    pub v6_only: Switch,
    /// The longest head.
    pub head_max: Size<256, { 14 * KIB }>,
    /// The most fields in a head.
    pub fields_max: Whole<1, 256>,
    /// The longest request body.
    pub body_max: SizeOrNone,
    /// The most open connections of one client.
    pub max_clients_per_address: WholeOrNone<1, 1_000_000>,
    /// The most requests on one connection.
    pub max_requests: WholeOrNone<1, 1_000_000_000>,
    /// The least rate of a request's body, in bytes a second.
    pub min_body_rate: SizeOrNone,
    /// The methods that are served.
    pub methods: Methods,
    /// What a path must not have.
    pub path_refuse: PathFaults,
    /// Forward paths in their normal form.
    pub normalize_path: Switch,
    /// What becomes of the fields after a chunked body.
    pub trailers: TrailersTo,
    /// Send `X-Forwarded-For`.
    pub x_forwarded_for: Switch,
    /// Send `X-Forwarded-Proto`.
    pub x_forwarded_proto: Switch,
    /// Send `X-Forwarded-Host`.
    pub x_forwarded_host: Switch,
    /// Send `X-Forwarded-Port`.
    pub x_forwarded_port: Switch,
    /// Send `Forwarded`.
    pub forwarded: Switch,
    /// Send `X-Request-Id`.
    pub request_id: Identity,
    /// The response gets it, too.
    pub request_id_in_response: Switch,
    /// Who is believed about whom it forwards for.
    pub trusted_proxies: NetworkList,
    /// Take the backend out of `Location` and `Content-Location`.
    pub rewrite_location: Switch,
    /// A map from statuses to files.
    pub error_pages: Value,
    /// Add `Via`.
    pub via: Switch,
    /// What a client may change to.
    pub upgrade: UpgradeTo,
    /// The status for requests that no route takes, where there is no pool for them.
    pub no_route: Unrouted,
    /// The whole request head.
    pub timeout_header_client_read: Period,
    /// The whole response head.
    pub timeout_header_client_write: Period,
    /// A client that sends nothing of its body.
    pub timeout_forward_client_read: Period,
    /// A client that takes nothing.
    pub timeout_forward_client_write: Period,
    /// Until the next request begins.
    pub timeout_keep_alive: Period,
    /// A tunnel (TCP; an upgrade) that is silent both ways.
    pub timeout_tunnel: Period,
}

/// A pool: what only it can say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Pool {
    /// A list of `HOST:PORT` or of maps, each read as [`Backend`].
    pub backends: Value,
    /// A map, read as [`Affinity`].
    pub affinity: Value,
}

/// How clients of a pool are led back to the backend that served them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Affinity {
    /// What leads them back; it decides which of the others mean something.
    #[serde(rename = "type")]
    pub kind: AffinityKind,
    /// The name of the cookie, the parameter or the field.
    pub name: One<Token>,
    /// A client that does not come for so long is forgotten.
    pub ttl: Period,
    /// The most clients that are remembered.
    pub table_size: Whole<1, 10_000_000>,
    /// The bits of an IPv4 address that count.
    pub prefix_v4: Whole<1, 32>,
    /// The bits of an IPv6 address that count.
    pub prefix_v6: Whole<1, 128>,
    /// The cookie is for TLS only.
    pub secure: Switch,
    /// The cookie is not for scripts.
    pub http_only: Switch,
    /// Where a browser sends the cookie along.
    pub same_site: SameSite,
    /// The path that the cookie is for.
    pub path: One<CookiePath>,
    /// The domain that the cookie is for.
    pub domain: One<Domain>,
    /// The backend does not get to see the cookie.
    pub indirect: Switch,
    /// A response that sets the cookie is for no cache that is shared.
    pub private: Switch,
    /// What the cookie is signed with.
    pub secret: One<Text>,
    /// A file with what the cookie is signed with.
    pub secret_file: One<Text>,
}

/// What a pool can set; at top level, the default of all pools.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct PoolSettings {
    /// How a backend is chosen.
    pub balance: Balance,
    /// Consecutive failures that take a backend out.
    pub server_retry: Whole<1, 1_000_000>,
    /// Between two probes of a backend that is down.
    pub timeout_cleanup: Period,
    /// Idle connections kept to each backend.
    pub idle_backend_max: Whole<0, 1_000_000>,
    /// The whole response head.
    pub timeout_header_server_read: Period,
    /// Connecting and sending the request head.
    pub timeout_header_server_write: Period,
    /// A backend that sends nothing of its body.
    pub timeout_forward_server_read: Period,
    /// A backend that takes nothing.
    pub timeout_forward_server_write: Period,
    /// An idle connection to a backend.
    pub timeout_idle: Period,
}

/// One backend of a pool, in its long form.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Backend {
    /// Host and port.
    pub address: HostPort,
    /// Its name, in the log; the address unless it is set.
    pub name: Name,
    /// Its share of the clients.
    pub weight: Whole<1, 256>,
}

impl Default for Process {
    fn default() -> Process {
        Process {
            log_level: Level(LevelFilter::Info),
            log_file: Target(LogTarget::Standard),
            access_log: TargetOrNone(None),
            access_log_format: Format(AccessFormat::Plb),
            pid_file: FileName("auto".to_string()),
            max_clients: Whole(1_000),
            buffer_memory: Size(64 * MIB),
            idle_max: Whole(1_000),
            kernel_pipes: Whole(16),
            timeout_shutdown: seconds(30),
            user: AccountName(None),
            group: AccountName(None),
            chroot_dir: Directory(None),
            seccomp: Switch(true),
            core_dumps: Switch(false),
            listeners: Value::Null,
            pools: Value::Null,
        }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        let unset = Name(String::new());
        Listener {
            name: unset.clone(),
            listen: Value::Null,
            protocol: Protocol(ProtocolName::Http),
            pool: unset,
            routes: Value::Null,
            rate_limit: "none".into(),
        }
    }
}

impl Default for ListenerSettings {
    fn default() -> ListenerSettings {
        ListenerSettings {
            backlog: Whole(100),
            v6_only: Switch(true),
            head_max: Size(8 * KIB),
            fields_max: Whole(100),
            body_max: SizeOrNone(None),
            max_clients_per_address: WholeOrNone(None),
            max_requests: WholeOrNone(None),
            min_body_rate: SizeOrNone(None),
            methods: Methods::default(),
            path_refuse: PathFaults::default(),
            normalize_path: Switch(false),
            trailers: TrailersTo(Trailers::Drop),
            x_forwarded_for: Switch(true),
            x_forwarded_proto: Switch(true),
            x_forwarded_host: Switch(true),
            x_forwarded_port: Switch(false),
            forwarded: Switch(false),
            request_id: Identity(RequestId::None),
            request_id_in_response: Switch(false),
            trusted_proxies: NetworkList::default(),
            rewrite_location: Switch(true),
            error_pages: Value::Null,
            via: Switch(false),
            upgrade: UpgradeTo(Upgrade::Websocket),
            no_route: Unrouted(503),
            timeout_header_client_read: seconds(30),
            timeout_header_client_write: seconds(30),
            timeout_forward_client_read: seconds(30),
            timeout_forward_client_write: seconds(30),
            timeout_keep_alive: seconds(60),
            timeout_tunnel: seconds(3_600),
        }
    }
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            balance: Balance(Policy::RoundRobin),
            server_retry: Whole(5),
            timeout_cleanup: seconds(15),
            idle_backend_max: Whole(100),
            timeout_header_server_read: seconds(30),
            timeout_header_server_write: seconds(30),
            timeout_forward_server_read: seconds(30),
            timeout_forward_server_write: seconds(30),
            timeout_idle: seconds(4),
        }
    }
}

impl Default for Affinity {
    fn default() -> Affinity {
        Affinity {
            kind: AffinityKind(Kind::Source),
            name: One(None),
            ttl: seconds(1_800),
            table_size: Whole(100_000),
            prefix_v4: Whole(32),
            prefix_v6: Whole(64),
            secure: Switch(false),
            http_only: Switch(true),
            same_site: SameSite(Site::Lax),
            path: One(None),
            domain: One(None),
            indirect: Switch(true),
            private: Switch(true),
            secret: One(None),
            secret_file: One(None),
        }
    }
}

impl Default for Backend {
    fn default() -> Backend {
        Backend { address: HostPort(None), name: Name(String::new()), weight: Whole(1) }
    }
}

fn seconds(count: u64) -> Period {
    Period(Duration::from_secs(count))
}
