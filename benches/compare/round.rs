//! One round of one unit: every balancer does the same work, and what it has cost each of them is returned.
//!
//! CPU time is measured in short slices that go around the balancers, all of which run: a disturbance of the machine
//! that lasts longer than a slice meets all of them. Memory is measured with one balancer alone, because pages that
//! several processes map count for each of them in part.

use crate::balancer::{Balancer, Contender, Kind};
use crate::configuration::AccessLog;
use crate::load::Load;
use crate::process;
use crate::unit::{Measure, Plan, Unit};

/// The most parts that a round's timed work is done in.
const SLICES_MAX: u64 = 20;

/// What one unit of work has cost a balancer, in nanoseconds or KiB, or why that is not known.
pub type Cost = (Unit, Kind, Result<f64, String>);

/// Measures `units`, which have one letter, for those of the `contenders` that take part in them.
pub fn measure(units: &[Unit], contenders: &[Contender], scale: f64) -> Vec<Cost> {
    let takes_part = |unit: Unit, contender: &&Contender| unit.scaled(scale).kinds.contains(&contender.kind);
    let of = |unit: Unit| contenders.iter().filter(move |contender| takes_part(unit, contender));
    let pairs: Vec<_> = units.iter().flat_map(|&unit| of(unit).map(move |contender| (unit, contender))).collect();
    let together = match units.first().map(|unit| unit.measure()) {
        Some(Measure::Time) => pairs.len(),
        Some(Measure::Memory) | None => 1,
    };
    pairs.chunks(together.max(1)).flat_map(|group| measure_together(group, scale)).collect()
}

fn measure_together(group: &[(Unit, &Contender)], scale: f64) -> Vec<Cost> {
    let start =
        |&(unit, contender): &(Unit, &Contender)| (unit, contender.kind, Trial::start(unit.scaled(scale), contender));
    let mut trials: Vec<(Unit, Kind, Result<Trial, String>)> = group.iter().map(start).collect();
    for _ in 0..SLICES_MAX {
        for (_, _, trial) in &mut trials {
            if let Some(error) = trial.as_mut().ok().and_then(|trial| trial.work().err()) {
                *trial = Err(error);
            }
        }
    }
    trials.into_iter().map(|(unit, kind, trial)| (unit, kind, trial.map(|trial| trial.cost()))).collect()
}

/// A balancer at work.
struct Trial {
    // Clients leave before their balancer ends.
    load: Load,
    crowd: Load,
    balancer: Balancer,
    plan: Plan,
    /// How many slices of its work have been done.
    done: u64,
    /// Nanoseconds or KiB, of all work so far.
    cost: f64,
}

impl Trial {
    fn start(plan: Plan, contender: &Contender) -> Result<Trial, String> {
        let balancer = contender.start(plan.scene)?;
        let (mut load, mut crowd) = (plan.load(balancer.listen)?, plan.crowd(balancer.listen)?);
        crowd.run(plan.idle_clients)?;
        load.run(plan.warm_up())?;
        Ok(Trial { load, crowd, balancer, plan, done: 0, cost: 0.0 })
    }

    /// Does the next slice, where there is one left.
    fn work(&mut self) -> Result<(), String> {
        if self.done == self.slices() {
            return Ok(());
        }
        let before = self.spent()?;
        self.load.run(self.plan.count / self.slices())?;
        self.cost += self.spent()? - before;
        self.done += 1;
        if self.done == self.slices() { self.verify() } else { Ok(()) }
    }

    /// Whether the balancer was all the time what it was said to be.
    fn verify(&mut self) -> Result<(), String> {
        self.load.look()?;
        self.crowd.look()?;
        let gone = |error| format!("the serving process is gone: {error}");
        let (found, expected) = (process::descriptors(self.balancer.serving).map_err(gone)?, self.plan.descriptors());
        if found < expected {
            return Err(format!(
                "it has {found} descriptors, not the {expected} of all connections that it was to keep"
            ));
        }
        if self.plan.scene.access_log == AccessLog::Off {
            return Ok(());
        }
        let lines = self.balancer.access_log_lines().map_err(|error| format!("access log: {error}"))?;
        let expected = self.plan.count / self.slices() * self.done;
        if lines < expected {
            Err(format!("{lines} lines in the access log after {expected} exchanges"))
        } else {
            Ok(())
        }
    }

    fn slices(&self) -> u64 {
        self.plan.slices(SLICES_MAX)
    }

    /// What one unit of work has cost.
    fn cost(&self) -> f64 {
        let exchanges = self.plan.count / self.slices() * self.done;
        self.cost / (exchanges as f64 * self.plan.units_an_exchange())
    }

    /// What the process has taken since its start.
    fn spent(&self) -> Result<f64, String> {
        let spent = match self.plan.measure {
            Measure::Time => process::cpu_nanoseconds(self.balancer.serving),
            Measure::Memory => process::settled_memory_kib(self.balancer.serving),
        };
        spent.map(|spent| spent as f64).map_err(|error| format!("the serving process is gone: {error}"))
    }
}
