//! Random, by the power of two choices: two are drawn by their weights, and the one with less load for its weight serves.
//!
//! Without load that is the first one drawn, so that weights are met; under load the second draw keeps the fullest from
//! growing (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use crate::base::rng::Rng;

/// The backends and the sums of their weights. Everything costs O(log n), and nothing allocates, but the first picks.
#[derive(Debug)]
pub struct Random {
    seats: Vec<Seat>,
    /// Sums of weights, counted from 1: the one at `n` is over as many backends up to the `n`th as the lowest bit of `n`
    /// says (Fenwick, "A New Data Structure for Cumulative Frequency Tables", 1994). No sum of 2^16 weights overflows.
    sums: Vec<u32>,
    /// Of those that can be drawn.
    total: u32,
    /// Who was drawn during one `pick`.
    aside: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// 0 while it does not take part.
    weight: u16,
    load: u32,
}

impl Random {
    /// Nobody takes part yet, of so many backends.
    pub fn new(backends: usize) -> Random {
        Random { seats: vec![Seat::default(); backends], sums: vec![0; backends + 1], total: 0, aside: Vec::new() }
    }

    /// A backend has this weight from now on; with 0 it takes part no longer.
    pub fn weigh(&mut self, backend: u16, weight: u16) {
        let before = std::mem::replace(&mut self.seats[usize::from(backend)].weight, weight);
        self.add(backend, u32::from(weight).wrapping_sub(u32::from(before)));
    }

    /// A backend has this load from now on.
    pub fn set_load(&mut self, backend: u16, load: u32) {
        self.seats[usize::from(backend)].load = load;
    }

    /// The better one of two, or the only one.
    pub fn pick(&mut self, rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        let first = self.draw(rng, &refused);
        let second = first.and_then(|_| self.draw(rng, &refused));
        while let Some(backend) = self.aside.pop() {
            self.add(backend, u32::from(self.seats[usize::from(backend)].weight));
        }
        let [one, other] = [first?, second.or(first)?];
        let cost = |backend: u16, other: u16| {
            let [backend, other] = [backend, other].map(|backend| self.seats[usize::from(backend)]);
            u64::from(backend.load) * u64::from(other.weight)
        };
        Some(if cost(other, one) < cost(one, other) { other } else { one })
    }

    /// Draws one that is not refused, and lays it aside with those that are.
    fn draw(&mut self, rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        while self.total > 0 {
            let drawn = self.find(rng.below(u64::from(self.total)) as u32);
            self.aside.push(drawn);
            self.add(drawn, u32::from(self.seats[usize::from(drawn)].weight).wrapping_neg());
            if !refused(drawn) {
                return Some(drawn);
            }
        }
        None
    }

    /// The backend in whose part of the total a place lies.
    fn find(&self, mut place: u32) -> u16 {
        let (mut below, mut step) = (0, self.sums.len().next_power_of_two() / 2);
        while step > 0 {
            if let Some(&sum) = self.sums.get(below + step).filter(|&&sum| sum <= place) {
                place -= sum;
                below += step;
            }
            step /= 2;
        }
        // A position, as the place lies in the total.
        below as u16
    }

