//! Affinity: who goes back to where.
//!
//! A client is known by a [`Key`]. Either that names a backend, for it came in a cookie that does; or it is the hash of
//! what the client sent, and the table of its pool knows the backend, until that goes down: a binding of the time before
//! an outage is void, and nobody has to look for such bindings. A table never grows beyond its limit, whatever clients
//! make up. Nothing here tells why a backend is up or down.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::base::recent::Recent;
use crate::base::time::Time;
use crate::config::affinity::{Failback, Table};

/// What a client is known by to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// Nothing.
    #[default]
    None,
    /// It names the backend at this position.
    Backend(u16),
    /// It sent something with this hash.
    Bound(u64),
}

/// Makes keys of what clients send, with a secret of this process's: nobody can look for two that are alike.
#[derive(Clone, Debug, Default)]
pub struct Keys(RandomState);

impl Keys {
    /// The key of some bytes; none are no key.
    pub fn of(&self, bytes: &[u8]) -> Key {
        if bytes.is_empty() { Key::None } else { Key::Bound(self.0.hash_one(bytes)) }
    }

    /// The key of the network that an address is in, as so many bits of it say. An IPv4 address is one also where it came
    /// as an IPv6 address.
    pub fn of_network(&self, address: IpAddr, prefix_v4: u32, prefix_v6: u32) -> Key {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => {
                (4, u128::from(address.to_bits() & u32::MAX.checked_shl(32 - prefix_v4).unwrap_or(0)))
            }
            IpAddr::V6(address) => (6, address.to_bits() & u128::MAX.checked_shl(128 - prefix_v6).unwrap_or(0)),
        };
        Key::Bound(self.0.hash_one(network))
    }
}

/// The clients of a pool that are bound to its backends.
#[derive(Debug)]
pub struct Bindings {
    clients: Recent<u64, Entry>,
    failback: Failback,
}

/// To which backend a client is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its position.
    pub backend: u16,
    /// After which outage of that backend it was made; it is void after another one.
    pub outages: u16,
}

#[derive(Debug)]
struct Entry {
    binding: Binding,
    /// Where it was bound to first: no outage makes that void.
    home: u16,
}

impl Bindings {
    /// Nobody is bound. What the table says bounds how many will be, and for how long.
    pub fn new(table: &Table) -> Bindings {
        Bindings { clients: Recent::with_ttl(table.entries_max, table.ttl), failback: table.failback }
    }

    /// Where the client with this hash is bound to, and the backend that it goes to before whenever that serves, if it is
    /// to return; it came.
    pub fn find(&mut self, hash: u64, now: Time) -> Option<(Binding, Option<u16>)> {
        let Entry { binding, home } = self.clients.get(&hash, now)?;
        Some((*binding, (self.failback == Failback::Return).then_some(*home)))
    }

    /// Binds the client with this hash to the backend that was picked for it. There it is at home, unless it was bound
    /// already.
    pub fn bind(&mut self, hash: u64, binding: Binding, now: Time) {
        match self.clients.get(&hash, now) {
            Some(entry) => entry.binding = binding,
            None => self.clients.insert(hash, Entry { binding, home: binding.backend }, now),
        }
    }

