//! What the small things cost: nanoseconds an operation, the best of several runs.
//!
//! `cargo bench --bench micro` measures; without `--bench` (as `cargo test` runs it) every case runs briefly, to
//! show that it works. Besides plb it needs the standard library only.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use plb::balance::{Ask, Key, Keys, Outcome, Picked, Pools};
use plb::base::buffers::Buffers;
use plb::base::pipe::{Pipe, UNLIMITED};
use plb::base::rng::Rng;
use plb::base::time::Time;
use plb::base::timer::TimerWheel;
use plb::config;
use plb::protocol::http::cookie;
use plb::protocol::http::head::{ClientText, Parsed, Scan};
use plb::protocol::http::path;
use plb::protocol::http::request::{RequestRules, parse_request};
use plb::protocol::http::response::{ResponseRules, parse_response};
use plb::protocol::http::site::Site;

/// Timers that lie in the wheel while others come and go.
const TIMERS: u64 = 10_000;

fn main() {
    let bench = match std::env::args().any(|argument| argument == "--bench") {
        true => Bench { runs: 7, operations: 1_000_000 },
        false => Bench { runs: 1, operations: 1_000 },
    };
    timers(&bench);
    picking(&bench);
    bindings(&bench);
    heads(&bench);
    routes(&bench);
    paths(&bench);
    cookies(&bench);
    pipes(&bench);
    access(&bench);
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

fn heads(bench: &Bench) {
    const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: bench/1.0\r\n\
        Accept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: id=0123456789abcdef\r\n\r\n";
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Type: text/html\r\nContent-Length: 4711\r\nETag: \"0123456789abcdef\"\r\nCache-Control: no-cache\r\n\r\n";
    let backends = ["127.0.0.1:1".to_string()];
    let config = config::quick_start(config::ProtocolName::Http, "127.0.0.1:0", &backends).expect("it is right");
    let listener = &config.listeners[0];
    let address = IpAddr::from([192, 0, 2, 1]);
    let (client, mut site) = (ClientText::new(address), Site::new(listener));
    let mut out = Vec::new();

    let mut rules = RequestRules::new(listener, &mut site, address, &client);
    bench.measure(&format!("request head of {} bytes, judged and written anew", REQUEST.len()), |_| {
        out.clear();
        let parsed = parse_request(black_box(REQUEST), &mut Scan::default(), &mut rules, &mut out);
        assert!(matches!(parsed, Parsed::Head(_)));
    });
    let keys = Keys::default();
    let rules = ResponseRules::new(listener, &keys, "Sun, 06 Nov 1994 08:49:37 GMT");
    bench.measure(&format!("response head of {} bytes, judged and written anew", RESPONSE.len()), |_| {
        out.clear();
        let parsed = parse_response(black_box(RESPONSE), &mut Scan::default(), &rules, &mut out);
        assert!(matches!(parsed, Parsed::Head(_)));
    });
}

/// The request of a client for the last of many hosts, each of which has a route.
fn routes(bench: &Bench) {
    for count in [1, 1_000, 10_000] {
        let host = |position: u32| format!("h{position:05}.example.org");
        let routes: String = (0..count)
            .map(|position| format!("      - {{ match: {{ host: {} }}, pool: p }}\n", host(position)))
            .collect();
        let text = format!(
            "listeners:\n  - name: l\n    listen: 127.0.0.1:0\n    routes:\n{routes}pools: {{ p: {{ backends: [127.0.0.1:1] }} }}\n"
        );
        let config = config::parse("bench", &text).expect("it is right");
        let listener = &config.listeners[0];
        let address = IpAddr::from([192, 0, 2, 1]);
        let (client, mut site) = (ClientText::new(address), Site::new(listener));
        let request = format!("GET /index.html HTTP/1.1\r\nHost: {}\r\n\r\n", host(count - 1));
        let mut rules = RequestRules::new(listener, &mut site, address, &client);
        let mut out = Vec::new();
        bench.measure(&format!("request head of {} bytes, routes: {count}", request.len()), |_| {
            out.clear();
            let parsed = parse_request(black_box(request.as_bytes()), &mut Scan::default(), &mut rules, &mut out);
            assert!(matches!(parsed, Parsed::Head(_)));
        });
    }
}

fn paths(bench: &Bench) {
    let mut room = Vec::new();
    for path in ["/shop/items/4711/image.png", "/shop/it%65ms/%7Euser/./4711//image.png"] {
        bench.measure(&format!("path of {} bytes decoded, escapes: {}", path.len(), path.matches('%').count()), |_| {
            black_box(path::decode(black_box(path.as_bytes()), &mut room));
        });
    }
}

fn cookies(bench: &Bench) {
    const FIELD: &[u8] = b"theme=dark; S=0123abcd; session=0123456789abcdef0123456789abcdef; consent=1";
    bench.measure(&format!("a cookie found in {} bytes", FIELD.len()), |_| {
        let found = cookie::pairs(black_box(FIELD)).find(|pair| pair.name == b"S");
        assert!(black_box(found).is_some());
    });
    let mut out = Vec::new();
    bench.measure(&format!("a cookie taken out of {} bytes", FIELD.len()), |_| {
        out.clear();
        cookie::write_edited(black_box(FIELD), &mut out, |pair| match pair.name {
            b"S" => cookie::Edit::Drop,
            _ => cookie::Edit::Keep,
        });
        black_box(&out);
    });
}

fn pipes(bench: &Bench) {
    let mut buffers = Buffers::new(1 << 20);
    let mut pipe = Pipe::new(Time::START);
    bench.measure("pipe: lend, fill, judge, drain, take back", |_| {
        let [buffer, other] = buffers.lend().expect("nothing else is lent");
        buffers.give_back(other);
        pipe.attach(buffer);
        pipe.filled(black_box(200), Time::START);
        pipe.pass(200);
        pipe.drained(200, Time::START);
        buffers.give_back(pipe.detach().expect("it was attached"));
    });
    let [buffer, _other] = buffers.lend().expect("nothing else is lent");
    pipe.attach(buffer);
    pipe.grant(UNLIMITED);
    bench.measure("pipe: fill and drain by halves, compacting", |_| {
        let room = pipe.room().len();
        pipe.filled(room, Time::START);
        let half = pipe.cleared().len() / 2;
        pipe.drained(black_box(half), Time::START);
    });
}

/// Networks in a file, and clients in them and in none of them.
fn access(bench: &Bench) {
    const CLIENTS: usize = 4_096;
    type Make = fn(u64, u64) -> IpAddr;
    let v4: Make = |network, host| Ipv4Addr::from_bits((network as u32) << 8 | host as u32 & 0xff).into();
    let v6: Make = |network, host| Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(host)).into();
    for (family, prefix, make) in [("IPv4", 24, v4), ("IPv6", 64, v6)] {
        for count in [10, 1_000, 100_000] {
            let mut rng = Rng::new(count as u64);
            let networks: Vec<u64> = (0..count).map(|_| rng.next_u64()).collect();
            let file: String = networks.iter().map(|&network| format!("{}/{prefix}\n", make(network, 0))).collect();
            let text = "listeners: [{ name: l, listen: 127.0.0.1:80, pool: p, access: \
                        { rules: [deny: { file: f }], default: allow } }]\npools: { p: { backends: [127.0.0.1:1] } }\n";
            let config = config::parse_with("f", text, &|_, _| Ok(file.clone().into_bytes())).expect("it is right");
            let access = config.listeners[0].access.as_ref().expect("there is one");
            for (whether, holds) in [("in one", true), ("in none", false)] {
                let mut some = || match holds {
                    true => make(networks[rng.below(count as u64) as usize], rng.next_u64()),
                    false => make(rng.next_u64(), rng.next_u64()),
                };
                let clients: Vec<IpAddr> = std::iter::repeat_with(&mut some)
                    .filter(|&client| access.denied(client).is_some() == holds)
                    .take(CLIENTS)
                    .collect();
                bench.measure(&format!("access: {count} networks of {family}, {whether}"), |step| {
                    black_box(access.denied(black_box(clients[step as usize % CLIENTS])));
                });
            }
        }
    }
}

