//! Affinity: who goes back to where.
//!
//! A client is known by a [`Key`]. Either that names a backend, for it came in a cookie that does; or it is the hash of
//! what the client sent, and the table of its pool knows the backend, until that goes down: a binding of the time before
//! an outage is void, and nobody has to look for such bindings. A table never grows beyond its limit, whatever clients
//! make up. Nothing here tells why a backend is up or down.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::recent::Recent;
use crate::base::time::Time;

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
pub struct Bindings(Recent<u64, Binding>);

/// To which backend a client is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its position.
    pub backend: u16,
    /// After which outage of that backend it was made; it is void after another one.
    pub outages: u16,
}

impl Bindings {
    /// Nobody is bound. At most so many will be, and each until it has not come for `ttl`.
    pub fn new(entries_max: usize, ttl: Duration) -> Bindings {
        Bindings(Recent::with_ttl(entries_max, ttl))
    }

    /// Where the client with this hash is bound to; it came.
    pub fn find(&mut self, hash: u64, now: Time) -> Option<Binding> {
        self.0.get(&hash, now).copied()
    }

    /// Binds the client with this hash, wherever it was bound to before.
    pub fn bind(&mut self, hash: u64, binding: Binding, now: Time) {
        self.0.insert(hash, binding, now);
    }
}

#[cfg(test)]
mod tests {
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

    /// Pools with a table under random use, beside what is known of it from outside.
    struct Simulation {
        rng: Rng,
        now: Time,
        pools: Pools,
        backends: u64,
        entries_max: usize,
        /// Who is bound, in the order of their last visits: hash, backend, outage, visit.
        bound: Vec<(u64, BackendId, usize, Time)>,
        outages: Vec<usize>,
    }

    impl Simulation {
        fn new(seed: u64) -> Simulation {
            let mut rng = Rng::new(seed);
            let backends = 1 + rng.below(5);
            let names: Vec<String> = (0..backends).map(|n| format!("b:{}", n + 1)).collect();
            let mut config = config::quick_start(config::ProtocolName::Http, "1", &names).expect("it is right");
            let entries_max = 1 + rng.below(8) as usize;
            let mark = config::affinity::Mark::BasicAuth;
            let table = config::affinity::Table { mark, ttl: TTL, entries_max };
            config.pools[0].affinity = Some(config::Affinity::Table(table));
            config.pools[0].server_retry = 1 + rng.below(2) as u32;
            let outages = vec![0; backends as usize];
            let pools = Pools::new(&config.pools, Time::START);
            Simulation { rng, now: Time::START, pools, backends, entries_max, bound: Vec::new(), outages }
        }

        fn some_backend(&mut self) -> BackendId {
            BackendId::new(0, self.rng.below(self.backends) as u16)
        }

        fn bind(&mut self, hash: u64, backend: BackendId) {
            self.bound.retain(|entry| entry.0 != hash);
            self.bound.push((hash, backend, self.outages[backend.backend()], self.now));
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
            self.bound.retain(|entry| now.since(entry.3) < TTL);
            let known = self.bound.iter().find(|entry| entry.0 == hash).copied();
            let serves = |backend: BackendId| self.pools.health(backend) == State::Up && !tried.contains(&backend);
            let expected = known.filter(|entry| entry.2 == self.outages[entry.1.backend()] && serves(entry.1));
            let picked = self.pools.lend(0, Key::Bound(hash), &tried, now);
            let Some(lease) = picked else {
                assert!(expected.is_none(), "{expected:?} was not found");
                // Nobody serves it, but it came.
                known.into_iter().for_each(|entry| {
                    self.bound.retain(|other| other.0 != hash);
                    self.bound.push((entry.0, entry.1, entry.2, now));
                });
                return;
            };
            let backend = lease.backend();
            assert!(expected.is_none_or(|entry| entry.1 == backend), "{expected:?}, but {backend:?} was picked");
            self.bind(hash, backend);
            if self.rng.chance(1, 4) {
                let other = self.rng.below(10);
                self.pools.bind(&lease, Key::Bound(other), now);
                self.bind(other, backend);
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
        let mut simulation = Simulation::new(0);
        let [first, second] = [0, 1].map(|backend| BackendId::new(0, backend));
        let pools = &mut simulation.pools;
        let pick = |pools: &mut Pools, key| {
            let lease = pools.lend(0, key, &[], Time::START).expect("somebody is up");
            let backend = lease.backend();
            pools.release(lease, Outcome::Success, Time::START);
            backend
        };
        let key = Key::Bound(1);
        let home = pick(pools, key);
        while pools.health(home) == State::Up {
            pools.observe(home, Outcome::Failure(Failure::Refused), Time::START);
        }
        let refuge = pick(pools, key);
        assert_ne!(refuge, home);
        assert!(pools.begin_trial(home, Time::START));
        pools.end_trial(home, Ok(()), Time::START);
        assert!((0..9).all(|_| pick(pools, key) == refuge));
        // A cookie that names it leads back at once, and one that names nobody leads to anybody.
        assert!((0..9).all(|_| pick(pools, Key::Backend(home.backend() as u16)) == home));
        let anybody: Vec<_> = (0..9).map(|_| pick(pools, Key::Backend(9))).collect();
        assert!([first, second].iter().all(|backend| anybody.contains(backend)), "{anybody:?}");
    }

    #[test]
    fn a_binding_of_the_time_before_an_outage_is_void() {
        let Simulation { mut pools, .. } = Simulation::new(0);
        let (now, home) = (Time::START, BackendId::new(0, 0));
        let serve = |pools: &mut Pools, key| {
            let lease = pools.lend(0, key, &[], now).expect("somebody is up");
            pools.bind(&lease, Key::Bound(1), now);
            let backend = lease.backend();
            pools.release(lease, Outcome::Success, now);
            backend
        };
        let mut after = Vec::new();
        for others in 0..4 {
            assert_eq!(serve(&mut pools, Key::Backend(0)), home);
            while pools.health(home) == State::Up {
                pools.observe(home, Outcome::Failure(Failure::Refused), now);
            }
            assert!(pools.begin_trial(home, now));
            pools.end_trial(home, Ok(()), now);
            for _ in 0..others {
                let lease = pools.lend(0, Key::None, &[], now).expect("somebody is up");
                pools.release(lease, Outcome::Success, now);
            }
            after.push(serve(&mut pools, Key::Bound(1)));
            assert_eq!(serve(&mut pools, Key::Bound(1)), after[others], "it is bound anew");
        }
        assert!(after.iter().any(|&backend| backend != home), "it was led back");
    }

    #[test]
    fn a_cookie_does_not_send_clients_to_a_backend_that_is_on_trial_and_busy() {
        let mut simulation = Simulation::new(0);
        let (id, now, pools) = (BackendId::new(0, 0), Time::START, &mut simulation.pools);
        while pools.health(id) == State::Up {
            pools.observe(id, Outcome::Failure(Failure::Refused), now);
        }
        assert!(pools.begin_trial(id, now));
        pools.end_trial(id, Ok(()), now);
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
