//! The world around plb: time, connections, peers, and what a seed makes of them.
//!
//! It never looks into a session.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use plb::balance::Failure;
use plb::base::arena::Id;
use plb::base::buffers::BUFFER_BYTES;
use plb::base::rng::Rng;
use plb::base::time::Time;
use plb::config::{Config, ProtocolName, ProxyVersion};
use plb::protocol::proxy_header;

use super::http_client::HttpClient;
use super::http_server::HttpServer;
use super::kernel::{Connecting, Edge, Wire};
use super::site::Site;
use super::stream::Stream;
use super::tcp_peer::{Role, TcpPeer};

/// How a stream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    Tls,
}

/// How hard a seed is, and how much can be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everybody behaves: every exchange succeeds.
    Calm,
    /// One backend fails in one way, everybody else behaves: what may be sent again succeeds.
    OneBad,
    /// Anything may happen.
    Chaos,
}

/// What a faulty backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Refuses,
    NeverConnects,
    ConnectsTooLate,
    ResetsAtOnce,
    EndsAtOnce,
    ResetsBeforeAnswer,
    EndsBeforeAnswer,
    ResetsInAnswer,
    EndsInAnswer,
    StallsInAnswer,
    IsSilent,
    SaysNonsense,
    /// Its whole answer has the status 503.
    IsBusy,
}

impl Fault {
    const ALL: [Fault; 13] = [
        Fault::Refuses,
        Fault::NeverConnects,
        Fault::ConnectsTooLate,
        Fault::ResetsAtOnce,
        Fault::EndsAtOnce,
        Fault::ResetsBeforeAnswer,
        Fault::EndsBeforeAnswer,
        Fault::ResetsInAnswer,
        Fault::EndsInAnswer,
        Fault::StallsInAnswer,
        Fault::IsSilent,
        Fault::SaysNonsense,
        Fault::IsBusy,
    ];

    /// Whether no byte can have been sent when it shows.
    pub fn is_before_sending(self) -> bool {
        matches!(self, Fault::Refuses | Fault::NeverConnects | Fault::ConnectsTooLate)
    }

    /// Whether a part of an answer was sent when it shows.
    pub fn is_in_answer(self) -> bool {
        matches!(self, Fault::ResetsInAnswer | Fault::EndsInAnswer | Fault::StallsInAnswer)
    }
}

/// Where clients have connected to that are announced.
pub const DESTINATION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 443);

/// What a connection holds, what a peer moves at once and what it has to say where bodies may be long, in bytes.
const BULK_CAPACITY: usize = 100_000;
const BULK_PIECE: u64 = 60_000;
const BULK_LENGTH: u64 = 200_000;

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Profile {
    pub weather: Weather,
    pub protocol: ProtocolName,
    /// All clients of HTTP ask for an upgrade, and send ahead what goes into the tunnel.
    pub upgrades: bool,
    pub tls: [Look; 2],
    pub clients: usize,
    pub max_clients: usize,
    /// Of every backend, what is wrong with it: nothing, one thing, or anything (`Err`).
    pub backends: Vec<Result<Option<Fault>, ()>>,
    /// Clients come by way of a trusted proxy, which announces them.
    pub announced: bool,
    /// plb announces its clients to backends.
    pub announces: bool,
    /// What the listener has besides its pool.
    pub site: Site,
    /// Backends close connections that are idle, at the worst moment.
    pub idle_closes: bool,
    /// Descriptors run out now and then.
    pub lacks: bool,
    /// The first address of every backend refuses.
    pub alternatives: bool,
    pub buffer_pairs: usize,
    pub kernel_pipes: u32,
    /// Bodies may be long.
    pub bulk: bool,
    pub idle_backend_max: usize,
    /// The most connections of each backend.
    pub connections_max: Option<u32>,
    /// Of every backend, its tier and its weight.
    pub places: Vec<(u64, u64)>,
    /// How long a tier that lives again is held back, in milliseconds.
    pub tier_hold: u64,
    /// How backends are chosen.
    pub balance: &'static str,
    pub server_retry: u64,
    pub calls_max: u32,
    pub capacity_max: usize,
    /// The most bytes that a peer moves at once.
    pub piece_max: u64,
    /// The daemon is told to stop at that moment.
    pub drains_at: Time,
}

