//! Durations, sizes, addresses, names and levels: what they look like in the file and on the command line.
//!
//! Every function takes text and says in its error what is allowed; the caller adds what was found.

use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::{Account, LogTarget};

/// The longest timeout: 30 days, so that no sum of timeouts comes near an overflow.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The longest name of a listener, pool or backend, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The log levels by name.
pub const LOG_LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
/// What [`log_level`] takes.
pub const LOG_LEVEL_ALLOWED: &str = "error, warn, info, debug, trace or 0 (debug) to 3 (error)";
/// What [`log_target`] takes.
pub const LOG_TARGET_ALLOWED: &str = "a file, -, syslog or udp://HOST:PORT";
/// What [`duration`] takes.
pub const DURATION_ALLOWED: &str = "a duration from 1ms to 720h with its unit (ms, s, m or h), such as 30s";
/// What [`listen_address`] takes.
pub const LISTEN_ALLOWED: &str = "ADDRESS:PORT, such as 127.0.0.1:8080 or \"[::1]:8080\"";
/// What [`host_and_port`] takes.
pub const HOST_ALLOWED: &str =
    "HOST:PORT with a port from 1 to 65535, such as 10.0.0.1:80, app.example:80 or \"[::1]:80\"";
/// What [`is_name`] takes.
pub const NAME_ALLOWED: &str = "1 to 64 letters, digits, '.', '_' or '-'";

/// What the address of a syslog server begins with.
const UDP: &str = "udp://";
/// What [`account`] takes.
pub const ACCOUNT_ALLOWED: &str = "a name or a number from 1 to 4294967294";
/// What [`directory`] takes.
pub const DIRECTORY_ALLOWED: &str = "the absolute path of a directory, without '..' and not '/'";

/// Units of time and their milliseconds, the largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of size and their bytes, the largest first.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A timeout such as `30s`: above zero and at most [`TIMEOUT_MAX`].
pub fn duration(text: &str) -> Option<Duration> {
    let duration = Duration::from_millis(scaled(text, &TIME_UNITS)?);
    (!duration.is_zero() && duration <= TIMEOUT_MAX).then_some(duration)
}

/// A number of bytes with its unit, such as `64KiB`.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZE_UNITS)
}

/// `duration` in its largest whole unit.
pub fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) = largest(millis, &TIME_UNITS).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / scale)
}

/// `bytes` in its largest whole unit; plain where none fits.
pub fn size_text(bytes: u64) -> String {
    let (unit, scale) = largest(bytes, &SIZE_UNITS).unwrap_or(("", 1));
    format!("{}{unit}", bytes / scale)
}

/// A log level: a name, or a number from 0 (most) to 3 (least).
pub fn log_level(text: &str) -> Option<LevelFilter> {
    const NUMBERED: [LevelFilter; 4] = [LevelFilter::Debug, LevelFilter::Info, LevelFilter::Warn, LevelFilter::Error];
    if let Some(&(_, level)) = LOG_LEVELS.iter().find(|(name, _)| *name == text) {
        return Some(level);
    }
    let number: usize = digits(text)?;
    NUMBERED.get(number).copied()
}

/// Where a log goes. A file whose name means something else is named with its directory, as in `./syslog`.
pub fn log_target(text: &OsStr) -> Option<LogTarget> {
    if let Some(address) = text.to_str().and_then(|text| text.strip_prefix(UDP)) {
        return host_and_port(address).map(|(host, port)| LogTarget::Udp { host, port });
    }
    match text.as_encoded_bytes() {
        // What somebody writes who means no file.
        b"" | b"none" | b"off" | b"stdout" | b"stderr" => None,
        b"-" => Some(LogTarget::Standard),
        b"syslog" => Some(LogTarget::Syslog),
        path => (!path.contains(&0)).then(|| LogTarget::File(PathBuf::from(text))),
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Standard => f.write_str("-"),
            LogTarget::File(path) => write!(f, "{}", path.display()),
            LogTarget::Syslog => f.write_str("syslog"),
            LogTarget::Udp { host, port } if host.contains(':') => write!(f, "{UDP}[{host}]:{port}"),
            LogTarget::Udp { host, port } => write!(f, "{UDP}{host}:{port}"),
        }
    }
}

/// An address to listen on; port 0 lets the kernel choose.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// A backend's host (without brackets) and its port.
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = digits(port).filter(|&port: &u16| port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok())?,
        None if is_host(host) => host,
        None => return None,
    };
    Some((host.to_string(), port))
}

