//! The first one that takes part, in the order of the configuration: with a limit for each, one is filled up before the
//! next one is used.

use std::collections::BTreeSet;

/// Who takes part. Coming, going and picking cost O(log n).
#[derive(Debug, Default)]
pub struct First(BTreeSet<u16>);

impl First {
    /// A backend takes part unless its weight is 0; otherwise weights mean nothing here.
    pub fn weigh(&mut self, backend: u16, weight: u16) {
        if weight > 0 {
            self.0.insert(backend)
        } else {
            self.0.remove(&backend)
        };
    }

    /// Who comes first of those that are not refused.
    pub fn pick(&self, refused: impl Fn(u16) -> bool) -> Option<u16> {
        self.0.iter().copied().find(|&backend| !refused(backend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_first_that_takes_part_and_is_not_refused_is_picked_for_any_seed() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut first, mut weights) = (First::default(), vec![0; 1 + rng.below(20) as usize]);
            for _ in 0..200 {
                let backend = rng.below(weights.len() as u64) as usize;
                weights[backend] = rng.below(3) as u16;
                first.weigh(backend as u16, weights[backend]);
                let tried = [(); 3].map(|()| rng.below(weights.len() as u64) as u16);
                let expected = (0..).zip(&weights).find(|(backend, weight)| **weight > 0 && !tried.contains(backend));
                let picked = first.pick(|backend| tried.contains(&backend));
                assert_eq!(picked, expected.map(|(backend, _)| backend), "seed {seed}");
            }
        }
    }
}