/// One client comes and one goes, while there are two on each backend.
fn picking(bench: &Bench) {
    let hash = |load_factor| config::Balance::Hash(config::HashBalance { load_factor, ..Default::default() });
    let algorithms = [
        ("round_robin", config::Balance::RoundRobin),
        ("least_connections", config::Balance::LeastConnections),
        ("random", config::Balance::Random),
        ("hash", hash(None)),
        ("hash, load_factor 1.25", hash(Some(125))),
        ("first", config::Balance::First),
    ];
    for (name, balance) in algorithms {
        for count in [10, 1_000, 10_000] {
            let mut pools = Pools::new(&[config::Pool { balance: balance.clone(), ..pool(count) }], Time::START);
            let (mut rng, mut leases) = (Rng::new(1), VecDeque::new());
            let mut pick = |pools: &mut Pools| {
                let ask = Ask { hash: Some(rng.next_u64()), ..Ask::any(0) };
                match pools.pick(&ask, Time::START) {
                    Picked::Lease(lease) => lease,
                    other => panic!("all backends are up: {other:?}"),
                }
            };
            leases.extend((0..2 * count).map(|_| pick(&mut pools)));
            bench.measure(&format!("{name}: pick and release among {count}"), |_| {
                leases.push_back(pick(&mut pools));
                let lease = leases.pop_front().expect("one was put there");
                pools.release(black_box(lease), Outcome::Success, Time::START);
            });
            leases.into_iter().for_each(|lease| pools.release(lease, Outcome::Neutral, Time::START));
        }
    }
    let mut pools = Pools::new(&[pool(1_000)], Time::START);
    let tried: Vec<_> = pools.ids().take(2).collect();
    bench.measure("pick and release among 1000, two tried", |_| {
        let lease = pools.lend(0, Key::None, &tried, Time::START).expect("others are up");
        pools.release(black_box(lease), Outcome::Success, Time::START);
    });
}

