//! Affinity in HTTP: what a request is known by, what of it the backend gets, and what a response is given along or tells.
//!
//! A cookie of plb's own, and its mark in one of the application's, are between plb and the client: no backend gets
//! them, unless a setting says so, and none can set them. What a client made up leads nowhere.

use httparse::Header;
use memchr::memchr;

use super::asked::Asked;
use super::auth;
use super::cookie::{Edit, Pair, SetCookie, pairs, unquoted, write_edited};
use super::fields::FieldSet;
use super::head::Method;
use super::response::ResponseRules;
use crate::balance::{Key, Keys};
use crate::config::Affinity;
use crate::config::affinity::{InsertCookie, Mark, PREFIX_END};

/// The longest credentials whose user is looked at: a password may be a long token.
const CREDENTIALS_BYTES_MAX: usize = 3_072;

/// What a request is known by, and which of its `Cookie` fields the backend gets edited; these are dropped as they are.
pub(super) fn follow(affinity: &Affinity, asked: &Asked, keys: &Keys, dropped: &mut FieldSet) -> (Key, FieldSet) {
    let (mut key, mut edited) = (Key::None, FieldSet::default());
    let (name, ids) = match affinity {
        Affinity::Table(table) => return (mark(&table.mark, asked, keys), edited),
        Affinity::InsertCookie(cookie) => (&cookie.name, &cookie.ids),
        Affinity::PrefixCookie { name, ids } => (name, ids),
    };
    let cookies = asked.fields.iter().enumerate().filter(|(_, field)| field.name.eq_ignore_ascii_case("cookie"));
    for (index, field) in cookies {
        for pair in pairs(field.value).filter(|pair| pair.name == name.as_bytes()) {
            let known = match affinity {
                Affinity::PrefixCookie { .. } => ids.position(prefix(pair.value)),
                _ => ids.position(unquoted(pair.value).0),
            };
            if let (Key::None, Some(backend)) = (key, known) {
                key = Key::Backend(backend);
            }
            if !dropped.contains(index) && edit(affinity, &pair) != Edit::Keep {
                dropped.insert(index);
                edited.insert(index);
            }
        }
    }
    (key, edited)
}

/// Appends what the backend gets of the `Cookie` fields that it does not get as they are.
pub(super) fn write_cookies(affinity: &Affinity, fields: &[Header], edited: &FieldSet, out: &mut Vec<u8>) {
    for (_, field) in fields.iter().enumerate().filter(|(index, _)| edited.contains(*index)) {
        write_edited(field.value, out, |pair| edit(affinity, pair));
    }
}

/// What the backend gets of a cookie.
fn edit(affinity: &Affinity, pair: &Pair) -> Edit {
    match affinity {
        Affinity::InsertCookie(cookie) if cookie.indirect && pair.name == cookie.name.as_bytes() => Edit::Drop,
        Affinity::PrefixCookie { name, ids } if pair.name == name.as_bytes() => {
            let (prefix, start) = (prefix(pair.value), unquoted(pair.value).1);
            ids.position(prefix).map_or(Edit::Keep, |_| Edit::Cut(start..start + prefix.len() + 1))
        }
        _ => Edit::Keep,
    }
}

/// What stands before the mark's end; nothing where there is none.
fn prefix(value: &[u8]) -> &[u8] {
    let value = unquoted(value).0;
    memchr(PREFIX_END, value).map_or(b"", |end| &value[..end])
}

