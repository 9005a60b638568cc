//! Dates: RFC 3339 for plb's own lines, and the form that web servers use, both in UTC.
//!
//! Times are UTC because a confined daemon has no time zone data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What the clock on the wall shows: the time since 1970-01-01 UTC.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Writes moments; what is the same within a second is made once in that second.
#[derive(Debug, Default)]
pub struct Calendar {
    second: Option<u64>,
    rfc3339: String,
    web: String,
}

impl Calendar {
    /// `2003-02-26T12:34:56.789Z` (RFC 3339).
    pub fn write_rfc3339(&mut self, moment: Duration, out: &mut Vec<u8>) {
        self.turn_to(moment.as_secs());
        let millis = moment.subsec_millis();
        out.extend_from_slice(self.rfc3339.as_bytes());
        out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
        out.push(b'Z');
    }

    /// `26/Feb/2003:12:34:56 +0000`, as web servers write it.
    pub fn write_web(&mut self, moment: Duration, out: &mut Vec<u8>) {
        self.turn_to(moment.as_secs());
        out.extend_from_slice(self.web.as_bytes());
    }

    fn turn_to(&mut self, second: u64) {
        if self.second.replace(second) == Some(second) {
            return;
        }
        let (year, month, day) = civil_date(second / 86_400);
        let time = second % 86_400;
        let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
        self.rfc3339 = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.");
        let name = MONTHS[month as usize - 1];
        self.web = format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
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

    fn texts(seconds: u64) -> [String; 2] {
        let (mut calendar, mut one, mut other) = (Calendar::default(), Vec::new(), Vec::new());
        // Another second was asked for before.
        calendar.turn_to(seconds ^ 1);
        calendar.write_rfc3339(Duration::from_millis(seconds * 1_000 + 7), &mut one);
        calendar.write_web(Duration::from_secs(seconds), &mut other);
        [one, other].map(|text| String::from_utf8(text).expect("it is ASCII"))
    }

    #[test]
    fn a_moment_is_a_utc_date() {
        assert_eq!(texts(0), ["1970-01-01T00:00:00.007Z", "01/Jan/1970:00:00:00 +0000"]);
        assert_eq!(texts(951_782_400), ["2000-02-29T00:00:00.007Z", "29/Feb/2000:00:00:00 +0000"]);
        assert_eq!(texts(1_046_262_896), ["2003-02-26T12:34:56.007Z", "26/Feb/2003:12:34:56 +0000"]);
        assert_eq!(texts(4_107_542_399), ["2100-02-28T23:59:59.007Z", "28/Feb/2100:23:59:59 +0000"]);
        assert_eq!(texts(4_107_542_400), ["2100-03-01T00:00:00.007Z", "01/Mar/2100:00:00:00 +0000"]);
    }
}