impl Profile {
    pub fn new(rng: &mut Rng) -> Profile {
        let weather = [Weather::Calm, Weather::OneBad, Weather::Chaos][rng.below(3) as usize];
        let protocol = if rng.chance(1, 3) { ProtocolName::Tcp } else { ProtocolName::Http };
        let bulk = rng.chance(1, 3);
        let tls_in = if bulk { 8 } else { 3 };
        let look = |rng: &mut Rng| if rng.chance(1, tls_in) { Look::Tls } else { Look::Plain };
        let upgrades = protocol == ProtocolName::Http && rng.chance(1, 5);
        let count = 1 + rng.below(3) as usize;
        let mut backends = match weather {
            Weather::Calm => vec![Ok(None); count],
            Weather::OneBad => {
                let mut backends = vec![Ok(None); count + 1];
                let bad = rng.below(count as u64 + 1) as usize;
                backends[bad] = Ok(Some(Fault::ALL[rng.below(13) as usize]));
                backends
            }
            Weather::Chaos => (0..count).map(|_| if rng.chance(1, 3) { Ok(None) } else { Err(()) }).collect(),
        };
        let chaos = weather == Weather::Chaos;
        let piece_max = if bulk { BULK_PIECE } else { [6, 50, 800, 20_000][rng.below(4) as usize] };
        let site = match protocol {
            // Flights are of what backends say.
            ProtocolName::Http if !(upgrades || bulk && rng.chance(2, 3)) => Site::new(backends.len(), piece_max, rng),
            _ => Site::default(),
        };
        if site.second_from.is_some() {
            let others = 1 + rng.below(2);
            backends.extend((0..others).map(|_| if chaos && rng.chance(1, 2) { Err(()) } else { Ok(None) }));
        }
        let clients = 1 + rng.below(6) as usize;
        // Who takes nobody might be the only one that serves.
        let weights = if chaos { [0, 1, 4] } else { [1, 1, 4] };
        let tiers = 1 + rng.below(3);
        let places = backends.iter().map(|_| (rng.below(tiers), weights[rng.below(3) as usize])).collect();
        Profile {
            weather,
            protocol,
            upgrades,
            tls: [look(rng), look(rng)],
            clients,
            max_clients: 1 + rng.below(8) as usize,
            backends,
            announced: rng.chance(1, 4),
            announces: rng.chance(1, 4),
            site,
            idle_closes: rng.chance(1, 3),
            lacks: chaos && rng.chance(1, 3),
            alternatives: rng.chance(1, 5),
            buffer_pairs: match weather {
                // Whoever waits for others keeps no buffers from them.
                Weather::Calm | Weather::OneBad => clients,
                Weather::Chaos => 1 + rng.below(4) as usize,
            },
            kernel_pipes: rng.below(5) as u32,
            bulk,
            idle_backend_max: 1 + rng.below(4) as usize,
            connections_max: rng.chance(1, 3).then(|| 1 + rng.below(2) as u32),
            places,
            tier_hold: 1 + 200 * rng.below(3),
            balance: ["round_robin", "least_connections", "random", "hash", "first"][rng.below(5) as usize],
            server_retry: 1 + rng.below(3),
            calls_max: [6, 32][rng.below(2) as usize],
            capacity_max: if bulk { BULK_CAPACITY } else { [20, 100, 2_000, 30_000][rng.below(4) as usize] },
            piece_max,
            drains_at: if rng.chance(1, 10) { Time::from_millis(rng.below(300)) } else { Time::NEVER },
        }
    }

