//! A hash that is the same on every machine, in every version and in every run.
//!
//! It is for what several processes have to agree on. Whoever knows it can find values that are alike: tables of what
//! clients choose need a secret instead.

use std::net::IpAddr;

/// FNV-1a of 64 bits (RFC 9923 section 2) over these parts, as if they were one. Its high bits hardly depend on the last
/// bytes: mix it before they are looked at, as by a seed of [`Rng`](super::rng::Rng).
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash of all bytes of an address. An IPv4 address that is mapped into IPv6 is itself.
pub fn address_hash(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => stable_hash(&[&address.octets()]),
        IpAddr::V6(address) => stable_hash(&[&address.octets()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_one_however_it_came() {
        let hash = |text: &str| address_hash(text.parse().expect("it is an address"));
        assert_eq!(hash("192.0.2.1"), stable_hash(&[&[192, 0, 2, 1]]));
        assert_eq!(hash("::ffff:192.0.2.1"), hash("192.0.2.1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8::2"), "all of it counts");
    }

    #[test]
    fn it_is_the_hash_that_others_know() {
        assert_eq!(stable_hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(&[b"a"]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_hash(&[b"foobar"]), 0x8594_4171_f739_67e8);
        assert_eq!(stable_hash(&[b"foo", b"", b"bar"]), stable_hash(&[b"foobar"]));
    }
}
