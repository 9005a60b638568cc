//! Hash: what is alike goes to the same backend, and a backend that comes or goes moves only its own share.
//!
//! Each backend has a number of points on a circle, which follow from its name alone. A hash has probes on it, and goes
//! to the backend of the point that lies behind one of them at the least distance divided by the backend's weight. So the
//! shares are by weight; whose weight changes gains or loses keys, and nobody else's move; who leaves is replaced by
//! whoever comes next for each key, and these are all the others, by their weights.
//!
//! Why not a ring with points by weight and one probe, as is usual: with weights up to 256 and 100 points for the
//! lightest, 10,000 backends are 256 million points. Weighing distances instead of multiplying points makes it 32 points
//! of 8 bytes for each, whatever they weigh: 2.5 MB, and a change of weight changes a number. Shares are off by 4.5 % (one
//! standard deviation; a ring with 160 points: 8 %; one point and 21 probes as in Appleton and O'Reilly, "Multi-probe
//! consistent hashing", 2015: 17 %), as the points and the probes together are what evens them out. A pick searches the
//! circle once a probe, and walks on past as many points as the heaviest backend weighs more than the average of all.

use crate::base::rng::Rng;
use crate::base::stable_hash::stable_hash;
use crate::config::{Backend, HashBalance};

/// The points of a backend. Another number moves all keys: it must be the same everywhere.
const POINTS: usize = 32;
/// The probes of a key, likewise.
const PROBES: usize = 8;
/// What of a point is the rank of its backend; the rest is its place on the circle.
const RANK_BITS: u32 = 16;
const PLACES_MASK: u64 = u64::MAX >> RANK_BITS;
/// Keeps the points of a backend away from the probes of a key that is spelled like its name.
const NAME: &[u8] = b"backend ";

/// The circle. Picking costs O(log n) as long as most take part and the weights are not too different. Coming and going
/// costs O(1); who comes for the first time has the next pick sort all points.
#[derive(Debug)]
pub struct Hash {
    /// In the order of the names, by which ties are decided: positions differ between configurations.
    seats: Vec<Seat>,
    /// The rank of each backend: where its seat is.
    ranks: Vec<u16>,
    points: Vec<u64>,
    is_sorted: bool,
    /// The greatest weight of all times, which bounds how far away the best point can be.
    weight_max: u64,
    /// Of those that take part.
    weight: u64,
    /// Likewise.
    load: u64,
    /// In hundredths.
    load_factor: Option<u32>,
}

#[derive(Debug)]
struct Seat {
    backend: u16,
    /// 0 while it does not take part.
    weight: u16,
    load: u32,
    /// Where its points follow from, until it has them.
    seed: Option<u64>,
}

/// The best point that was found.
struct Best {
    distance: u64,
    weight: u64,
    backend: u16,
}

impl Hash {
    /// Nobody takes part yet, of these backends.
    pub fn new(balance: &HashBalance, backends: &[Backend]) -> Hash {
        let mut named: Vec<(&str, u16)> = backends.iter().map(|backend| backend.name.as_str()).zip(0..).collect();
        named.sort_unstable();
        let mut ranks = vec![0; named.len()];
        (0..).zip(&named).for_each(|(rank, &(_, backend))| ranks[usize::from(backend)] = rank);
        let seat = |&(name, backend): &(&str, u16)| Seat {
            backend,
            weight: 0,
            load: 0,
            seed: Some(stable_hash(&[NAME, name.as_bytes()])),
        };
        Hash {
            seats: named.iter().map(seat).collect(),
            ranks,
            points: Vec::new(),
            is_sorted: true,
            weight_max: 0,
            weight: 0,
            load: 0,
            load_factor: balance.load_factor,
        }
    }

