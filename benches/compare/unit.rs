//! The units of work: what is done once, by how many clients at a time, how often in a round, and by which balancers.

use crate::balancer::Kind;
use crate::configuration::{AccessLog, Affinity, Listen, Scene, Told};
use crate::load::{Life, Load, Speech, Visitor};

/// A megabyte, as bulk transfers are counted.
pub const MEGABYTE: u64 = 1_000_000;
/// What one bulk transfer carries at scale 1, and the least that it carries.
const BULK_BYTES: u64 = 256 * MEGABYTE;
const BULK_BYTES_MIN: u64 = 4 * MEGABYTE;
/// The length of a response that is not read.
const STALLED_BYTES: u64 = 50 * MEGABYTE;
/// The routes of a site with many of them.
const MANY_ROUTES: u16 = 1_000;
/// The fewest exchanges of a round, where they are small.
const COUNT_MIN: u64 = 100;

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A small GET on a client connection that stays.
    KeepAlive,
    /// A small GET on a client connection of its own.
    Request,
    /// TCP: connect, a few bytes there and back, end.
    Echo,
    /// A megabyte of a long HTTP response.
    BulkHttp,
    /// A megabyte of the same response through a TCP listener.
    BulkTcp,
    /// A small GET on a client connection that stays, spread over a few backends.
    FewBackends,
    /// The same over very many.
    ManyBackends,
    /// A small GET on a client connection that stays, while nobody else is there.
    Alone,
    /// The same while thousands of idle clients are there.
    Crowded,
    /// A small GET on a client connection that stays, forwarded as it is.
    Bare,
    /// The same with the client's address added.
    Addressed,
    /// The same with the client's address and a number of its own added, and a route by its host taken.
    Told,
    /// A small GET on a client connection that stays, which goes to any of a few backends.
    Free,
    /// The same with a cookie that every response inserts, for clients who do not take it.
    CookieSet,
    /// The same for clients who do, and come back to their backend by it.
    CookieSent,
    /// A small GET on a client connection that stays, without an access log.
    Unlogged,
    /// The same with one.
    Logged,
    /// A small GET on a client connection that stays, with one route by host.
    OneRoute,
    /// The same with very many, each of which is taken in turn.
    ManyRoutes,
    /// Memory of an HTTP client that is idle after one exchange.
    IdleClient,
    /// Memory of a TCP client and its origin that are idle after one echo.
    IdlePair,
    /// Memory of an HTTP client that does not read its long response.
    StalledReader,
}

/// How a cost is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU time, in nanoseconds.
    Time,
    /// Memory, in KiB.
    Memory,
}

/// Which of a balancer's listeners is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Http,
    Echo,
    Tunnel,
}

/// How a unit is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The letter that selects it on the command line; units of one letter are measured together.
    pub letter: &'static str,
    /// What the table says about it, with the unit of its figures.
    pub title: &'static str,
    /// What of its cost is measured.
    pub measure: Measure,
    /// Who does it.
    pub kinds: &'static [Kind],
    /// What the balancers are set up for.
    pub scene: Scene,
    /// The clients that are idle meanwhile.
    pub idle_clients: u64,
    /// The unit whose cost in the same round this one's is compared with.
    pub baseline: Option<Unit>,
    /// The unit whose cost for haproxy this one's is given as a share of, when it is not the same.
    pub rival: Option<Unit>,
    /// How many exchanges there are in a round.
    pub count: u64,
    /// How many of them run at a time.
    parallel: u64,
    target: Target,
    speech: Speech,
    life: Life,
}

