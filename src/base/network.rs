//! Who counts as one client: an IPv4 address, or the /64 of IPv6 that one host has at its disposal.

use std::net::IpAddr;

/// The bits of the network that counts as one client. An IPv4 address that is mapped into IPv6 is itself.
pub fn network_of(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        // No /64 looks like a mapped address: its lower half is zero.
        IpAddr::V6(address) => address.to_bits() & (u128::MAX << 64),
    }
}
