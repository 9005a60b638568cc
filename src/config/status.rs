//! Statuses of responses, as settings list them: one by one or in ranges.

use std::ops::RangeInclusive;

use serde_yaml::Value;

use super::word::{found, words};

/// The statuses of final responses (RFC 9110 section 15).
const FINAL: RangeInclusive<u16> = 200..=599;
const STATUS_ALLOWED: &str = "a status from 200 to 599, or a range of them such as 502-504";

words! {
    /// A status, or a range of them.
    StatusRange(RangeInclusive<u16>) = |value| found(value, STATUS_ALLOWED, range(value)), |range| {
        match range.start() == range.end() {
            true => (*range.start()).into(),
            false => format!("{}-{}", range.start(), range.end()).into(),
        }
    };
}

/// Whether one of the ranges has this status.
pub fn includes(ranges: &[RangeInclusive<u16>], status: u16) -> bool {
    ranges.iter().any(|range| range.contains(&status))
}

fn range(value: &Value) -> Option<RangeInclusive<u16>> {
    let single = value.as_u64().and_then(|status| u16::try_from(status).ok());
    let (first, last) = match single {
        Some(status) => (status, status),
        None => value.as_str()?.split_once('-').and_then(|(first, last)| Some((status(first)?, status(last)?)))?,
    };
    (FINAL.contains(&first) && FINAL.contains(&last) && first <= last).then_some(first..=last)
}

fn status(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::word::{Several, Word};
    use super::*;

    fn read(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
        Several::<StatusRange>::read(&serde_yaml::from_str(text).expect("it is YAML"))
    }

    #[test]
    fn statuses_stand_alone_or_in_ranges() {
        let ranges = read("[500, 502-504, 401 - 403]").expect("it is right");
        let included: Vec<u16> = (100..600).filter(|status| includes(&ranges, *status)).collect();
        assert_eq!(included, [401, 402, 403, 500, 502, 503, 504]);
        assert_eq!(read("503"), Ok(vec![503..=503]));
        assert!(!includes(&[], 500));
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        for text in ["[200]", "[200-399, 599]", "[]"] {
            let ranges = read(text).expect(text);
            assert_eq!(Several::<StatusRange>::read(&Several::<StatusRange>::write(&ranges)), Ok(ranges), "{text}");
        }
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in ["199", "600", "504-502", "5xx", "-1", "500-", "500-600", "'500'", "502.5", "65736", "5 00", "{}"] {
            let message = read(text).expect_err(text);
            assert!(message.starts_with("must be a status from 200 to 599, or a range"), "{text}: {message}");
        }
    }
}
