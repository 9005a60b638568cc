//! How many connections each client has to the listeners that have a limit for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use crate::base::network::network_of;

/// The connections of each client to each such listener. There are no more entries than clients that are served.
#[derive(Debug, Default)]
pub(super) struct Crowd(HashMap<(u16, u128), u32>);

impl Crowd {
    /// Counts a connection in, unless the client has so many already.
    pub(super) fn enter(&mut self, listener: u16, client: IpAddr, max: u32) -> bool {
        let count = self.0.entry((listener, network_of(client))).or_default();
        let enters = *count < max;
        *count += u32::from(enters);
        enters
    }

    /// Counts a connection out; one that was not counted in is no matter.
    pub(super) fn leave(&mut self, listener: u16, client: IpAddr) {
        if self.0.is_empty() {
            return;
        }
        if let Entry::Occupied(mut entry) = self.0.entry((listener, network_of(client))) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn nobody_has_more_than_the_limit_and_who_leaves_makes_room_for_any_seed() {
        let clients: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap()).to_vec();
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut crowd, mut inside) = (Crowd::default(), Vec::<(u16, IpAddr)>::new());
            for step in 0..300 {
                let (listener, client) = (rng.below(2) as u16, clients[rng.below(4) as usize]);
                let same = |other: &&(u16, IpAddr)| other.0 == listener && network_of(other.1) == network_of(client);
                if rng.chance(2, 3) {
                    let has_room = inside.iter().filter(same).count() < 3;
                    assert_eq!(crowd.enter(listener, client, 3), has_room, "seed {seed}, step {step}");
                    inside.extend(has_room.then_some((listener, client)));
                } else if !inside.is_empty() {
                    let (listener, client) = inside.swap_remove(rng.below(inside.len() as u64) as usize);
                    crowd.leave(listener, client);
                }
            }
            for (listener, client) in inside {
                crowd.leave(listener, client);
            }
            assert!(crowd.0.is_empty(), "seed {seed}");
            crowd.leave(0, clients[0]);
        }
    }
}
