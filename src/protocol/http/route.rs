//! Routes: which one a request takes.
//!
//! The first one in the file whose conditions all hold. Hosts are found in tables, so that a thousand of them cost no
//! more than one; what is asked besides is asked of the routes of this host, and of those for any.

use std::collections::HashMap;

use super::asked::Asked;
use super::fields::{Name, Told};
use super::forwarding::Peer;
use super::target::HOST_BYTES_MAX;
use crate::config::route::{HostName, Named, Route, Test};

/// Finds the route of a request. It goes with the routes that it was made of.
#[derive(Debug, Default)]
pub struct Router {
    /// The routes of each host, by their index.
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    /// The routes of all hosts below each.
    below: HashMap<Box<[u8]>, Vec<usize>>,
    /// The most labels of a host in `below`.
    labels_max: usize,
    /// The routes that ask for no host.
    any: Vec<usize>,
}

impl Router {
    /// For these routes.
    pub fn new(routes: &[Route]) -> Router {
        let mut router = Router::default();
        for (index, route) in routes.iter().enumerate() {
            let hosts =
                route.conditions.iter().find_map(|test| if let Test::Host(names) = test { Some(names) } else { None });
            let Some(hosts) = hosts else {
                router.any.push(index);
                continue;
            };
            for host in hosts {
                let (table, name) = match host {
                    HostName::Exact(name) => (&mut router.exact, name),
                    HostName::Below(name) => {
                        router.labels_max = router.labels_max.max(name.split('.').count());
                        (&mut router.below, name)
                    }
                };
                table.entry(name.as_bytes().into()).or_default().push(index);
            }
        }
        router
    }

    /// The index of the first of the routes whose conditions hold.
    pub fn find(&self, routes: &[Route], asked: &Asked) -> Option<usize> {
        if routes.is_empty() {
            return None;
        }
        let mut room = [0; HOST_BYTES_MAX];
        let host = lower(asked.host_name(), &mut room);
        let labels = memchr::memrchr_iter(b'.', host).take(self.labels_max);
        let below = labels.filter_map(|dot| self.below.get(&host[dot + 1..]));
        let mut first = routes.len();
        for indices in self.exact.get(host).into_iter().chain(below).chain([&self.any]) {
            let mut earlier = indices.iter().copied().take_while(|&index| index < first);
            first = earlier.find(|&index| takes(&routes[index], host, asked)).unwrap_or(first);
        }
        (first < routes.len()).then_some(first)
    }
}

/// The name in lower case, without the dot of the root at its end, which names the same host.
fn lower<'r>(name: &[u8], room: &'r mut [u8; HOST_BYTES_MAX]) -> &'r [u8] {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let room = &mut room[..name.len().min(HOST_BYTES_MAX)];
    for (lower, byte) in room.iter_mut().zip(name) {
        *lower = byte.to_ascii_lowercase();
    }
    room
}

/// Whether the conditions hold but for that about the host, by which the tables have found the route.
fn takes(route: &Route, host: &[u8], asked: &Asked) -> bool {
    let mut others = route.conditions.iter().filter(|test| !matches!(test, Test::Host(_)));
    others.all(|test| holds(test, host, asked)) && !route.exceptions.iter().any(|test| holds(test, host, asked))
}

fn holds(test: &Test, host: &[u8], asked: &Asked) -> bool {
    match test {
        Test::Host(names) => names.iter().any(|name| is_host(name, host)),
        Test::Path(paths) => paths.iter().any(|path| path.as_bytes() == asked.path),
        Test::PathPrefix(prefixes) => prefixes.iter().any(|prefix| behind(asked.path, prefix).is_some()),
        Test::PathRegex(patterns) => patterns.iter().any(|pattern| pattern.is_match(asked.path)),
        Test::Query(all) => all.iter().any(|named| asked.parameters(&named.name).any(|value| fits(named, &value))),
        Test::Header(all) => all.iter().any(|named| field(&named.name, asked).any(|value| fits(named, value))),
        Test::Cookie(all) => all.iter().any(|named| asked.cookies(&named.name).any(|value| fits(named, value))),
        Test::Method(methods) => methods.iter().any(|method| method == asked.method_name),
        Test::Client(networks) => networks.contains(asked.client),
    }
}

