//! The units of work: what is done once, by how many clients at a time, and how often in a round.

use crate::balancer::Balancer;
use crate::load::{Life, Load, Speech};

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A small GET on a client connection that stays.
    KeepAlive,
    /// A small GET on a client connection of its own.
    Request,
    /// TCP: connect, a few bytes there and back, end.
    Echo,
    /// Memory of an HTTP client that is idle after one exchange.
    IdleClient,
    /// Memory of a TCP client and its origin that are idle after one echo.
    IdlePair,
}

/// How a cost is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU time, in nanoseconds.
    Time,
    /// Memory, in KiB.
    Memory,
}

impl Unit {
    /// All of them, in the order of the table.
    pub const ALL: [Unit; 5] = [Unit::KeepAlive, Unit::Request, Unit::Echo, Unit::IdleClient, Unit::IdlePair];

    /// The letter that selects it on the command line.
    pub fn letter(self) -> &'static str {
        match self {
            Unit::KeepAlive => "a",
            Unit::Request => "b",
            Unit::Echo => "c",
            Unit::IdleClient | Unit::IdlePair => "e",
        }
    }

    /// What of its cost is measured.
    pub fn measure(self) -> Measure {
        match self {
            Unit::KeepAlive | Unit::Request | Unit::Echo => Measure::Time,
            Unit::IdleClient | Unit::IdlePair => Measure::Memory,
        }
    }

    /// What the table says about it, with the unit of its figures.
    pub fn title(self) -> &'static str {
        match self {
            Unit::KeepAlive => "(a) keep-alive GET, ns",
            Unit::Request => "(b) GET a connection, ns",
            Unit::Echo => "(c) TCP connect-echo-close, ns",
            Unit::IdleClient => "(e) idle keep-alive client, KiB",
            Unit::IdlePair => "(e) idle TCP pair, KiB",
        }
    }

    /// How many of them a round at scale 1 does.
    fn count(self) -> u64 {
        match self {
            Unit::KeepAlive => 100_000,
            Unit::Request => 30_000,
            Unit::Echo => 10_000,
            Unit::IdleClient | Unit::IdlePair => 5_000,
        }
    }

    /// The clients that do it.
    pub fn load(self, balancer: &Balancer) -> Result<Load, String> {
        let listen = balancer.listen;
        let (target, speech, life, parallel) = match self {
            Unit::KeepAlive => (listen.http, Speech::Http, Life::KeepAlive, 64),
            Unit::Request => (listen.http, Speech::Http, Life::Single, 64),
            Unit::Echo => (listen.tcp, Speech::Echo, Life::Single, 32),
            Unit::IdleClient => (listen.http, Speech::Http, Life::Held, 32),
            Unit::IdlePair => (listen.tcp, Speech::Echo, Life::Held, 32),
        };
        Load::new(target, speech, life, parallel)
    }

    /// The number of exchanges of a round at `scale`; idle connections are not scaled up, descriptors limit them.
    pub fn scaled_count(self, scale: f64) -> u64 {
        let scale = if self.measure() == Measure::Memory { scale.min(1.0) } else { scale };
        ((self.count() as f64 * scale) as u64).max(100)
    }
}
