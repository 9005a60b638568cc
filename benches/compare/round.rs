//! One round of one unit: every balancer does the same work, and what it has cost each of them is returned.
//!
//! CPU time is measured in short slices that go around the balancers, all of which run: a disturbance of the machine
//! that lasts longer than a slice meets all of them. Memory is measured with one balancer alone, because pages that
//! several processes map count for each of them in part.

use crate::balancer::{Balancer, Contender, Kind};
use crate::load::Load;
use crate::process;
use crate::unit::{Measure, Unit};

/// The number of parts that a round's timed work is done in.
const SLICES: u64 = 20;

/// What one unit of work has cost a balancer, in nanoseconds or KiB, or why that is not known.
pub type Cost = (Kind, Result<f64, String>);

/// Measures all `contenders`.
pub fn measure(unit: Unit, contenders: &[Contender], scale: f64) -> Vec<Cost> {
    let together = match unit.measure() {
        Measure::Time => contenders.len(),
        Measure::Memory => 1,
    };
    contenders.chunks(together.max(1)).flat_map(|group| measure_together(unit, group, scale)).collect()
}

fn measure_together(unit: Unit, contenders: &[Contender], scale: f64) -> Vec<Cost> {
    let (warm_up, slices, count) = match (unit.measure(), unit.scaled_count(scale)) {
        (Measure::Time, count) => (count / 10, SLICES, count / SLICES),
        (Measure::Memory, count) => (0, 1, count),
    };
    let start = |contender: &Contender| (contender.kind, Trial::start(unit, contender, warm_up));
    let mut trials: Vec<(Kind, Result<Trial, String>)> = contenders.iter().map(start).collect();
    for _ in 0..slices {
        for (_, trial) in &mut trials {
            if let Some(error) = trial.as_mut().ok().and_then(|trial| trial.work(count).err()) {
                *trial = Err(error);
            }
        }
    }
    let cost = |trial: Trial| trial.cost / (slices * count) as f64;
    trials.into_iter().map(|(kind, trial)| (kind, trial.map(cost))).collect()
}

/// A balancer at work.
struct Trial {
    // Clients leave before their balancer ends.
    load: Load,
    balancer: Balancer,
    measure: Measure,
    /// Nanoseconds or KiB, of all work so far.
    cost: f64,
}

impl Trial {
    fn start(unit: Unit, contender: &Contender, warm_up: u64) -> Result<Trial, String> {
        let balancer = contender.start()?;
        let mut load = unit.load(&balancer)?;
        load.run(warm_up)?;
        Ok(Trial { load, balancer, measure: unit.measure(), cost: 0.0 })
    }

    fn work(&mut self, count: u64) -> Result<(), String> {
        let before = self.spent()?;
        self.load.run(count)?;
        self.cost += self.spent()? - before;
        Ok(())
    }

    /// What the process has taken since its start.
    fn spent(&self) -> Result<f64, String> {
        let spent = match self.measure {
            Measure::Time => process::cpu_nanoseconds(self.balancer.serving),
            Measure::Memory => process::settled_pss_kib(self.balancer.serving),
        };
        spent.map(|spent| spent as f64).map_err(|error| format!("the serving process is gone: {error}"))
    }
}