    /// Changes what a backend contributes, modulo 2^32.
    fn add(&mut self, backend: u16, difference: u32) {
        self.total = self.total.wrapping_add(difference);
        let mut place = usize::from(backend) + 1;
        while let Some(sum) = self.sums.get_mut(place) {
            *sum = sum.wrapping_add(difference);
            place += place & place.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_weights(rng: &mut Rng) -> Vec<u16> {
        let weight_max = [1, 4, 256][rng.below(3) as usize];
        (0..=rng.below(20)).map(|_| rng.below(weight_max + 1) as u16).collect()
    }

    fn started(weights: &[u16]) -> Random {
        let mut random = Random::new(weights.len());
        (0..).zip(weights).for_each(|(backend, &weight)| random.weigh(backend, weight));
        random
    }

    /// How often each is picked when nobody has any load.
    fn counts(random: &mut Random, rng: &mut Rng, picks: u32, refused: &[u16]) -> Vec<u32> {
        let mut counts = vec![0; random.seats.len()];
        for _ in 0..picks {
            if let Some(backend) = random.pick(rng, |backend| refused.contains(&backend)) {
                counts[usize::from(backend)] += 1;
            }
        }
        counts
    }

    #[test]
    fn weights_are_met_without_load_and_so_they_are_among_the_others_when_some_are_refused_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let refused: Vec<_> = (0..rng.below(3)).map(|_| rng.below(weights.len() as u64) as u16).collect();
            let counts = counts(&mut started(&weights), &mut rng, 10_000, &refused);
            let able = |backend: &u16| !refused.contains(backend);
            let sum: u32 = (0..).zip(&weights).filter(|(backend, _)| able(backend)).map(|(_, &w)| u32::from(w)).sum();
            for (backend, (count, weight)) in (0..).zip(counts.iter().zip(&weights)) {
                let weight = if able(&backend) { *weight } else { 0 };
                let expected = 10_000.0 * f64::from(weight) / f64::from(sum.max(1));
                // Five standard deviations.
                let off = (f64::from(*count) - expected).abs();
                assert!(off <= 5.0 * expected.sqrt(), "seed {seed}: {count}, not {expected}");
            }
        }
    }

    #[test]
    fn the_one_with_less_load_for_its_weight_serves() {
        let mut random = started(&[1, 2]);
        random.set_load(0, 1);
        random.set_load(1, 1);
        assert_eq!(counts(&mut random, &mut Rng::new(1), 100, &[]), [0, 100]);
        random.set_load(1, 3);
        assert_eq!(counts(&mut random, &mut Rng::new(1), 100, &[]), [100, 0]);
        assert_eq!(counts(&mut random, &mut Rng::new(1), 100, &[0]), [0, 100], "there is no other one");
    }

    #[test]
    fn nobody_is_far_above_the_others_when_clients_stay() {
        for seed in 0..50 {
            let (mut random, mut rng, mut loads) = (started(&[1; 100]), Rng::new(seed), [0; 100]);
            for _ in 0..2_000 {
                let backend = random.pick(&mut rng, |_| false).expect("all take part");
                loads[usize::from(backend)] += 1;
                random.set_load(backend, loads[usize::from(backend)]);
            }
            // A single draw goes up to 30 and more.
            assert!(loads.iter().all(|load| (12..=24).contains(load)), "seed {seed}: {loads:?}");
        }
    }

    #[test]
    fn the_sums_are_those_of_the_weights_whatever_happens_for_any_seed() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut weights = some_weights(&mut rng);
            let mut random = started(&weights);
            for _ in 0..100 {
                let backend = rng.below(weights.len() as u64) as usize;
                weights[backend] = [0, 1, u16::MAX][rng.below(3) as usize];
                random.weigh(backend as u16, weights[backend]);
                random.pick(&mut rng, |other| usize::from(other) == backend);
                let owners = (0..).zip(&weights).flat_map(|(owner, &weight)| {
                    let weight = u32::from(weight);
                    [(owner, 0), (owner, weight / 2), (owner, weight.saturating_sub(1))].map(|at| (at, weight))
                });
                let mut below = 0;
                for (nth, ((owner, place), weight)) in owners.enumerate() {
                    if weight > 0 {
                        assert_eq!(random.find(below + place), owner, "seed {seed}");
                    }
                    below += if nth % 3 == 2 { weight } else { 0 };
                }
                assert_eq!(random.total, below, "seed {seed}");
            }
        }
    }

    #[test]
    fn nobody_of_nobody_is_picked() {
        let mut rng = Rng::new(1);
        assert_eq!(Random::new(0).pick(&mut rng, |_| false), None);
        assert_eq!(started(&[0, 0]).pick(&mut rng, |_| false), None);
        assert_eq!(started(&[3]).pick(&mut rng, |_| false), Some(0));
    }
}
