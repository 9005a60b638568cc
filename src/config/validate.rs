//! The tree of the file to the model: reads each section through the schema, then checks what concerns several settings.
//!
//! Never stops at a mistake. A setting that is wrong keeps its default, so that what follows can be checked as well;
//! the model that comes out is good only when no error was added.

mod route;

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_yaml::{Mapping, Value};

use super::affinity;
use super::error::{Errors, Position, joined, quoted, suggestion};
use super::leaf::{host_port_text, wrong};
use super::schema::{self, HostPort, ListenerSettings, PoolSettings, Process, Schema};
use super::source::{Entry, Kind, Node};
use super::units::{self, LISTEN_ALLOWED, NAME_ALLOWED};
use super::{
    Affinity, BACKENDS_MAX, Backend, ClientTimeouts, Config, Confinement, Document, HttpSettings, LISTENERS_MAX,
    ListenAddress, Listener, POOLS_MAX, Pool, ProtocolName, ServerTimeouts, pages, rate,
};

/// More names than this are not listed in a message.
const NAMES_LISTED_MAX: usize = 8;

/// The model of the file whose tree is `root`; wrong wherever `errors` has been added to.
pub(super) fn config(root: &Node, errors: &mut Errors<'_>) -> Config {
    let mut top = Section::open(root, String::new(), "with the keys listeners and pools", errors);
    let (process, _) = top.read::<Process>(Mapping::new(), errors);
    let (_, listener_defaults) = top.read::<ListenerSettings>(Mapping::new(), errors);
    let (_, pool_defaults) = top.read::<PoolSettings>(Mapping::new(), errors);
    let error_pages = top.error_pages(errors).unwrap_or_default();
    top.close(&["listeners", "pools"], errors);
    let pools = top.entry("pools").map_or_else(Vec::new, |entry| pools(&entry.value, &pool_defaults, errors));
    let mut reader = Listeners {
        defaults: &listener_defaults,
        error_pages: &error_pages,
        pools: PoolNames::of(&pools),
        affinities: pools.iter().map(|pool| pool.affinity.as_ref()).collect(),
        lines_of_names: HashMap::new(),
        lines_of_addresses: HashMap::new(),
    };
    let listeners = top.entry("listeners").map_or_else(Vec::new, |entry| reader.read(&entry.value, errors));
    process_config(&process, listeners, pools)
}

/// The process's settings around `listeners` and `pools`.
pub(super) fn process_config(process: &Process, listeners: Vec<Listener>, pools: Vec<Pool>) -> Config {
    Config {
        log_level: process.log_level.0,
        log_file: process.log_file.0.clone(),
        access_log: process.access_log.0.clone(),
        access_log_format: process.access_log_format.0,
        pid_file: process.pid_file.0.clone().into(),
        max_clients: process.max_clients.0,
        buffer_memory: process.buffer_memory.0,
        idle_max: process.idle_max.0,
        kernel_pipes: process.kernel_pipes.0,
        timeout_shutdown: process.timeout_shutdown.0,
        confinement: Confinement {
            user: process.user.0.clone(),
            group: process.group.0.clone(),
            chroot_dir: process.chroot_dir.0.clone(),
            seccomp: process.seccomp.0,
            core_dumps: process.core_dumps.0,
        },
        listeners,
        pools,
    }
}

/// The model of a listener with these settings.
pub(super) fn listener_with(own: &schema::Listener, settings: &ListenerSettings, pool: Option<usize>) -> Listener {
    Listener {
        name: own.name.0.clone(),
        listen: Vec::new(),
        protocol: own.protocol.0,
        pool,
        routes: Vec::new(),
        backlog: settings.backlog.0,
        clients_per_address_max: settings.max_clients_per_address.0,
        // A rate of nothing asks for nothing.
        body_bytes_per_second_min: settings.min_body_rate.0.filter(|rate| *rate > 0),
        http: HttpSettings {
            head_bytes_max: settings.head_max.0 as usize,
            fields_max: settings.fields_max.0 as usize,
            body_bytes_max: settings.body_max.0,
            requests_max: settings.max_requests.0,
            rate_limit: None,
            methods: settings.methods.clone(),
            path_refused: settings.path_refuse.clone(),
            normalize_path: settings.normalize_path.0,
            trailers: settings.trailers.0,
            forwarding: settings.into(),
            rewrite_location: settings.rewrite_location.0,
            via: settings.via.0,
            upgrade: settings.upgrade.0,
            no_route: settings.no_route.0,
            error_pages: Vec::new(),
        },
        timeouts: ClientTimeouts {
            header_client_read: settings.timeout_header_client_read.0,
            header_client_write: settings.timeout_header_client_write.0,
            forward_client_read: settings.timeout_forward_client_read.0,
            forward_client_write: settings.timeout_forward_client_write.0,
            keep_alive: settings.timeout_keep_alive.0,
            tunnel: settings.timeout_tunnel.0,
        },
    }
}