fn is_host(name: &HostName, host: &[u8]) -> bool {
    match name {
        HostName::Exact(name) => name.as_bytes() == host,
        HostName::Below(name) => host.strip_suffix(name.as_bytes()).is_some_and(|rest| rest.ends_with(b".")),
    }
}

/// The values of the fields of this name that a rule may go by: what a client makes up about its way is not one of them,
/// and the host is the one that the backend gets, whatever `Host` said beside an absolute target.
fn field<'a>(name: &str, asked: &Asked<'a>) -> impl Iterator<Item = &'a [u8]> {
    let name_of = Name::of(name.as_bytes());
    let is_told = matches!(name_of, Name::Forwarding(told) if told != Told::RequestId);
    let is_host = name_of == Name::Host;
    let is_barred = is_host || (is_told && asked.peer == Peer::Client);
    let sent = asked.field(name).filter(move |_| !is_barred);
    sent.chain(asked.host.filter(|_| is_host))
}

fn fits(named: &Named, value: &[u8]) -> bool {
    named.equals.as_ref().is_none_or(|text| text.as_bytes() == value)
        && named.regex.as_ref().is_none_or(|pattern| pattern.is_match(value))
}

/// What follows in a path that begins with the segments of `prefix`: nothing, or a slash and more.
pub fn behind<'p>(path: &'p [u8], prefix: &str) -> Option<&'p [u8]> {
    path.strip_prefix(prefix.as_bytes()).filter(|rest| matches!(rest.first(), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::super::forwarding::Peer;
    use super::super::specimens::{asked, target};
    use super::*;
    use crate::base::rng::Rng;
    use crate::config::route::Action;
    use httparse::Header;

    /// The routes of a listener whose `routes:` is this list, one a line.
    fn routes(lines: &[&str]) -> Vec<Route> {
        let list: String = lines.iter().map(|line| format!("      - {line}\n")).collect();
        let text = format!(
            "listeners:\n  - name: l\n    listen: 127.0.0.1:0\n    pool: p\n    routes:\n{list}pools: {{p: {{backends: [a:1]}}}}\n"
        );
        crate::config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}")).listeners.remove(0).routes
    }

    fn find(routes: &[Route], asked: &Asked) -> Option<usize> {
        Router::new(routes).find(routes, asked)
    }

    /// Whether a route with these conditions takes this request, and that one with their negation does not, or the other
    /// way round.
    fn meets(conditions: &str, asked: &Asked) -> bool {
        let whether = [conditions.to_string(), format!("not: {{ {conditions} }}")]
            .map(|all| find(&routes(&[&format!("{{ match: {{ {all} }}, deny: true }}")]), asked).is_some());
        assert_ne!(whether[0], whether[1], "{conditions}");
        whether[0]
    }

    fn at(path: &str) -> Asked<'_> {
        Asked { path: path.as_bytes(), ..asked() }
    }

    #[test]
    fn a_host_is_compared_without_case_port_and_the_dot_of_the_root() {
        let meets = |conditions: &str, host: &str| meets(conditions, &Asked { host: Some(host.as_bytes()), ..asked() });
        for host in ["a.example", "A.Example:8080", "a.example.", "a.example.:80"] {
            assert!(meets("host: A.EXAMPLE", host), "{host}");
            assert!(meets("host: [b.example, a.example]", host), "{host}");
            assert!(meets("host: '*.example'", host) && !meets("host: '*.a.example'", host), "{host}");
        }
        for host in ["a.example.org", "xa.example", "x.a.example", "example", "a", ".", "..", "a.example.."] {
            assert!(!meets("host: a.example", host), "{host}");
        }
        assert!(meets("host: '*.a.example'", "x.y.a.example") && !meets("host: '*.a.example'", "xa.example"));
        assert!(meets("host: '[::1]'", "[::1]:80") && !meets("host: '[::1]'", "[::2]"));
        assert!(find(&routes(&["{ match: { host: a }, deny: true }"]), &Asked { host: None, ..asked() }).is_none());
    }

    #[test]
    fn the_longest_host_is_compared_to_its_end() {
        for length in 240..=261 - ".a.example".len() {
            let host = format!("{}.a.example", "x".repeat(length));
            assert!(meets("host: '*.a.example'", &Asked { host: Some(host.as_bytes()), ..asked() }), "{length}");
            let host = format!("{}.a.example", "x.a.example".repeat(23).split_at(length).0);
            assert!(meets("host: '*.a.example'", &Asked { host: Some(host.as_bytes()), ..asked() }), "{length}");
        }
        let host = format!("{}.a.examplexxxxxx", "x".repeat(245));
        assert!(!meets("host: '*.a.example'", &Asked { host: Some(host.as_bytes()), ..asked() }));
    }

    #[test]
    fn a_field_that_plb_does_not_believe_is_not_there() {
        let field = |name, value| Header { name, value };
        let fields = [
            field("X-Forwarded-Proto", b"https"),
            field("x_forwarded_proto", b"https"),
            field("X-Real-IP", b"10.0.0.1"),
            field("Forwarded", b"for=10.0.0.1"),
            field("X-Request-Id", b"1"),
            field("X-Key", b"1"),
        ];
        for (name, is_told) in [
            ("x-forwarded-proto", true),
            ("x_forwarded_proto", true),
            ("X-Real-IP", true),
            ("Forwarded", true),
            ("X-Request-Id", false),
            ("X-Key", false),
        ] {
            let condition = format!("header: {{ name: {name} }}");
            let by = |peer| meets(&condition, &Asked { fields: &fields, peer, ..asked() });
            assert_eq!((by(Peer::Client), by(Peer::Proxy)), (!is_told, true), "{name}");
        }
    }

    #[test]
    fn the_field_of_the_host_is_the_host_that_is_asked() {
        let fields = [Header { name: "Host", value: b"other" }];
        let asked = Asked { fields: &fields, host: Some(b"a.example"), ..asked() };
        assert!(meets("header: { name: host, equals: a.example }", &asked));
        assert!(!meets("header: { name: host, equals: other }", &asked));
        assert!(!meets("header: { name: host }", &Asked { fields: &[], host: None, ..asked }));
    }

    #[test]
    fn paths_are_compared_whole_by_segments_or_by_expression() {
        assert!(meets("path: /a", &at("/a")) && !meets("path: /a", &at("/a/")) && !meets("path: /a", &at("/A")));
        for (path, whether) in [("/api", true), ("/api/", true), ("/api/x", true), ("/apix", false), ("/", false)] {
            assert_eq!(meets("path_prefix: /api", &at(path)), whether, "{path}");
            assert_eq!(meets("path_prefix: [/x, /api/]", &at(path)), whether, "{path}");
            assert!(meets("path_prefix: /", &at(path)), "{path}");
        }
        assert!(meets(r"path_regex: '\.(png|gif)$'", &at("/x/y.gif")));
        assert!(!meets(r"path_regex: '\.(png|gif)$'", &at("/x/y.gif/z")));
        let bytes = Asked { path: b"/\xff\xfe", ..asked() };
        assert!(meets(r"path_regex: ['^x', '^/\xff.$']", &bytes));
        for path in ["/a/\n", "/a/x\ny", "/a/\r\n"] {
            assert!(meets("path_regex: '^/a/.*$'", &at(path)), "what is escaped leads around no rule: {path:?}");
        }
        assert!(!meets("path: '*'".replace('*', "/x").as_str(), &at("*")) && !meets("path_prefix: /", &at("*")));
    }

    #[test]
    fn parameters_fields_and_cookies_are_there_or_equal_or_found_in() {
        let query = |text: &str| text.to_string();
        for (sent, conditions, whether) in [
            ("/?debug=1", "query: { name: debug }", true),
            ("/?debug", "query: { name: debug, equals: '' }", true),
            ("/?x=1&%64ebug=%31", "query: { name: debug, equals: '1' }", true),
            ("/?x=a+b%zz", "query: { name: x, equals: a b%zz }", true),
            ("/?x=1&x=2", "query: { name: x, equals: '2' }", true),
            ("/?x=12", "query: { name: x, equals: '1' }", false),
            ("/?x=12", "query: [{ name: y }, { name: x, regex: '^[0-9]+$' }]", true),
            ("/?xdebug=1", "query: { name: debug }", false),
            ("/debug", "query: { name: debug }", false),
        ] {
            let sent = query(sent);
            let sent = target(&sent);
            assert_eq!(meets(conditions, &Asked { target: &sent, ..asked() }), whether, "{conditions}");
        }
        let field = |name, value| Header { name, value };
        let fields = [
            field("x-key", b"v"),
            field("X-Key", b"w"),
            field("Cookie", b"a=1; b=2;c=3"),
            field("cookie", b"d=\"4\"; =5; aa=6"),
        ];
        for (conditions, whether) in [
            ("header: { name: X-KEY }", true),
            ("header: { name: X-Key, equals: w }", true),
            ("header: { name: X-Key, equals: V }", false),
            ("header: { name: X-Key, regex: '^[vu]' }", true),
            ("header: { name: X-Key, equals: w, regex: '^w' }", true),
            ("header: { name: X-Key, equals: w, regex: '^v' }", false),
            ("header: { name: X-Ke }", false),
            ("cookie: { name: a, equals: '1' }", true),
            ("cookie: { name: b, equals: '2' }", true),
            ("cookie: { name: c, equals: '3' }", true),
            ("cookie: { name: d }", true),
            ("cookie: { name: A }", false),
            ("cookie: { name: a, equals: '6' }", false),
            ("cookie: [{ name: z }, { name: aa }]", true),
        ] {
            assert_eq!(meets(conditions, &Asked { fields: &fields, ..asked() }), whether, "{conditions}");
        }
    }

    #[test]
    fn methods_and_clients_are_one_of_those_named() {
        let by = |method_name| Asked { method_name, ..asked() };
        assert!(meets("method: [POST, GET]", &by("GET")) && meets("method: PURGE", &by("PURGE")));
        assert!(!meets("method: GET", &by("HEAD")));
        assert!(meets("client: [10.0.0.0/8, 192.0.2.0/24]", &asked()) && !meets("client: 192.0.2.8", &asked()));
        let mapped = Asked { client: "::ffff:192.0.2.7".parse().unwrap(), ..asked() };
        assert!(meets("client: 192.0.2.7", &mapped));
    }

    #[test]
    fn all_conditions_have_to_hold_and_the_first_route_is_taken() {
        let routes = routes(&[
            "{ match: { path: /a, method: POST }, deny: true }",
            "{ match: { host: '*.example', path_prefix: /b }, deny: true }",
            "{ match: { path_prefix: /b, not: { host: a.example, method: PUT } }, deny: true }",
            "{ match: { host: a.example }, deny: true }",
            "{ match: { path: /a }, deny: true }",
            "{ deny: true }",
            "{ match: { host: a.example, path: /a }, deny: true }",
        ]);
        let take = |host: &str, path: &str| {
            find(&routes, &Asked { host: Some(host.as_bytes()), path: path.as_bytes(), ..asked() })
        };
        assert_eq!(take("a.example", "/a"), Some(3));
        assert_eq!(take("a.example", "/b/c"), Some(1));
        assert_eq!(take("b", "/b"), Some(2));
        assert_eq!(take("b", "/a"), Some(4));
        assert_eq!(take("b", "/c"), Some(5));
    }

    #[test]
    fn the_tables_find_what_a_look_at_each_route_in_turn_would_find() {
        let mut rng = Rng::new(7);
        let labels = ["a", "b", "example", "org"];
        let name = |rng: &mut Rng| {
            let count = 1 + rng.below(4) as usize;
            (0..count).map(|_| labels[rng.below(4) as usize]).collect::<Vec<_>>().join(".")
        };
        for round in 0..60 {
            let condition = |rng: &mut Rng| match rng.below(5) {
                0 => "path: /a".to_string(),
                1 => format!("not: {{ host: {} }}", name(rng)),
                2 => format!("host: ['*.{}', {}]", name(rng), name(rng)),
                3 => format!("host: '*.{}', path_prefix: /a", name(rng)),
                _ => format!("host: {}", name(rng)),
            };
            let lines: Vec<String> =
                (0..12).map(|_| format!("{{ match: {{ {} }}, deny: true }}", condition(&mut rng))).collect();
            let routes = routes(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            for _ in 0..50 {
                let host = name(&mut rng);
                let path = ["/a", "/b"][rng.below(2) as usize];
                let asked = Asked { host: Some(host.as_bytes()), path: path.as_bytes(), ..asked() };
                let holds = |test: &Test| holds(test, host.as_bytes(), &asked);
                let plainly = routes
                    .iter()
                    .position(|route| route.conditions.iter().all(holds) && !route.exceptions.iter().any(holds));
                assert_eq!(find(&routes, &asked), plainly, "round {round}: {host} {path} in {lines:#?}");
            }
        }
        assert!(matches!(routes(&["{ deny: true }"])[0].action, Action::Deny));
    }
}
