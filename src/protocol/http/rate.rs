//! How often each client may ask: a bucket of tokens for every address, in a table with a limit.
//!
//! A client whose bucket fell out of the table has a full one again, as has one that was never seen.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::network::network_of;
use crate::base::recent::Recent;
use crate::base::time::Time;
use crate::config::RateLimit;

/// The most clients that a limit remembers: about 6 MiB of them.
const CLIENTS_MAX: usize = 65_536;

/// A rate limit with the buckets of its clients.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    clients: Recent<u128, Bucket>,
}

/// The limit in whole numbers, so that nothing is ever rounded: a token is worth as many drops as the period has
/// microseconds, and as many drops come in each microsecond as requests in a period.
#[derive(Clone, Copy, Debug)]
struct Rate {
    drops_each_token: u64,
    drops_each_microsecond: u64,
    drops_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    drops: u64,
    filled: Time,
}

impl Buckets {
    /// No client was seen yet.
    pub fn new(limit: &RateLimit) -> Buckets {
        let drops_each_token = limit.period.as_micros() as u64;
        let rate = Rate {
            drops_each_token,
            drops_each_microsecond: u64::from(limit.requests),
            // The longest period, 720 hours, times the largest burst fits.
            drops_max: drops_each_token.saturating_mul(u64::from(limit.burst)),
        };
        // What is not used for so long is full, as one that is not there.
        let ttl = Duration::from_micros(rate.drops_max.div_ceil(rate.drops_each_microsecond));
        Buckets { rate, clients: Recent::with_ttl(CLIENTS_MAX, ttl) }
    }

    /// Takes a token of this client's. Otherwise tells after how many seconds there will be one, at least 1.
    pub fn take(&mut self, client: IpAddr, now: Time) -> Result<(), u64> {
        let key = network_of(client);
        if let Some(bucket) = self.clients.get(&key, now) {
            return bucket.take(&self.rate, now);
        }
        let mut bucket = Bucket { drops: self.rate.drops_max, filled: now };
        let taken = bucket.take(&self.rate, now);
        self.clients.insert(key, bucket, now);
        taken
    }
}

impl Bucket {
    fn take(&mut self, rate: &Rate, now: Time) -> Result<(), u64> {
        let elapsed = now.since(self.filled).as_micros() as u64;
        let fresh = elapsed.saturating_mul(rate.drops_each_microsecond);
        self.drops = self.drops.saturating_add(fresh).min(rate.drops_max);
        self.filled = now;
        match self.drops.checked_sub(rate.drops_each_token) {
            Some(left) => {
                self.drops = left;
                Ok(())
            }
            None => {
                let missing = rate.drops_each_token - self.drops;
                Err(missing.div_ceil(rate.drops_each_microsecond).div_ceil(1_000_000))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn buckets(requests: u32, period: Duration, burst: u32) -> Buckets {
        Buckets::new(&RateLimit { requests, period, burst })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut buckets = buckets(2, Duration::from_secs(1), 3);
        let mut take = |millis| buckets.take(CLIENT, Time::from_millis(millis));
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(()), Err(1)]);
        assert_eq!([take(499), take(500), take(999), take(1_000)], [Err(1), Ok(()), Err(1), Ok(())]);
        // A long rest fills it to the burst and not beyond.
        assert_eq!([take(90_000), take(90_000), take(90_000), take(90_000)], [Ok(()), Ok(()), Ok(()), Err(1)]);
    }

    #[test]
    fn the_client_is_told_when_to_come_again() {
        let mut buckets = buckets(1, Duration::from_secs(60), 1);
        let mut take = |millis| buckets.take(CLIENT, Time::from_millis(millis));
        assert_eq!([take(0), take(0), take(1), take(58_999), take(59_001)], [Ok(()), Err(60), Err(60), Err(2), Err(1)]);
        assert_eq!(take(60_000), Ok(()));
    }

    #[test]
    fn clients_do_not_share_a_bucket_but_a_network_of_ipv6_does() {
        let mut buckets = buckets(1, Duration::from_secs(1), 1);
        let mut take = |client: &str| buckets.take(client.parse().unwrap(), Time::START).is_ok();
        assert!(take("192.0.2.1") && take("192.0.2.2") && !take("::ffff:192.0.2.1"));
        assert!(take("2001:db8::1") && !take("2001:db8::ffff:1") && take("2001:db8:0:1::1"));
    }

    #[test]
    fn a_client_that_was_forgotten_starts_full() {
        let mut buckets = buckets(1, Duration::from_secs(1), 1);
        assert!(buckets.take(CLIENT, Time::START).is_ok() && buckets.take(CLIENT, Time::START).is_err());
        for number in 0..CLIENTS_MAX as u32 {
            assert!(buckets.take(std::net::Ipv4Addr::from_bits(number).into(), Time::START).is_ok());
        }
        assert_eq!(buckets.clients.len(), CLIENTS_MAX);
        assert!(buckets.take(CLIENT, Time::START).is_ok());
    }

    /// However a client asks: it never gets more than the limit allows, and one that is refused and waits as it was told
    /// is served.
    #[test]
    fn no_client_gets_more_or_less_than_the_limit_for_any_seed() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let requests = 1 + rng.below(200);
            let period = Duration::from_micros(1_000 + rng.below(3_000_000));
            let burst = 1 + rng.below(50);
            let mut buckets = buckets(requests as u32, period, burst as u32);
            let (mut now, mut granted) = (Time::START + Duration::from_micros(rng.below(1 << 40)), 0);
            let start = now;
            for step in 0..500 {
                let verdict = buckets.take(CLIENT, now);
                granted += u64::from(verdict.is_ok());
                let elapsed = now.since(start).as_micros() as u64;
                let most = burst + elapsed * requests / period.as_micros() as u64;
                assert!(granted <= most, "seed {seed}, step {step}: {granted} of {most}");
                now = now + Duration::from_micros(rng.below(3 * period.as_micros() as u64 / requests + 2));
                if let (Err(seconds), true) = (verdict, rng.chance(1, 4)) {
                    now = now + Duration::from_secs(seconds);
                    assert!(buckets.take(CLIENT, now).is_ok(), "seed {seed}, step {step}: told to wait {seconds}s");
                    granted += 1;
                }
            }
            // Asked as often as can be, it grants all that the limit allows.
            let begin = now + Duration::from_secs(3_600);
            now = begin;
            let mut granted = 0;
            while now < begin + period * 3 {
                while buckets.take(CLIENT, now).is_ok() {
                    granted += 1;
                }
                now = now + Duration::from_micros(period.as_micros() as u64 / requests / 3 + 1);
            }
            let all = burst + 3 * requests;
            // A bucket for one token runs over while nobody asks.
            assert!(burst == 1 || (all - 2..=all).contains(&granted), "seed {seed}: {granted} of {all}");
        }
    }
}
