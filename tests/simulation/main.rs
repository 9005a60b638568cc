//! A seeded simulation of sessions and their protocols against a hostile kernel: no socket, no clock.
//!
//! ```text
//! peers (http_client, http_server, tcp_peer) ── wires (kernel) ── streams (stream) ── loop (turn) ── plb's sessions
//! ```
//! `PLB_SEEDS=n` runs n seeds; `PLB_SEED=n` runs one and prints what happens (with `--nocapture`).

mod bug;
mod fairness;
mod http_client;
mod http_server;
mod kernel;
mod message;
mod site;
mod stream;
mod tcp_peer;
mod turn;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bug::Bug;
use plb::base::time::Time;
use turn::Plb;
use world::{Weather, World};

/// The seeds that a plain run tries.
const SEEDS: u64 = 2_000;

/// The seeds among which every deliberate bug is found.
const SEEDS_OF_BUGS: u64 = 2_000;

/// The most rounds of one seed.
const ROUNDS_MAX: u32 = 200_000;

/// The most rounds in which plb makes calls and nothing moves.
const IDLE_ROUNDS_MAX: u32 = 50;

/// Seeds in which bytes went past the buffers, over all runs.
static SEEDS_THAT_SPLICE: AtomicU64 = AtomicU64::new(0);

/// Runs one seed to its end. Panics when something does not hold.
fn run(seed: u64, bug: Option<Bug>, tracing: bool) {
    let mut world = World::new(seed, tracing);
    let mut plb = Plb::new(world.profile.config(), world.profile.calls_max, bug);
    let mut idle_rounds = 0;
    for _ in 0..ROUNDS_MAX {
        let acted = world.act_all(false);
        let calls = plb.calls;
        plb.turn(&mut world);
        if world.now >= world.profile.drains_at && !world.draining {
            world.draining = true;
            plb.drain();
        }
        if world.profile.weather == Weather::Chaos && world.rng.chance(1, 1_500) {
            plb.kill_one(&mut world);
        }
        match acted || plb.moved {
            true => idle_rounds = 0,
            false => idle_rounds += u32::from(plb.calls > calls),
        }
        assert!(idle_rounds < IDLE_ROUNDS_MAX, "the loop spins: {idle_rounds} rounds of calls and nothing moved");
        if acted || plb.moved || plb.next() == Some(world.now) {
            if world.rng.chance(1, 3) {
                let later = world.now + Duration::from_micros(world.rng.below(500));
                world.advance_to(later);
            }
            continue;
        }
        world.patient = false;
        if world.act_all(true) || world.has_edges() {
            continue;
        }
        plb.check_stall(&world);
        if plb.is_at_rest() && !world.has_clients() && world.next() == Time::NEVER {
            plb.check_end(&world);
            world.check_end();
            let calm = world.profile.weather == Weather::Calm;
            assert!(!calm || plb.timeouts == 0, "{} timeouts although nobody was slow", plb.timeouts);
            SEEDS_THAT_SPLICE.fetch_add(u64::from(plb.spliced > 0), Ordering::Relaxed);
            return;
        }
        let next = plb.next().unwrap_or(Time::NEVER).min(world.next());
        assert!(next != Time::NEVER, "nothing will ever happen, and {} sessions wait", plb.sessions());
        world.advance_to(next);
    }
    panic!("no end after {ROUNDS_MAX} rounds");
}

/// What is wrong with a seed.
fn fault_of(seed: u64, bug: Option<Bug>) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| run(seed, bug, false))).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What is wrong with the seeds, which as many threads try as there are processors.
fn faults_among(seeds: u64, bug: Option<Bug>) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let try_some = |first| {
        let seeds = (first..seeds).step_by(threads as usize);
        seeds.filter_map(|seed| Some(format!("seed {seed}: {}", fault_of(seed, bug)?))).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || try_some(first))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("panics are caught")).collect()
    })
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("PLB_SEED") {
        return run(seed, None, true);
    }
    let seeds = number("PLB_SEEDS").unwrap_or(SEEDS);
    let faults = faults_among(seeds, None);
    assert!(faults.is_empty(), "{} seeds fail:\n{}", faults.len(), faults.join("\n"));
    let spliced = SEEDS_THAT_SPLICE.load(Ordering::Relaxed);
    assert!(spliced > seeds / 10, "bytes went past the buffers in {spliced} of {seeds} seeds only");
}

#[test]
fn every_deliberate_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..SEEDS_OF_BUGS).find_map(|seed| Some((seed, fault_of(seed, Some(bug))?)));
        let (seed, fault) = found.unwrap_or_else(|| panic!("{bug:?} is not found by {SEEDS_OF_BUGS} seeds"));
        println!("{bug:?} is found by seed {seed}: {fault}");
    }
}
