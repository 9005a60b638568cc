//! How often each client may ask: a bucket of tokens for every address, in a table with a limit.
//!
//! A client whose bucket fell out of the table has a full one again, as has one that was never seen.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::bucket::{Bucket, Rate};
use crate::base::network::network_of;
use crate::base::recent::Recent;
use crate::base::time::Time;
use crate::config::RateLimit;

/// The most buckets of a listener: about 6 MiB of them.
const BUCKETS_MAX: usize = 65_536;

/// The buckets of the clients of a listener, for each of its limits.
#[derive(Debug)]
pub struct Buckets(Recent<(usize, u128), Bucket>);

impl Buckets {
    /// No client was seen yet. These are all limits that there are.
    pub fn new<'a>(limits: impl Iterator<Item = &'a RateLimit>) -> Buckets {
        let ttl = limits.map(|limit| rate(limit).refill()).max();
        Buckets(Recent::with_ttl(BUCKETS_MAX, ttl.unwrap_or_default()))
    }

    /// Takes a token of this client's for the limit of this number. Otherwise tells after how many seconds there will be
    /// one, at least 1.
    pub fn take(&mut self, number: usize, limit: &RateLimit, client: IpAddr, now: Time) -> Result<(), u64> {
        let (key, rate) = ((number, network_of(client)), rate(limit));
        if let Some(bucket) = self.0.get(&key, now) {
            return bucket.take(rate, now).map_err(whole_seconds);
        }
        let mut bucket = Bucket::full(rate, now);
        let taken = bucket.take(rate, now).map_err(whole_seconds);
        self.0.insert(key, bucket, now);
        taken
    }
}

fn rate(limit: &RateLimit) -> Rate {
    Rate::new(limit.requests, limit.period, limit.burst)
}

/// `Retry-After` counts in seconds.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_micros() as u64).div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// One limit with its buckets.
    struct Limited(RateLimit, Buckets);

    impl Limited {
        fn take(&mut self, client: IpAddr, now: Time) -> Result<(), u64> {
            self.1.take(0, &self.0, client, now)
        }
    }

    fn buckets(requests: u32, period: Duration, burst: u32) -> Limited {
        let limit = RateLimit { requests, period, burst };
        Limited(limit, Buckets::new([limit].iter()))
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
    fn limits_do_not_share_a_bucket_and_the_longest_is_remembered() {
        let limit = |seconds| RateLimit { requests: 1, period: Duration::from_secs(seconds), burst: 1 };
        let limits = [limit(1), limit(60)];
        let mut buckets = Buckets::new(limits.iter());
        let mut take = |number: usize, seconds: u64| {
            buckets.take(number, &limits[number], CLIENT, Time::from_millis(1_000 * seconds)).is_ok()
        };
        assert!(take(0, 0) && take(1, 0) && !take(0, 0) && !take(1, 0));
        assert!(take(0, 59) && !take(1, 59) && take(1, 60));
    }

    #[test]
    fn a_client_that_was_forgotten_starts_full() {
        let mut buckets = buckets(1, Duration::from_secs(1), 1);
        assert!(buckets.take(CLIENT, Time::START).is_ok() && buckets.take(CLIENT, Time::START).is_err());
        for number in 0..BUCKETS_MAX as u32 {
            assert!(buckets.take(std::net::Ipv4Addr::from_bits(number).into(), Time::START).is_ok());
        }
        assert_eq!(buckets.1.0.len(), BUCKETS_MAX);
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
