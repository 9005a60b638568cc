//! plb side by side with other balancers: what one unit of work costs each of them, in CPU time or in memory.
//!
//! ```text
//! cargo bench --bench compare -- a b c d e f g h k l r s --rounds 5
//! ```
//!
//! Rounds interleave the balancers, so that what disturbs the machine disturbs all of them, and each figure is also
//! given as a share of haproxy's in the same round. Every round starts the balancers anew; they have one processor, of
//! which only one of them makes use at a time, and clients and origins share another. The cost is the CPU time of the
//! serving process, the kernel's work on its behalf included; memory is the growth of its proportional set size since
//! the first exchange of each kind. Traffic never leaves the loopback interface. No balancer is told to add a field to
//! a message but in (h) and (k); otherwise each does what it does by default. Whether a request reaches the origin with
//! the fields that it should have is looked at before, and whether cookies come as they should, with every answer.
//! Linux with setpriv and taskset (util-linux) is needed.

mod balancer;
mod configuration;
mod interrupt;
mod load;
mod messages;
mod options;
mod origin;
mod process;
mod receive;
mod relay;
mod report;
mod round;
mod shuttle;
mod syscalls;
mod unit;

use std::ffi::OsString;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::balancer::{Contender, Kind};
use crate::options::{Format, Options, Purpose};
use crate::report::Sample;
use crate::unit::{Measure, Unit};

/// Whether everything that was asked for has been measured, without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    Lacking,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if let Some((name, rest)) = arguments.split_first() {
        let role = match name.to_str() {
            Some(origin::ARGUMENT) => Some(origin::serve(rest)),
            Some(relay::ARGUMENT) => Some(relay::serve(rest)),
            Some(shuttle::ARGUMENT) => Some(shuttle::serve(rest)),
            _ => None,
        };
        if let Some(outcome) = role {
            let name = name.to_string_lossy();
            return exit_code(outcome.map(|()| Verdict::Complete).map_err(|error| format!("{name}: {error}")));
        }
    }
    // `cargo bench` alone adds `--bench`; `cargo test` also runs benches and must not wait for minutes.
    if !has("--bench") || has("--test") {
        println!("compare: nothing is measured here; run `cargo bench --bench compare`");
        return ExitCode::SUCCESS;
    }
    match Options::parse(arguments) {
        Ok(options) => exit_code(run(&options)),
        Err(error) => {
            eprintln!("compare: {error}\n{}", options::USAGE);
            ExitCode::from(2)
        }
    }
}

fn exit_code(outcome: Result<Verdict, String>) -> ExitCode {
    match outcome {
        Ok(Verdict::Complete) => ExitCode::SUCCESS,
        Ok(Verdict::Lacking) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Verdict, String> {
    process::pin_self(process::LOAD_CPU)?;
    raise_descriptor_limit().map_err(|error| format!("descriptor limit: {error}"))?;
    interrupt::watch().map_err(|error| format!("signals: {error}"))?;
    let mut verdict = Verdict::Complete;
    let contenders = contenders(options, &mut verdict);
    match options.purpose {
        Purpose::Costs => compare_costs(options, &contenders, &mut verdict),
        Purpose::Calls => count_calls(options, &contenders, &mut verdict)?,
    }
    if verdict == Verdict::Lacking {
        eprintln!("compare: NOT ALL WAS MEASURED; see the errors above");
    }
    Ok(verdict)
}

fn contenders(options: &Options, verdict: &mut Verdict) -> Vec<Contender> {
    let find = |kind: &Kind| complain(Contender::find(*kind, &options.plb), kind.name(), verdict);
    options.kinds.iter().filter_map(find).collect()
}

fn compare_costs(options: &Options, contenders: &[Contender], verdict: &mut Verdict) {
    let mut samples = Vec::new();
    let groups = || options.units.chunk_by(|one, other| one.letter() == other.letter());
    let rounds = (1..=options.rounds).flat_map(|round| groups().map(move |group| (round, group)));
    for (round, group) in rounds.take_while(|_| !interrupt::requested()) {
        for (unit, kind, cost) in round::measure(group, contenders, options.scale) {
            let about = format!("round {round}, {}, {}", unit.title(), kind.name());
            let Some(value) = complain(cost, &about, verdict) else { continue };
            eprintln!("{about}: {value:.2}");
            samples.push(Sample { round, unit, kind, value });
        }
    }
    match options.format {
        Format::Markdown => print!("{}{}", report::markdown(&samples), report::growth_markdown(&samples)),
        Format::Csv => print!("{}", report::csv(&samples)),
    }
}

fn count_calls(options: &Options, contenders: &[Contender], verdict: &mut Verdict) -> Result<(), String> {
    if !syscalls::is_available() {
        return Err("strace is not installed (package strace)".to_string());
    }
    let units: Vec<Unit> = options.units.iter().copied().filter(|unit| unit.measure() == Measure::Time).collect();
    for contender in contenders {
        let mut columns = Vec::new();
        let takes_part = |unit: &&Unit| unit.scaled(options.scale).kinds.contains(&contender.kind);
        for unit in units.iter().filter(takes_part).take_while(|_| !interrupt::requested()) {
            let about = format!("{}, {}", unit.title(), contender.kind.name());
            let calls = complain(syscalls::count(contender, *unit, options.scale), &about, verdict);
            columns.extend(calls.map(|calls| (*unit, calls)));
        }
        println!("{}", report::calls_markdown(contender.kind, &columns));
    }
    Ok(())
}

/// The value, or an error that is said at once and remembered for the exit status.
fn complain<T>(result: Result<T, String>, about: &str, verdict: &mut Verdict) -> Option<T> {
    result
        .map_err(|error| {
            eprintln!("ERROR: {about}: {error}");
            *verdict = Verdict::Lacking;
        })
        .ok()
}

/// The thousands of idle connections need more descriptors than a shell usually gives.
fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}