    /// Binds the client with a hash that this backend has given it: what it has there is there and nowhere else.
    pub fn learn(&mut self, hash: u64, binding: Binding, now: Time) {
        match self.clients.get(&hash, now) {
            Some(entry) if entry.binding.backend == binding.backend => entry.binding = binding,
            _ => self.clients.insert(hash, Entry { binding, home: binding.backend }, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{BackendId, Failure, Outcome, Pools, State};
    use super::*;
    use crate::base::rng::Rng;
    use crate::config;

    #[test]
    fn a_key_is_of_the_bits_that_count() {
        let keys = Keys::default();
        let key = |text: &str, v4, v6| keys.of_network(text.parse().unwrap(), v4, v6);
        assert_eq!(key("10.1.2.3", 24, 64), key("10.1.2.250", 24, 64));
        assert_ne!(key("10.1.2.3", 24, 64), key("10.1.3.3", 24, 64));
        assert_ne!(key("10.1.2.3", 32, 64), key("10.1.2.2", 32, 64));
        assert_eq!(key("::ffff:10.1.2.3", 32, 64), key("10.1.2.3", 32, 64));
        assert_eq!(key("2001:db8::1", 32, 64), key("2001:db8::ffff:1", 32, 64));
        assert_ne!(key("2001:db8::1", 32, 128), key("2001:db8::2", 32, 128));
        assert_ne!(key("2001:db8:0:1::", 32, 64), key("2001:db8::", 32, 64));
        assert_eq!(key("2001:db8::", 32, 0), key("fe80::", 32, 0));
        assert_ne!(key("0.0.0.0", 0, 0), key("::", 0, 0));
    }

    const TTL: Duration = Duration::from_millis(400);

    fn source(failback: Failback) -> Table {
        let mark = config::affinity::Mark::Source { prefix_v4: 32, prefix_v6: 128 };
        Table { mark, ttl: TTL, entries_max: 2_048, failback }
    }

    /// A pool of so many backends, the first failure of each being one too many.
    fn pools(backends: usize, table: Table) -> Pools {
        let names: Vec<String> = (0..backends).map(|n| format!("b:{}", n + 1)).collect();
        let mut config = config::quick_start(config::ProtocolName::Http, "1", &names).expect("it is right");
        config.pools[0].affinity = Some(config::Affinity::Table(table));
        config.pools[0].server_retry = 1;
        Pools::new(&config.pools, Time::START)
    }

    /// Who serves a client with this key.
    fn serve(pools: &mut Pools, key: Key, now: Time) -> usize {
        let lease = pools.lend(0, key, &[], now).expect("somebody is up");
        let backend = lease.backend().backend();
        pools.release(lease, Outcome::Success, now);
        backend
    }

    fn take_down(pools: &mut Pools, backend: usize) {
        pools.observe(BackendId::new(0, backend as u16), Outcome::Failure(Failure::Refused), Time::START);
    }

    fn bring_back(pools: &mut Pools, backend: usize) {
        let id = BackendId::new(0, backend as u16);
        assert!(pools.begin_trial(id, Time::START));
        pools.end_trial(id, Ok(()), Time::START);
    }

    /// Pools with a table under random use, beside what is known of it from outside.
    struct Simulation {
        rng: Rng,
        now: Time,
        pools: Pools,
        backends: u64,
        entries_max: usize,
        failback: Failback,
        /// Who is bound, in the order of their last visits.
        bound: Vec<Bound>,
        outages: Vec<usize>,
    }

    #[derive(Clone, Copy, Debug)]
    struct Bound {
        hash: u64,
        backend: BackendId,
        outage: usize,
        home: BackendId,
        visit: Time,
    }

    impl Simulation {
        fn new(seed: u64) -> Simulation {
            let mut rng = Rng::new(seed);
            let backends = 1 + rng.below(5);
            let entries_max = 1 + rng.below(8) as usize;
            let failback = if rng.chance(1, 2) { Failback::Return } else { Failback::Stay };
            let pools = pools(backends as usize, Table { entries_max, ..source(failback) });
            let outages = vec![0; backends as usize];
            Simulation { rng, now: Time::START, pools, backends, entries_max, failback, bound: Vec::new(), outages }
        }

        fn some_backend(&mut self) -> BackendId {
            BackendId::new(0, self.rng.below(self.backends) as u16)
        }

        fn bind(&mut self, hash: u64, backend: BackendId, home: BackendId) {
            self.bound.retain(|entry| entry.hash != hash);
            let outage = self.outages[backend.backend()];
            self.bound.push(Bound { hash, backend, outage, home, visit: self.now });
            self.bound.drain(..self.bound.len().saturating_sub(self.entries_max));
        }

        fn step(&mut self) {
            self.now = self.now + Duration::from_millis(self.rng.below(60));
            let now = self.now;
            let (backend, hash) = (self.some_backend(), self.rng.below(10));
            match self.rng.below(12) {
                0 => self.pools.observe(backend, Outcome::Failure(Failure::Refused), now),
                1 if self.pools.begin_trial(backend, now) => self.pools.end_trial(backend, Ok(()), now),
                _ => self.visit(hash, backend),
            }
            while let Some(transition) = self.pools.next_transition() {
                self.outages[transition.backend.backend()] += usize::from(transition.from == State::Up);
            }
        }

        /// A client comes that cannot be served by one of the backends, and may be told a new key.
        fn visit(&mut self, hash: u64, tried: BackendId) {
            let (now, tried) = (self.now, if self.rng.chance(1, 4) { vec![tried] } else { vec![] });
            self.bound.retain(|entry| now.since(entry.visit) < TTL);
            let known = self.bound.iter().find(|entry| entry.hash == hash).copied();
            let serves = |backend: &BackendId| self.pools.health(*backend) == State::Up && !tried.contains(backend);
            let home = known.filter(|_| self.failback == Failback::Return).map(|entry| entry.home);
            let last = known.filter(|entry| entry.outage == self.outages[entry.backend.backend()]);
            let expected = home.filter(serves).or(last.map(|entry| entry.backend).filter(serves));
            let picked = self.pools.lend(0, Key::Bound(hash), &tried, now);
            let Some(lease) = picked else {
                assert!(expected.is_none(), "{expected:?} was not found");
                // Nobody serves it, but it came.
                known.into_iter().for_each(|entry| {
                    self.bound.retain(|other| other.hash != hash);
                    self.bound.push(Bound { visit: now, ..entry });
                });
                return;
            };
            let backend = lease.backend();
            assert!(expected.is_none_or(|expected| expected == backend), "{expected:?}, but {backend:?} was picked");
            self.bind(hash, backend, known.map_or(backend, |entry| entry.home));
            if self.rng.chance(1, 4) {
                let other = self.rng.below(10);
                self.pools.bind(&lease, Key::Bound(other), now);
                let same = self.bound.iter().find(|entry| entry.hash == other && entry.backend == backend);
                self.bind(other, backend, same.map_or(backend, |entry| entry.home));
            }
            self.pools.release(lease, Outcome::Success, now);
        }
    }

    #[test]
    fn whoever_is_bound_goes_back_until_the_backend_goes_down_for_any_seed() {
        for seed in 0..300 {
            let run = || {
                let mut simulation = Simulation::new(seed);
                (0..1_000).for_each(|_| simulation.step());
            };
            assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}: see above");
        }
    }

    #[test]
    fn a_client_that_failed_over_stays_where_it_is_when_its_first_backend_is_back() {
        let mut pools = pools(2, source(Failback::Stay));
        let (key, now) = (Key::Bound(1), Time::START);
        let home = serve(&mut pools, key, now);
        take_down(&mut pools, home);
        let refuge = serve(&mut pools, key, now);
        assert_ne!(refuge, home);
        bring_back(&mut pools, home);
        assert!((0..9).all(|_| serve(&mut pools, key, now) == refuge));
        // A cookie that names it leads back at once, and one that names nobody leads to anybody.
        assert!((0..9).all(|_| serve(&mut pools, Key::Backend(home as u16), now) == home));
        let anybody: Vec<_> = (0..9).map(|_| serve(&mut pools, Key::Backend(9), now)).collect();
        assert!([0, 1].iter().all(|backend| anybody.contains(backend)), "{anybody:?}");
    }

    #[test]
    fn a_client_that_is_to_return_does_so_as_soon_as_its_first_backend_serves() {
        let mut pools = pools(4, source(Failback::Return));
        let (key, now) = (Key::Bound(1), Time::START);
        let home = serve(&mut pools, key, now);
        take_down(&mut pools, home);
        let refuge = serve(&mut pools, key, now);
        assert!((0..9).all(|_| serve(&mut pools, key, now) == refuge), "meanwhile it is bound there");
        take_down(&mut pools, refuge);
        let second = serve(&mut pools, key, now);
        bring_back(&mut pools, refuge);
        assert!((0..9).all(|_| serve(&mut pools, key, now) == second), "only its first backend is its home");
        bring_back(&mut pools, home);
        // Somebody else finds out whether it serves.
        let [trial, other] = [Key::Backend(home as u16), key].map(|key| pools.lend(0, key, &[], now));
        assert_eq!(
            [&trial, &other].map(|lease| lease.as_ref().map(|lease| lease.backend().backend())),
            [Some(home), Some(second)]
        );
        for lease in [trial, other].into_iter().flatten() {
            pools.release(lease, Outcome::Success, now);
        }
        assert!((0..9).all(|_| serve(&mut pools, key, now) == home));
    }

    #[test]
    fn whoever_was_given_its_key_elsewhere_has_its_home_there() {
        let mut pools = pools(3, source(Failback::Return));
        let now = Time::START;
        let learn = |pools: &mut Pools, backend: usize| {
            let lease = pools.lend(0, Key::Backend(backend as u16), &[], now).expect("it is up");
            pools.bind(&lease, Key::Bound(1), now);
            pools.release(lease, Outcome::Success, now);
        };
        learn(&mut pools, 2);
        take_down(&mut pools, 2);
        assert_ne!(serve(&mut pools, Key::Bound(1), now), 2);
        let refuge = serve(&mut pools, Key::Bound(1), now);
        learn(&mut pools, refuge); // which sets the same cookie with each answer
        bring_back(&mut pools, 2);
        assert_eq!(serve(&mut pools, Key::Bound(1), now), 2);
        learn(&mut pools, refuge); // a new session
        assert!((0..9).all(|_| serve(&mut pools, Key::Bound(1), now) == refuge));
    }

    #[test]
    fn the_clients_of_a_backend_that_dies_spread_over_all_that_live() {
        let mut pools = pools(8, source(Failback::Stay));
        let now = Time::START;
        let at = |pools: &mut Pools| (0..1_000).map(|hash| serve(pools, Key::Bound(hash), now)).collect::<Vec<_>>();
        let before = at(&mut pools);
        take_down(&mut pools, 3);
        let after = at(&mut pools);
        let mut moved = [0; 8];
        for (from, to) in before.iter().zip(&after) {
            if from == to {
                continue;
            }
            assert_eq!(*from, 3, "only its own clients move");
            moved[*to] += 1;
        }
        assert_eq!((moved[3], moved.iter().sum::<i32>()), (0, 125));
        assert!(moved.iter().enumerate().all(|(to, count)| to == 3 || (17..=18).contains(count)), "{moved:?}");
    }

    #[test]
    fn a_client_that_returns_after_its_ttl_is_forgotten_even_if_nobody_else_came() {
        let mut pools = pools(2, source(Failback::Stay));
        let mut now = Time::START;
        let home = serve(&mut pools, Key::Bound(1), now);
        for _ in 0..9 {
            now = now + (TTL - Duration::from_millis(1));
            assert_eq!(serve(&mut pools, Key::Bound(1), now), home, "each visit counts");
        }
        now = now + TTL;
        assert_ne!(serve(&mut pools, Key::Bound(1), now), home, "it is the other one's turn");
    }

    #[test]
    fn a_table_remembers_those_that_came_last_and_no_more() {
        let mut bindings = Bindings::new(&Table { entries_max: 100, ..source(Failback::Stay) });
        let to = |backend| Binding { backend, outages: 0 };
        bindings.bind(u64::MAX, to(7), Time::START);
        for hash in 0..10_000 {
            bindings.bind(hash, to(1), Time::START);
            let regular = bindings.find(u64::MAX, Time::START).map(|(binding, _)| binding);
            assert_eq!((regular, bindings.clients.len() <= 100), (Some(to(7)), true), "client {hash}");
        }
        let known = (0..10_000).filter(|hash| bindings.find(*hash, Time::START).is_some());
        assert_eq!(known.collect::<Vec<_>>(), (9_901..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_binding_of_the_time_before_an_outage_is_void() {
        let (mut pools, now, home) = (pools(3, source(Failback::Stay)), Time::START, 0);
        let given = |pools: &mut Pools, key| {
            let lease = pools.lend(0, key, &[], now).expect("somebody is up");
            pools.bind(&lease, Key::Bound(1), now);
            let backend = lease.backend().backend();
            pools.release(lease, Outcome::Success, now);
            backend
        };
        let mut after = Vec::new();
        for others in 0..4 {
            assert_eq!(given(&mut pools, Key::Backend(0)), home);
            take_down(&mut pools, home);
            bring_back(&mut pools, home);
            for _ in 0..others {
                serve(&mut pools, Key::None, now);
            }
            after.push(given(&mut pools, Key::Bound(1)));
            assert_eq!(given(&mut pools, Key::Bound(1)), after[others], "it is bound anew");
        }
        assert!(after.iter().any(|&backend| backend != home), "it was led back");
    }

    #[test]
    fn a_cookie_does_not_send_clients_to_a_backend_that_is_on_trial_and_busy() {
        let (id, now, mut pools) = (BackendId::new(0, 0), Time::START, pools(3, source(Failback::Stay)));
        take_down(&mut pools, 0);
        bring_back(&mut pools, 0);
        let leases: Vec<_> = (0..4).filter_map(|_| pools.lend(0, Key::Backend(0), &[], now)).collect();
        assert_eq!((pools.load(id), leases.len()), (1, 4));
        leases.into_iter().for_each(|lease| pools.release(lease, Outcome::Neutral, now));
    }

    #[test]
    fn nothing_is_no_key_and_each_process_has_its_own() {
        let (keys, others) = (Keys::default(), Keys::default());
        assert_eq!(keys.of(b""), Key::None);
        assert_eq!(keys.of(b"a"), keys.of(b"a"));
        assert_ne!(keys.of(b"a"), keys.of(b"b"));
        assert_ne!(keys.of(b"a"), others.of(b"a"));
    }
}