/// The model of a pool with these settings.
pub(super) fn pool_with(name: &str, settings: &PoolSettings, backends: Vec<Backend>) -> Pool {
    Pool {
        name: name.to_string(),
        balance: settings.balance.0,
        backends,
        affinity: None,
        server_retry: settings.server_retry.0,
        timeout_cleanup: settings.timeout_cleanup.0,
        idle_backend_max: settings.idle_backend_max.0,
        timeouts: ServerTimeouts {
            header_server_read: settings.timeout_header_server_read.0,
            header_server_write: settings.timeout_header_server_write.0,
            forward_server_read: settings.timeout_forward_server_read.0,
            forward_server_write: settings.timeout_forward_server_write.0,
            idle: settings.timeout_idle.0,
        },
    }
}

/// The model of a backend; its address is its name unless it has one.
pub(super) fn backend_with(own: &schema::Backend) -> Backend {
    let (host, port) = own.address.0.clone().unwrap_or_default();
    let name = if own.name.0.is_empty() { host_port_text(&host, port) } else { own.name.0.clone() };
    Backend { name, host, port, weight: own.weight.0 }
}

/// A map of the file while it is read, by one schema struct after the other.
pub(super) struct Section<'n> {
    pub(super) at: Position,
    pub(super) path: String,
    /// `None` when something else than a map stands there: reported, and no key is missed.
    entries: Option<&'n [Entry]>,
    known: Vec<bool>,
    allowed: Vec<String>,
}

