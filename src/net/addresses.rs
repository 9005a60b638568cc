//! `Addresses`: where the backends are, as their names resolved at start.
//!
//! A name may have several addresses. They are alternatives of one backend, tried in order from the one that worked
//! last.

use std::net::SocketAddr;

use crate::balance::BackendId;

/// The addresses of all backends.
pub struct Addresses {
    pools: Vec<Vec<Alternatives>>,
}

/// The addresses of one backend.
pub struct Alternatives {
    list: Vec<SocketAddr>,
    preferred: u8,
}

impl Alternatives {
    /// The addresses of one backend, at most 255 of them, in order of preference; never empty.
    pub fn new(mut list: Vec<SocketAddr>) -> Alternatives {
        debug_assert!(!list.is_empty(), "a name without an address is refused at start");
        list.truncate(usize::from(u8::MAX));
        Alternatives { list, preferred: 0 }
    }
}

impl Addresses {
    /// The addresses of all pools' backends, in the order of the configuration.
    pub fn new(pools: Vec<Vec<Alternatives>>) -> Addresses {
        Addresses { pools }
    }

    /// The address that is `step` steps behind the preferred one, its position, and how many are left behind it.
    pub fn get(&self, backend: BackendId, step: u8) -> (SocketAddr, u8, u8) {
        let Alternatives { list, preferred } = &self.pools[backend.pool()][backend.backend()];
        let position = (usize::from(*preferred) + usize::from(step)) % list.len();
        let left = list.len().saturating_sub(usize::from(step) + 1);
        (list[position], position as u8, left as u8)
    }

    /// The address at this position worked where an earlier one did not.
    pub fn prefer(&mut self, backend: BackendId, position: u8) {
        self.pools[backend.pool()][backend.backend()].preferred = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_tried_in_order_from_the_preferred_one() {
        let list: Vec<SocketAddr> = (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let mut addresses = Addresses::new(vec![vec![Alternatives::new(list)]]);
        let id = BackendId::new(0, 0);
        let ports = |addresses: &Addresses| [0, 1, 2].map(|step| addresses.get(id, step).0.port());
        assert_eq!(ports(&addresses), [1, 2, 3]);
        assert_eq!([0, 1, 2].map(|step| addresses.get(id, step).2), [2, 1, 0]);
        addresses.prefer(id, 2);
        assert_eq!(ports(&addresses), [3, 1, 2]);
    }
}
