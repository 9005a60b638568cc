//! How many connections each client has to the listeners that have a limit for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use crate::base::network::network_of;
use crate::config::Listener;

/// The connections of each client to each such listener. There are no more entries than clients that are served.
#[derive(Debug, Default)]
pub(super) struct Crowd(HashMap<(u16, u128), u32>);

impl Crowd {
    /// Counts a connection in to the listener at this position, unless the client has as many as it may.
    pub(super) fn enter(&mut self, position: u16, listener: &Listener, client: IpAddr) -> bool {
        let Some(max) = limit(listener, client) else { return true };
        let count = self.0.entry((position, network_of(client))).or_default();
        let enters = *count < max;
        *count += u32::from(enters);
        enters
    }

    /// Counts a connection out that was let in.
    pub(super) fn leave(&mut self, position: u16, listener: &Listener, client: IpAddr) {
        if limit(listener, client).is_none() {
            return;
        }
        if let Entry::Occupied(mut entry) = self.0.entry((position, network_of(client))) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The most connections that a client may have; none where they are not counted, for behind a proxy there are many
/// clients. Another address of its network may well count.
fn limit(listener: &Listener, client: IpAddr) -> Option<u32> {
    listener.clients_per_address_max.filter(|_| !listener.http.forwarding.trusted_proxies.contains(client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::config::Config;

    fn config(max: u32) -> Config {
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p, max_clients_per_address: {max}, \
             trusted_proxies: ['2001:db8::9'] }}]\npools: {{ p: {{ backends: [a:1] }} }}"
        );
        crate::config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn a_proxy_that_leaves_makes_no_room_for_its_neighbour() {
        let config = config(1);
        let [neighbour, proxy] = ["2001:db8::1", "2001:db8::9"].map(|text| text.parse().unwrap());
        let (mut crowd, listener) = (Crowd::default(), &config.listeners[0]);
        assert!((0..3).all(|_| crowd.enter(0, listener, proxy)), "many clients are behind it");
        assert!(crowd.enter(0, listener, neighbour));
        crowd.leave(0, listener, proxy);
        assert!(!crowd.enter(0, listener, neighbour), "it has its one connection");
        crowd.leave(0, listener, neighbour);
        assert!(crowd.enter(0, listener, neighbour));
    }

    #[test]
    fn nobody_has_more_than_the_limit_and_who_leaves_makes_room_for_any_seed() {
        let clients: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap()).to_vec();
        let config = config(3);
        let rules = &config.listeners[0];
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut crowd, mut inside) = (Crowd::default(), Vec::<(u16, IpAddr)>::new());
            for step in 0..300 {
                let (listener, client) = (rng.below(2) as u16, clients[rng.below(4) as usize]);
                let same = |other: &&(u16, IpAddr)| other.0 == listener && network_of(other.1) == network_of(client);
                if rng.chance(2, 3) {
                    let has_room = inside.iter().filter(same).count() < 3;
                    assert_eq!(crowd.enter(listener, rules, client), has_room, "seed {seed}, step {step}");
                    inside.extend(has_room.then_some((listener, client)));
                } else if !inside.is_empty() {
                    let (listener, client) = inside.swap_remove(rng.below(inside.len() as u64) as usize);
                    crowd.leave(listener, rules, client);
                }
            }
            for (listener, client) in inside {
                crowd.leave(listener, rules, client);
            }
            assert!(crowd.0.is_empty(), "seed {seed}");
        }
    }
}
