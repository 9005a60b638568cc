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
    /// Counts a connection in, unless the client has so many already.
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

/// How many connections a client may have; behind a proxy there are many clients.
fn limit(listener: &Listener, client: IpAddr) -> Option<u32> {
    listener.clients_per_address_max.filter(|_| !listener.http.forwarding.trusted_proxies.contains(client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn listener(settings: &str) -> Listener {
        let text = format!(
            "listeners: [{{name: l, listen: '127.0.0.1:1', pool: p, {settings}}}]\npools: {{p: {{backends: [a:1]}}}}\n"
        );
        crate::config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}")).listeners.remove(0)
    }

    #[test]
    fn nobody_has_more_than_the_limit_and_who_leaves_makes_room_for_any_seed() {
        let clients: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap()).to_vec();
        let limited = listener("max_clients_per_address: 3");
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut crowd, mut inside) = (Crowd::default(), Vec::<(u16, IpAddr)>::new());
            for step in 0..300 {
                let (position, client) = (rng.below(2) as u16, clients[rng.below(4) as usize]);
                let same = |other: &&(u16, IpAddr)| other.0 == position && network_of(other.1) == network_of(client);
                if rng.chance(2, 3) {
                    let has_room = inside.iter().filter(same).count() < 3;
                    assert_eq!(crowd.enter(position, &limited, client), has_room, "seed {seed}, step {step}");
                    inside.extend(has_room.then_some((position, client)));
                } else if !inside.is_empty() {
                    let (position, client) = inside.swap_remove(rng.below(inside.len() as u64) as usize);
                    crowd.leave(position, &limited, client);
                }
            }
            for (position, client) in inside {
                crowd.leave(position, &limited, client);
            }
            assert!(crowd.0.is_empty(), "seed {seed}");
            crowd.leave(0, &limited, clients[0]);
        }
    }

    #[test]
    fn a_trusted_proxy_makes_room_for_nobody_when_it_leaves() {
        let limited = listener("max_clients_per_address: 1, trusted_proxies: ['2001:db8::1']");
        let [proxy, neighbour]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let mut crowd = Crowd::default();
        assert!(crowd.enter(0, &limited, neighbour) && crowd.enter(0, &limited, proxy));
        crowd.leave(0, &limited, proxy);
        assert!(!crowd.enter(0, &limited, neighbour));
        crowd.leave(0, &limited, neighbour);
        assert!(crowd.enter(0, &limited, neighbour));
    }
}