/// What a request is known by to a table.
fn mark(mark: &Mark, asked: &Asked, keys: &Keys) -> Key {
    match mark {
        Mark::Source { prefix_v4, prefix_v6 } => keys.of_network(asked.client, *prefix_v4, *prefix_v6),
        Mark::BasicAuth => {
            let mut room = [0; CREDENTIALS_BYTES_MAX];
            let user = asked.field("authorization").next().and_then(|value| auth::user(value, &mut room));
            keys.of(user.unwrap_or_default().as_bytes())
        }
        Mark::UrlParameter(name) => {
            let value = asked.parameters(name).find(|value| !value.is_empty());
            value.map_or(Key::None, |value| keys.of(&value))
        }
        Mark::PathParameter(None) => {
            let last = asked.raw_path().rsplit_once(';').map(|(_, last)| last.split('/').next().unwrap_or_default());
            keys.of(last.unwrap_or_default().as_bytes())
        }
        Mark::PathParameter(Some(name)) => {
            let parameters = asked.raw_path().split('/').flat_map(|segment| segment.split(';').skip(1));
            let values = parameters.filter_map(|text| text.strip_prefix(name.as_str())?.strip_prefix('='));
            first(values.map(str::as_bytes), keys)
        }
        Mark::Cookie(name) => first(asked.cookies(name).map(|value| unquoted(value).0), keys),
        Mark::Header(name) => first(asked.field(name), keys),
    }
}

/// The key of the first value that is not empty.
fn first<'v>(mut values: impl Iterator<Item = &'v [u8]>, keys: &Keys) -> Key {
    values.find(|value| !value.is_empty()).map_or(Key::None, |value| keys.of(value))
}

/// Appends the lines that a final response gets along, drops those that it must not have, and tells what a request of this
/// client will be known by, where that is learned from it.
pub(super) fn answer(fields: &[Header], rules: &ResponseRules, dropped: &mut FieldSet, out: &mut Vec<u8>) -> Key {
    let (Some(affinity), Some(backend)) = (rules.course.affinity(rules.pools), rules.backend) else { return Key::None };
    // Nobody is led back to a backend that helped out for the pool.
    let is_own = backend.pool() == usize::from(rules.course.pool);
    match affinity {
        Affinity::Table(table) if is_own => learn(&table.mark, fields, rules),
        Affinity::InsertCookie(cookie) => {
            set_cookies(fields, &cookie.name).for_each(|(index, _)| dropped.insert(index));
            if is_own && rules.course.key != Key::Backend(backend.backend() as u16) {
                insert(cookie, backend.backend(), fields, rules, out);
            }
            Key::None
        }
        Affinity::PrefixCookie { name, ids } if is_own => {
            let id = ids.text(backend.backend()).unwrap_or_default();
            for (index, set) in set_cookies(fields, name) {
                if dropped.contains(index) {
                    continue;
                }
                dropped.insert(index);
                ["Set-Cookie: ", name, "=", id].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
                out.push(PREFIX_END);
                [set.rest, b"\r\n"].iter().for_each(|part| out.extend_from_slice(part));
            }
            Key::None
        }
        Affinity::Table(_) | Affinity::PrefixCookie { .. } => Key::None,
    }
}

/// The `Set-Cookie` fields that set the cookie of this name.
fn set_cookies<'f>(fields: &'f [Header], name: &str) -> impl Iterator<Item = (usize, SetCookie<'f>)> {
    let fields = fields.iter().enumerate().filter(|(_, field)| field.name.eq_ignore_ascii_case("set-cookie"));
    let sets = fields.filter_map(|(index, field)| Some((index, SetCookie::parse(field.value)?)));
    sets.filter(move |(_, set)| set.name == name.as_bytes())
}

