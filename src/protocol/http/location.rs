//! `Location` and `Content-Location` of responses: a URL that names the backend becomes one that leads back to plb.
//!
//! It becomes a path, so that scheme, host and port stay those that the client used (RFC 3986 section 4.2). A URL that
//! names any other host is never touched, and no path is made of one that a client would take for a host.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::Backend;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 80;

/// What a route has made of the beginning of a path; both without a slash at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replaced<'a> {
    /// What the client wrote.
    pub(super) from: &'a str,
    /// What the backend got.
    pub(super) to: &'a str,
}

/// The parts of what a value of this backend's becomes; `None` where it stays as it is.
pub(super) fn rewritten<'a>(
    value: &'a [u8],
    backend: Option<&Backend>,
    replaced: Option<Replaced<'a>>,
) -> Option<[&'a [u8]; 3]> {
    // Browsers leave out tabs, and so would make something else of the path.
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return None;
    }
    let (path, named) = match after_authority(value) {
        Some((authority, rest)) => (rest, backend.is_some_and(|backend| names(authority, backend)).then_some(())),
        None => (value, None),
    };
    let is_path = value.starts_with(b"/") && !value.starts_with(b"//");
    let (from, rest) = match replaced {
        _ if named.is_none() && !is_path => return None,
        Some(Replaced { from, to }) if begins(path, to) => (from.as_bytes(), &path[to.len()..]),
        _ if is_path => return None,
        _ => (&b""[..], path),
    };
    // At the beginning of a reference, two slashes announce a host, and to browsers backslashes are slashes.
    let between: &[u8] = match rest {
        [b'/', b'/' | b'\\', ..] if from.is_empty() => b"/.",
        [b'/', ..] => b"",
        _ if from.is_empty() => b"/",
        _ => b"",
    };
    Some([from, between, rest])
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
        Backend { name: "b1".to_string(), host: host.to_string(), port, weight: 1 }
    }

    fn becomes(value: &str, backend: &Backend, replaced: Option<Replaced>) -> Option<String> {
        let parts = rewritten(value.as_bytes(), Some(backend), replaced)?;
        Some(String::from_utf8(parts.concat()).unwrap())
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
        assert_eq!(rewritten(b"http://app.example:8080/", None, None), None);
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
            ("", "/v1", "/v1/x", Some("/x")),
            ("", "/v1", "/v1", Some("/")),
            ("", "/v1", "/v1?y", Some("/?y")),
            ("", "/v1", "/v1//evil.example/", Some("/.//evil.example/")),
            ("", "/v1", "/v1/\\evil.example/", Some("/./\\evil.example/")),
        ];
        for (from, to, value, path) in table {
            assert_eq!(becomes(value, &app, Some(Replaced { from, to })).as_deref(), path, "{from} for {to}: {value}");
        }
    }

    #[test]
    fn nothing_becomes_a_reference_to_another_host() {
        let app = backend("app.example", 8080);
        let specimens: &[&[u8]] =
            &[b"http://app.example:8080/x//y?z", b"http://app.example:8080//e", b"/v1//x", b"//x"];
        let routes = [None, Some(("", "/v1")), Some(("/api", "")), Some(("/api", "/v1"))];
        for seed in 0..50_000 {
            let value = damaged(&mut Chance(seed), specimens);
            for route in routes {
                let replaced = route.map(|(from, to)| Replaced { from, to });
                let Some(parts) = rewritten(&value, Some(&app), replaced) else { continue };
                let path = parts.concat();
                assert!(path.starts_with(b"/"), "seed {seed}: {}", path.escape_ascii());
                assert!(!matches!(path[..], [_, b'/' | b'\\', ..]), "seed {seed}: {}", path.escape_ascii());
            }
        }
    }
}
