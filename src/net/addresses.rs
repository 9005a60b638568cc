//! `Addresses`: where the backends are, as their names resolved at start.
//!
//! A name may have several addresses. They are alternatives of one backend, tried in order from the one that worked
//! last.

use std::net::SocketAddr;

use crate::balance::BackendId;
use crate::config::Health;

/// The addresses of all backends.
pub struct Addresses {
    pools: Vec<Vec<Alternatives>>,
    /// Of each pool: who is probed for its backends, where that is another host.
    probed: Vec<Option<Alternatives>>,
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

    fn get(&self, step: u8) -> (SocketAddr, u8, u8) {
        let Alternatives { list, preferred } = self;
        let position = (usize::from(*preferred) + usize::from(step)) % list.len();
        let left = list.len().saturating_sub(usize::from(step) + 1);
        (list[position], position as u8, left as u8)
    }
}

impl Addresses {
    /// The addresses of all pools' backends, in the order of the configuration.
    pub fn new(pools: Vec<Vec<Alternatives>>) -> Addresses {
        Addresses { pools, probed: Vec::new() }
    }

    /// The same, where these are probed for the backends of each pool; `None`: the backends themselves.
    pub fn with_probed(self, probed: Vec<Option<Alternatives>>) -> Addresses {
        Addresses { probed, ..self }
    }

    /// The address that is `step` steps behind the preferred one, its position, and how many are left behind it.
    pub fn get(&self, backend: BackendId, step: u8) -> (SocketAddr, u8, u8) {
        self.pools[backend.pool()][backend.backend()].get(step)
    }

    /// The same for a probe of a backend whose pool has this `health`.
    pub fn get_probed(&self, backend: BackendId, step: u8, health: Option<&Health>) -> (SocketAddr, u8, u8) {
        let (own, position, left) = self.get(backend, step);
        let elsewhere = self.probed.get(backend.pool()).and_then(Option::as_ref);
        let (mut address, position, left) = elsewhere.map_or((own, position, left), |elsewhere| elsewhere.get(step));
        address.set_port(health.and_then(|health| health.port).unwrap_or(own.port()));
        (address, position, left)
    }

    /// The address at this position worked where an earlier one did not.
    pub fn prefer(&mut self, backend: BackendId, position: u8) {
        self.pools[backend.pool()][backend.backend()].preferred = position;
    }

    /// The same for a probe.
    pub fn prefer_probed(&mut self, backend: BackendId, position: u8) {
        match self.probed.get_mut(backend.pool()) {
            Some(Some(elsewhere)) => elsewhere.preferred = position,
            _ => self.prefer(backend, position),
        }
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

    #[test]
    fn a_probe_goes_to_the_port_and_to_the_host_that_its_pool_names() {
        let at = |host, ports: &[u16]| {
            Alternatives::new(ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, host], port))).collect())
        };
        let backends = || Addresses::new(vec![vec![at(1, &[80]), at(2, &[81, 82])]]);
        let [first, second] = [0, 1].map(|backend| BackendId::new(0, backend));
        let own = Health::default();
        let other = Health { port: Some(9), ..Health::default() };
        let addresses = backends();
        let probed = |addresses: &Addresses, id, step, health| addresses.get_probed(id, step, health).0.to_string();
        assert_eq!(probed(&addresses, second, 1, Some(&own)), "127.0.0.2:82");
        assert_eq!(probed(&addresses, second, 0, None), "127.0.0.2:81");
        assert_eq!(probed(&addresses, second, 0, Some(&other)), "127.0.0.2:9");
        let mut addresses = backends().with_probed(vec![Some(at(7, &[1, 1]))]);
        assert_eq!(probed(&addresses, first, 0, Some(&own)), "127.0.0.7:80", "the backend's own port");
        assert_eq!(probed(&addresses, second, 1, Some(&other)), "127.0.0.7:9");
        addresses.prefer_probed(second, 1);
        assert_eq!(addresses.get(second, 0).1, 0, "where clients go is another matter");
        assert_eq!(addresses.get_probed(second, 0, Some(&own)).1, 1);
    }
}