    /// A backend has this weight from now on; with 0 it takes part no longer.
    pub fn weigh(&mut self, backend: u16, weight: u16) {
        let rank = self.ranks[usize::from(backend)];
        let seat = &mut self.seats[usize::from(rank)];
        let present = |weight: u16, load: u32| if weight > 0 { u64::from(load) } else { 0 };
        self.load = self.load + present(weight, seat.load) - present(seat.weight, seat.load);
        self.weight = self.weight + u64::from(weight) - u64::from(seat.weight);
        self.weight_max = self.weight_max.max(weight.into());
        seat.weight = weight;
        if let Some(seed) = seat.seed.take_if(|_| weight > 0) {
            let mut places = Rng::new(seed);
            let points = (0..POINTS).map(|_| (places.next_u64() & !u64::from(u16::MAX)) | u64::from(rank));
            self.points.extend(points);
            self.is_sorted = false;
        }
    }

    /// A backend has this load from now on.
    pub fn set_load(&mut self, backend: u16, load: u32) {
        let seat = &mut self.seats[usize::from(self.ranks[usize::from(backend)])];
        let before = std::mem::replace(&mut seat.load, load);
        if seat.weight > 0 {
            self.load = self.load + u64::from(load) - u64::from(before);
        }
    }

    /// Where the key with this hash goes; without one, somebody at random by weight.
    pub fn pick(&mut self, hash: Option<u64>, rng: &mut Rng, refused: impl Fn(u16) -> bool) -> Option<u16> {
        if self.weight == 0 {
            return None;
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            // What was sorted before is taken as it is: a few that come for the first time cost one walk along all.
            self.points.sort();
        }
        let hash = hash.unwrap_or_else(|| rng.next_u64());
        let may_serve = |seat: &Seat| !refused(seat.backend);
        let Some(factor) = self.load_factor else { return self.nearest(hash, may_serve) };
        // Not everybody is over the bound, but those who are left may be.
        let picked = self.nearest(hash, |seat| may_serve(seat) && self.has_room(seat, factor));
        picked.or_else(|| self.nearest(hash, may_serve))
    }

    /// Whether with one more its load is at most its share of all load, times the factor, rounded up.
    fn has_room(&self, seat: &Seat, factor_hundredths: u32) -> bool {
        let share = u128::from(self.load + 1) * u128::from(factor_hundredths) * u128::from(seat.weight);
        u128::from(seat.load) * u128::from(self.weight) * 100 < share
    }