/// Clients who come back, and clients who are new, each known by its address.
fn bindings(bench: &Bench) {
    const TTL: Duration = Duration::from_secs(3_600);
    for clients in [2_048, 100_000, 1_000_000] {
        let mark = config::affinity::Mark::Source { prefix_v4: 32, prefix_v6: 128 };
        let failback = config::affinity::Failback::Stay;
        let table = config::affinity::Table { mark, ttl: TTL, entries_max: clients as usize, failback };
        let pool = config::Pool { affinity: Some(config::Affinity::Table(table)), ..pool(10) };
        let (mut pools, keys, mut rng) = (Pools::new(&[pool], Time::START), Keys::default(), Rng::new(1));
        let mut come = |client: u64| {
            let key = keys.of_network(Ipv4Addr::from_bits(client as u32).into(), 32, 128);
            let lease = pools.lend(0, key, &[], Time::START).expect("all backends are up");
            pools.release(black_box(lease), Outcome::Success, Time::START);
        };
        (0..clients).for_each(&mut come);
        bench.measure(&format!("tracking: one of {clients} clients returns"), |_| come(rng.below(clients)));
        let mut next = clients;
        bench.measure(&format!("tracking: a new one in place of the oldest of {clients}"), |_| {
            come(next);
            next += 1;
        });
    }
}

/// A pool of `count` backends with weights from 1 to 8.
fn pool(count: u32) -> config::Pool {
    let backend = |position: u32| config::Backend {
        name: position.to_string(),
        host: "127.0.0.1".to_owned(),
        port: 80,
        weight: position % 8 + 1,
        ..config::Backend::default()
    };
    config::Pool { backends: (0..count).map(backend).collect(), ..config::Pool::default() }
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
