//! `Location` and `Content-Location` of responses: a URL that names the backend becomes one that leads back to plb.
//!
//! It becomes a path, so that scheme, host and port stay those that the client used (RFC 3986 section 4.2). A URL that
//! names any other host is never touched, and no path is made of one that a client would take for a host.

use std::net::{IpAddr, Ipv6Addr};

use super::template::{Escaping, escape};
use crate::config::Backend;
use crate::config::route::Prefix;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 80;

/// Whether a value stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stays,
    /// What it becomes was appended.
    Written,
}

/// Appends what a value of this backend's becomes, when its request had its path changed by `prefix`.
pub(super) fn write(value: &[u8], backend: Option<&Backend>, prefix: Option<&Prefix>, out: &mut Vec<u8>) -> Outcome {
    // Browsers leave out tabs, and so would make something else of the path.
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Outcome::Stays;
    }
    let path = match after_authority(value) {
        Some((authority, path)) if backend.is_some_and(|backend| names(authority, backend)) => path,
        None if value.starts_with(b"/") => value,
        _ => return Outcome::Stays,
    };
    let (from, rest) = match prefix {
        Some(Prefix { from, to }) if begins(path, to) => (from.as_str(), &path[to.len()..]),
        _ if path.len() == value.len() => return Outcome::Stays,
        _ => ("", path),
    };
    escape(from.as_bytes(), Escaping::Url, out);
    // At the beginning of a reference, two slashes announce a host, and to browsers backslashes are slashes.
    out.extend_from_slice(match rest {
        [b'/', b'/' | b'\\', ..] if from.is_empty() => b"/.",
        [b'/', ..] => b"",
        _ if from.is_empty() => b"/",
        _ => b"",
    });
    out.extend_from_slice(rest);
    Outcome::Written
}

/// Whether a path begins with these segments.
fn begins(path: &[u8], segments: &str) -> bool {
    let rest = path.strip_prefix(segments.as_bytes());
    rest.is_some_and(|rest| matches!(rest, [] | [b'/' | b'?' | b'#', ..]))
}

/// The authority of a URL and what follows it.
fn after_authority(url: &[u8]) -> Option<(&[u8], &[u8])> {
    const SCHEME: &[u8] = b"http:";
    let has_scheme = url.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let rest = if has_scheme { &url[SCHEME.len()..] } else { url };
    let rest = rest.strip_prefix(b"//")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    Some(rest.split_at(end.unwrap_or(rest.len())))
}

/// Whether this is the backend's address, or its name with its port.
fn names(authority: &[u8], backend: &Backend) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    };
    let port = if port.is_empty() { Some(DEFAULT_PORT) } else { port.parse().ok() };
    port == Some(backend.port) && (is_host(host, &backend.host) || is_host(host, &backend.name))
}

fn is_host(host: &str, known: &str) -> bool {
    let in_brackets = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    if let Ok(known) = known.parse::<IpAddr>() {
        let address = host.parse().ok().filter(IpAddr::is_ipv4).or_else(|| in_brackets().map(IpAddr::from));
        return address.is_some_and(|address| address.to_canonical() == known.to_canonical());
    }
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).len();
    host[..plain(host)].eq_ignore_ascii_case(&known[..plain(known)])
}

#[cfg(test)]
mod tests {
    use super::super::specimens::{Chance, damaged};
    use super::*;

    fn backend(host: &str, port: u16) -> Backend {
        Backend { name: "b1".to_string(), host: host.to_string(), port, weight: 1, ..Backend::default() }
    }

    fn prefix(from: &str, to: &str) -> Prefix {
        Prefix { from: from.to_string(), to: to.to_string() }
    }

