//! The kinds of values that settings have, each with its limits.
//!
//! Reading one needs no more than the value; the error says what is allowed and what was found.

use std::marker::PhantomData;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde_yaml::Value;

use super::error::suggestion;
use super::route::{HostName, Pattern};
use super::template::{Part, Template};
use super::units::{
    self, ACCOUNT_ALLOWED, DIRECTORY_ALLOWED, HOST_ALLOWED, LOG_LEVEL_ALLOWED, LOG_LEVELS, LOG_TARGET_ALLOWED,
    NAME_ALLOWED,
};
use super::word::{Word, choices, found, good, parsed, text, words, wrong};
use super::{AccessFormat, Account, Administration, LogTarget, ProtocolName, RequestId, Trailers, Upgrade};

/// The fields that plb writes itself: they concern one connection, the framing, or what it tells of itself and the
/// client. `Host` is one of them, too, but a request's can be set.
const GOVERNED: &str = "connection content-length date expect forwarded host http2-settings keep-alive proxy-connection te \
    trailer transfer-encoding upgrade x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto";
const TOKEN_ALLOWED: &str = "1 to 128 letters, digits and marks such as '-' and '_'";
const PATH_ALLOWED: &str = "a path that begins with '/', without %-escapes, '//', '/./', '/../', '?', '#' and ';'";

choices!(Administration: "ready" Ready, "drain" Drain, "maintenance" Maintenance);
choices!(ProtocolName: "http" Http, "tcp" Tcp);
choices!(Upgrade: "websocket" Websocket, "any" Any, "none" None);
choices!(Trailers: "drop" Drop, "forward" Forward);
choices!(RequestId: "none" None, "make" Make, "keep" Keep);
choices!(AccessFormat: "plb" Plb, "combined" Combined, "json" Json);

/// A whole number from `MIN` to `MAX`.
pub struct Whole<const MIN: u64, const MAX: u64, T = u32>(PhantomData<T>);

/// A number of bytes from `MIN` to `MAX`: plain, or such as `64KiB`.
pub struct Size<const MIN: u64, const MAX: u64, T = u64>(PhantomData<T>);

impl<const MIN: u64, const MAX: u64, T: TryFrom<u64> + TryInto<u64> + Copy> Word for Whole<MIN, MAX, T> {
    type Of = T;

    fn read(value: &Value) -> Result<T, String> {
        let number = value.as_u64().filter(|number| (MIN..=MAX).contains(number));
        found(value, &format!("a whole number from {MIN} to {MAX}"), number.and_then(|number| number.try_into().ok()))
    }

    fn write(number: &T) -> Value {
        (*number).try_into().map_or(Value::Null, Value::from)
    }
}

impl<const MIN: u64, const MAX: u64, T: TryFrom<u64> + TryInto<u64> + Copy> Word for Size<MIN, MAX, T> {
    type Of = T;

    fn read(value: &Value) -> Result<T, String> {
        let size = bytes(value).filter(|bytes| (MIN..=MAX).contains(bytes)).and_then(|bytes| bytes.try_into().ok());
        size.ok_or_else(|| {
            let (min, max) = (units::size_text(MIN), units::size_text(MAX));
            wrong(&format!("a size from {min} to {max} in bytes, KiB, MiB or GiB, such as 8KiB"), value)
        })
    }

    fn write(bytes: &T) -> Value {
        (*bytes).try_into().map_or(Value::Null, size_value)
    }
}