    /// The configuration of plb.
    pub fn config(&self) -> Config {
        let protocol = if self.protocol == ProtocolName::Tcp { "tcp" } else { "http" };
        let globals = format!(
            "max_clients: {}\n\
             timeout_header_client_read: 2s\ntimeout_header_client_write: 2s\n\
             timeout_forward_client_read: 1500ms\ntimeout_forward_client_write: 1500ms\n\
             timeout_keep_alive: 3s\ntimeout_tunnel: 5s\ntimeout_cleanup: 300ms\n\
             timeout_header_server_read: 1s\ntimeout_header_server_write: 700ms\n\
             timeout_forward_server_read: 1s\ntimeout_forward_server_write: 1s\ntimeout_idle: 400ms\n",
            self.max_clients,
        );
        // Whoever waits for a backend waits for others that take their time.
        let pool = format!(
            "server_retry: {}, idle_backend_max: {}, balance: {}, max_connections: {}, timeout_queue: 60s, \
             tier_hold: {}ms{}",
            self.server_retry,
            self.idle_backend_max,
            self.balance,
            self.connections_max.map_or("none".to_string(), |max| max.to_string()),
            self.tier_hold,
            if self.announces { ", send_proxy: v2" } else { "" },
        );
        let announced = if self.announced { ", accept_proxy: any, trusted_proxies: 203.0.113.1" } else { "" };
        let listener = format!("protocol: {protocol}{announced}");
        let config = self.site.config(&globals, &listener, &pool, &self.places);
        // Scarcer than a file may say.
        let buffer_memory = 2 * (self.buffer_pairs * BUFFER_BYTES) as u64;
        Config { buffer_memory, kernel_pipes: self.kernel_pipes, ..config }
    }

    /// Who connects to plb when the client on this wire does, and who that client is: the wire is the port, so that a
    /// record tells whose it is.
    pub fn addresses(&self, wire: usize) -> [SocketAddr; 2] {
        let client = ([192, 0, 2, 1], wire as u16).into();
        [if self.announced { ([203, 0, 113, 1], 99).into() } else { client }, client]
    }

    /// What a proxy sends before the first byte of that client.
    pub fn announcement(&self, wire: usize) -> Vec<u8> {
        let mut header = Vec::new();
        if self.announced {
            let version = [ProxyVersion::V1, ProxyVersion::V2][wire % 2];
            proxy_header::write(version, self.addresses(wire)[1], DESTINATION, &mut header);
        }
        header
    }

    /// The one thing that is wrong, in the first pool.
    pub fn fault(&self) -> Option<Fault> {
        self.backends.iter().find_map(|backend| backend.unwrap_or_default())
    }
}

/// Somebody at the other end of a wire.
pub trait Peer {
    /// Does something, if it can; whether it did.
    fn act(&mut self, world: &mut World) -> bool;
    /// When it wants to act again.
    fn wakes(&self) -> Time;
    /// Whether it is done.
    fn is_over(&self) -> bool;
    /// Who it is, for messages.
    fn name(&self) -> String;
}

/// Everything but plb.
pub struct World {
    pub now: Time,
    pub rng: Rng,
    pub profile: Profile,
    pub wires: Vec<Wire>,
    /// How often a backend saw each request.
    pub seen: BTreeMap<u32, u32>,
    /// The requests that were answered, and how.
    pub answered: Vec<(u32, u32)>,
    /// Whether plb was told to stop.
    pub draining: bool,
    /// Whether a backend answered a request before it was whole: then the client's connection ends with that answer.
    pub answered_early: bool,
    /// Whether poll holds edges back.
    pub patient: bool,
    peers: Vec<Option<Box<dyn Peer>>>,
    tokens: Vec<Option<Id<Stream>>>,
    /// Clients that have not been accepted, with the moments of their arrival.
    backlog: Vec<(Time, usize)>,
    acts_between: bool,
    tracing: bool,
}

impl World {
    pub fn new(seed: u64, tracing: bool) -> World {
        let mut rng = Rng::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let profile = Profile::new(&mut rng);
        let mut world = World {
            now: Time::from_millis(1),
            acts_between: rng.chance(1, 2),
            rng,
            wires: Vec::new(),
            seen: BTreeMap::new(),
            answered: Vec::new(),
            draining: false,
            answered_early: false,
            patient: true,
            peers: Vec::new(),
            tokens: Vec::new(),
            backlog: Vec::new(),
            profile,
            tracing,
        };
        world.trace(|| format!("{:?}", world.profile));
        for number in 0..world.profile.clients {
            world.add_client(number);
        }
        world.backlog.sort();
        world
    }