    fn becomes(value: &str, backend: &Backend, prefix: Option<Prefix>) -> Option<String> {
        let mut out = Vec::new();
        let outcome = write(value.as_bytes(), Some(backend), prefix.as_ref(), &mut out);
        assert!(outcome == Outcome::Written || out.is_empty());
        (outcome == Outcome::Written).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_url_that_names_the_backend_becomes_a_path() {
        let app = backend("app.example", 8080);
        let table = [
            ("http://app.example:8080/x?y#z", "/x?y#z"),
            ("HTTP://APP.Example:8080/x", "/x"),
            ("http://app.example.:08080/", "/"),
            ("http://app.example:8080", "/"),
            ("http://app.example:8080?q", "/?q"),
            ("http://app.example:8080#f", "/#f"),
            ("http://b1:8080/x", "/x"),
            ("//app.example:8080/x", "/x"),
            // Never another host.
            ("http://app.example:8080//evil.example/", "/.//evil.example/"),
            ("http://app.example:8080/\\evil.example/", "/./\\evil.example/"),
            ("http://app.example:8080/..//evil.example/", "/..//evil.example/"),
        ];
        for (value, path) in table {
            assert_eq!(becomes(value, &app, None).as_deref(), Some(path), "{value}");
        }
        assert_eq!(becomes("http://app.example/", &backend("app.example", 80), None).as_deref(), Some("/"));
        assert_eq!(becomes("http://app.example:/", &backend("app.example", 80), None).as_deref(), Some("/"));
        assert_eq!(becomes("http://[::1]:81/", &backend("::1", 81), None).as_deref(), Some("/"));
        assert_eq!(becomes("http://[0:0::1]:81/", &backend("::1", 81), None).as_deref(), Some("/"));
        assert_eq!(becomes("http://192.0.2.1:81/", &backend("192.0.2.1", 81), None).as_deref(), Some("/"));
        assert_eq!(becomes("http://[::ffff:192.0.2.1]:81/", &backend("192.0.2.1", 81), None).as_deref(), Some("/"));
    }

    #[test]
    fn what_names_another_host_stays_as_it_is() {
        let app = backend("app.example", 8080);
        for value in [
            "",
            "/",
            "/x",
            "x",
            "?q",
            "#f",
            "//",
            "///app.example:8080/",
            "http:",
            "http:/app.example:8080/",
            "http:///x",
            "http:x",
            "http://app.example/",
            "http://app.example:80/",
            "http://app.example:8081/",
            "http://app.example:80808080/",
            "http://app.example:x/",
            "https://app.example:8080/",
            "ftp://app.example:8080/",
            "http://www.app.example:8080/",
            "http://app.example.org:8080/",
            "http://app.example..:8080/",
            "http://app.example:8080@evil.example/",
            "http://user@app.example:8080/",
            "http://app.example:8080\\@evil.example/",
            "http://app.example:8080:8080/",
            "http://[app.example]:8080/",
            "http://app.example:8080/\t/evil.example",
            "http://app.example:8080/ x",
            "http://app.example:8080/\u{e9}",
        ] {
            assert_eq!(becomes(value, &app, None), None, "{value}");
        }
        assert_eq!(becomes("http://::1:81/", &backend("::1", 81), None), None);
        assert_eq!(write(b"http://app.example:8080/", None, None, &mut Vec::new()), Outcome::Stays);
    }

    #[test]
    fn what_a_route_took_off_the_path_is_put_back() {
        let app = backend("app.example", 8080);
        let table = [
            ("/api", "", "/x", Some("/api/x")),
            ("/api", "", "/", Some("/api/")),
            ("/api", "", "//evil.example/", None),
            ("/api", "", "http://app.example:8080", Some("/api")),
            ("/api", "", "http://app.example:8080/x?y", Some("/api/x?y")),
            ("/api", "", "http://app.example:8080?y", Some("/api?y")),
            ("/api", "", "http://app.example:8080//x", Some("/api//x")),
            ("/api", "", "http://evil.example/x", None),
            ("/api", "", "x", None),
            ("/api", "/v1", "/v1", Some("/api")),
            ("/api", "/v1", "/v1/x", Some("/api/x")),
            ("/api", "/v1", "/v1?y", Some("/api?y")),
            ("/api", "/v1", "/v10", None),
            ("/api", "/v1", "http://app.example:8080/other", Some("/other")),
            ("/\u{e9} x", "/v1", "/v1/x", Some("/%C3%A9%20x/x")),
            ("", "/v1", "/v1/x", Some("/x")),
            ("", "/v1", "/v1", Some("/")),
            ("", "/v1", "/v1?y", Some("/?y")),
            ("", "/v1", "/v1//evil.example/", Some("/.//evil.example/")),
            ("", "/v1", "/v1/\\evil.example/", Some("/./\\evil.example/")),
        ];
        for (from, to, value, path) in table {
            assert_eq!(becomes(value, &app, Some(prefix(from, to))).as_deref(), path, "{from} for {to}: {value}");
        }
    }

    #[test]
    fn nothing_becomes_a_reference_to_another_host() {
        let app = backend("app.example", 8080);
        let specimens: &[&[u8]] =
            &[b"http://app.example:8080/x//y?z", b"http://app.example:8080//e", b"/v1//x", b"//x"];
        let routes = [None, Some(prefix("", "/v1")), Some(prefix("/api", "")), Some(prefix("/api", "/v1"))];
        for seed in 0..50_000 {
            let value = damaged(&mut Chance(seed), specimens);
            for prefix in &routes {
                let mut path = Vec::new();
                if write(&value, Some(&app), prefix.as_ref(), &mut path) == Outcome::Stays {
                    continue;
                }
                assert!(path.starts_with(b"/"), "seed {seed}: {}", path.escape_ascii());
                assert!(!matches!(path[..], [_, b'/' | b'\\', ..]), "seed {seed}: {}", path.escape_ascii());
            }
        }
    }
}