words! {
    /// A number of bytes.
    Bytes(u64) = |value| found(value, "a size in bytes, KiB, MiB or GiB, such as 1MiB", bytes(value)),
        |bytes| size_value(*bytes);
    /// A timeout such as `30s`.
    Period(Duration) = |value| text(value, units::DURATION_ALLOWED, units::duration),
        |period| units::duration_text(*period).into();
    /// `true` or `false`.
    Switch(bool) = |value| found(value, "true or false", value.as_bool()), |is_on| (*is_on).into();
    /// The status for requests that nobody is to serve.
    Unrouted(u16) = |value| found(value, "404 or 503", status(value, &[404, 503])), |status| (*status).into();
    /// The status of a redirection.
    Redirection(u16) = |value| {
        found(value, "301, 302, 303, 307 or 308", status(value, &[301, 302, 303, 307, 308]))
    };
    /// Where a log goes.
    LogTo(LogTarget) = |value| text(value, LOG_TARGET_ALLOWED, |text| units::log_target(text.as_ref())),
        |target| target.to_string().into();
    /// The name of a file, or a word that stands for one.
    FileName(PathBuf) = |value| good(value, "a file, auto or none", is_file).map(PathBuf::from),
        |path| path.to_string_lossy().into();
    /// The name of a file.
    File(String) = |value| good(value, "a file", is_file);
    /// The name of a listener, a pool or a backend.
    Name(String) = |value| good(value, NAME_ALLOWED, units::is_name);
    /// Host and port of a backend.
    HostPort((String, u16)) = |value| text(value, HOST_ALLOWED, units::host_and_port);
    /// A user or a group.
    AccountName(Account) = |value| {
        found(value, ACCOUNT_ALLOWED, number_or_text(value).and_then(|text| units::account(&text)))
    };
    /// A directory.
    Directory(PathBuf) = |value| text(value, DIRECTORY_ALLOWED, units::directory);
    /// A log level.
    Level(LevelFilter) = |value| {
        number_or_text(value).and_then(|text| units::log_level(&text)).ok_or_else(|| {
            let names = LOG_LEVELS.iter().map(|&(name, _)| name);
            wrong(LOG_LEVEL_ALLOWED, value) + &suggestion(value.as_str().unwrap_or_default(), names)
        })
    }, |level| level.as_str().to_ascii_lowercase().into();

    /// Any text.
    Text(String) = |value| parsed(value, |text| Ok(text.to_string()));
    /// A regular expression.
    Expression(Pattern) = |value| parsed(value, Pattern::parse);
    /// A template.
    Filling(Template) = |value| parsed(value, Template::parse);
    /// A host, or all below one.
    Hosts(HostName) = |value| text(value, "a host, or *. and a host for all below it", host_name);
    /// A path, decoded and normalized as requests' are before they are compared.
    UrlPath(String) = |value| good(value, PATH_ALLOWED, is_path);
    /// Such a path without the slash at its end.
    UrlPrefix(String) = |value| text(value, PATH_ALLOWED, |text| {
        let plain = text.strip_suffix('/').unwrap_or(text);
        let is_good = text == "/" || (is_path(plain) && !plain.ends_with('/'));
        is_good.then(|| plain.to_string())
    });
    /// A token: a method, or the name of a field or a cookie (RFC 9110 section 5.6.2).
    Token(String) = |value| good(value, TOKEN_ALLOWED, is_token);
    /// The name of a field that plb does not govern.
    FreeField(String) = |value| match Token::read(value)? {
        text if GOVERNED.split(' ').any(|name| name.eq_ignore_ascii_case(&text)) => {
            Err(format!("{text} is a field that plb writes itself"))
        }
        text => Ok(text),
    };
    /// What `Host` can say: a host, perhaps with a port.
    AnyHost(String) = |value| good(value, "a host, or HOST:PORT", |text| {
        units::is_host(text) || units::host_and_port(text).is_some()
    });
    /// A name or an address: of IPv6 with brackets or without, which it has none of in the model.
    AnyHostName(String) = |value| text(value, "the name or the address of a host", |text| {
        let bare = text.parse::<Ipv6Addr>().ok().map(|_| text.to_string());
        bare.or_else(|| units::host_and_port(&format!("{text}:1")).map(|(host, _)| host))
    });
    /// The value of a field: printable ASCII.
    FieldValue(String) = |value| good(value, "printable ASCII", is_value);
    /// What a password is for, as it stands between quotes.
    Realm(String) = |value| good(value, "1 to 64 characters of printable ASCII without '\"' and '\\'", |text| {
        (1..=64).contains(&text.len()) && is_value(text) && !text.contains(['"', '\\'])
    });
    /// The path of a cookie: such a value that begins with a slash and has no semicolon.
    CookiePath(String) = |value| {
        let allowed = "a path of at most 128 printable characters that begins with '/' and has no ';'";
        good(value, allowed, |text| text.starts_with('/') && text.len() <= 128 && is_value(text) && !text.contains(';'))
    };
    /// The domain of a cookie.
    Domain(String) = |value| good(value, "a domain", units::is_host), |domain| domain.as_str().into();
    /// The target of a redirection.
    RedirectTo(Template) = |value| {
        let target = Filling::read(value)?;
        found(value, "a path, or http:// or https:// with a host", is_target(&target.parts).then_some(target))
    };
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn host_port_text(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The status, where it is one of these.
pub(super) fn status(value: &Value, allowed: &[u16]) -> Option<u16> {
    allowed.iter().copied().find(|status| value.as_u64() == Some(u64::from(*status)))
}

/// What is written as a whole number or as text, as text.
pub(super) fn number_or_text(value: &Value) -> Option<String> {
    value.as_u64().map(|number| number.to_string()).or_else(|| value.as_str().map(str::to_string))
}

fn is_file(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn bytes(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(units::size))
}

fn size_value(bytes: u64) -> Value {
    let text = units::size_text(bytes);
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

fn host_name(text: &str) -> Option<HostName> {
    let lower = text.to_ascii_lowercase();
    let (name, below) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |name| (name, true));
    let is_good = units::is_host(name) || (!below && units::host_and_port(&format!("{name}:1")).is_some());
    let name = name.strip_suffix('.').unwrap_or(name).to_string();
    is_good.then_some(if below { HostName::Below(name) } else { HostName::Exact(name) })
}

/// Whether a decoded and normalized path can be this.
fn is_path(text: &str) -> bool {
    let is_escape = |at: usize| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        // An escaped slash stays one.
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"2F")
    };
    let is_spelled = |part: &&str| text.contains(*part);
    text.starts_with('/')
        && !["//", "/./", "/../"].iter().any(is_spelled)
        && !text.ends_with("/.")
        && !text.ends_with("/..")
        && !text.contains(|letter: char| letter.is_control() || matches!(letter, '?' | '#' | ';'))
        && !text.match_indices('%').any(|(at, _)| is_escape(at))
}

fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text
}

/// Whether whatever is filled in cannot decide about the host unless it is the host.
fn is_target(parts: &[Part]) -> bool {
    let (behind, rest) = match parts {
        [Part::Path, ..] => return true,
        [Part::Text(text), ..] if text.starts_with('/') => return !text.starts_with("//"),
        [Part::Text(text), rest @ ..] => (text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")), rest),
        [Part::Scheme, Part::Text(text), rest @ ..] => (text.strip_prefix("://"), rest),
        _ => (None, parts),
    };
    match (behind, rest) {
        (Some(""), [Part::Host, ..]) => true,
        (Some(text), _) => text.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '['),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<W: Word>(text: &str) -> bool {
        W::read(&text.into()).is_ok()
    }

    #[test]
    fn a_host_is_a_name_or_an_address_or_all_below_a_name() {
        let read = |text: &str| Hosts::read(&text.into()).unwrap();
        assert_eq!(read("WWW.Example.org."), HostName::Exact("www.example.org".to_string()));
        assert_eq!(read("*.Example.org"), HostName::Below("example.org".to_string()));
        assert_eq!(read("[::1]"), HostName::Exact("[::1]".to_string()));
        assert!(accepts::<Hosts>("192.0.2.1") && accepts::<Hosts>("localhost"));
        for text in ["", "*", "*.", "a.*.b", "*a.b", "a b", "a:80", "http://a", "*.[::1]", "::1", "a/b", "a..b"] {
            assert!(!accepts::<Hosts>(text), "{text}");
        }
    }

    #[test]
    fn a_path_is_written_as_it_is_compared() {
        for text in ["/", "/a", "/a/", "/a b/\u{e9}", "/100%", "/...", "/.a", "/a%2Fb"] {
            assert!(accepts::<UrlPath>(text) && accepts::<UrlPrefix>(text), "{text}");
        }
        for text in ["", "a", "/a//b", "//", "/./a", "/a/..", "/a?b", "/a#b", "/a;b", "/a%20b", "/a%2fb", "/a\n"] {
            assert!(!accepts::<UrlPath>(text) && !accepts::<UrlPrefix>(text), "{text:?}");
        }
        let prefix = |text: &str| UrlPrefix::read(&text.into()).unwrap();
        assert_eq!((prefix("/"), prefix("/a/"), prefix("/a")), (String::new(), "/a".to_string(), "/a".to_string()));
    }

    #[test]
    fn no_placeholder_but_the_host_decides_where_a_redirection_leads() {
        for text in [
            "/",
            "/x{path}",
            "/{path}",
            "{path}{query}",
            "https://www.example.org{path}",
            "http://[::1]:80/{method}",
            "{scheme}://{host}{path}",
            "https://{host}:8443{path}",
            "{scheme}://www.{host}/",
        ] {
            assert!(accepts::<RedirectTo>(text), "{text}");
        }
        for text in [
            "",
            "//cdn.example{path}",
            "https://{path}",
            "https:{path}",
            "{scheme}{path}",
            "{scheme}://{path}",
            "{host}{path}",
            "{query}",
            "x",
            "ftp://a/",
            "javascript:x",
            "https:///a",
            "https://{query}",
            "{scheme}:/{path}",
            "https://\\a",
        ] {
            assert!(!accepts::<RedirectTo>(text), "{text}");
        }
    }

    #[test]
    fn what_plb_governs_is_no_free_field() {
        assert!(accepts::<FreeField>("X-Debug") && accepts::<FreeField>("set-cookie"));
        for name in GOVERNED.split(' ') {
            assert!(!accepts::<FreeField>(name) && !accepts::<FreeField>(&name.to_ascii_uppercase()), "{name}");
        }
        for name in ["", "a b", "a:", "\u{e9}", "a\r\n"] {
            assert!(!accepts::<FreeField>(name), "{name:?}");
        }
        assert!(accepts::<FieldValue>("") && accepts::<FieldValue>("a b"));
        assert!(!accepts::<FieldValue>("a\r\nb") && !accepts::<FieldValue>(" a") && !accepts::<FieldValue>("\u{e9}"));
    }
}
