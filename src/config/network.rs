//! Networks: which addresses somebody means.
//!
//! An IPv4 address that comes as an IPv6 one (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2) is the IPv4 address, in the
//! file and in the question: no spelling of an address gets around a rule for it. So `::/0` holds no IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_yaml::Value;

use super::error::quoted;
use super::units;
use super::word::{Several, Word, wrong};

/// What [`Network::parse`] takes.
const NETWORK_ALLOWED: &str = "an address or a network, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32";
/// The bits of an IPv6 address before an IPv4 one.
const MAPPED_BITS: u8 = 96;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// `ADDRESS/PREFIX`, or an address, which is a network of one.
    ///
    /// # Errors
    /// What is allowed; where bits behind the prefix are set, what was probably meant.
    pub fn parse(text: &str) -> Result<Network, String> {
        Network::split(text).ok_or_else(|| wrong(NETWORK_ALLOWED, &text.into())).and_then(|(address, prefix)| {
            let network = Network { first: masked(address, prefix), prefix };
            if network.first == address {
                return Ok(network);
            }
            Err(format!("{} has bits behind its prefix; the network is {network}", quoted(text)))
        })
    }

    fn split(text: &str) -> Option<(IpAddr, u8)> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = bits(address);
        let prefix = prefix.map_or(Some(bits), units::digits).filter(|prefix| *prefix <= bits)?;
        match address.to_canonical() {
            mapped if mapped != address && prefix >= MAPPED_BITS => Some((mapped, prefix - MAPPED_BITS)),
            _ => Some((address, prefix)),
        }
    }

    /// Its first address and its last one.
    pub fn ends(self) -> (IpAddr, IpAddr) {
        let last = match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | !mask_v4(self.prefix)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() | !mask_v6(self.prefix)).into(),
        };
        (self.first, last)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        if self.prefix == bits(self.first) { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// The first address of the network with this prefix around `address`; the prefix fits the address.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix)).into(),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// Any number of networks, found by halves: the file's length bounds how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last address of each range, in their order; no two overlap. IPv4 stands before IPv6.
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    /// Whether one of them holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self.ranges.partition_point(|(first, _)| *first <= address);
        behind > 0 && address <= self.ranges[behind - 1].1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Networks {
        let mut ranges: Vec<_> = networks.into_iter().map(Network::ends).collect();
        // The longer one first: of two networks that overlap, one lies within the other.
        ranges.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
        Networks { ranges }
    }
}

impl Word for Network {
    type Of = Network;

    fn read(value: &Value) -> Result<Network, String> {
        match value.as_str() {
            Some(text) => Network::parse(text),
            None => Err(wrong(&format!("{NETWORK_ALLOWED}, or a list of them"), value)),
        }
    }
}

impl Word for Networks {
    type Of = Networks;

    fn read(value: &Value) -> Result<Networks, String> {
        Several::<Network>::read(value).map(Networks::from_iter)
    }

    fn write(_: &Networks) -> Value {
        // Only the default is ever written, and there are none in it.
        Value::Sequence(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| Network::parse(text).unwrap()).collect()
    }

    fn holds(networks: &Networks, address: &str) -> bool {
        networks.contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_what_lies_between_its_ends_and_nothing_else() {
        let table = [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", ["192.0.2.6", "192.0.2.7"], ["192.0.2.5", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "ffff::"]),
            ("::ffff:10.0.0.0/104", ["10.0.0.0", "::ffff:10.255.255.255"], ["11.0.0.0", "::10.0.0.0"]),
            ("::ffff:10.0.0.1", ["10.0.0.1", "::ffff:10.0.0.1"], ["10.0.0.2", "::10.0.0.1"]),
            ("::ffff:0:0/96", ["0.0.0.0", "255.255.255.255"], ["::", "::1:0:0:0"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7::", "2001:db9::"]),
            ("::1", ["::1", "::1"], ["::", "::2"]),
            ("::/0", ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0", "::ffff:10.0.0.1"]),
        ];
        for (text, inside, outside) in table {
            let network = networks(&[text]);
            inside.iter().for_each(|address| assert!(holds(&network, address), "{address} in {text}"));
            outside.iter().for_each(|address| assert!(!holds(&network, address), "{address} not in {text}"));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_is_allowed() {
        let refused = |text: &str| Network::parse(text).unwrap_err();
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10/8",
            "10.0.0.0/255.0.0.0",
            "010.0.0.1",
            "10.0.0.1:80",
            "[::1]",
            "fe80::1%eth0",
            "localhost",
            " 10.0.0.1",
            "::/256",
        ] {
            assert_eq!(refused(text), format!("must be {NETWORK_ALLOWED}, not \"{text}\""));
        }
        for (text, meant) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.1/0", "0.0.0.0/0"),
            ("192.0.2.7/31", "192.0.2.6/31"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(refused(text), format!("\"{text}\" has bits behind its prefix; the network is {meant}"));
            assert!(Network::parse(meant).is_ok());
        }
    }

    #[test]
    fn many_networks_hold_what_each_of_them_holds() {
        let mut rng = Rng::new(11);
        for _ in 0..200 {
            // Few bits differ, so that the networks overlap.
            let each: Vec<Network> = (0..rng.below(20))
                .map(|_| {
                    let address = Ipv4Addr::from_bits(0x0a00_0000 | rng.below(64) as u32).into();
                    let prefix = 26 + rng.below(7) as u8;
                    Network { first: masked(address, prefix), prefix }
                })
                .collect();
            let all: Networks = each.iter().copied().collect();
            for low in 0..80 {
                let address = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + low - 8));
                let expected = each.iter().any(|network| network.first <= address && address <= network.ends().1);
                assert_eq!(all.contains(address), expected, "{address} in {each:?}");
            }
        }
        assert!(!Networks::default().contains(Ipv4Addr::LOCALHOST.into()) && Networks::default().is_empty());
    }

    #[test]
    fn a_list_is_read_or_a_single_one() {
        let read = |text: &str| Networks::read(&serde_yaml::from_str(text).unwrap());
        let list = read("[10.0.0.0/8, \"::1\", 192.0.2.0/32]").unwrap();
        assert_eq!(list, networks(&["192.0.2.0", "10.0.0.0/8", "::1/128"]));
        assert_eq!(read("192.0.2.0/24").unwrap(), read("[192.0.2.0/24]").unwrap());
        assert_eq!(read("[]").unwrap(), Networks::default());
        for (text, found) in [("5", "5"), ("[10.0.0.1, 5]", "5"), ("{a: 1}", "a map"), ("[[10.0.0.1]]", "a list")] {
            assert_eq!(read(text).unwrap_err(), format!("must be {NETWORK_ALLOWED}, or a list of them, not {found}"));
        }
    }
}
