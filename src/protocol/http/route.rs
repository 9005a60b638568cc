//! Routes: which one a request takes.
//!
//! The first one in the file whose conditions all hold. Hosts are found in tables, so that a thousand of them cost no
//! more than one; what is asked besides is asked of the routes of this host, and of those for any.

use std::collections::HashMap;

use super::asked::Asked;
use crate::config::route::{Condition, Expected, HostName, Route, Sense, Test};

/// The longest name of a host.
const NAME_BYTES_MAX: usize = 255;

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
            let hosts = route.conditions.iter().find_map(|condition| match &condition.test {
                Test::Host(names) if condition.sense == Sense::Is => Some(names),
                _ => None,
            });
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
        let mut room = [0; NAME_BYTES_MAX];
        let host = lower(asked.host_name(), &mut room);
        let labels = memchr::memrchr_iter(b'.', host).take(self.labels_max);
        let below = labels.filter_map(|dot| self.below.get(&host[dot + 1..]));
        let mut first = routes.len();
        for indices in self.exact.get(host).into_iter().chain(below).chain([&self.any]) {
            let mut earlier = indices.iter().copied().take_while(|&index| index < first);
            let holds = |&index: &usize| routes[index].conditions.iter().all(|one| holds(one, host, asked));
            first = earlier.find(holds).unwrap_or(first);
        }
        (first < routes.len()).then_some(first)
    }
}

/// The name in lower case, without the dot of the root at its end, which names the same host.
fn lower<'r>(name: &[u8], room: &'r mut [u8; NAME_BYTES_MAX]) -> &'r [u8] {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let room = &mut room[..name.len().min(NAME_BYTES_MAX)];
    for (lower, byte) in room.iter_mut().zip(name) {
        *lower = byte.to_ascii_lowercase();
    }
    room
}

fn holds(condition: &Condition, host: &[u8], asked: &Asked) -> bool {
    let fits = match &condition.test {
        // Where a host is asked for, the tables have found the route by it.
        Test::Host(_) if condition.sense == Sense::Is => true,
        Test::Host(names) => names.iter().any(|name| is_host(name, host)),
        Test::Path(paths) => paths.iter().any(|path| path.as_bytes() == asked.path),
        Test::PathPrefix(prefixes) => prefixes.iter().any(|prefix| behind(asked.path, prefix).is_some()),
        Test::PathRegex(patterns) => patterns.iter().any(|pattern| pattern.is_match(asked.path)),
        Test::Query(all) => all.iter().any(|named| asked.parameters(&named.name).any(|value| is(&named.value, &value))),
        Test::Header(all) => all.iter().any(|named| asked.field(&named.name).any(|value| is(&named.value, value))),
        Test::Cookie(all) => all.iter().any(|named| asked.cookies(&named.name).any(|value| is(&named.value, value))),
        Test::Method(methods) => methods.iter().any(|method| method == asked.method_name),
        Test::Client(networks) => networks.contains(asked.client),
    };
    fits == (condition.sense == Sense::Is)
}

fn is_host(name: &HostName, host: &[u8]) -> bool {
    match name {
        HostName::Exact(name) => name.as_bytes() == host,
        HostName::Below(name) => host.strip_suffix(name.as_bytes()).is_some_and(|rest| rest.ends_with(b".")),
    }
}

fn is(expected: &Expected, value: &[u8]) -> bool {
    match expected {
        Expected::Any => true,
        Expected::Equal(text) => text.as_bytes() == value,
        Expected::Matching(pattern) => pattern.is_match(value),
    }
}

/// What follows in a path that begins with the segments of `prefix`: nothing, or a slash and more.
pub fn behind<'p>(path: &'p [u8], prefix: &str) -> Option<&'p [u8]> {
    path.strip_prefix(prefix.as_bytes()).filter(|rest| matches!(rest.first(), None | Some(b'/')))
}
