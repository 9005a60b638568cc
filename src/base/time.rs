//! `Time`: the moments by which timeouts are counted.
//!
//! A `Time` is microseconds on the monotonic clock since the process's own start. Only the server reads that
//! clock, once a turn; every other room takes the moment as an argument, so that a test can make time up.

use std::ops::Add;
use std::time::Duration;

/// A moment: microseconds since the process's own start, on a clock that never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the process.
    pub const START: Time = Time(0);
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The moment `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// The moment `millis` milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1_000))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// The moment `duration` later; `NEVER` where that does not fit.
    fn add(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_does_not_fit_ends_at_never() {
        assert_eq!(Time::from_micros(1) + Duration::MAX, Time::NEVER);
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        assert_eq!(Time::START.since(Time::from_millis(5)), Duration::ZERO);
        assert_eq!(Time::from_millis(7).since(Time::from_millis(5)), Duration::from_millis(2));
    }
}
