//! `Bucket`: tokens that come at a steady rate and are taken one by one.
//!
//! Nothing is ever rounded in anybody's favour: a token is worth as many drops as its period has microseconds, and as many
//! drops come in each microsecond as tokens in a period.

use std::time::Duration;

use super::time::Time;

/// How fast a bucket is filled, and what it holds.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    drops_each_token: u64,
    drops_each_microsecond: u64,
    drops_max: u64,
}

impl Rate {
    /// So many tokens, at least 1, come in each period, and `burst` of them fill the bucket.
    pub fn new(tokens: u32, period: Duration, burst: u32) -> Rate {
        let drops_each_token = period.as_micros() as u64;
        // The longest period, 720 hours, times the largest burst fits.
        let drops_max = drops_each_token.saturating_mul(u64::from(burst));
        Rate { drops_each_token, drops_each_microsecond: u64::from(tokens), drops_max }
    }

    /// How long an empty bucket takes to be full: one that was not used for so long is as good as none.
    pub fn refill(self) -> Duration {
        Duration::from_micros(self.drops_max.div_ceil(self.drops_each_microsecond))
    }
}

/// Tokens, as they were when somebody asked last.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    drops: u64,
    filled: Time,
}

impl Bucket {
    /// One that holds all it can.
    pub fn full(rate: Rate, now: Time) -> Bucket {
        Bucket { drops: rate.drops_max, filled: now }
    }

    /// How long it takes until there is a token; none where there is one.
    pub fn wait(&self, rate: Rate, now: Time) -> Duration {
        let missing = rate.drops_each_token.saturating_sub(self.drops_at(rate, now));
        Duration::from_micros(missing.div_ceil(rate.drops_each_microsecond))
    }

    /// Takes a token, or tells how long it takes until there is one.
    pub fn take(&mut self, rate: Rate, now: Time) -> Result<(), Duration> {
        let wait = self.wait(rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        *self = Bucket { drops: self.drops_at(rate, now) - rate.drops_each_token, filled: now };
        Ok(())
    }

    fn drops_at(&self, rate: Rate, now: Time) -> u64 {
        let elapsed = now.since(self.filled).as_micros() as u64;
        let fresh = elapsed.saturating_mul(rate.drops_each_microsecond);
        self.drops.saturating_add(fresh).min(rate.drops_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_as_long_as_is_told_finds_a_token_and_not_a_microsecond_before() {
        for (tokens, period, burst) in [(1, 1, 1), (3, 1, 1), (7, 10, 4), (1_000_000, 1, 100_000), (1, 3_600, 2)] {
            let rate = Rate::new(tokens, Duration::from_secs(period), burst);
            let mut now = Time::from_millis(5);
            let mut bucket = Bucket::full(rate, now);
            for _ in 0..burst {
                assert_eq!((bucket.wait(rate, now), bucket.take(rate, now)), (Duration::ZERO, Ok(())));
            }
            for step in 0..100 {
                let wait = bucket.take(rate, now).expect_err("it is empty");
                let before = now + (wait - Duration::from_micros(1));
                assert!(bucket.take(rate, before).is_err(), "{tokens} in {period} s, step {step}: too early");
                now = now + wait;
                assert_eq!(bucket.take(rate, now), Ok(()), "{tokens} in {period} s, step {step}");
            }
        }
    }
}
