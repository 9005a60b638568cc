//! How the backends of a pool are probed while they serve: the model of `health`, and its reading.

use std::time::Duration;

use super::check::{self, Check};
use super::error::Errors;
use super::leaf::{AnyHostName, Period, Whole, host_port_text};
use super::source::Node;
use super::units::duration_text;
use super::validate::Section;
use super::word::{Maybe, OrNone, choices, settings};
use super::{Backend, ProxyVersion};

settings! {
    /// How the backends of a pool are probed.
    Health {
        /// The time between the starts of two probes of a backend that is up or down for good.
        interval: Period = Duration::from_secs(2),
        /// The same while probes are counted that are to change that; at most `interval`, which it is unless it is set.
        fast_interval: Period,
        /// The whole time of a probe; at most `interval`, which it is unless it is set.
        timeout: Period,
        /// So many probes in a row that succeed bring a backend up; at least 1.
        rise: Whole<1, 1_000> = 2,
        /// So many probes in a row that fail take it out; at least 1.
        fall: Whole<1, 1_000> = 3,
        /// What a backend is before its first probes.
        initial: Initial = Initial::Up,
        /// The port that is probed; `None` is the backend's own.
        port: Maybe<Whole<1, 65_535, u16>>,
        /// Who is probed for each of the backends, a name or an address (without brackets), resolved at start; `None` is
        /// the backend itself.
        address: Maybe<AnyHostName>,
        /// The version of the PROXY protocol with which a probe begins; `None` is without.
        send_proxy: OrNone<ProxyVersion> = None,
    } and {
        /// What a probe does.
        check: Check,
    }
}

impl Health {
    /// What a probe of this backend calls it in a request: `host:port`, where 80 is left away.
    pub fn authority(&self, backend: &Backend) -> String {
        let host = self.address.as_deref().unwrap_or(&backend.host);
        let authority = host_port_text(host, self.port.unwrap_or(backend.port));
        authority.strip_suffix(":80").map(str::to_string).unwrap_or(authority)
    }
}

/// What a backend is before its first probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// It is given clients at once; it takes `fall` failures to change that.
    #[default]
    Up,
    /// It is given none until `rise` probes have succeeded.
    Down,
}

/// What becomes of the sessions that run on a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They go on for as long as they can.
    Keep,
    /// They are closed.
    Close,
}

choices!(Initial: "up" Up, "down" Down);
choices!(OnDown: "keep" Keep, "close" Close);

/// Reads the section of a pool.
pub(super) fn read((node, path): (&Node, String), errors: &mut Errors<'_>) -> Health {
    let mut section = Section::open(node, path, "with the key type", errors);
    let mut health: Health = section.read(errors);
    health.check = check::read(&mut section, errors);
    section.close(&[], errors);
    for (key, period) in [("fast_interval", &mut health.fast_interval), ("timeout", &mut health.timeout)] {
        if period.is_zero() {
            *period = health.interval;
        } else if *period > health.interval {
            section.refuse(key, format!("must be at most the interval, {}", duration_text(health.interval)), errors);
        }
    }
    health
}
