//! What the configuration says about sockets: options of TCP, and the address that connections to backends come from.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::Duration;

use serde_yaml::Value;

use super::leaf::Switch;
use super::units::{duration, duration_text};
use super::word::{NONE, OrNone, Several, Word, found, settings, text};

/// What [`Sources`] takes.
const SOURCE_ALLOWED: &str =
    "none, an address of this host, or a list of an IPv4 and an IPv6 one, such as [10.0.0.1, \"fd00::1\"]";

settings! {
    /// What the system does on its own with the connections of clients, or with those to backends.
    SocketOptions {
        /// No segment waits for the acknowledgement of the one before (`TCP_NODELAY`, RFC 896).
        nodelay as "tcp_nodelay": Switch = true,
        /// A connection that is silent for so long is asked whether the other end lives (RFC 9293 section 3.8.4).
        keep_alive as "tcp_keep_alive": OrNone<Seconds<1, 32_400>> = None,
        /// Whoever acknowledges nothing for so long is gone (`TCP_USER_TIMEOUT`, RFC 5482).
        user_timeout as "tcp_user_timeout": OrNone<Seconds<1, 86_400>> = None,
    }
}

/// A duration of whole seconds from `MIN` to `MAX`, as sockets count.
pub struct Seconds<const MIN: u64, const MAX: u64>(PhantomData<()>);

impl<const MIN: u64, const MAX: u64> Word for Seconds<MIN, MAX> {
    type Of = Duration;

    fn read(value: &Value) -> Result<Duration, String> {
        let [min, max] = [MIN, MAX].map(Duration::from_secs);
        let allowed = format!("a duration of whole seconds from {} to {}", duration_text(min), duration_text(max));
        let is_good = |period: &Duration| period.subsec_nanos() == 0 && (min..=max).contains(period);
        text(value, &format!("{allowed}, such as 30s"), |text| duration(text).filter(is_good))
    }

    fn write(period: &Duration) -> Value {
        duration_text(*period).into()
    }
}

/// The addresses of this host that connections come from, one of each family at the most, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<IpAddr>);

impl Sources {
    /// Where a connection to this address comes from; `None` leaves it to the system.
    pub fn towards(&self, target: IpAddr) -> Option<IpAddr> {
        self.iter().find(|source| source.is_ipv4() == target.is_ipv4())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().copied()
    }

    fn of(mut addresses: Vec<IpAddr>) -> Option<Sources> {
        addresses.sort_unstable();
        let is_good = match addresses.as_slice() {
            [one, other] => one.is_ipv4() != other.is_ipv4(),
            few => few.len() == 1,
        };
        is_good.then_some(Sources(addresses))
    }
}

impl Word for Sources {
    type Of = Sources;

    fn read(value: &Value) -> Result<Sources, String> {
        if value.as_str() == Some(NONE) {
            return Ok(Sources::default());
        }
        let read = Several::<SourceAddress>::read(value).ok().and_then(Sources::of);
        found(value, SOURCE_ALLOWED, read)
    }

    fn write(_: &Sources) -> Value {
        // Only the default is ever written, and there are none in it.
        NONE.into()
    }
}

/// An address that one host can have; an IPv4 one is one also where it is written as an IPv6 address.
struct SourceAddress;

impl Word for SourceAddress {
    type Of = IpAddr;

    fn read(value: &Value) -> Result<IpAddr, String> {
        text(value, SOURCE_ALLOWED, |text| {
            let address = text.parse::<IpAddr>().ok()?.to_canonical();
            (!address.is_unspecified() && !address.is_multicast()).then_some(address)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Result<Sources, String> {
        Sources::read(&serde_yaml::from_str(text).unwrap())
    }

    #[test]
    fn each_family_has_a_source_of_its_own_or_none() {
        let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let table = [
            ("none", [None, None]),
            ("192.0.2.1", [Some(v4), None]),
            ("\"::ffff:192.0.2.1\"", [Some(v4), None]),
            ("\"2001:db8::1\"", [None, Some(v6)]),
            ("[192.0.2.1]", [Some(v4), None]),
            ("[\"2001:db8::1\", 192.0.2.1]", [Some(v4), Some(v6)]),
        ];
        for (text, expected) in table {
            let sources = sources(text).unwrap();
            assert_eq!(["10.0.0.1", "fd00::1"].map(|target| sources.towards(target.parse().unwrap())), expected);
            assert_eq!(sources.iter().collect::<Vec<_>>(), expected.into_iter().flatten().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "[]",
            "5",
            "true",
            "eth0",
            "192.0.2.0/24",
            "192.0.2.1:80",
            "0.0.0.0",
            "\"::\"",
            "224.0.0.1",
            "[192.0.2.1, 192.0.2.2]",
            "[192.0.2.1, \"::ffff:192.0.2.2\"]",
            "[192.0.2.1, none]",
            "{a: 1}",
        ] {
            let message = sources(text).unwrap_err();
            assert!(message.starts_with(&format!("must be {SOURCE_ALLOWED}, not ")), "{text}: {message}");
        }
    }

    #[test]
    fn sockets_count_in_whole_seconds() {
        let read = |text: &str| Seconds::<2, 120>::read(&text.into());
        assert_eq!(
            ["2s", "2000ms", "2m"].map(|text| read(text).ok().map(|period| period.as_secs())),
            [Some(2), Some(2), Some(120)]
        );
        let allowed = "a duration of whole seconds from 2s to 2m, such as 30s";
        for text in ["1s", "121s", "2500ms", "none", ""] {
            assert_eq!(read(text), Err(format!("must be {allowed}, not \"{text}\"")));
        }
    }
}
