//! The tree of the file to the model: reads each section through the schema, then checks what concerns several settings.
//!
//! Never stops at a mistake. A setting that is wrong keeps its default, so that what follows can be checked as well;
//! the model that comes out is good only when no error was added.

mod emergency;
mod route;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use super::error::{Errors, Position, joined, quoted, suggestion};
use super::leaf::{HostPort, host_port_text};
use super::schema::{self, Schema};
use super::source::{Entry, Kind, Node};
use super::units::{self, LISTEN_ALLOWED, NAME_ALLOWED};
use super::word::{Word, wrong};
use super::{
    Access, BACKENDS_MAX, Backend, Balance, Config, Document, LISTENERS_MAX, ListenAddress, Listener, POOLS_MAX, Pool,
    ProtocolName, health, pages, rate,
};
use super::{access, affinity, balance};

/// More names than this are not listed in a message.
const NAMES_LISTED_MAX: usize = 8;

/// The model of the file whose tree is `root`; wrong wherever `errors` has been added to.
pub(super) fn config(root: &Node, errors: &mut Errors<'_>) -> Config {
    let mut top = Section::open(root, String::new(), "with the keys listeners and pools", errors);
    top.listener(errors);
    let pool = top.pool(errors);
    let balance = balance::of(&top, pool.balance, &Balance::default(), errors);
    let defaults = top.accepted.clone();
    let mut config: Config = top.read(errors);
    config.confinement = top.read(errors);
    let error_pages = top.error_pages(errors).unwrap_or_default();
    top.close(&["listeners", "pools"], errors);
    if let Some(entry) = top.entry("pools") {
        config.pools = pools(&entry.value, (&defaults, &balance), errors);
        emergency::read(&entry.value, &mut config.pools, errors);
    }
    let mut reader = Listeners {
        defaults: &defaults,
        error_pages: &error_pages,
        pools: PoolNames::of(&config.pools),
        models: &config.pools,
        lines_of_names: HashMap::new(),
        lines_of_addresses: HashMap::new(),
    };
    if let Some(entry) = top.entry("listeners") {
        config.listeners = reader.read(&entry.value, errors);
    }
    config
}

/// The model of a backend at this address, which is its name unless it has one.
pub(super) fn backend_at((host, port): (String, u16), own: schema::Backend) -> Backend {
    let name = if own.name.is_empty() { host_port_text(&host, port) } else { own.name };
    let schema::Backend { weight, max_connections, tier, state, .. } = own;
    Backend { name, host, port, weight, max_connections, tier, state }
}