/// Units that others are made from.
#[rustfmt::skip]
const SMALL: Plan = Plan {
    letter: "a", title: "(a) keep-alive GET, ns", measure: Measure::Time, kinds: &Kind::PEERS,
    scene: Scene::PLAIN, idle_clients: 0, baseline: None, rival: None, count: 100_000, parallel: 64,
    target: Target::Http, speech: Speech::Http(Visitor::Plain), life: Life::KeepAlive,
};
#[rustfmt::skip]
const BULK: Plan = Plan {
    letter: "d", title: "(d) bulk HTTP, ns a MB", kinds: &Kind::ALL,
    count: 16, parallel: 4, speech: Speech::Bulk(BULK_BYTES), ..SMALL
};
#[rustfmt::skip]
const IDLE: Plan = Plan {
    letter: "e", title: "(e) idle keep-alive client, KiB", measure: Measure::Memory,
    count: 5_000, parallel: 32, life: Life::Held, ..SMALL
};
#[rustfmt::skip]
const SPREAD: Plan = Plan {
    letter: "f", title: "(f) (a) over 10 backends, ns", count: 50_000,
    kinds: &[Kind::Haproxy, Kind::Plb, Kind::Nginx, Kind::Relay], scene: Scene { backends: 10, ..Scene::PLAIN },
    ..SMALL
};
#[rustfmt::skip]
const STICKY: Plan = Plan {
    letter: "k", title: "(k) (a) over 10 backends, ns", kinds: &[Kind::Haproxy, Kind::Plb],
    scene: Scene { backends: 10, ..Scene::PLAIN }, ..SMALL
};
const WITH_COOKIE: Scene = Scene { affinity: Affinity::Cookie, ..STICKY.scene };
#[rustfmt::skip]
const ROUTED: Plan = Plan {
    letter: "r", title: "(r) (a) with 1 host route, ns", scene: Scene { routes: 1, ..Scene::PLAIN },
    speech: Speech::Http(Visitor::Wandering(1)), ..SMALL
};

impl Unit {
    /// All of them, in the order of the table.
    pub const ALL: [Unit; 22] = [
        Unit::KeepAlive,
        Unit::Request,
        Unit::Echo,
        Unit::BulkHttp,
        Unit::BulkTcp,
        Unit::IdleClient,
        Unit::IdlePair,
        Unit::FewBackends,
        Unit::ManyBackends,
        Unit::Alone,
        Unit::Crowded,
        Unit::Bare,
        Unit::Addressed,
        Unit::Told,
        Unit::Free,
        Unit::CookieSet,
        Unit::CookieSent,
        Unit::Unlogged,
        Unit::Logged,
        Unit::OneRoute,
        Unit::ManyRoutes,
        Unit::StalledReader,
    ];

    /// How it is done at scale 1.
    #[rustfmt::skip]
    fn plan(self) -> Plan {
        match self {
            Unit::KeepAlive => SMALL,
            Unit::Request => Plan {
                letter: "b", title: "(b) GET a connection, ns", count: 30_000, life: Life::Single, ..SMALL
            },
            Unit::Echo => Plan {
                letter: "c", title: "(c) TCP connect-echo-close, ns", count: 10_000, parallel: 32,
                target: Target::Echo, speech: Speech::Echo, life: Life::Single, ..SMALL
            },
            Unit::BulkHttp => BULK,
            Unit::BulkTcp => Plan { title: "(d) bulk TCP, ns a MB", target: Target::Tunnel, ..BULK },
            Unit::IdleClient => IDLE,
            Unit::IdlePair => Plan {
                title: "(e) idle TCP pair, KiB", target: Target::Echo, speech: Speech::Echo, ..IDLE
            },
            Unit::FewBackends => SPREAD,
            Unit::ManyBackends => Plan {
                title: "(f) (a) over 1000 backends, ns", baseline: Some(Unit::FewBackends),
                scene: Scene { backends: 1_000, ..Scene::PLAIN }, ..SPREAD
            },
            Unit::Alone => Plan { letter: "g", title: "(g) (a) alone, ns", ..SMALL },
            Unit::Crowded => Plan {
                letter: "g", title: "(g) (a) beside 5000 idle clients, ns", baseline: Some(Unit::Alone),
                idle_clients: 5_000, ..SMALL
            },
            Unit::Bare => Plan { letter: "h", title: "(h) (a) bare, ns", ..SMALL },
            Unit::Addressed => Plan {
                letter: "h", title: "(h) (a) with X-Forwarded-For, ns", baseline: Some(Unit::Bare),
                scene: Scene { told: Told::Address, ..Scene::PLAIN }, ..SMALL
            },
            Unit::Told => Plan {
                letter: "h", title: "(h) (a) with it, a request id and a route, ns", baseline: Some(Unit::Bare),
                rival: Some(Unit::Addressed), scene: Scene { told: Told::AddressAndId, routes: 1, ..Scene::PLAIN },
                ..SMALL
            },
            Unit::Free => STICKY,
            Unit::CookieSet => Plan {
                title: "(k) the same, a cookie set, ns", baseline: Some(Unit::Free), scene: WITH_COOKIE,
                speech: Speech::Http(Visitor::Forgetful), ..STICKY
            },
            Unit::CookieSent => Plan {
                title: "(k) the same, a cookie sent, ns", baseline: Some(Unit::Free), scene: WITH_COOKIE,
                speech: Speech::Http(Visitor::Faithful), ..STICKY
            },
            Unit::Unlogged => Plan { letter: "l", title: "(l) (a) without a log, ns", kinds: &[Kind::Plb], ..SMALL },
            Unit::Logged => Plan {
                letter: "l", title: "(l) (a) with an access log, ns", baseline: Some(Unit::Unlogged), kinds: &[Kind::Plb],
                scene: Scene { access_log: AccessLog::File, ..Scene::PLAIN }, ..SMALL
            },
            Unit::OneRoute => ROUTED,
            Unit::ManyRoutes => Plan {
                title: "(r) (a) with 1000 host routes, ns", baseline: Some(Unit::OneRoute),
                scene: Scene { routes: MANY_ROUTES, ..Scene::PLAIN },
                speech: Speech::Http(Visitor::Wandering(MANY_ROUTES)), ..ROUTED
            },
            Unit::StalledReader => Plan {
                letter: "s", title: "(s) stalled reader of 50 MB, KiB", count: 500, speech: Speech::Bulk(STALLED_BYTES),
                life: Life::Stalled, ..IDLE
            },
        }
    }

