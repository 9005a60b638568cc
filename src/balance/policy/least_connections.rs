//! Least connections: whose load is least for its weight, counting the connection that is to come.

use std::cmp::Ordering;

use super::tournament::{self, Tournament};

/// The backends, in the order of what they have to do. Everything costs O(log n), and nothing allocates.
#[derive(Debug)]
pub struct LeastConnections {
    seats: Tournament<Seat>,
    /// How often somebody was picked.
    picks: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// 0 while it does not take part.
    weight: u16,
    load: u32,
    /// The number of the pick that was its last one.
    picked: u64,
}

impl tournament::Seat for Seat {
    fn takes_part(&self) -> bool {
        self.weight > 0
    }

    /// By (load + 1) / weight, compared without a division. Among equals, whose last pick is longest ago comes first.
    fn compare(&self, other: &Seat) -> Ordering {
        let cost = |seat: &Seat, scale: u16| (u64::from(seat.load) + 1) * u64::from(scale);
        cost(self, other.weight).cmp(&cost(other, self.weight)).then_with(|| self.picked.cmp(&other.picked))
    }
}

impl LeastConnections {
    /// Nobody takes part yet, of so many backends.
    pub fn new(backends: usize) -> LeastConnections {
        LeastConnections { seats: Tournament::new(backends), picks: 0 }
    }

    /// A backend has this weight from now on; with 0 it takes part no longer.
    pub fn weigh(&mut self, backend: u16, weight: u16) {
        self.seats.change(backend, |seat| seat.weight = weight);
    }

    /// A backend has this load from now on.
    pub fn set_load(&mut self, backend: u16, load: u32) {
        self.seats.change(backend, |seat| seat.load = load);
    }

    /// Who has least to do.
    pub fn pick(&mut self, refused: impl Fn(u16) -> bool) -> Option<u16> {
        let picked = self.seats.first(refused)?;
        self.picks += 1;
        self.seats.change(picked, |seat| seat.picked = self.picks);
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn any(_: u16) -> bool {
        false
    }

    /// All take part, and nobody has anything to do.
    fn started(weights: &[u16]) -> LeastConnections {
        let mut least_connections = LeastConnections::new(weights.len());
        (0..).zip(weights).for_each(|(backend, &weight)| least_connections.weigh(backend, weight));
        least_connections
    }

    /// What is picked by looking at everybody: weight, load and the number of the last pick of each.
    fn naive(seats: &[(u16, u32, u64)], refused: &[u16]) -> Option<u16> {
        let able = (0..).zip(seats).filter(|(backend, seat)| seat.0 > 0 && !refused.contains(backend));
        let better = |one: &(u16, &(u16, u32, u64)), other: &(u16, &(u16, u32, u64))| {
            let [(w, l, p), (v, m, q)] = [*one.1, *other.1];
            let costs = [u128::from(l + 1) * u128::from(v), u128::from(m + 1) * u128::from(w)];
            costs[0].cmp(&costs[1]).then(p.cmp(&q)).then(one.0.cmp(&other.0))
        };
        able.min_by(better).map(|(backend, _)| backend)
    }

    #[test]
    fn the_same_is_picked_as_by_looking_at_everybody_for_any_seed() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut seats = vec![(0, 0, 0); 1 + rng.below(20) as usize];
            let mut least_connections = LeastConnections::new(seats.len());
            for number in 1..500 {
                let backend = rng.below(seats.len() as u64) as u16;
                let seat = &mut seats[usize::from(backend)];
                match rng.below(6) {
                    0 => seat.0 = rng.below(4) as u16,
                    1 => seat.0 = u16::MAX - rng.below(2) as u16,
                    2 => seat.1 = u32::MAX - 1 - rng.below(3) as u32,
                    _ => seat.1 = rng.below(6) as u32,
                }
                least_connections.weigh(backend, seat.0);
                least_connections.set_load(backend, seat.1);
                let refused: Vec<_> = (0..rng.below(4)).map(|_| rng.below(seats.len() as u64) as u16).collect();
                let picked = least_connections.pick(|backend| refused.contains(&backend));
                assert_eq!(picked, naive(&seats, &refused), "seed {seed}, pick {number}");
                picked.into_iter().for_each(|backend| seats[usize::from(backend)].2 = number);
            }
        }
    }

    #[test]
    fn every_round_of_clients_that_stay_meets_the_weights_exactly_for_any_seed() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let weights: Vec<u16> = (0..=rng.below(20)).map(|_| 1 + rng.below(20) as u16).collect();
            let mut least_connections = started(&weights);
            let mut loads = vec![0; weights.len()];
            for round in 1..=3 {
                for _ in 0..weights.iter().sum::<u16>() {
                    let backend = least_connections.pick(any).expect("all take part");
                    loads[usize::from(backend)] += 1;
                    least_connections.set_load(backend, loads[usize::from(backend)]);
                }
                let shares: Vec<u32> = weights.iter().map(|&weight| round * u32::from(weight)).collect();
                assert_eq!(loads, shares, "seed {seed}");
            }
        }
    }

    #[test]
    fn those_who_are_alike_take_turns() {
        let mut least_connections = started(&[2, 2, 2]);
        let picked = [(); 7].map(|()| least_connections.pick(any));
        assert_eq!(picked, [0, 1, 2, 0, 1, 2, 0].map(Some));
        assert_eq!(least_connections.pick(|backend| backend == 1), Some(2));
        assert_eq!([(); 3].map(|()| least_connections.pick(any)), [1, 0, 2].map(Some), "the refused kept its turn");
    }

    #[test]
    fn nobody_of_nobody_is_picked() {
        assert_eq!(LeastConnections::new(0).pick(any), None);
        assert_eq!(LeastConnections::new(1).pick(any), None);
        let mut one = started(&[1]);
        assert_eq!((one.pick(any), one.pick(|_| true), one.pick(any)), (Some(0), None, Some(0)));
    }
}
