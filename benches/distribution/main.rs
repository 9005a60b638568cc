//! Who serves how much: each algorithm before four backends, by real requests through the real program.
//!
//! `cargo bench --bench distribution` prints the shares; with `-- benches/distribution.svg` it also draws them into that
//! file. Without `--bench` it runs briefly. It ends with a panic when a request fails: none may, not even of those that
//! meet a backend which is just being stopped.

mod drawing;
#[allow(dead_code, unused_imports, reason = "the scenarios need more of it")]
#[path = "../../tests/scenarios/harness/mod.rs"]
mod harness;

use drawing::{BACKENDS, Counts, Row, WEIGHTS};
use harness::client::Client;
use harness::{Origin, Plb, configuration, ok};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Clients that send one request after the other.
const CLIENTS: usize = 16;
/// How long a backend takes for an answer, and how long a slow one does.
const WORK: Duration = Duration::from_millis(2);
const SLOW_WORK: Duration = Duration::from_millis(8);
/// Requests are for so many paths, of which the n-th is asked for in proportion to 1/n.
const PATHS: usize = 500;
/// Slices of the course of a stop: a third before it, a third while it lasts, and a third after.
const SLICES: usize = 24;
const NAMES: [&str; BACKENDS] = ["b1", "b2", "b3", "b4"];

/// An algorithm: its name, what else is said of it in the picture, and its settings.
const ALGORITHMS: [(&str, &str, &str); 6] = [
    ("round_robin", "", "balance: round_robin"),
    ("least_connections", "", "balance: least_connections"),
    ("random", "", "balance: random"),
    ("hash", "on: path", "balance: { type: hash, on: path }"),
    ("hash", "on: path, load_factor: 1.25", "balance: { type: hash, on: path, load_factor: 1.25 }"),
    ("first", "max_connections: 6", "balance: first\nmax_connections: 6"),
];

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let requests = if is_bench { 2_400 } else { 240 };
    let rows: Vec<Row> = ALGORITHMS.iter().map(|algorithm| measured(algorithm, requests)).collect();
    print!("{}", drawing::table(&rows));
    if let Some(file) = file {
        let facts = format!(
            "{CLIENTS} clients send {requests} requests a column through plb, for {PATHS} paths, the n-th of them in \
             proportion to 1/n. A backend takes {} ms for each.",
            WORK.as_millis()
        );
        std::fs::write(&file, drawing::picture(&rows, &facts)).expect("the file can be written");
    }
}

fn measured(&(name, note, settings): &(&'static str, &'static str, &'static str), requests: usize) -> Row {
    let due = (name != "first").then_some(WEIGHTS);
    let weighted = sum(&Scene::new(settings, WEIGHTS, [WORK; BACKENDS]).run(0, requests));
    let slowed = sum(&Scene::new(settings, [1; BACKENDS], [WORK, SLOW_WORK, WORK, WORK]).run(0, requests));
    let mut scene = Scene::new(settings, [1; BACKENDS], [WORK; BACKENDS]);
    let part = requests / 3;
    let mut served = scene.run(0, part);
    scene.origins[0].stop();
    served.extend(scene.run(part, part));
    scene.origins[0].revive();
    scene.plb.wait_for_log("backend web/b1: up");
    served.extend(scene.run(2 * part, part));
    let course = served.chunks(requests / SLICES).map(sum).collect();
    Row { name, note, weighted, due, slowed, course }
}

fn sum(served: &[usize]) -> Counts {
    served.iter().fold(Counts::default(), |mut counts, backend| {
        counts[*backend] += 1;
        counts
    })
}

/// plb before its backends.
struct Scene {
    origins: [Origin; BACKENDS],
    plb: Plb,
}

impl Scene {
    fn new(settings: &str, weights: Counts, work: [Duration; BACKENDS]) -> Scene {
        let origins = std::array::from_fn(|index| {
            Origin::http(move |_| {
                thread::sleep(work[index]);
                ok(NAMES[index])
            })
        });
        let addresses: [SocketAddr; BACKENDS] = origins.each_ref().map(Origin::address);
        let settings = format!("server_retry: 3\ntimeout_cleanup: 100ms\n{settings}");
        let mut yaml = configuration("http", &settings, &addresses);
        for (name, weight) in NAMES.iter().zip(weights) {
            yaml = yaml.replace(&format!("name: {name} }}"), &format!("name: {name}, weight: {weight} }}"));
        }
        Scene { origins, plb: Plb::start(&yaml) }
    }

    /// Sends the requests from number `first` on; who served each of them, in their order.
    fn run(&self, first: usize, count: usize) -> Vec<usize> {
        let (next, web) = (AtomicUsize::new(first), self.plb.web());
        let client = || {
            let mut client = Client::connect(web);
            let mut served = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + count {
                    return served;
                }
                let response = client.get(&format!("/{}", path(number)));
                assert_eq!(response.status(), 200, "{response:?}\n{}", self.plb.log());
                let backend = NAMES.iter().position(|name| response.body == name.as_bytes());
                served.push((number, backend.expect("a backend has answered")));
            }
        };
        let mut served: Vec<(usize, usize)> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().expect("no request fails")).collect()
        });
        served.sort_unstable();
        served.into_iter().map(|(_, backend)| backend).collect()
    }
}

/// The path of a request: the same in every run, and the n-th as often as 1/n says.
fn path(number: usize) -> usize {
    // The fractional parts of the multiples of the golden ratio are spread evenly (Weyl).
    let even = (number as f64 * 0.618_033_988_749_895).fract();
    let whole: f64 = (1..=PATHS).map(|path| 1.0 / path as f64).sum();
    let mut left = even * whole;
    (1..PATHS)
        .find(|path| {
            left -= 1.0 / *path as f64;
            left < 0.0
        })
        .unwrap_or(PATHS)
}