/// A map of the file while it is read, by one schema struct after the other.
pub(super) struct Section<'n> {
    pub(super) at: Position,
    pub(super) path: String,
    /// `None` when something else than a map stands there: reported, and no key is missed.
    entries: Option<&'n [Entry]>,
    known: Vec<bool>,
    allowed: Vec<&'static str>,
    /// What was inherited, and over it what was read, as it was written.
    pub(super) accepted: Mapping,
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
        Section { at: node.at, path, entries, known, allowed: Vec::new(), accepted: Mapping::new() }
    }

    /// A map that is only read as `T`; these keys are required in it.
    pub(super) fn whole<T: Schema>(
        (node, path): (&'n Node, String),
        meaning: &str,
        required: &[&str],
        errors: &mut Errors<'_>,
    ) -> (Section<'n>, T) {
        let mut section = Section::open(node, path, meaning, errors);
        let own = section.read(errors);
        section.close(required, errors);
        (section, own)
    }

    /// The section, where these values are the defaults.
    fn over(self, inherited: &Mapping) -> Section<'n> {
        Section { accepted: inherited.clone(), ..self }
    }

    /// Reads the keys that `T` knows.
    pub(super) fn read<T: Schema>(&mut self, errors: &mut Errors<'_>) -> T {
        for (entry, known) in self.entries.unwrap_or_default().iter().zip(&mut self.known) {
            // At top level, listeners and pools share some keys.
            if *known || !T::KEYS.contains(&entry.key.as_str()) {
                continue;
            }
            *known = true;
            if matches!(entry.value.kind, Kind::Refused) {
                continue;
            }
            let value = entry.value.value();
            // One key at a time: serde stops at the first error, and the others shall be reported too.
            match read_alone::<T>(&entry.key, value.clone()) {
                Ok(_) => drop(self.accepted.insert(entry.key.as_str().into(), value)),
                Err(message) => report::<T>(entry, &joined(&self.path, &entry.key), message, errors),
            }
        }
        self.allowed.extend(T::KEYS);
        let whole = serde_yaml::from_value(Value::Mapping(self.accepted.clone()));
        whole.expect("every key of it was read alone before")
    }

    /// What a listener can set, here or at top level.
    fn listener(&mut self, errors: &mut Errors<'_>) -> Listener {
        let mut listener: Listener = self.read(errors);
        // A rate of nothing asks for nothing.
        listener.body_bytes_per_second_min = listener.body_bytes_per_second_min.filter(|rate| *rate > 0);
        listener.http = self.read(errors);
        listener.http.forwarding = self.read(errors);
        listener.socket = self.read(errors);
        listener.timeouts = self.read(errors);
        listener
    }

    /// What a pool can set, here or at top level.
    fn pool(&mut self, errors: &mut Errors<'_>) -> Pool {
        let mut pool: Pool = self.read(errors);
        pool.socket = self.read(errors);
        pool.timeouts = self.read(errors);
        pool
    }

    /// Of the keys that were read, only these mean something here.
    pub(super) fn narrow(&mut self, keys: &[&str]) {
        self.allowed.retain(|key| keys.contains(key));
        for (entry, known) in self.entries.unwrap_or_default().iter().zip(&mut self.known) {
            *known &= keys.contains(&entry.key.as_str());
        }
    }

    /// Reports the keys that no struct knew and the required ones that are missing.
    pub(super) fn close(&mut self, required: &[&str], errors: &mut Errors<'_>) {
        let Some(entries) = self.entries else { return };
        self.allowed.sort();
        self.allowed.dedup();
        for (entry, _) in entries.iter().zip(&self.known).filter(|(_, known)| !**known) {
            errors.add_with(entry.at, &joined(&self.path, &entry.key), || {
                let near = suggestion(&entry.key, self.allowed.iter().copied());
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
    pub(super) fn child(&self, key: &str) -> Option<(&'n Node, String)> {
        self.entry(key).map(|entry| (&entry.value, joined(&self.path, key)))
    }

    /// The pages that stand here.
    fn error_pages(&self, errors: &mut Errors<'_>) -> Option<Vec<(u16, Document)>> {
        self.child("error_pages").map(|(node, path)| pages::read(node, &path, errors))
    }

    /// Reports what is wrong with the value of `key`.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>, errors: &mut Errors<'_>) {
        errors.add(self.place(key), &joined(&self.path, key), message);
    }

    /// What is in the file that `key` names.
    pub(super) fn file(&self, key: &str, name: &str, bytes_max: usize, errors: &mut Errors) -> Option<Arc<[u8]>> {
        errors.file(self.place(key), &joined(&self.path, key), name, bytes_max)
    }

    /// Where the value of `key` stands.
    pub(super) fn place(&self, key: &str) -> Position {
        self.entry(key).map_or(self.at, |entry| entry.value.at)
    }
}

/// A struct in which only `key` is set.
pub(super) fn read_alone<T: Schema>(key: &str, value: Value) -> Result<T, String> {
    let alone = Mapping::from_iter([(Value::from(key), value)]);
    serde_yaml::from_value(Value::Mapping(alone)).map_err(|error| error.to_string())
}

/// Reports the entries of a list that are wrong, each in its place, where a list is allowed; else the setting as a whole.
fn report<T: Schema>(entry: &Entry, path: &str, message: String, errors: &mut Errors<'_>) {
    let takes = |list: Vec<Value>| read_alone::<T>(&entry.key, Value::Sequence(list));
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
pub(super) fn list<'n>(
    node: &'n Node,
    path: &str,
    allowed: &str,
    max: usize,
    errors: &mut Errors<'_>,
) -> Option<&'n [Node]> {
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

fn pools(node: &Node, defaults: (&Mapping, &Balance), errors: &mut Errors<'_>) -> Vec<Pool> {
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

fn pool(
    entry: &Entry,
    (defaults, balance): (&Mapping, &Balance),
    backends_left: &mut Option<usize>,
    errors: &mut Errors<'_>,
) -> Pool {
    let path = joined("pools", &entry.key);
    if !units::is_name(&entry.key) {
        errors.add(entry.at, &path, format!("a pool's name {}", wrong(NAME_ALLOWED, &entry.key.as_str().into())));
    }
    let mut section = Section::open(&entry.value, path, "with the key backends", errors).over(defaults);
    section.read::<schema::Pool>(errors);
    let mut pool = section.pool(errors);
    pool.name.clone_from(&entry.key);
    pool.balance = balance::of(&section, pool.balance, balance, errors);
    section.close(&["backends"], errors);
    let path = joined(&section.path, "backends");
    let node = section.entry("backends").map(|entry| &entry.value);
    let nodes = node.and_then(|node| list(node, &path, "a list of HOST:PORT or maps", usize::MAX, errors));
    let nodes = nodes.unwrap_or_default();
    let Some(left) = *backends_left else { return pool };
    *backends_left = left.checked_sub(nodes.len());
    if backends_left.is_none() {
        errors.add(nodes[left].at, &path, format!("too many backends (at most {BACKENDS_MAX} over all pools)"));
        return pool;
    }
    pool.backends = backends(nodes, &path, errors);
    if let Some((node, path)) = section.child("affinity") {
        pool.affinity = affinity::read(node, path, &pool.backends, errors);
    }
    pool.health = section.child("health").map(|place| health::read(place, errors));
    pool
}

fn backends(nodes: &[Node], path: &str, errors: &mut Errors<'_>) -> Vec<Backend> {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut backends = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some((backend, at)) = backend(node, &path, errors) else { continue };
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
fn backend(node: &Node, path: &str, errors: &mut Errors<'_>) -> Option<(Backend, Position)> {
    if let Kind::Scalar(value @ Value::String(_)) = &node.kind {
        let address = HostPort::read(value).map_err(|message| errors.add(node.at, path, message)).ok()?;
        return Some((backend_at(address, schema::Backend::default()), node.at));
    }
    let meaning = "with the key address, or HOST:PORT";
    let (section, mut own) = Section::whole::<schema::Backend>((node, path.to_string()), meaning, &["address"], errors);
    let at = section.entry("name").map_or(section.place("address"), |entry| entry.value.at);
    Some((backend_at(own.address.take()?, own), at))
}

/// Where each pool is; a listener names one.
pub(super) struct PoolNames<'p> {
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
    pub(super) fn resolve(&self, section: &Section<'_>, name: &str, errors: &mut Errors<'_>) -> Option<usize> {
        if name.is_empty() || self.listed.is_empty() {
            return None;
        }
        self.index(name).map_err(|message| section.refuse("pool", message, errors)).ok()
    }
}

/// What all listeners share while they are read.
struct Listeners<'c> {
    defaults: &'c Mapping,
    error_pages: &'c [(u16, Document)],
    pools: PoolNames<'c>,
    /// The pools themselves.
    models: &'c [Pool],
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
        let mut section = Section::open(node, path, "with the keys name, listen and pool", errors).over(self.defaults);
        let own: schema::Listener = section.read(errors);
        let mut listener = section.listener(errors);
        let required = if section.entry("routes").is_some() { 2 } else { 3 };
        section.close(&["name", "listen", "pool"][..required], errors);
        self.refuse_duplicate(&section, &own.name, errors);
        listener.name = own.name;
        listener.protocol = own.protocol;
        listener.pool = self.pools.resolve(&section, &own.pool, errors);
        listener.clients_max = own.clients_max;
        listener.access = section.child("access").and_then(|place| access::access(place, &self.pools, errors));
        let is_tcp = own.protocol == ProtocolName::Tcp;
        let diverted = listener.access.as_ref().and_then(Access::pool);
        for (key, whose, pool) in [("pool", "its", listener.pool), ("access", "its pool's", diverted)] {
            let pool = pool.filter(|_| is_tcp);
            if let Some(message) = pool.and_then(|pool| emergency::unfit_for_tcp(self.models, pool, whose)) {
                section.refuse(key, message, errors);
            }
        }
        if let Some(entry) = section.entry("routes") {
            let path = joined(&section.path, "routes");
            if listener.protocol == ProtocolName::Tcp {
                errors.add(entry.at, &path, "routes are for the protocol http");
            }
            listener.routes = route::routes(&entry.value, &path, &self.pools, errors);
        }
        if listener.accept_proxy.is_some() && listener.http.forwarding.trusted_proxies.is_empty() {
            section.refuse("accept_proxy", "it needs trusted_proxies: the only ones who are believed", errors);
        }
        listener.http.error_pages = section.error_pages(errors).unwrap_or_else(|| self.error_pages.to_vec());
        if let (ProtocolName::Tcp, Some(entry)) = (listener.protocol, section.entry("rate_limit")) {
            errors.add(entry.at, &joined(&section.path, "rate_limit"), "a rate limit is for the protocol http");
        }
        listener.http.rate_limit = section.child("rate_limit").and_then(|place| rate::rate_limit(place, errors));
        if let Some((node, path)) = section.child("listen") {
            let address = |address| ListenAddress { address, v6_only: listener.v6_only, optional: false };
            let addresses = self.addresses(node, &path, errors);
            listener.listen = addresses.into_iter().map(address).collect();
        }
        listener
    }

    fn refuse_duplicate(&mut self, section: &Section<'_>, name: &str, errors: &mut Errors<'_>) {
        if name.is_empty() {
            return;
        }
        if let Some(line) = self.lines_of_names.insert(name.to_string(), section.place("name").line) {
            let message = format!("duplicate listener {}; it is already in line {line}", quoted(name));
            section.refuse("name", message, errors);
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
