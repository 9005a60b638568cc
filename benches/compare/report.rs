//! The figures of all rounds and the tables made of them.

use std::fmt::Write;

use crate::balancer::Kind;
use crate::syscalls::Calls;
use crate::unit::{Measure, Unit};

/// One figure: what one unit of work has cost one balancer in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The round, from 1.
    pub round: u32,
    /// What was measured.
    pub unit: Unit,
    /// Whose cost it is.
    pub kind: Kind,
    /// Nanoseconds or KiB.
    pub value: f64,
}

/// The comparison as a markdown table: the median of the rounds, and of the ratios to haproxy within each round.
pub fn markdown(samples: &[Sample]) -> String {
    let mut table = String::from("| unit | balancer | median | of haproxy | min | max | rounds |\n");
    table.push_str("|---|---|--:|--:|--:|--:|--:|\n");
    for unit in Unit::ALL {
        for kind in Kind::ALL {
            let values = sorted(of(samples, unit, kind).map(|sample| sample.value));
            let ratios = sorted(of(samples, unit, kind).filter_map(|sample| ratio(samples, sample)));
            if values.is_empty() {
                continue;
            }
            let digits = if unit.measure() == Measure::Time { 0 } else { 2 };
            let [middle, least, most] = [median(&ratios), ratios.first().copied(), ratios.last().copied()].map(shown);
            let (title, name, rounds) = (unit.title(), kind.name(), values.len());
            let value = median(&values).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {title} | {name} | {value:.digits$} | {middle} | {least} | {most} | {rounds} |");
        }
    }
    table
}

/// What the units that have a baseline cost, as a multiple of its cost for the same balancer in the same round.
pub fn growth_markdown(samples: &[Sample]) -> String {
    let mut rows = String::new();
    for unit in Unit::ALL {
        for kind in Kind::ALL {
            let growths = sorted(of(samples, unit, kind).filter_map(|sample| growth(samples, sample)));
            let relative = sorted(of(samples, unit, kind).filter_map(|sample| growth_of_relay(samples, sample)));
            if growths.is_empty() {
                continue;
            }
            let [middle, least, most] =
                [median(&growths), growths.first().copied(), growths.last().copied()].map(shown);
            let (title, name, relative) = (unit.title(), kind.name(), shown(median(&relative)));
            // Writing to a string cannot fail.
            let _ = writeln!(rows, "| {title} | {name} | {middle} | {least} | {most} | {relative} |");
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!("\n| unit | balancer | of its baseline | min | max | of the relay's |\n|---|---|--:|--:|--:|--:|\n{rows}")
}

/// Every figure as a line of comma-separated values.
pub fn csv(samples: &[Sample]) -> String {
    let mut lines = String::from("round,unit,balancer,value\n");
    for sample in samples {
        let (title, name) = (sample.unit.title().replace(',', " in"), sample.kind.name());
        let _ = writeln!(lines, "{},{title},{name},{:.3}", sample.round, sample.value);
    }
    lines
}

/// The system calls of one balancer as a markdown table, a column for each unit.
pub fn calls_markdown(kind: Kind, columns: &[(Unit, Calls)]) -> String {
    let mut names: Vec<&String> = columns.iter().flat_map(|(_, calls)| calls.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let title = |unit: &Unit| unit.title().split(',').next().unwrap_or_default();
    let titles: String = columns.iter().map(|(unit, _)| format!(" {} |", title(unit))).collect();
    let mut table = format!("| calls of {} |{titles}\n|---|{}\n", kind.name(), "--:|".repeat(columns.len()));
    for name in names {
        let cells = columns.iter().map(|(_, calls)| format!(" {:.3} |", calls.get(name).unwrap_or(&0.0)));
        let _ = writeln!(table, "| {name} |{}", cells.collect::<String>());
    }
    let sums = columns.iter().map(|(_, calls)| format!(" {:.3} |", calls.values().sum::<f64>()));
    let _ = writeln!(table, "| all |{}", sums.collect::<String>());
    table
}

fn of(samples: &[Sample], unit: Unit, kind: Kind) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |sample| sample.unit == unit && sample.kind == kind)
}

/// The figure as a share of haproxy's in the same round, for the same unit or the one that it is set against.
fn ratio(samples: &[Sample], sample: &Sample) -> Option<f64> {
    let mut references = of(samples, sample.unit.rival(), Kind::Haproxy);
    references.find(|reference| reference.round == sample.round).map(|reference| sample.value / reference.value)
}

/// The figure as a multiple of the one of the unit's baseline.
fn growth(samples: &[Sample], sample: &Sample) -> Option<f64> {
    let mut baselines = of(samples, sample.unit.baseline()?, sample.kind);
    baselines.find(|baseline| baseline.round == sample.round).map(|baseline| sample.value / baseline.value)
}

/// That multiple as a share of the bare relay's.
fn growth_of_relay(samples: &[Sample], sample: &Sample) -> Option<f64> {
    let relay = of(samples, sample.unit, Kind::Relay).find(|relay| relay.round == sample.round)?;
    Some(growth(samples, sample)? / growth(samples, relay)?)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_string(), |ratio| format!("{ratio:.2}"))
}
