//! System calls a unit of work, counted by strace(1) in runs of their own: tracing costs far more than the calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::balancer::Contender;
use crate::process::{self, LOAD_CPU, LOOK_EVERY, Orphan, Process};
use crate::unit::Unit;

/// How long strace may take to attach.
const ATTACH_LIMIT: Duration = Duration::from_secs(5);

/// Calls by name, each as a number a unit of work.
pub type Calls = BTreeMap<String, f64>;

/// Whether calls can be counted here.
pub fn is_available() -> bool {
    process::find(Path::new("strace")).is_some()
}

/// Counts the calls of `contender` for one `unit`, after a warm-up.
pub fn count(contender: &Contender, unit: Unit, scale: f64) -> Result<Calls, String> {
    let plan = unit.scaled(scale / 10.0);
    let balancer = contender.start(plan.scene)?;
    let (mut load, mut crowd) = (plan.load(balancer.listen)?, plan.crowd(balancer.listen)?);
    crowd.run(plan.idle_clients)?;
    load.run(plan.warm_up())?;
    let directory = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
    let summary = directory.path().join("summary");
    let mut tracer = attach(balancer.serving, &summary)?;
    load.run(plan.count)?;
    tracer.end(Signal::SIGINT).ok_or("strace does not end")?;
    let text = fs::read_to_string(&summary).map_err(|error| format!("strace: {error}"))?;
    let units = plan.count as f64 * plan.units_an_exchange();
    Ok(read_summary(&text).map(|(name, calls)| (name, calls / units)).collect())
}

fn attach(id: u32, summary: &Path) -> Result<Process, String> {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-p", &id.to_string(), "-o"]).arg(summary);
    let tracer = Process::start(&command, LOAD_CPU, Orphan::Ends, [Stdio::null(), Stdio::null(), Stdio::null()]);
    let tracer = tracer.map_err(|error| format!("strace: {error}"))?;
    let limit = Instant::now() + ATTACH_LIMIT;
    while process::tracer(id).map_err(|error| error.to_string())? == 0 {
        if Instant::now() > limit {
            return Err("strace does not attach (may this user trace?)".to_string());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(tracer)
}

/// The lines of `strace -c`: share, seconds, microseconds a call, calls, errors where there are any, name.
fn read_summary(text: &str) -> impl Iterator<Item = (String, f64)> {
    text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, name) = (words.get(3)?.parse().ok()?, words.last()?);
        (*name != "total").then(|| (name.to_string(), calls))
    })
}