    fn nearest(&self, hash: u64, takes: impl Fn(&Seat) -> bool) -> Option<u16> {
        let mut probes = Rng::new(hash);
        let mut best: Option<Best> = None;
        for _ in 0..PROBES {
            let probe = probes.next_u64() >> RANK_BITS;
            let (before, behind) =
                self.points.split_at(self.points.partition_point(|point| point >> RANK_BITS < probe));
            for &point in behind.iter().chain(before) {
                let distance = (point >> RANK_BITS).wrapping_sub(probe) & PLACES_MASK;
                let seat = &self.seats[usize::from(point as u16)];
                let weight = u64::from(seat.weight);
                // A distance has 48 bits and a weight 16, so that no product overflows.
                let is_behind = |best: &Best, weight| distance * best.weight >= best.distance * weight;
                if best.as_ref().is_some_and(|best| is_behind(best, self.weight_max)) {
                    break;
                }
                if weight > 0 && !best.as_ref().is_some_and(|best| is_behind(best, weight)) && takes(seat) {
                    best = Some(Best { distance, weight, backend: seat.backend });
                }
            }
            // The whole circle was walked.
            best.as_ref()?;
        }
        best.map(|best| best.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::backends;
    use super::*;

    fn name(backend: usize) -> String {
        format!("10.0.{}.{}:80", backend / 250, backend % 250 + 1)
    }

    /// All take part.
    fn started(weights: &[u16], load_factor: Option<u32>) -> Hash {
        let balance = HashBalance { load_factor, ..HashBalance::default() };
        let mut hash = Hash::new(&balance, &backends((0..weights.len()).map(name)));
        (0..).zip(weights).for_each(|(backend, &weight)| hash.weigh(backend, weight));
        hash
    }

    fn some_weights(rng: &mut Rng) -> Vec<u16> {
        let weight_max = [1, 4, 64][rng.below(3) as usize];
        (0..2 + rng.below(20)).map(|_| 1 + rng.below(weight_max) as u16).collect()
    }

    /// Where each of so many keys goes.
    fn map(hash: &mut Hash, keys: u64, refused: &[u16]) -> Vec<Option<u16>> {
        let rng = &mut Rng::default();
        let is_refused = |backend| refused.contains(&backend);
        (0..keys).map(|key| hash.pick(Some(stable_hash(&[&key.to_be_bytes()])), rng, is_refused)).collect()
    }

    /// The shares are off by at most `off` on average (as a standard deviation), and none by more than four times as much,
    /// besides what chance does to small numbers.
    fn assert_shares<'p>(picked: impl Iterator<Item = &'p Option<u16>>, weights: &[u16], off: f64, what: &str) {
        let (mut counts, mut keys) = (vec![0.0; weights.len()], 0.0);
        for backend in picked {
            counts[usize::from(backend.expect("somebody takes part"))] += 1.0;
            keys += 1.0;
        }
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        let expected = weights.iter().map(|&weight| keys * f64::from(weight) / sum);
        let (mut square, mut error) = (0.0, 0.0);
        for (count, expected) in counts.iter().zip(expected) {
            assert!(
                (count - expected).abs() <= 4.0 * off * expected + 5.0 * expected.sqrt(),
                "{what}: {count}, not {expected}"
            );
            square += (count - expected) * (count - expected);
            error += off * off * expected * expected + 2.0 * expected;
        }
        assert!(square <= error, "{what}: {counts:?} of {weights:?}");
    }

    #[test]
    fn shares_are_by_weight_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let mut hash = started(&weights, None);
            let what = format!("seed {seed}");
            assert_shares(map(&mut hash, 5_000, &[]).iter(), &weights, 0.08, &what);
            let at_random: Vec<_> = (0..5_000).map(|_| hash.pick(None, &mut rng, |_| false)).collect();
            assert_shares(at_random.iter(), &weights, 0.08, &what);
            assert_eq!(hash.points.len(), POINTS * weights.len(), "a heavy one needs no more room");
        }
    }

    #[test]
    fn who_leaves_moves_its_own_keys_to_all_others_and_who_returns_gets_exactly_them_back_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut weights = some_weights(&mut rng);
            let mut hash = started(&weights, None);
            let before = map(&mut hash, 2_000, &[]);
            let gone = rng.below(weights.len() as u64) as u16;
            assert_eq!(map(&mut hash, 2_000, &[gone]).iter().position(|picked| *picked == Some(gone)), None);
            let refused = map(&mut hash, 2_000, &[gone]);
            hash.weigh(gone, 0);
            let without = map(&mut hash, 2_000, &[]);
            assert_eq!(without, refused, "seed {seed}: who is refused is passed by as if it had left");
            let moved = || before.iter().zip(&without).filter(|(before, after)| before != after);
            assert!(moved().all(|(before, _)| *before == Some(gone)), "seed {seed}: others' keys moved");
            let weight = std::mem::take(&mut weights[usize::from(gone)]);
            assert_shares(moved().map(|(_, after)| after), &weights, 0.35, &format!("seed {seed}, moved"));
            hash.weigh(gone, weight);
            assert_eq!(map(&mut hash, 2_000, &[]), before, "seed {seed}");
        }
    }

    #[test]
    fn whose_weight_changes_gains_or_loses_keys_and_nobody_elses_move_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let mut hash = started(&weights, None);
            let before = map(&mut hash, 2_000, &[]);
            let changed = rng.below(weights.len() as u64) as u16;
            hash.weigh(changed, 2 * weights[usize::from(changed)]);
            let after = map(&mut hash, 2_000, &[]);
            let mut moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert!(moved.all(|(_, after)| *after == Some(changed)), "seed {seed}");
        }
    }

    #[test]
    fn neither_the_order_of_the_configuration_nor_that_of_coming_means_anything_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let mut order: Vec<usize> = (0..weights.len()).collect();
            (1..order.len()).for_each(|at| order.swap(at, rng.below(at as u64 + 1) as usize));
            let mut turned = Hash::new(&HashBalance::default(), &backends(order.iter().copied().map(name)));
            for (position, &backend) in order.iter().enumerate().rev() {
                turned.weigh(position as u16, weights[backend]);
            }
            let named = |picked: Vec<Option<u16>>| picked.into_iter().flatten().map(usize::from);
            let turned: Vec<_> = named(map(&mut turned, 1_000, &[])).map(|backend| order[backend]).collect();
            assert_eq!(turned, named(map(&mut started(&weights, None), 1_000, &[])).collect::<Vec<_>>(), "seed {seed}");
        }
    }

    #[test]
    fn one_more_in_the_configuration_takes_its_own_share_only() {
        let before = map(&mut started(&[3; 20], None), 10_000, &[]);
        let after = map(&mut started(&[3; 21], None), 10_000, &[]);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == Some(20)));
        assert!((300..650).contains(&moved.len()), "{}", moved.len());
    }

    /// Another version, or another machine, has to find the same.
    #[test]
    fn known_keys_go_where_they_went_at_all_times() {
        let mut hash = Hash::new(&HashBalance::default(), &backends(["one", "two", "three"].map(str::to_string)));
        [(0, 1), (1, 2), (2, 5)].into_iter().for_each(|(backend, weight)| hash.weigh(backend, weight));
        let picked = map(&mut hash, 24, &[]);
        let picked: Vec<u16> = picked.into_iter().flatten().collect();
        assert_eq!(picked, [0, 1, 1, 1, 1, 2, 2, 2, 1, 2, 2, 2, 2, 0, 0, 2, 2, 2, 1, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn no_load_exceeds_its_bound_and_a_key_goes_to_its_next_choice_for_any_seed() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut weights = some_weights(&mut rng);
            let factor = [101, 125, 300][rng.below(3) as usize];
            let (mut hash, mut free) = (started(&weights, Some(factor)), started(&weights, None));
            let mut loads = vec![0_u32; weights.len()];
            for _ in 0..1_000 {
                let some = rng.below(weights.len() as u64) as usize;
                match rng.below(8) {
                    0 => {
                        weights[some] = rng.below(10) as u16;
                        hash.weigh(some as u16, weights[some]);
                        free.weigh(some as u16, weights[some]);
                        continue;
                    }
                    1 | 2 => {
                        loads[some] = loads[some].saturating_sub(1);
                        hash.set_load(some as u16, loads[some]);
                        continue;
                    }
                    _ => {}
                }
                let present = || weights.iter().zip(&loads).filter(|(weight, _)| **weight > 0);
                let total: f64 = present().map(|(_, &load)| f64::from(load)).sum();
                let sum: f64 = present().map(|(&weight, _)| f64::from(weight)).sum();
                let is_full = |backend: u16| {
                    let share = f64::from(weights[usize::from(backend)]) / sum;
                    let bound = ((total + 1.0) * f64::from(factor) / 100.0 * share - 1e-9).ceil();
                    f64::from(loads[usize::from(backend)]) + 1.0 > bound
                };
                // Most clients ask for the same.
                let key = Some(stable_hash(&[&rng.below(1 + seed % 3).to_be_bytes()]));
                let picked = hash.pick(key, &mut rng, |_| false);
                assert_eq!(picked, free.pick(key, &mut rng, is_full), "seed {seed}");
                let Some(picked) = picked else { continue };
                loads[usize::from(picked)] += 1;
                hash.set_load(picked, loads[usize::from(picked)]);
            }
        }
    }

    #[test]
    fn who_is_over_its_bound_serves_where_all_others_are_refused() {
        let mut hash = started(&[1, 1], Some(110));
        hash.set_load(0, 50);
        assert_eq!(map(&mut hash, 20, &[1]), [Some(0); 20]);
        assert_eq!(map(&mut hash, 20, &[]), [Some(1); 20]);
        assert_eq!(map(&mut hash, 1, &[0, 1]), [None]);
    }
}
