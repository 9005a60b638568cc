//! What the small things cost: nanoseconds an operation, the best of several runs.
//!
//! `cargo bench --bench micro` measures; without `--bench` (as `cargo test` runs it) every case runs briefly, to
//! show that it works. It must never need anything but the standard library.

use std::hint::black_box;
use std::time::{Duration, Instant};

use plb::balance::{Key, Outcome, Pools};
use plb::base::rng::Rng;
use plb::base::time::Time;
use plb::base::timer::TimerWheel;
use plb::config;

/// Timers that lie in the wheel while others come and go.
const TIMERS: u64 = 10_000;

fn main() {
    let bench = match std::env::args().any(|argument| argument == "--bench") {
        true => Bench { runs: 7, operations: 1_000_000 },
        false => Bench { runs: 1, operations: 1_000 },
    };
    timers(&bench);
    picking(&bench);
    // Parsing heads and moving bytes through pipes go here, a function for each room.
}

fn timers(bench: &Bench) {
    let (mut wheel, mut rng) = filled_wheel();
    bench.measure("wheel: insert and remove among 10000", |_| {
        let timer = wheel.insert(some_deadline(Time::START, &mut rng), 0);
        black_box(wheel.remove(timer));
    });

    let (mut wheel, mut rng) = filled_wheel();
    let (mut now, mut due) = (Time::START, Vec::new());
    let mut in_hand = 0;
    bench.measure("wheel: expire and insert again among 10000", |_| {
        while in_hand == 0 {
            now = wheel.next().expect("timers are filed");
            wheel.expire(now, &mut due);
            in_hand = due.len();
            due.clear();
        }
        in_hand -= 1;
        wheel.insert(some_deadline(now, &mut rng), 0);
    });

    let (wheel, _) = filled_wheel();
    bench.measure("wheel: next among 10000", |_| {
        black_box(black_box(&wheel).next());
    });
}

fn filled_wheel() -> (TimerWheel<u64>, Rng) {
    let (mut wheel, mut rng) = (TimerWheel::new(Time::START), Rng::new(1));
    for key in 0..TIMERS {
        wheel.insert(some_deadline(Time::START, &mut rng), key);
    }
    (wheel, rng)
}

/// Within the minute after `now`, where the deadlines of sessions are.
fn some_deadline(now: Time, rng: &mut Rng) -> Time {
    now + Duration::from_micros(rng.below(60_000_000))
}

fn picking(bench: &Bench) {
    for count in [1, 10, 1_000, 10_000] {
        let mut pools = Pools::new(&[pool(count)], Time::START);
        bench.measure(&format!("pick and release among {count}"), |_| {
            let lease = pools.pick(0, Key::None, &[], Time::START).expect("all backends are up");
            pools.release(black_box(lease), Outcome::Success, Time::START);
        });
    }
    let mut pools = Pools::new(&[pool(1_000)], Time::START);
    let tried: Vec<_> = pools.ids().take(2).collect();
    bench.measure("pick and release among 1000, two tried", |_| {
        let lease = pools.pick(0, Key::None, &tried, Time::START).expect("others are up");
        pools.release(black_box(lease), Outcome::Success, Time::START);
    });
}

/// A pool of `count` backends with weights from 1 to 8.
fn pool(count: u32) -> config::Pool {
    let backend = |position: u32| config::Backend {
        name: position.to_string(),
        host: "127.0.0.1".to_owned(),
        port: 80,
        weight: position % 8 + 1,
    };
    let timeout = Duration::from_secs(30);
    config::Pool {
        name: "bench".to_owned(),
        balance: config::Policy::RoundRobin,
        backends: (0..count).map(backend).collect(),
        server_retry: 5,
        timeout_cleanup: timeout,
        idle_backend_max: 100,
        timeouts: config::ServerTimeouts {
            header_server_read: timeout,
            header_server_write: timeout,
            forward_server_read: timeout,
            forward_server_write: timeout,
            idle: timeout,
        },
    }
}

/// How long to measure.
struct Bench {
    runs: u32,
    operations: u64,
}

impl Bench {
    /// Prints the time of one `operation`, which is told how many went before it in this run.
    fn measure(&self, name: &str, mut operation: impl FnMut(u64)) {
        let run = |_| {
            let start = Instant::now();
            (0..self.operations).for_each(&mut operation);
            start.elapsed()
        };
        let best = (0..self.runs).map(run).min().expect("there is at least one run");
        println!("{name:<48} {:>8.1} ns/op", best.as_nanos() as f64 / self.operations as f64);
    }
}
