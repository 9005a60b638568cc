//! What a probe says to a backend and what it takes for a good answer: the model, and its reading.

use std::ops::RangeInclusive;

use serde_yaml::Value;

use super::error::Errors;
use super::leaf::{AnyHost, Domain, number_or_text};
use super::sanitizer::Method;
use super::units;
use super::validate::Section;
use super::word::{Choice, Maybe, Schema, Several, choices, found, good, settings, words};

/// The longest text that is sent or expected, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_024;
/// The statuses that an answer can have in the end.
const STATUSES: RangeInclusive<u16> = 200..=599;

/// What a probe does with a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Check {
    /// It connects; that is all.
    #[default]
    Tcp,
    /// It asks for a page.
    Http(HttpCheck),
    /// It says hello to a mail server (RFC 5321).
    Smtp(SmtpCheck),
    /// It sends a text, or none, and waits for one.
    Exchange(Exchange),
}

/// The types of probes, as `type` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Check::Tcp`]
    Tcp,
    /// [`Check::Http`]
    Http,
    /// [`Check::Smtp`]
    Smtp,
    /// [`Check::Exchange`]
    Exchange,
}

/// What a probe speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

choices!(Kind: "tcp" Tcp, "http" Http, "smtp" Smtp, "exchange" Exchange);

settings! {
    /// What all types of probes know. A type has its own settings besides: [`HttpCheck`], [`SmtpCheck`], [`Exchange`].
    CheckSettings {
        /// It decides which of the others mean something.
        kind as "type": Kind = Kind::Tcp,
    }
}

settings! {
    /// A request and the answers that are good.
    HttpCheck {
        /// The method. It is GET, and not OPTIONS, which many answer without asking the application.
        method: Method = "GET".to_string(),
        /// What is asked for.
        path: Target = "/".to_string(),
        /// The version of HTTP.
        version: Version = HttpVersion::Http11,
        /// What `Host` says; `None` is the backend's address in HTTP/1.1, and no such field in HTTP/1.0.
        host: Maybe<AnyHost>,
        /// The statuses that are good, within these ranges.
        status: Several<Statuses> = vec![200..=399],
        /// What the first 16 KiB of the body have to contain.
        body: Maybe<Snippet>,
    }
}

settings! {
    /// A greeting of a mail server.
    SmtpCheck {
        /// What the prober calls itself.
        helo: Domain = "localhost".to_string(),
    }
}

settings! {
    /// A text and its answer.
    Exchange {
        /// What is sent as soon as the connection stands.
        send: Maybe<Snippet>,
        /// What the first 16 KiB of the answer have to contain.
        expect: Snippet,
    }
}

words! {
    /// The target of a request, in origin form (RFC 9112 section 3.2.1).
    Target(String) = |value| good(value, "a path, perhaps with a query, in at most 1024 printable characters", |text| {
        let is_plain = text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
        text.starts_with('/') && text.len() <= PATH_BYTES_MAX && is_plain
    }), |target| target.as_str().into();
    /// A version of HTTP.
    Version(HttpVersion) = |value| found(value, "1.0 or 1.1", match (value.as_f64(), value.as_str()) {
        _ if value.is_u64() => None,
        (Some(1.0), _) | (_, Some("1.0")) => Some(HttpVersion::Http10),
        (Some(1.1), _) | (_, Some("1.1")) => Some(HttpVersion::Http11),
        _ => None,
    }), |version| Value::from(if *version == HttpVersion::Http10 { 1.0 } else { 1.1 });
    /// A status, or a range of them.
    Statuses(RangeInclusive<u16>) = |value| {
        found(value, "a status from 200 to 599 or a range such as 200-299", statuses(value))
    }, |range| format!("{}-{}", range.start(), range.end()).into();
    /// A text that is sent or expected.
    Snippet(String) = |value| good(value, "1 to 1024 bytes of text", |text| (1..=TEXT_BYTES_MAX).contains(&text.len()));
}

fn statuses(value: &Value) -> Option<RangeInclusive<u16>> {
    let text = number_or_text(value)?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range: RangeInclusive<u16> = units::digits(first)?..=units::digits(last)?;
    let is_good = STATUSES.contains(range.start()) && STATUSES.contains(range.end()) && !range.is_empty();
    is_good.then_some(range)
}