    fn add_client(&mut self, number: usize) {
        let wire = self.add_wire(Connecting::Done);
        self.wires[wire].announcement = self.profile.announcement(wire).into();
        let arrival = Time::from_micros(1_000 + self.rng.below(40_000));
        let peer: Box<dyn Peer> = match self.profile.protocol {
            ProtocolName::Http if !self.profile.upgrades => {
                Box::new(HttpClient::new(self, wire, number as u32, arrival))
            }
            _ => Box::new(TcpPeer::new(self, wire, number as u32, arrival, Role::Client)),
        };
        self.peers.push(Some(peer));
        self.backlog.push((arrival, wire));
    }

    fn add_wire(&mut self, connecting: Connecting) -> usize {
        let most = self.profile.capacity_max as u64;
        let capacity = 1 + self.rng.below(most) as usize;
        self.wires.push(Wire::new(capacity.max(self.profile.capacity_max / 8), connecting));
        self.tokens.push(None);
        self.wires.len() - 1
    }

    pub fn trace(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>9} {}", self.now.as_micros(), text());
        }
    }

    // What plb calls.

    pub fn register(&mut self, wire: usize, id: Id<Stream>) {
        self.tokens[wire] = Some(id);
    }

    /// The edges that were not delivered yet, in any order; some may take longer.
    pub fn poll(&mut self) -> Vec<(Id<Stream>, usize, Edge)> {
        let mut events = Vec::new();
        for (index, wire) in self.wires.iter_mut().enumerate() {
            let Some(id) = self.tokens[index].filter(|_| wire.has_edge()) else { continue };
            if self.patient && self.rng.chance(1, 5) {
                continue;
            }
            let at = self.rng.below(events.len() as u64 + 1) as usize;
            events.insert(at, (id, index, wire.take_edge()));
        }
        self.patient = true;
        events
    }

    pub fn take_client(&mut self, clients: usize) -> Option<usize> {
        let due = self.backlog.first().is_some_and(|&(arrival, _)| arrival <= self.now);
        (due && clients < self.profile.max_clients).then(|| self.backlog.remove(0).1)
    }

    /// Connects to a backend: the wire and how many further addresses there are.
    pub fn connect(&mut self, backend: usize, address: u8) -> Result<(usize, u8), Failure> {
        if self.profile.lacks && self.rng.chance(1, 3) {
            return Err(Failure::Local);
        }
        let fault = self.draw_fault(backend);
        let alternatives = u8::from(self.profile.alternatives && address == 0);
        let refuses = fault == Some(Fault::Refuses) || alternatives > 0;
        if refuses && self.rng.chance(1, 4) && alternatives == 0 {
            return Err(Failure::Refused);
        }
        let soon = self.now + Duration::from_micros(self.rng.below(2_000));
        let connecting = match fault {
            _ if refuses => Connecting::Until(soon, Some(Failure::Refused)),
            Some(Fault::NeverConnects) => Connecting::Until(Time::NEVER, None),
            Some(Fault::ConnectsTooLate) => {
                Connecting::Until(self.now + Duration::from_millis(500), Some(Failure::TimedOut))
            }
            _ if self.rng.chance(1, 3) => Connecting::Done,
            _ => Connecting::Until(soon, None),
        };
        let wire = self.add_wire(connecting);
        self.trace(|| format!("connect wire {wire} to backend {backend}/{address}: {connecting:?} {fault:?}"));
        let peer: Box<dyn Peer> = match self.profile.protocol {
            ProtocolName::Http if !self.profile.upgrades => Box::new(HttpServer::new(self, wire, backend, fault)),
            _ => Box::new(TcpPeer::new(self, wire, wire as u32, self.now, Role::Server(fault))),
        };
        if connecting == Connecting::Done {
            // Whoever has just connected is told so.
            self.wires[wire].settle(self.now);
        }
        self.peers.push(Some(peer));
        Ok((wire, alternatives))
    }

    /// What goes wrong this time with a backend.
    pub fn draw_fault(&mut self, backend: usize) -> Option<Fault> {
        match self.profile.backends[backend] {
            Ok(fault) => fault,
            Err(()) if self.rng.chance(1, 2) => None,
            Err(()) => Some(Fault::ALL[self.rng.below(13) as usize]),
        }
    }

    pub fn is_healthy(&self, backend: usize) -> bool {
        self.profile.backends[backend] == Ok(None)
    }

    /// Whether the second pool may have to help out: nobody of the first is sure to serve.
    pub fn is_emergency(&self) -> bool {
        let site = &self.profile.site;
        let is_sure = |backend: usize| site.pool_of(backend) == 0 && self.is_healthy(backend);
        site.helps_out && !(0..self.profile.backends.len()).any(is_sure)
    }

    /// A probe of a backend that is down: in the end all succeed.
    pub fn probe(&mut self, backend: usize) -> Result<(), Failure> {
        match self.draw_fault(backend) {
            Some(Fault::Refuses) if self.has_clients() => Err(Failure::Refused),
            _ => Ok(()),
        }
    }

    /// Somebody may act between two calls of plb.
    pub fn interleave(&mut self) {
        if self.acts_between && self.rng.chance(1, 2) {
            for index in 0..self.peers.len() {
                self.act(index);
            }
        }
    }

    // What the loop around all of it calls.

    /// Everybody who wants to act does, some of them; whether somebody did.
    pub fn act_all(&mut self, all: bool) -> bool {
        let mut acted = false;
        for index in 0..self.peers.len() {
            if all || self.rng.chance(2, 3) {
                acted |= self.act(index);
            }
        }
        acted
    }

    fn act(&mut self, index: usize) -> bool {
        let Some(mut peer) = self.peers[index].take() else { return false };
        let wakes = peer.wakes() <= self.now;
        // Clients were the first to have wires.
        let announced = if wakes && index < self.profile.clients { self.wires[index].announce() } else { None };
        let acted = announced.unwrap_or_else(|| wakes && peer.act(self));
        if !peer.is_over() {
            self.peers[index] = Some(peer);
        }
        acted
    }

    /// Time passes.
    pub fn advance_to(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.wires.iter_mut().for_each(|wire| wire.settle(now));
    }

    /// The next moment at which something happens by itself.
    pub fn next(&self) -> Time {
        let wakes = self.peers.iter().flatten().map(|peer| peer.wakes()).filter(|&wake| wake > self.now);
        let settles = self.wires.iter().filter_map(Wire::settles);
        let arrivals = self.backlog.iter().map(|&(arrival, _)| arrival).filter(|&arrival| arrival > self.now);
        wakes.chain(settles).chain(arrivals).min().unwrap_or(Time::NEVER)
    }

    pub fn has_edges(&self) -> bool {
        self.wires.iter().zip(&self.tokens).any(|(wire, token)| token.is_some() && wire.has_edge())
    }

    pub fn has_clients(&self) -> bool {
        self.peers[..self.profile.clients].iter().any(Option::is_some)
    }

    /// Nobody may be left who still waits for something.
    pub fn check_end(&self) {
        let left: Vec<_> = self.peers.iter().flatten().map(|peer| peer.name()).collect();
        assert!(left.is_empty(), "left alone: {left:?}");
        for (id, &count) in &self.seen {
            let safe = super::http_client::is_idempotent(*id);
            // What was answered goes to each backend once; what was not, once more.
            let most = if self.profile.site.repeats { 1 + self.profile.backends.len() as u32 } else { 2 };
            assert!(count <= if safe { most } else { 1 }, "request {id} was sent {count} times");
        }
    }

    /// The most bytes that a peer moves at once, and the most that it has to say.
    pub fn draw_sizes(&mut self) -> (u64, u64) {
        let most = self.profile.piece_max;
        let longest = if self.profile.bulk { BULK_LENGTH } else { 40_000 };
        let length = (most * 20).min(self.profile.capacity_max as u64 * 20).min(longest);
        (if self.rng.chance(1, 3) { most.div_ceil(3) } else { most }, length)
    }

    /// The most bytes of data in a chunk of a body of that length.
    pub fn draw_chunk(&mut self, length: usize) -> usize {
        let most = if self.profile.bulk && self.rng.chance(2, 3) { length.max(1) as u64 } else { 900 };
        1 + self.rng.below(most) as usize
    }

    /// A moment that lies up to so many microseconds from now, and is now more often than not.
    pub fn soon(&mut self, micros_max: u64) -> Time {
        match self.rng.chance(2, 3) {
            true => self.now,
            false => self.now + Duration::from_micros(self.rng.below(micros_max)),
        }
    }
}
