//! The units of work: what is done once, by how many clients at a time, how often in a round, and by which balancers.

use crate::balancer::Kind;
use crate::configuration::{AccessLog, Listen, Scene};
use crate::load::{Life, Load, Speech};

/// A megabyte, as bulk transfers are counted.
pub const MEGABYTE: u64 = 1_000_000;
/// What one bulk transfer carries at scale 1, and the least that it carries.
const BULK_BYTES: u64 = 256 * MEGABYTE;
const BULK_BYTES_MIN: u64 = 4 * MEGABYTE;
/// The length of a response that is not read.
const STALLED_BYTES: u64 = 50 * MEGABYTE;
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
    /// A small GET on a client connection that stays, without an access log.
    Unlogged,
    /// The same with one.
    Logged,
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
    /// How many exchanges there are in a round.
    pub count: u64,
    /// How many of them run at a time.
    parallel: u64,
    target: Target,
    speech: Speech,
    life: Life,
}

impl Unit {
    /// All of them, in the order of the table.
    pub const ALL: [Unit; 14] = [
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
        Unit::Unlogged,
        Unit::Logged,
        Unit::StalledReader,
    ];

    /// How it is done at scale 1.
    #[rustfmt::skip]
    fn plan(self) -> Plan {
        let small = Plan {
            letter: "a", title: "(a) keep-alive GET, ns", measure: Measure::Time, kinds: &Kind::PEERS,
            scene: Scene::PLAIN, idle_clients: 0, baseline: None, count: 100_000, parallel: 64,
            target: Target::Http, speech: Speech::Http, life: Life::KeepAlive,
        };
        let bulk = Plan {
            letter: "d", title: "(d) bulk HTTP, ns a MB", kinds: &Kind::ALL,
            count: 16, parallel: 4, speech: Speech::Bulk(BULK_BYTES), ..small
        };
        let idle = Plan {
            letter: "e", title: "(e) idle keep-alive client, KiB", measure: Measure::Memory,
            count: 5_000, parallel: 32, life: Life::Held, ..small
        };
        let spread = Plan {
            letter: "f", title: "(f) (a) over 10 backends, ns", count: 50_000,
            kinds: &[Kind::Haproxy, Kind::Plb, Kind::Nginx, Kind::Relay], scene: Scene { backends: 10, ..Scene::PLAIN },
            ..small
        };
        match self {
            Unit::KeepAlive => small,
            Unit::Request => Plan {
                letter: "b", title: "(b) GET a connection, ns", count: 30_000, life: Life::Single, ..small
            },
            Unit::Echo => Plan {
                letter: "c", title: "(c) TCP connect-echo-close, ns", count: 10_000, parallel: 32,
                target: Target::Echo, speech: Speech::Echo, life: Life::Single, ..small
            },
            Unit::BulkHttp => bulk,
            Unit::BulkTcp => Plan { title: "(d) bulk TCP, ns a MB", target: Target::Tunnel, ..bulk },
            Unit::IdleClient => idle,
            Unit::IdlePair => Plan {
                title: "(e) idle TCP pair, KiB", target: Target::Echo, speech: Speech::Echo, ..idle
            },
            Unit::FewBackends => spread,
            Unit::ManyBackends => Plan {
                title: "(f) (a) over 1000 backends, ns", baseline: Some(Unit::FewBackends),
                scene: Scene { backends: 1_000, ..Scene::PLAIN }, ..spread
            },
            Unit::Alone => Plan { letter: "g", title: "(g) (a) alone, ns", ..small },
            Unit::Crowded => Plan {
                letter: "g", title: "(g) (a) beside 5000 idle clients, ns", baseline: Some(Unit::Alone),
                idle_clients: 5_000, ..small
            },
            Unit::Unlogged => Plan { letter: "l", title: "(l) (a) without a log, ns", kinds: &[Kind::Plb], ..small },
            Unit::Logged => Plan {
                letter: "l", title: "(l) (a) with an access log, ns", baseline: Some(Unit::Unlogged), kinds: &[Kind::Plb],
                scene: Scene { access_log: AccessLog::File, ..Scene::PLAIN }, ..small
            },
            Unit::StalledReader => Plan {
                letter: "s", title: "(s) stalled reader of 50 MB, KiB", count: 500, speech: Speech::Bulk(STALLED_BYTES),
                life: Life::Stalled, ..idle
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
        Load::new(listen.http, Speech::Http, Life::Held, self.parallel)
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