/// Reads what concerns the check in a section that is read as [`Health`](super::health::Health), too.
pub(super) fn read(section: &mut Section<'_>, errors: &mut Errors<'_>) -> Check {
    let own: CheckSettings = section.read(errors);
    let http: HttpCheck = section.read(errors);
    let smtp: SmtpCheck = section.read(errors);
    let exchange: Exchange = section.read(errors);
    for (kind, keys) in [(Kind::Http, HttpCheck::KEYS), (Kind::Smtp, SmtpCheck::KEYS), (Kind::Exchange, Exchange::KEYS)]
    {
        for key in keys.iter().filter(|key| kind != own.kind && section.entry(key).is_some()) {
            let [kind, own] = [kind, own.kind].map(|kind| kind.name().unwrap_or_default());
            let message = format!("is for the type {kind}, not for {own}");
            section.refuse(key, message, errors);
        }
    }
    match own.kind {
        Kind::Tcp => Check::Tcp,
        Kind::Http => {
            if let (Some(_), "HEAD") = (&http.body, http.method.as_str()) {
                section.refuse("body", "an answer to HEAD has no body", errors);
            }
            if http.status.is_empty() {
                section.refuse("status", "the list is empty: no answer would be good", errors);
            }
            Check::Http(http)
        }
        Kind::Smtp => Check::Smtp(smtp),
        Kind::Exchange => {
            if section.entry("expect").is_none() {
                let message = "the key 'expect' is missing (required for the type exchange)";
                errors.add(section.at, &section.path, message);
            }
            Check::Exchange(exchange)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(health: &str) -> Result<Check, Vec<String>> {
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p }}]\npools: {{ p: {{ backends: [a:1], health: {{ {health} }} }} }}"
        );
        let config =
            parse("f", &text).map_err(|errors| errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>())?;
        Ok(config.pools[0].health.clone().expect("it stands there").check)
    }

    #[test]
    fn each_type_becomes_what_it_says() {
        let http = |text: &str| match read(&format!("type: http{text}")) {
            Ok(Check::Http(check)) => check,
            other => panic!("{other:?}"),
        };
        assert_eq!(read(""), Ok(Check::Tcp));
        assert_eq!(http(""), HttpCheck::default());
        let all =
            http(", method: HEAD, path: \"/h?x=1\", version: 1.0, host: \"a:8\", status: [204, 300-302, \"500-599\"]");
        assert_eq!((all.method.as_str(), all.path.as_str(), all.host.as_deref()), ("HEAD", "/h?x=1", Some("a:8")));
        assert_eq!((all.version, all.status), (HttpVersion::Http10, vec![204..=204, 300..=302, 500..=599]));
        assert_eq!(http(", version: \"1.1\", status: 200, body: ok").status, vec![200..=200]);
        assert_eq!(read("type: smtp"), Ok(Check::Smtp(SmtpCheck { helo: "localhost".to_string() })));
        let exchange = Exchange { send: Some("PING\r\n".to_string()), expect: "+PONG".to_string() };
        assert_eq!(read("type: exchange, send: \"PING\\r\\n\", expect: +PONG"), Ok(Check::Exchange(exchange)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let path = "must be a path, perhaps with a query, in at most 1024 printable characters, not";
        let status = "must be a status from 200 to 599 or a range such as 200-299, not";
        let text = "must be 1 to 1024 bytes of text, not";
        for (health, message) in [
            ("type: htp", "must be tcp or http or smtp or exchange, not \"htp\"; did you mean 'http'?".to_string()),
            ("path: /", "is for the type http, not for tcp".to_string()),
            ("type: smtp, expect: a", "is for the type exchange, not for smtp".to_string()),
            ("type: http, helo: a", "is for the type smtp, not for http".to_string()),
            ("type: exchange", "the key 'expect' is missing (required for the type exchange)".to_string()),
            ("type: exchange, expect: \"\"", format!("{text} \"\"")),
            ("type: http, method: HEAD, body: a", "an answer to HEAD has no body".to_string()),
            (
                "type: http, method: get",
                "must be a method in capitals but CONNECT, such as GET, not \"get\"".to_string(),
            ),
            ("type: http, path: a", format!("{path} \"a\"")),
            ("type: http, path: \"/a b\"", format!("{path} \"/a b\"")),
            ("type: http, path: \"/a\\r\\nX: y\"", format!("{path} \"/a\\r\\nX: y\"")),
            ("type: http, version: 2.0", "must be 1.0 or 1.1, not 2.0".to_string()),
            ("type: http, version: 1", "must be 1.0 or 1.1, not 1".to_string()),
            ("type: http, host: \"a\\r\\n\"", "must be a host, or HOST:PORT, not \"a\\r\\n\"".to_string()),
            ("type: http, status: 100", format!("{status} 100")),
            ("type: http, status: 399-200", format!("{status} \"399-200\"")),
            ("type: http, status: 200-", format!("{status} \"200-\"")),
            ("type: http, status: []", "the list is empty: no answer would be good".to_string()),
            ("type: http, status: [200, 1000]", format!("{status} 1000")),
            ("type: smtp, helo: a b", "must be a domain, not \"a b\"".to_string()),
        ] {
            assert_eq!(read(health), Err(vec![message]), "{health}");
        }
        assert!(read(&format!("type: exchange, expect: {}", "x".repeat(1_025))).is_err());
    }
}
