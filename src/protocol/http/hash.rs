//! What a pool is balanced by in HTTP: the hash of a part of the request.

use super::asked::Asked;
use super::cookie::unquoted;
use crate::base::stable_hash::{address_hash, stable_hash};
use crate::config::HashOn;

/// The hash of what `on` names of a request. Of several values, the first one that is not empty counts; without one there
/// is no hash.
pub(super) fn of(on: &HashOn, asked: &Asked) -> Option<u64> {
    let hash = |value: &[u8]| stable_hash(&[value]);
    match on {
        HashOn::Source => Some(address_hash(asked.client)),
        HashOn::Path => Some(hash(asked.path)),
        HashOn::Uri => Some(stable_hash(&[asked.raw_path().as_bytes(), asked.target.query.as_bytes()])),
        HashOn::Header(name) => asked.field(name).find(|value| !value.is_empty()).map(hash),
        HashOn::Cookie(name) => {
            let mut values = asked.cookies(name).map(|value| unquoted(value).0);
            values.find(|value| !value.is_empty()).map(hash)
        }
        HashOn::UrlParameter(name) => asked.parameters(name).find(|value| !value.is_empty()).map(|value| hash(&value)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::head::{ClientText, Parsed, Scan};
    use super::super::request::{RequestRules, parse_request};
    use super::super::site::{Decision, Site};
    use super::*;
    use crate::config::parse;

    /// The hash of a request for this target with these fields.
    fn asked(on: &str, target: &str, fields: &str) -> Option<u64> {
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p, trusted_proxies: 192.0.2.1 }}]\n\
             pools: {{ p: {{ balance: {{ type: hash, on: {on} }}, backends: [a:1] }} }}"
        );
        let config = parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let address = IpAddr::from([192, 0, 2, 1]);
        let (text, mut site, mut out) = (ClientText::new(address), Site::new(&config.listeners[0]), Vec::new());
        let rules = RequestRules::new(&config.listeners[0], &mut site, address, &text);
        let mut rules = RequestRules { pools: &config.pools, ..rules };
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match parse_request(head.as_bytes(), &mut Scan::default(), &mut rules, &mut out) {
            Parsed::Head(head) => match head.decision {
                Decision::Forward(course) => course.hash,
                other => panic!("{other:?}"),
            },
            _ => panic!("it is whole and good"),
        }
    }

    #[test]
    fn what_is_hashed_is_what_was_asked_for() {
        let of = |text: &str| Some(stable_hash(&[text.as_bytes()]));
        assert_eq!(asked("path", "/a/%62/../c?x=1", ""), of("/a/c"));
        assert_eq!(asked("uri", "/a/%62/../c?x=1", ""), of("/a/%62/../c?x=1"));
        assert_eq!(asked("uri", "http://b?x", ""), of("/?x"));
        assert_eq!(asked("header, name: x-key", "/", "X-Key:\r\nX-Key: v\r\nX-Key: w\r\n"), of("v"));
        assert_eq!(asked("cookie, name: S", "/", "Cookie: s=0; S=; S=\"v\"; S=w\r\n"), of("v"));
        assert_eq!(asked("url_parameter, name: k", "/?k=&kk=1&k=a%20b&k=c", ""), of("a b"));
        for on in ["header, name: x-key", "cookie, name: S", "url_parameter, name: k"] {
            assert_eq!(asked(on, "/?K=1", "X-Keys: 1\r\nCookie: SS=1\r\n"), None, "{on}");
        }
        let [client, proxy] = [[198, 51, 100, 7], [192, 0, 2, 1]].map(|address| Some(address_hash(address.into())));
        assert_eq!(asked("source", "/", "X-Forwarded-For: 198.51.100.7\r\n"), client);
        assert_eq!(asked("source", "/", ""), proxy);
    }
}