/// What stands first in a head is what a cache believes (RFC 9111 section 4.2.1).
fn insert(cookie: &InsertCookie, backend: usize, fields: &[Header], rules: &ResponseRules, out: &mut Vec<u8>) {
    let Some(id) = cookie.ids.text(backend) else { return };
    let storable = matches!(rules.request_method, Method::Get | Method::Head | Method::Post);
    if cookie.private && storable && !forbids_sharing(fields) {
        out.extend_from_slice(b"Cache-Control: private\r\n");
    }
    for part in ["Set-Cookie: ", &cookie.name, "=", id, &cookie.attributes, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Whether no shared cache may keep a response (RFC 9111 section 3). One that may with `no-cache` could hand the cookie out
/// after it has asked again.
fn forbids_sharing(fields: &[Header]) -> bool {
    let controls = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cache-control"));
    let mut directives = controls.flat_map(|field| field.value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    directives.any(|name| name.eq_ignore_ascii_case(b"private") || name.eq_ignore_ascii_case(b"no-store"))
}

/// What the application sets, and so will get back; a cookie that it deletes binds nobody.
fn learn(mark: &Mark, fields: &[Header], rules: &ResponseRules) -> Key {
    let value = match mark {
        Mark::Cookie(name) => {
            let sets = set_cookies(fields, name).filter(|(_, set)| !set.is_deletion(rules.date));
            sets.last().map(|(_, set)| unquoted(set.value).0)
        }
        Mark::Header(name) => {
            fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
        }
        _ => None,
    };
    value.map_or(Key::None, |value| rules.keys.of(value))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::head::{ClientText, GROWTH_BYTES_MAX, Parsed, Scan};
    use super::super::request::{RequestRules, parse_request};
    use super::super::response::{ResponseRules, parse_response};
    use super::super::site::{Course, Decision, Site};
    use super::super::specimens::{Chance, damaged};
    use super::*;
    use crate::balance::BackendId;
    use crate::config::{Config, parse as parse_config};

    /// A pool of two backends whose ids are these.
    const IDS: [&str; 2] = ["7dc96f77", "4814d920"];

    fn config(affinity: &str, routes: &str) -> Config {
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p, routes: [{routes}] }}]\n\
             pools: {{ p: {{ affinity: {{ {affinity} }}, backends: [{{ address: a:1, name: b1 }}, {{ address: a:2, name: b2 }}] }} }}"
        );
        parse_config("f", &text).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// What becomes of a request: its key, and what the backend gets.
    fn asked(config: &Config, input: &[u8]) -> Option<(Key, Vec<u8>)> {
        let address = IpAddr::from([192, 0, 2, 1]);
        let (text, mut site, mut out) = (ClientText::new(address), Site::new(&config.listeners[0]), Vec::new());
        let rules = RequestRules::new(&config.listeners[0], &mut site, address, &text);
        let mut rules = RequestRules { pools: &config.pools, ..rules };
        match parse_request(input, &mut Scan::default(), &mut rules, &mut out) {
            Parsed::Head(head) => match head.decision {
                Decision::Forward(course) => Some((course.key, out)),
                Decision::Answer(_) | Decision::Refuse(..) => None,
            },
            _ => None,
        }
    }

    /// What becomes of the second backend's response to a request with this key.
    fn answered(config: &Config, key: Key, input: &[u8]) -> Option<Vec<u8>> {
        let keys = Keys::default();
        let rules = ResponseRules {
            pools: &config.pools,
            course: Course { key, route: Some(0), ..Course::default() },
            backend: Some(BackendId::new(0, 1)),
            ..ResponseRules::new(&config.listeners[0], &keys, "Sat, 21 Nov 2026 18:00:00 GMT")
        };
        let mut out = Vec::new();
        let parsed = parse_response(input, &mut Scan::default(), &rules, &mut out);
        matches!(parsed, Parsed::Head(_)).then_some(out)
    }

    /// The values of the fields of this name.
    fn values(head: &[u8], name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(head).into_owned();
        let fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_string()).collect()
    }

    #[test]
    fn what_a_route_removes_does_not_come_back_edited() {
        let routes = "{ request_headers: { remove: [Cookie] }, response_headers: { remove: [Set-Cookie] }, pool: p }";
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; S={}~v\r\n\r\n", IDS[1]);
        let response = b"HTTP/1.1 200 OK\r\nSet-Cookie: S=v\r\n\r\n";
        let prefixed = config("type: prefix_cookie, name: S", routes);
        let (key, out) = asked(&prefixed, request.as_bytes()).unwrap();
        assert_eq!((key, values(&out, "cookie")), (Key::Backend(1), vec![]));
        assert_eq!(values(&answered(&prefixed, key, response).unwrap(), "set-cookie"), [""; 0]);
        let inserted = config("type: insert_cookie, name: S", routes);
        let (key, out) = asked(&inserted, request.replace("~v", "").as_bytes()).unwrap();
        assert_eq!((key, values(&out, "cookie")), (Key::Backend(1), vec![]));
        assert_eq!(values(&answered(&inserted, Key::None, response).unwrap(), "set-cookie").len(), 1, "plb's own");
    }

    #[test]
    fn an_interim_response_sets_nothing() {
        let inserted = config("type: insert_cookie, name: S", "{ pool: p }");
        let out = answered(&inserted, Key::None, b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n").unwrap();
        assert_eq!(values(&out, "set-cookie"), [""; 0]);
    }

    #[test]
    fn whatever_comes_no_backend_gets_plbs_cookie_and_each_client_gets_one() {
        const REQUESTS: &[&[u8]] = &[
            b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; S=7dc96f77; y=\"2\"\r\nAccept: */*\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\ncookie:S=\"4814d920\"\r\nCookie: S\r\nCOOKIE: S=;S = 1;\r\n\r\n",
        ];
        const RESPONSES: &[&[u8]] = &[
            b"HTTP/1.1 200 OK\r\nSet-Cookie: S=v; Path=/\r\nset-cookie:T=1\r\nCache-Control: public\r\n\r\n",
            b"HTTP/1.1 304 x\r\nSET-COOKIE: S =\r\nSet-Cookie: S\r\nSet-Cookie:S=1;S=2\r\nETag: \"S=1\"\r\n\r\n",
        ];
        let inserted = config("type: insert_cookie, name: S", "{ pool: p }");
        let (mut chance, mut heads) = (Chance(7), 0);
        for _ in 0..20_000 {
            let (request, response) = (damaged(&mut chance, REQUESTS), damaged(&mut chance, RESPONSES));
            if let Some((_, out)) = asked(&inserted, &request) {
                heads += 1;
                let cookies = values(&out, "cookie");
                let mut pairs = cookies.iter().flat_map(|value| pairs(value.as_bytes()));
                assert!(pairs.all(|pair| pair.name != b"S"), "{} of {}", out.escape_ascii(), request.escape_ascii());
            }
            if let Some(out) = answered(&inserted, Key::Backend(0), &response) {
                heads += 1;
                let sets = values(&out, "set-cookie");
                let own =
                    sets.iter().filter_map(|value| SetCookie::parse(value.as_bytes())).filter(|set| set.name == b"S");
                let own: Vec<_> = own.map(|set| set.value).collect();
                let is_interim = out.starts_with(b"HTTP/1.1 1");
                assert!(
                    is_interim || own == [IDS[1].as_bytes()],
                    "{} of {}",
                    out.escape_ascii(),
                    response.escape_ascii()
                );
                assert!(out.len() <= response.len() + GROWTH_BYTES_MAX);
            }
        }
        assert!(heads > 2_000, "only {heads} were good");
    }

    #[test]
    fn a_prefix_that_goes_out_comes_back_as_it_was() {
        let prefixed = config("type: prefix_cookie, name: S", "{ pool: p }");
        let mut chance = Chance(8);
        for _ in 0..5_000 {
            let value = damaged(&mut chance, &[b"v", b"\"a b\"", b"~", b"7dc96f77~v", b"", b"a=b~c"]);
            let text = String::from_utf8_lossy(&value).into_owned();
            let is_plain = |letter: char| matches!(letter, ' '..='~') && letter != ';' && letter != ',';
            if !text.chars().all(is_plain) || text.trim() != text {
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: S={text}; Path=/\r\n\r\n");
            let sets = values(&answered(&prefixed, Key::None, head.as_bytes()).unwrap(), "set-cookie");
            let set = sets[0].strip_suffix("; Path=/").unwrap();
            assert_eq!(set, format!("S={}~{text}", IDS[1]));
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {set}\r\n\r\n");
            let (key, out) = asked(&prefixed, head.as_bytes()).unwrap();
            assert_eq!((key, values(&out, "cookie")), (Key::Backend(1), vec![format!("S={text}")]));
        }
    }
}