impl<'n> Section<'n> {
    pub(super) fn open(node: &'n Node, path: String, meaning: &str, errors: &mut Errors<'_>) -> Section<'n> {
        let entries = match &node.kind {
            Kind::Map(entries) => Some(entries.as_slice()),
            Kind::Refused => None,
            _ => {
                errors.add(node.at, &path, wrong(&format!("a map {meaning}"), &node.value()));
                None
            }
        };
        let known = vec![false; entries.map_or(0, <[Entry]>::len)];
        Section { at: node.at, path, entries, known, allowed: Vec::new() }
    }

    /// Reads the keys that `T` knows, over those of `inherited`; the second value is what was read, as it was written.
    pub(super) fn read<T: Schema>(&mut self, inherited: Mapping, errors: &mut Errors<'_>) -> (T, Mapping) {
        let mut accepted = inherited;
        for (entry, known) in self.entries.unwrap_or_default().iter().zip(&mut self.known) {
            let mut is_unknown = false;
            let value = entry.value.value();
            // One key at a time: serde stops at the first error, and the others shall be reported too.
            let result = read_alone::<T>(&entry.key, value.clone(), || is_unknown = true);
            *known |= !is_unknown;
            match result {
                _ if is_unknown || matches!(entry.value.kind, Kind::Refused) => {}
                Ok(_) => drop(accepted.insert(entry.key.as_str().into(), value)),
                Err(message) => report::<T>(entry, &joined(&self.path, &entry.key), message, errors),
            }
        }
        self.allowed.extend(T::defaults().keys().filter_map(Value::as_str).map(str::to_string));
        let whole = serde_yaml::from_value(Value::Mapping(accepted.clone()));
        (whole.expect("every key of it was read alone before"), accepted)
    }

    /// Of the keys that were read, only these mean something here.
    pub(super) fn narrow(&mut self, keys: &[&str]) {
        self.allowed.retain(|key| keys.contains(&key.as_str()));
        for (entry, known) in self.entries.unwrap_or_default().iter().zip(&mut self.known) {
            *known &= keys.contains(&entry.key.as_str());
        }
    }

    /// Reports the keys that no struct knew and the required ones that are missing.
    pub(super) fn close(&mut self, required: &[&str], errors: &mut Errors<'_>) {
        let Some(entries) = self.entries else { return };
        self.allowed.sort();
        for (entry, _) in entries.iter().zip(&self.known).filter(|(_, known)| !**known) {
            errors.add_with(entry.at, &joined(&self.path, &entry.key), || {
                let near = suggestion(&entry.key, self.allowed.iter().map(String::as_str));
                format!("unknown key{near} (allowed: {})", self.allowed.join(", "))
            });
        }
        for key in required.iter().filter(|key| self.entry(key).is_none()) {
            errors.add(self.at, &self.path, format!("the key '{key}' is missing (required: {})", required.join(", ")));
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries?.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`, and its path.
    fn child(&self, key: &str) -> Option<(&'n Node, String)> {
        self.entry(key).map(|entry| (&entry.value, joined(&self.path, key)))
    }

    /// The pages that stand here.
    fn error_pages(&self, errors: &mut Errors<'_>) -> Option<Vec<(u16, Document)>> {
        let key = "error_pages";
        self.entry(key).map(|entry| pages::read(&entry.value, &joined(&self.path, key), errors))
    }

    /// Where the value of `key` stands.
    pub(super) fn place(&self, key: &str) -> Position {
        self.entry(key).map_or(self.at, |entry| entry.value.at)
    }
}

/// A struct in which only `key` is set.
fn read_alone<T: Schema>(key: &str, value: Value, mut unknown: impl FnMut()) -> Result<T, String> {
    let alone = Value::Mapping(Mapping::from_iter([(Value::from(key), value)]));
    serde_ignored::deserialize(alone, |_| unknown()).map_err(|error: serde_yaml::Error| error.to_string())
}

/// Reports the entries of a list that are wrong, each in its place, where a list is allowed; else the setting as a whole.
fn report<T: Schema>(entry: &Entry, path: &str, message: String, errors: &mut Errors<'_>) {
    let takes = |list: Vec<Value>| read_alone::<T>(&entry.key, Value::Sequence(list), || {});
    match &entry.value.kind {
        Kind::List(nodes) if takes(Vec::new()).is_ok() => {
            for (index, node) in nodes.iter().enumerate().filter(|(_, node)| !matches!(node.kind, Kind::Refused)) {
                if let Err(message) = takes(vec![node.value()]) {
                    errors.add(node.at, &format!("{path}[{index}]"), message);
                }
            }
        }
        _ => errors.add(entry.value.at, path, message),
    }
}

/// The entries of a list that has to have some; `None` when it has not, which is reported.
fn list<'n>(node: &'n Node, path: &str, allowed: &str, max: usize, errors: &mut Errors<'_>) -> Option<&'n [Node]> {
    match &node.kind {
        Kind::List(nodes) if nodes.len() > max => {
            errors.add(nodes[max].at, path, format!("too many entries: {} (at most {max})", nodes.len()));
            None
        }
        Kind::List(nodes) if !nodes.is_empty() => Some(nodes),
        Kind::List(_) => {
            errors.add(node.at, path, format!("the list is empty; it must be {allowed}"));
            None
        }
        Kind::Refused => None,
        _ => {
            errors.add(node.at, path, wrong(allowed, &node.value()));
            None
        }
    }
}

fn pools(node: &Node, defaults: &Mapping, errors: &mut Errors<'_>) -> Vec<Pool> {
    let allowed = "from pool names to pools";
    let section = Section::open(node, "pools".to_string(), allowed, errors);
    let Some(entries) = section.entries else { return Vec::new() };
    if entries.is_empty() {
        errors.add(node.at, "pools", format!("the map is empty; it must be a map {allowed}"));
    }
    if entries.len() > POOLS_MAX {
        errors.add(entries[POOLS_MAX].at, "pools", format!("too many pools: {} (at most {POOLS_MAX})", entries.len()));
        return Vec::new();
    }
    let mut backends_left = Some(BACKENDS_MAX);
    entries.iter().map(|entry| pool(entry, defaults, &mut backends_left, errors)).collect()
}

fn pool(entry: &Entry, defaults: &Mapping, backends_left: &mut Option<usize>, errors: &mut Errors<'_>) -> Pool {
    let path = joined("pools", &entry.key);
    if !units::is_name(&entry.key) {
        errors.add(entry.at, &path, format!("a pool's name {}", wrong(NAME_ALLOWED, &entry.key.as_str().into())));
    }
    let mut section = Section::open(&entry.value, path, "with the key backends", errors);
    section.read::<schema::Pool>(Mapping::new(), errors);
    let (settings, _) = section.read::<PoolSettings>(defaults.clone(), errors);
    section.close(&["backends"], errors);
    let path = joined(&section.path, "backends");
    let node = section.entry("backends").map(|entry| &entry.value);
    let nodes = node.and_then(|node| list(node, &path, "a list of HOST:PORT or maps", usize::MAX, errors));
    let nodes = nodes.unwrap_or_default();
    let Some(left) = *backends_left else { return pool_with(&entry.key, &settings, Vec::new()) };
    *backends_left = left.checked_sub(nodes.len());
    if backends_left.is_none() {
        errors.add(nodes[left].at, &path, format!("too many backends (at most {BACKENDS_MAX} over all pools)"));
        return pool_with(&entry.key, &settings, Vec::new());
    }
    let backends = backends(nodes, &path, errors);
    let affinity = section.entry("affinity").and_then(|entry| {
        let path = joined(&section.path, "affinity");
        affinity::read(&entry.value, path, &backends, errors)
    });
    Pool { affinity, ..pool_with(&entry.key, &settings, backends) }
}

fn backends(nodes: &[Node], path: &str, errors: &mut Errors<'_>) -> Vec<Backend> {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut backends = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some((own, at)) = backend(node, &path, errors) else { continue };
        let backend = backend_with(&own);
        if let Some(line) = lines.insert(backend.name.clone(), node.at.line) {
            let name = quoted(&backend.name);
            let message =
                format!("duplicate backend {name}; it is already in line {line} (names must differ in a pool)");
            errors.add(at, &path, message);
        }
        backends.push(backend);
    }
    backends
}

/// A backend in its short or its long form, with the place of what names it; `None` when it has no good address.
fn backend(node: &Node, path: &str, errors: &mut Errors<'_>) -> Option<(schema::Backend, Position)> {
    if let Kind::Scalar(value @ Value::String(_)) = &node.kind {
        let address = HostPort::try_from(value.clone()).map_err(|message| errors.add(node.at, path, message)).ok()?;
        return Some((schema::Backend { address, ..Default::default() }, node.at));
    }
    let mut section = Section::open(node, path.to_string(), "with the key address, or HOST:PORT", errors);
    let (own, _) = section.read::<schema::Backend>(Mapping::new(), errors);
    section.close(&["address"], errors);
    let at = section.entry("name").map_or(section.place("address"), |entry| entry.value.at);
    own.address.0.is_some().then_some((own, at))
}

/// Where each pool is; a listener names one.
struct PoolNames<'p> {
    listed: Vec<&'p str>,
    indices: HashMap<&'p str, usize>,
}

impl<'p> PoolNames<'p> {
    fn of(pools: &'p [Pool]) -> PoolNames<'p> {
        let listed: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let indices = listed.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        PoolNames { listed, indices }
    }

    fn index(&self, name: &str) -> Result<usize, String> {
        self.indices.get(name).copied().ok_or_else(|| {
            let near = suggestion(name, self.listed.iter().copied());
            let mut shown = self.listed.clone();
            shown.dedup();
            let more = if shown.len() > NAMES_LISTED_MAX { ", .." } else { "" };
            shown.truncate(NAMES_LISTED_MAX);
            format!("there is no pool {}{near} (pools: {}{more})", quoted(name), shown.join(", "))
        })
    }

    /// The index of the pool that the section names; where the pools themselves could not be read, any name passes.
    fn resolve(&self, section: &Section<'_>, name: &str, errors: &mut Errors<'_>) -> Option<usize> {
        if name.is_empty() || self.listed.is_empty() {
            return None;
        }
        let add = |message| errors.add(section.place("pool"), &joined(&section.path, "pool"), message);
        self.index(name).map_err(add).ok()
    }
}

/// What all listeners share while they are read.
struct Listeners<'c> {
    defaults: &'c Mapping,
    error_pages: &'c [(u16, Document)],
    pools: PoolNames<'c>,
    /// Of each pool.
    affinities: Vec<Option<&'c Affinity>>,
    lines_of_names: HashMap<String, usize>,
    lines_of_addresses: HashMap<SocketAddr, usize>,
}

impl Listeners<'_> {
    fn read(&mut self, node: &Node, errors: &mut Errors<'_>) -> Vec<Listener> {
        let nodes = list(node, "listeners", "a list of listeners", LISTENERS_MAX, errors).unwrap_or_default();
        let each = nodes.iter().enumerate();
        each.map(|(index, node)| self.listener(node, format!("listeners[{index}]"), errors)).collect()
    }

    fn listener(&mut self, node: &Node, path: String, errors: &mut Errors<'_>) -> Listener {
        let mut section = Section::open(node, path, "with the keys name, listen and pool", errors);
        let (own, _) = section.read::<schema::Listener>(Mapping::new(), errors);
        let (settings, _) = section.read::<ListenerSettings>(self.defaults.clone(), errors);
        let required = if section.entry("routes").is_some() { 2 } else { 3 };
        section.close(&["name", "listen", "pool"][..required], errors);
        self.refuse_duplicate(&section, &own.name.0, errors);
        let pool = self.pools.resolve(&section, &own.pool.0, errors);
        let affinity = pool.and_then(|pool| self.affinities.get(pool).copied().flatten());
        if own.protocol.0 == ProtocolName::Tcp && affinity.is_some_and(Affinity::needs_http) {
            let message = "its affinity is of a type that a tcp listener cannot follow (allowed: source)";
            errors.add(section.place("pool"), &joined(&section.path, "pool"), message);
        }
        let mut listener = listener_with(&own, &settings, pool);
        if let Some(entry) = section.entry("routes") {
            let path = joined(&section.path, "routes");
            if listener.protocol == ProtocolName::Tcp {
                errors.add(entry.at, &path, "routes are for the protocol http");
            }
            listener.routes = route::routes(&entry.value, &path, &self.pools, errors);
        }
        listener.http.error_pages = section.error_pages(errors).unwrap_or_else(|| self.error_pages.to_vec());
        if let (ProtocolName::Tcp, Some(entry)) = (listener.protocol, section.entry("rate_limit")) {
            errors.add(entry.at, &joined(&section.path, "rate_limit"), "a rate limit is for the protocol http");
        }
        listener.http.rate_limit =
            section.child("rate_limit").and_then(|(node, path)| rate::rate_limit(node, path, errors));
        if let Some(entry) = section.entry("listen") {
            let address = |address| ListenAddress { address, v6_only: settings.v6_only.0, optional: false };
            let addresses = self.addresses(&entry.value, &joined(&section.path, "listen"), errors);
            listener.listen = addresses.into_iter().map(address).collect();
        }
        listener
    }

    fn refuse_duplicate(&mut self, section: &Section<'_>, name: &str, errors: &mut Errors<'_>) {
        let at = section.place("name");
        if name.is_empty() {
            return;
        }
        if let Some(line) = self.lines_of_names.insert(name.to_string(), at.line) {
            let message = format!("duplicate listener {}; it is already in line {line}", quoted(name));
            errors.add(at, &joined(&section.path, "name"), message);
        }
    }

    /// One address, or a list of them.
    fn addresses(&mut self, node: &Node, path: &str, errors: &mut Errors<'_>) -> Vec<SocketAddr> {
        if let Kind::Scalar(Value::String(_)) = &node.kind {
            return self.address(node, path, errors).into_iter().collect();
        }
        let allowed = format!("{LISTEN_ALLOWED}, or a list of them");
        let nodes = list(node, path, &allowed, LISTENERS_MAX, errors).unwrap_or_default();
        let each = nodes.iter().enumerate();
        each.filter_map(|(index, node)| self.address(node, &format!("{path}[{index}]"), errors)).collect()
    }

    fn address(&mut self, node: &Node, path: &str, errors: &mut Errors<'_>) -> Option<SocketAddr> {
        let value = node.value();
        let address = value.as_str().and_then(units::listen_address);
        match address {
            None if matches!(node.kind, Kind::Refused) => {}
            None => errors.add(node.at, path, wrong(LISTEN_ALLOWED, &value)),
            Some(address) if address.port() == 0 => {}
            Some(address) => {
                if let Some(line) = self.lines_of_addresses.insert(address, node.at.line) {
                    errors.add(node.at, path, format!("duplicate address {address}; it is already in line {line}"));
                }
            }
        }
        address
    }
}