    /// How it is done at `scale`, which multiplies the exchanges. Idle connections are not scaled up, for descriptors
    /// limit them; bulk transfers are scaled down by their length.
    pub fn scaled(self, scale: f64) -> Plan {
        let mut plan = self.plan();
        let times = |number: u64, factor: f64| (number as f64 * factor) as u64;
        match (plan.measure, plan.speech) {
            (Measure::Memory, _) => plan.count = times(plan.count, scale.min(1.0)).max(COUNT_MIN),
            (Measure::Time, Speech::Bulk(bytes)) => {
                plan.speech = Speech::Bulk(times(bytes, scale.min(1.0)).max(BULK_BYTES_MIN));
                plan.count = times(plan.count, scale.max(1.0));
            }
            (Measure::Time, _) => plan.count = times(plan.count, scale).max(COUNT_MIN),
        }
        plan.idle_clients = times(plan.idle_clients, scale.min(1.0));
        plan
    }

    /// The letter that selects it on the command line.
    pub fn letter(self) -> &'static str {
        self.plan().letter
    }

    /// What the table says about it.
    pub fn title(self) -> &'static str {
        self.plan().title
    }

    /// The unit whose cost in the same round this one's is compared with.
    pub fn baseline(self) -> Option<Unit> {
        self.plan().baseline
    }

    /// The unit whose cost for haproxy this one's is given as a share of.
    pub fn rival(self) -> Unit {
        self.plan().rival.unwrap_or(self)
    }

    /// What of its cost is measured.
    pub fn measure(self) -> Measure {
        self.plan().measure
    }
}

impl Plan {
    /// The clients that do it.
    pub fn load(&self, listen: Listen) -> Result<Load, String> {
        let target = match self.target {
            Target::Http => listen.http,
            Target::Echo => listen.echo,
            Target::Tunnel => listen.tunnel,
        };
        Load::new(target, self.speech, self.life, self.parallel)
    }

    /// The clients that are idle meanwhile.
    pub fn crowd(&self, listen: Listen) -> Result<Load, String> {
        Load::new(listen.http, Speech::Http(Visitor::Plain), Life::Held, self.parallel)
    }

    /// The descriptors that a balancer has at least, when it keeps all connections that it may.
    pub fn descriptors(&self) -> u64 {
        u64::from(self.scene.backends) + self.idle_clients
    }

    /// How many exchanges come before the measurement: every backend gets some of them.
    pub fn warm_up(&self) -> u64 {
        match self.measure {
            Measure::Time => (self.count / 10).max(self.parallel).max(2 * u64::from(self.scene.backends)),
            Measure::Memory => 0,
        }
    }

    /// The number of parts that the measured work is done in, of at most `max`.
    pub fn slices(&self, max: u64) -> u64 {
        match self.measure {
            Measure::Time => (self.count / self.parallel).clamp(1, max),
            Measure::Memory => 1,
        }
    }

    /// What the costs of one exchange are divided by.
    pub fn units_an_exchange(&self) -> f64 {
        match (self.measure, self.speech) {
            (Measure::Time, Speech::Bulk(bytes)) => bytes as f64 / MEGABYTE as f64,
            _ => 1.0,
        }
    }
}