/// Whether `text` can name a listener, a pool or a backend.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// A user or a group that is not root's, by name or by number.
pub fn account(text: &str) -> Option<Account> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // The largest number is no user: it means "unchanged" to setresuid(2).
        return digits(text).filter(|number| (1..u32::MAX).contains(number)).map(Account::Number);
    }
    let allowed = |letter: char| !letter.is_control() && !matches!(letter, ':' | '/' | ' ');
    text.chars().all(allowed).then(|| Account::Name(text.to_string()))
}

/// A directory, without the slash at its end that would let a link pass for one (path_resolution(7)).
pub fn directory(text: &str) -> Option<PathBuf> {
    let path: PathBuf = Path::new(text).components().collect();
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let is_below_root = path.is_absolute() && path.parent().is_some();
    (is_below_root && path.components().all(is_plain) && !text.contains('\0')).then_some(path)
}

/// A decimal number without sign, that fits.
pub fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// An IPv4 address or a host name (RFC 1123 section 2.1, and the underscore that is in use).
pub fn is_host(text: &str) -> bool {
    if text.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits only is a misspelt address: no top-level domain is numeric.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let &(_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    digits::<u64>(number)?.checked_mul(scale)
}

fn largest(amount: u64, units: &[(&'static str, u64)]) -> Option<(&'static str, u64)> {
    units.iter().copied().find(|&(_, scale)| amount != 0 && amount % scale == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_known_unit() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000), ("007s", 7_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("720h"), Some(TIMEOUT_MAX));
        for text in ["", "30", "s", "0s", "0ms", "-1s", "+1s", "1.5s", "1 s", "1d", "1S", "1m30s", "721h", "१s"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        assert_eq!(duration("99999999999999999999s"), None);
        assert_eq!(duration("18446744073709551615h"), None);
    }

    #[test]
    fn an_account_is_a_name_or_a_number_and_never_roots() {
        assert_eq!(account("www-data"), Some(Account::Name("www-data".to_string())));
        assert_eq!(account("_plb"), Some(Account::Name("_plb".to_string())));
        assert_eq!(account("65534"), Some(Account::Number(65_534)));
        assert_eq!(account("4294967294"), Some(Account::Number(u32::MAX - 1)));
        for text in ["", "0", "00", "4294967295", "99999999999", "a b", "a:b", "a/b", "a\0", "a\n"] {
            assert_eq!(account(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_directory_is_absolute_and_has_no_slash_at_its_end() {
        for text in ["/var/empty", "/var/empty/", "/var//empty/."] {
            assert_eq!(directory(text), Some(PathBuf::from("/var/empty")), "{text}");
            assert!(!directory(text).unwrap().to_str().unwrap().ends_with('/'), "{text}");
        }
        for text in ["", "/", "//", "/.", "var", "./var", "/var/..", "/../var", "/v\0"] {
            assert_eq!(directory(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_need_a_number_and_a_known_unit() {
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MiB"), Some(1 << 20));
        assert_eq!(size("2GiB"), Some(2 << 30));
        for text in ["", "KiB", "64", "64KB", "64K", "64 KiB", "-1KiB", "18446744073709551615KiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for millis in [1, 999, 1_000, 1_500, 4_000, 60_000, 61_000, 3_600_000, 90_000] {
            let original = Duration::from_millis(millis);
            assert_eq!(duration(&duration_text(original)), Some(original));
        }
        assert_eq!(duration_text(Duration::from_secs(60)), "1m");
        assert_eq!((size_text(65_536), size_text(1_000), size_text(0)), ("64KiB".into(), "1000".into(), "0".into()));
    }

    #[test]
    fn levels_are_names_or_the_numbers_of_old() {
        assert_eq!(log_level("warn"), Some(LevelFilter::Warn));
        assert_eq!(log_level("0"), Some(LevelFilter::Debug));
        assert_eq!(log_level("3"), Some(LevelFilter::Error));
        for text in ["", "4", "-1", "INFO", "verbose", "99999999999999999999999"] {
            assert_eq!(log_level(text), None, "{text:?}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        for (text, host) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:80", "::1"),
            ("app.example:80", "app.example"),
            ("app.example.:80", "app.example."),
            ("web_1:80", "web_1"),
            ("1and1.com:80", "1and1.com"),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_string(), 80)), "{text}");
        }
        let long = format!("{}:80", "a.".repeat(127) + "a");
        for text in [
            "",
            "host",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "host:8 0",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[host]:80",
            "256.1.1.1:80",
            "1.2.3:80",
            "a..b:80",
            "-a:80",
            "a-:80",
            "a b:80",
            "a/b:80",
            ".:80",
            "hóst:80",
            "http://a:80",
            &long,
        ] {
            assert_eq!(host_and_port(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("web-1.A_b") && is_name(&"x".repeat(64)));
        assert!(!is_name("") && !is_name(&"x".repeat(65)) && !is_name("a b") && !is_name("a/b") && !is_name("ä"));
    }
}
