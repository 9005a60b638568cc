//! Smooth weighted round robin: every round meets the weights exactly, and its parts nearly.

use std::cmp::Ordering;

use super::tournament::{Seat, Tournament};

/// Smooth weighted round robin in O(log n): whose turn lies next goes next.
///
/// The turns of a backend of weight w lie at 1/2w, 3/2w, 5/2w, ... of a round: spread evenly, and exactly w of
/// them, so that every round meets the weights whatever the others' are.
#[derive(Debug)]
pub struct RoundRobin {
    /// The next turn of each backend.
    turns: Tournament<Turn>,
    /// Who was refused during one `pick`.
    aside: Vec<u16>,
    /// The latest turn that was picked, and whose it was: where the round stands.
    latest: Option<(Turn, u16)>,
}

/// The `number`th turn of a backend in a round, counted from 0.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    round: u64,
    number: u16,
    /// 0 while the backend does not take part.
    weight: u16,
}

impl RoundRobin {
    /// Nobody takes part yet, of so many backends.
    pub fn new(backends: usize) -> RoundRobin {
        RoundRobin { turns: Tournament::new(backends), aside: Vec::new(), latest: None }
    }

    /// A backend goes on with this weight from where the round stands: it does not make up for what it missed.
    pub fn weigh(&mut self, backend: u16, weight: u16) {
        let next = self.next_turn(backend, weight);
        self.turns.change(backend, |turn| *turn = next);
    }

    /// Whose turn it is.
    pub fn pick(&mut self, refused: impl Fn(u16) -> bool) -> Option<u16> {
        let note = |backend: u16| {
            let is_refused = refused(backend);
            self.aside.extend(is_refused.then_some(backend));
            is_refused
        };
        let picked = self.turns.first(note);
        if let Some(backend) = picked {
            let turn = *self.turns.seat(backend);
            let is_later = |(latest, other): &(Turn, u16)| latest.compare(&turn).then(other.cmp(&backend)).is_gt();
            self.latest = self.latest.filter(is_later).or(Some((turn, backend)));
            self.turns.change(backend, |place| *place = turn.following());
        }
        while let Some(backend) = self.aside.pop() {
            // The refused keep their turn, but they do not save up turns over rounds.
            let Turn { round, weight, .. } = *self.turns.seat(backend);
            if self.latest.is_some_and(|(latest, _)| latest.round > round + 1) {
                self.weigh(backend, weight);
            }
        }
        picked
    }

    /// The first turn of a backend with this weight after the latest one of all.
    fn next_turn(&self, backend: u16, weight: u16) -> Turn {
        let Some((latest, picked)) = self.latest else { return Turn { round: 0, number: 0, weight } };
        // The least n with (2n + 1) / 2w above the latest's (2m + 1) / 2v is floor(w(2m + 1) / 2v + 1/2). Where the two are
        // equal, whoever comes behind the latest has not had its turn.
        let other = u64::from(latest.weight);
        let number = (u64::from(weight) * latest.halves() + other - u64::from(backend > picked)) / (2 * other);
        match u16::try_from(number) {
            Ok(number) if number < weight => Turn { round: latest.round, number, weight },
            _ => Turn { round: latest.round + 1, number: 0, weight },
        }
    }
}

impl Turn {
    /// The numerator of its place in the round, (2n + 1) / 2w.
    fn halves(self) -> u64 {
        2 * u64::from(self.number) + 1
    }

    /// The same backend's turn after this one.
    fn following(self) -> Turn {
        if self.number + 1 < self.weight {
            Turn { number: self.number + 1, ..self }
        } else {
            Turn { round: self.round + 1, number: 0, ..self }
        }
    }
}

impl Seat for Turn {
    fn takes_part(&self) -> bool {
        self.weight > 0
    }

