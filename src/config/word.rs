//! The values of routes as serde sees them, alone or in lists, each with its limits.

use std::fmt;
use std::marker::PhantomData;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml::Value;

use super::leaf::wrong;
use super::network::Network;
use super::route::{HostName, Pattern};
use super::sanitizer;
use super::template::{Part, Template};
use super::units;

/// The fields that plb writes itself: they concern one connection, the framing, or what it tells of itself and the
/// client. `Host` is one of them, too, but a request's can be set.
const GOVERNED: &str = "connection content-length date expect forwarded host http2-settings keep-alive proxy-connection te \
    trailer transfer-encoding upgrade x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto";

/// A kind of value: how it is read.
pub trait Word: Clone + fmt::Debug {
    /// What it is in the model.
    type Of: Clone + fmt::Debug;

    /// Reads one.
    ///
    /// # Errors
    /// What is allowed.
    fn read(value: &Value) -> Result<Self::Of, String>;
}

/// A setting without a default.
#[derive(Clone, Debug)]
pub struct One<W: Word>(pub Option<W::Of>);

/// A setting that is one value or a list of them, without a default.
#[derive(Clone, Debug)]
pub struct Several<W: Word>(pub Vec<W::Of>);

impl<W: Word> Default for One<W> {
    fn default() -> One<W> {
        One(None)
    }
}

impl<W: Word> Default for Several<W> {
    fn default() -> Several<W> {
        Several(Vec::new())
    }
}

impl<'de, W: Word> Deserialize<'de> for One<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        W::read(&Value::deserialize(deserializer)?).map(|value| One(Some(value))).map_err(D::Error::custom)
    }
}

impl<'de, W: Word> Deserialize<'de> for Several<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Value::deserialize(deserializer)? {
            Value::Sequence(values) => values,
            single => vec![single],
        };
        values.iter().map(W::read).collect::<Result<_, _>>().map(Several).map_err(D::Error::custom)
    }
}

// Only defaults are ever written, and there are none.

impl<W: Word> Serialize for One<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<W: Word> Serialize for Several<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Any leaf of the schema is such a kind, too.
#[derive(Clone, Debug)]
pub struct Leaf<T>(PhantomData<T>);

impl<T: TryFrom<Value, Error = String> + Clone + fmt::Debug> Word for Leaf<T> {
    type Of = T;

    fn read(value: &Value) -> Result<T, String> {
        T::try_from(value.clone())
    }
}

/// Declares kinds that are read from text.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident($of:ty) = $read:expr;)*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Word for $name {
            type Of = $of;

            fn read(value: &Value) -> Result<$of, String> {
                let read: fn(&str) -> Result<$of, String> = $read;
                value.as_str().map_or_else(|| Err(wrong("text", value)), read)
            }
        }
    )*};
}

words! {
    /// Any text.
    Text(String) = |text| Ok(text.to_string());
    /// A regular expression.
    Expression(Pattern) = Pattern::parse;
    /// A network.
    Net(Network) = Network::parse;
    /// A template.
    Filling(Template) = Template::parse;
    /// A host, or all below one.
    Hosts(HostName) = |text| checked(text, "a host, or *. and a host for all below it", host_name(text));
    /// A path, decoded and normalized as requests' are before they are compared.
    UrlPath(String) = |text| checked(text, PATH_ALLOWED, is_path(text).then(|| text.to_string()));
    /// Such a path without the slash at its end.
    UrlPrefix(String) = |text| {
        let plain = text.strip_suffix('/').unwrap_or(text);
        let is_good = text == "/" || (is_path(plain) && !plain.ends_with('/'));
        checked(text, PATH_ALLOWED, is_good.then(|| plain.to_string()))
    };
    /// A token: a method, or the name of a field or a cookie (RFC 9110 section 5.6.2).
    Token(String) = |text| checked(text, TOKEN_ALLOWED, is_token(text).then(|| text.to_string()));
    /// The name of a field that plb does not govern.
    FreeField(String) = |text| match GOVERNED.split(' ').any(|name| name.eq_ignore_ascii_case(text)) {
        true => Err(format!("{text} is a field that plb writes itself")),
        false => checked(text, TOKEN_ALLOWED, is_token(text).then(|| text.to_string())),
    };
    /// What `Host` can say: a host, perhaps with a port.
    AnyHost(String) = |text| {
        let is_host = units::is_host(text) || units::host_and_port(text).is_some();
        checked(text, "a host, or HOST:PORT", is_host.then(|| text.to_string()))
    };
    /// The value of a field: printable ASCII.
    FieldValue(String) = |text| checked(text, "printable ASCII", is_value(text).then(|| text.to_string()));
    /// What a password is for, as it stands between quotes.
    Realm(String) = |text| {
        let is_good = (1..=64).contains(&text.len()) && is_value(text) && !text.contains(['"', '\\']);
        let allowed = "1 to 64 characters of printable ASCII without '\"' and '\\'";
        checked(text, allowed, is_good.then(|| text.to_string()))
    };
    /// The path of a cookie: such a value that begins with a slash and has no semicolon.
    CookiePath(String) = |text| {
        let fits = text.starts_with('/') && text.len() <= 128;
        let allowed = "a path of at most 128 printable characters that begins with '/' and has no ';'";
        checked(text, allowed, (fits && is_value(text) && !text.contains(';')).then(|| text.to_string()))
    };
    /// The domain of a cookie.
    Domain(String) = |text| checked(text, "a domain", units::is_host(text).then(|| text.to_string()));
    /// The target of a redirection.
    Target(Template) = |text| {
        let target = Template::parse(text)?;
        checked(text, "a path, or http:// or https:// with a host", is_target(&target.parts).then_some(target))
    };
}

/// The name of a method that plb can serve.
#[derive(Clone, Debug)]
pub struct Method;

impl Word for Method {
    type Of = String;

    fn read(value: &Value) -> Result<String, String> {
        sanitizer::method(value)
    }
}

/// The status of a redirection.
#[derive(Clone, Debug)]
pub struct Redirection;

impl Word for Redirection {
    type Of = u16;

    fn read(value: &Value) -> Result<u16, String> {
        let status = value.as_u64().filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308));
        status.map(|status| status as u16).ok_or_else(|| wrong("301, 302, 303, 307 or 308", value))
    }
}

const TOKEN_ALLOWED: &str = "1 to 128 letters, digits and marks such as '-' and '_'";
const PATH_ALLOWED: &str = "a path that begins with '/', without %-escapes, '//', '/./', '/../', '?', '#' and ';'";

fn checked<T>(text: &str, allowed: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| wrong(allowed, &text.into()))
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
            assert!(accepts::<Target>(text), "{text}");
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
            assert!(!accepts::<Target>(text), "{text}");
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
