//! The daemon's log: env_logger's lines with a UTC timestamp, on standard error or in a file.
//!
//! Times are UTC because a confined daemon has no time zone data.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use env_logger::{Builder, Target};
use log::{LevelFilter, Log};

use crate::config::LogTarget;

/// Makes the log; `None` is standard error. It is not installed yet.
///
/// # Errors
/// The file cannot be opened for appending.
pub fn build(level: LevelFilter, target: &LogTarget) -> io::Result<impl Log + use<>> {
    let mut builder = Builder::new();
    builder.filter_level(level);
    builder.format(|line, record| writeln!(line, "{} {:5} {}", Stamp::now(), record.level(), record.args()));
    if let LogTarget::File(path) = target {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    Ok(builder.build())
}

/// Installs a log for the whole process, once.
pub fn install(log: impl Log + 'static, level: LevelFilter) {
    if log::set_boxed_logger(Box::new(log)).is_ok() {
        log::set_max_level(level);
    }
}

/// A moment as `2003-02-26T12:34:56.789Z` (RFC 3339).
struct Stamp {
    seconds: u64,
    millis: u32,
}

impl Stamp {
    fn now() -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp { seconds: since.as_secs(), millis: since.subsec_millis() }
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.millis)
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by years that begin in March, so that a leap day ends one.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // 719,468 days before 1970-01-01 is 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_utc_date() {
        let text = |seconds| Stamp { seconds, millis: 7 }.to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(1_046_262_896), "2003-02-26T12:34:56.007Z");
        assert_eq!(text(4_107_542_399), "2100-02-28T23:59:59.007Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.007Z");
    }
}