    fn compare(&self, other: &Turn) -> Ordering {
        let place = |turn: &Turn, scale: u16| turn.halves() * u64::from(scale);
        self.round.cmp(&other.round).then_with(|| place(self, other.weight).cmp(&place(other, self.weight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn any(_: u16) -> bool {
        false
    }

    fn some_weights(rng: &mut Rng) -> Vec<u16> {
        let weight_max = [1, 4, 256][rng.below(3) as usize];
        (0..=rng.below(20)).map(|_| 1 + rng.below(weight_max) as u16).collect()
    }

    /// All take part.
    fn started(weights: &[u16]) -> RoundRobin {
        let mut round_robin = RoundRobin::new(weights.len());
        (0..).zip(weights).for_each(|(backend, &weight)| round_robin.weigh(backend, weight));
        round_robin
    }

    fn picks(round_robin: &mut RoundRobin, count: usize) -> Vec<u16> {
        (0..count).map(|_| round_robin.pick(any).expect("somebody takes part")).collect()
    }

    fn occurrences(picked: &[u16], backend: u16) -> usize {
        picked.iter().filter(|&&other| other == backend).count()
    }

    #[test]
    fn backends_of_one_weight_take_turns_in_their_order() {
        assert_eq!(picks(&mut started(&[3, 3, 3]), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_heavy_backend_takes_its_turns_between_the_others() {
        assert_eq!(picks(&mut started(&[5, 1, 1]), 14), [0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(picks(&mut started(&[2, 1]), 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn every_round_meets_the_weights_exactly_and_every_part_of_it_nearly() {
        for seed in 0..200 {
            let weights = some_weights(&mut Rng::new(seed));
            let sum: usize = weights.iter().copied().map(usize::from).sum();
            let mut round_robin = started(&weights);
            for round in 0..3 {
                let mut counts = vec![0; weights.len()];
                for picked in 1..=sum {
                    counts[picks(&mut round_robin, 1)[0] as usize] += 1;
                    for (&count, &weight) in counts.iter().zip(&weights) {
                        // At a place x of the round each count is within 1/2 of weight * x, and their sum is `picked`.
                        let weight = usize::from(weight);
                        let off = (count * sum).abs_diff(picked * weight) * 2;
                        assert!(off <= sum + weight * weights.len(), "seed {seed}, round {round}, pick {picked}");
                    }
                }
                assert!(
                    counts.iter().zip(&weights).all(|(&count, &weight)| count == usize::from(weight)),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn the_next_turn_is_the_first_one_after_the_latest_of_all() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let mut round_robin = started(&weights);
            picks(&mut round_robin, 1 + rng.below(1_000) as usize);
            let (latest, picked) = round_robin.latest.expect("something was picked");
            for backend in 0..weights.len() as u16 {
                let weight = weights[usize::from(backend)];
                let mut turn = Turn { number: 0, weight, ..latest };
                while turn.compare(&latest).then(backend.cmp(&picked)).is_le() {
                    turn = turn.following();
                }
                let found = round_robin.next_turn(backend, weight);
                assert_eq!((found.round, found.number), (turn.round, turn.number), "seed {seed}, backend {backend}");
            }
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let mut round_robin = started(&[u16::MAX, u16::MAX, 1]);
        assert_eq!(occurrences(&picks(&mut round_robin, 131_071), 2), 1);
        round_robin.weigh(0, 0);
        round_robin.weigh(0, u16::MAX);
        assert_eq!(occurrences(&picks(&mut round_robin, 131_071), 2), 1);
    }

    #[test]
    fn who_has_left_is_not_picked_and_who_returns_gets_its_share_without_a_burst() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let weights = some_weights(&mut rng);
            let sum: usize = weights.iter().copied().map(usize::from).sum();
            let mut round_robin = started(&weights);
            let backend = rng.below(weights.len() as u64) as u16;
            picks(&mut round_robin, rng.below(1_000) as usize);
            round_robin.weigh(backend, 0);
            for _ in 0..rng.below(3_000) {
                assert_ne!(round_robin.pick(any), Some(backend), "seed {seed}");
            }
            round_robin.weigh(backend, weights[usize::from(backend)]);
            let weight = usize::from(weights[usize::from(backend)]);
            let back = picks(&mut round_robin, 4 * sum);
            let got = occurrences(&back, backend);
            assert!(got.abs_diff(4 * weight) <= weight.min(2), "seed {seed}: {got} of {}", 4 * weight);
            let first = occurrences(&back[..sum], backend);
            assert!(first <= weight + 1, "seed {seed}: a burst of {first} for {weight}");
        }
    }

    #[test]
    fn the_refused_is_not_picked_and_keeps_its_turn_for_the_next() {
        let mut round_robin = started(&[1, 1, 1]);
        assert_eq!(round_robin.pick(|backend| backend == 0), Some(1));
        assert_eq!(round_robin.pick(any), Some(0));
        assert_eq!(round_robin.pick(|_| true), None);
        assert_eq!(picks(&mut round_robin, 4), [2, 0, 1, 2]);
    }

    #[test]
    fn the_refused_does_not_save_up_turns_over_rounds() {
        let mut round_robin = started(&[1, 1]);
        for _ in 0..100 {
            assert_eq!(round_robin.pick(|backend| backend == 0), Some(1));
        }
        let after = picks(&mut round_robin, 10);
        assert!(occurrences(&after, 0) <= 6, "{after:?}");
    }

    #[test]
    fn a_belated_turn_does_not_set_the_round_back_for_who_returns() {
        let mut round_robin = started(&[1, 4, 4]);
        round_robin.weigh(2, 0);
        (0..4).for_each(|_| assert_eq!(round_robin.pick(|backend| backend == 0), Some(1)));
        assert_eq!(picks(&mut round_robin, 1), [0]);
        round_robin.weigh(2, 4);
        assert_eq!(picks(&mut round_robin, 4), [2, 1, 2, 1]);
    }

    #[test]
    fn coming_and_going_without_a_pick_changes_nobodys_share() {
        let mut round_robin = started(&[1, 2, 3]);
        for step in 0..1_000 {
            round_robin.weigh(step % 3, 0);
            round_robin.weigh(step % 3, step % 3 + 1);
        }
        let mut picked = picks(&mut round_robin, 6);
        picked.sort_unstable();
        assert_eq!(picked, [0, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_changed_weight_holds_from_where_the_round_stands() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut weights = some_weights(&mut rng);
            let mut round_robin = started(&weights);
            picks(&mut round_robin, rng.below(1_000) as usize);
            let backend = rng.below(weights.len() as u64) as u16;
            let weight = 1 + rng.below(256) as u16;
            weights[usize::from(backend)] = weight;
            round_robin.weigh(backend, weight);
            let sum: usize = weights.iter().copied().map(usize::from).sum();
            let after = picks(&mut round_robin, 2 * sum);
            for (other, &weight) in (0..).zip(&weights) {
                let (first, both) = (occurrences(&after[..sum], other), occurrences(&after, other));
                assert!(first <= usize::from(weight) + 1, "seed {seed}: a burst of {first} for {weight}");
                assert!(both.abs_diff(2 * usize::from(weight)) <= 1, "seed {seed}: {both} for twice {weight}");
            }
        }
    }

    #[test]
    fn nobody_is_picked_when_all_have_left() {
        let mut round_robin = started(&[1, 1]);
        round_robin.weigh(0, 0);
        round_robin.weigh(1, 0);
        assert_eq!(round_robin.pick(any), None);
        round_robin.weigh(1, 1);
        assert_eq!(picks(&mut round_robin, 2), [1, 1]);
        assert_eq!(started(&[]).pick(any), None);
    }
}
