//! The site of a seed: routes to a second pool and to answers of plb's own, how clients are led back, and how many
//! requests a connection may carry. Drawn here, written as configuration, and held against what clients are answered.

use std::collections::BTreeMap;
use std::path::Path;

use plb::base::rng::Rng;
use plb::config::{Config, parse_with};

use super::message::{Message, content};
use super::world::World;

/// What a request asks for: its number says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The pool of the listener.
    First,
    /// The pool of a route.
    Second,
    /// A short answer of plb's own.
    Short,
    /// One that is longer than a buffer.
    Long,
}

impl Goal {
    /// Of the request with this number.
    pub fn of(id: u32) -> Goal {
        [Goal::First, Goal::Second, Goal::Short, Goal::Long][(id / 64 % 4) as usize]
    }

    /// What is added to the number of a request that asks for it.
    pub fn offset(self) -> u32 {
        self as u32 * 64
    }

    /// The position of the pool that serves it, if one does.
    pub fn pool(self) -> Option<usize> {
        match self {
            Goal::First => Some(0),
            Goal::Second => Some(1),
            Goal::Short | Goal::Long => None,
        }
    }

    /// What its paths begin with.
    pub fn prefix(self) -> &'static str {
        ["", "/q", "/s", "/l"][self as usize]
    }
}

/// How the clients of both pools are led back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Cookie,
    Table,
}

/// What a seed's listener has besides its pool.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The backends of the second pool come after so many others; `None` without routes.
    pub second_from: Option<usize>,
    /// How long the long answers and the error pages are; short ones do without.
    pub long_bytes: Option<usize>,
    pub has_pages: bool,
    pub affinity: Option<Affinity>,
    pub requests_max: Option<u32>,
    /// The longest body of a request, in bytes.
    pub body_max: Option<usize>,
    /// Another backend is asked after a 503.
    pub repeats: bool,
    /// The second pool is there for emergencies of the first.
    pub helps_out: bool,
}

impl Site {
    /// Behind this many backends of the first pool; long answers only where peers move many bytes at once.
    pub fn new(backends: usize, piece_max: u64, rng: &mut Rng) -> Site {
        Site {
            second_from: rng.chance(1, 2).then_some(backends),
            repeats: rng.chance(1, 2),
            helps_out: rng.chance(1, 2),
            long_bytes: (piece_max >= 800 && rng.chance(2, 3)).then(|| 17_000 + rng.below(33_000) as usize),
            has_pages: rng.chance(1, 3),
            affinity: [None, None, Some(Affinity::Cookie), Some(Affinity::Table)][rng.below(4) as usize],
            requests_max: rng.chance(1, 4).then(|| 1 + rng.below(4) as u32),
            body_max: rng.chance(1, 5).then(|| 30 + rng.below(4 * piece_max) as usize),
        }
    }

    /// What the next request asks for.
    pub fn draw_goal(&self, rng: &mut Rng) -> Goal {
        match (self.second_from, rng.below(6)) {
            (None, _) | (_, 0..2) => Goal::First,
            (_, 2..4) => Goal::Second,
            (_, 4) if self.long_bytes.is_some() => Goal::Long,
            _ => Goal::Short,
        }
    }

    /// The pool that a backend belongs to.
    pub fn pool_of(&self, backend: usize) -> usize {
        usize::from(self.second_from.is_some_and(|first| backend >= first))
    }

    /// The page about what went wrong, where there is one.
    fn page(&self) -> Option<Vec<u8>> {
        self.has_pages.then(|| content(77, self.long_bytes.unwrap_or(700)))
    }

    /// The configuration of these listener and pool settings and backends of these tiers and weights.
    pub fn config(&self, globals: &str, listener: &str, pool: &str, places: &[(u64, u64)]) -> Config {
        let max = self.requests_max.map(|max| format!(", max_requests: {max}")).unwrap_or_default();
        let body_max = self.body_max.map(|max| format!(", body_max: {max}")).unwrap_or_default();
        let statuses = [400, 408, 413, 502, 503, 504];
        let pages: String = statuses.iter().map(|status| format!("{status}: page, ")).collect();
        let pages = if self.has_pages { format!(", error_pages: {{ {pages} }}") } else { String::new() };
        let routes = "[\
            { match: { path_prefix: /q }, strip_prefix: /q, pool: q },\
            { match: { path_prefix: /s }, redirect: { to: 'https://b.example{path}' }, \
              response_headers: { set: { X-Own: short } } },\
            { match: { path_prefix: /l }, respond: { file: long, headers: { X-Own: long } } }]";
        let routes = self.second_from.map(|_| format!(", routes: {routes}")).unwrap_or_default();
        let (first, second): (Vec<usize>, Vec<usize>) =
            (0..places.len()).partition(|&number| self.pool_of(number) == 0);
        let helped = if self.helps_out && !second.is_empty() { ", emergency: q" } else { "" };
        let mut pools = self.pool("p", &format!("{pool}{helped}"), &first, places);
        if !second.is_empty() {
            pools.push_str(&self.pool("q", &format!("{pool}, timeout_idle: 250ms"), &second, places));
        }
        let text = format!(
            "{globals}listeners: [{{ name: l, listen: \"127.0.0.1:80\", pool: p, {listener}{max}{body_max}{pages}{routes} }}]\n\
             pools: {{ {pools} }}\n"
        );
        let files = |path: &Path, _: usize| match path.ends_with("page") {
            true => Ok(self.page().unwrap_or_default()),
            false => Ok(content(78, self.long_bytes.unwrap_or(700))),
        };
        parse_with("simulation", &text, &files).unwrap_or_else(|errors| panic!("{errors:?} in {text}"))
    }

    fn pool(&self, name: &str, settings: &str, backends: &[usize], places: &[(u64, u64)]) -> String {
        let backend = |&number: &usize| {
            let (tier, weight) = places[number];
            format!("{{ address: \"10.0.0.1:{}\", tier: {tier}, weight: {weight} }},", number + 1)
        };
        let backends: String = backends.iter().map(backend).collect();
        let repeats = if self.repeats { ", retry_on: [connect, no_response, timeout, 503]" } else { "" };
        let affinity = match self.affinity {
            None => String::new(),
            Some(Affinity::Cookie) => format!(", affinity: {{ type: insert_cookie, name: PLB-{name} }}"),
            Some(Affinity::Table) => ", affinity: { type: cookie, name: SESSION }".to_string(),
        };
        format!("{name}: {{ {settings}{repeats}{affinity}, backends: [{backends}] }}, ")
    }

    /// Panics unless this is what plb is to answer a request for this goal with.
    pub fn check_own(&self, name: &str, goal: Goal, id: u32, head: bool, message: &Message) {
        match goal {
            Goal::Short => {
                let to = message.field("location");
                assert!(to == Some(format!("https://b.example/s/{id}").as_str()), "{name}: {id} is led to {to:?}");
                assert!(message.status() == 302 && message.field("x-own") == Some("short"), "{name}: {id}");
            }
            Goal::Long => {
                let length = if head { 0 } else { self.long_bytes.unwrap_or_default() };
                assert!(message.body == content(78, length), "{name}: {} bytes for {id}", message.body.len());
                assert!(message.status() == 200, "{name}: {} for {id}", message.status());
            }
            Goal::First | Goal::Second => panic!("{name}: plb answers {id} in the stead of a backend"),
        }
    }

    /// Panics unless this is a page about what went wrong.
    pub fn check_page(&self, name: &str, head: bool, message: &Message) {
        if let Some(page) = self.page().filter(|_| !head) {
            assert!(message.body == page, "{name}: a page of {} bytes", message.body.len());
        }
    }
}

/// Where a client was served before, and what it knows of that.
#[derive(Default)]
pub struct Homes {
    /// By pool: the cookie that it has.
    jar: [Option<String>; 2],
    /// What each cookie stands for.
    known: BTreeMap<String, usize>,
    /// By pool: who served it last.
    last: [Option<usize>; 2],
}

impl Homes {
    /// The line that a request of the client with this number carries.
    pub fn line(&self, number: u32) -> String {
        let cookies: String = self.jar.iter().flatten().map(|cookie| format!("; {cookie}")).collect();
        format!("Cookie: SESSION=client{number}{cookies}\r\n")
    }

    /// What a request of now has of plb's cookies for this goal.
    pub fn carried(&self, goal: Goal) -> Option<String> {
        self.jar[goal.pool()?].clone()
    }

    /// A backend answered a request that carried this. Panics unless the client was led back, where it could be.
    pub fn settle(&mut self, name: &str, world: &World, goal: Goal, carried: Option<&String>, message: &Message) {
        let Some(affinity) = world.profile.site.affinity else { return };
        let pool = goal.pool().expect("a backend answered");
        let backend: usize = message.field("x-backend").and_then(|text| text.parse().ok()).expect("backends tell it");
        if world.profile.site.pool_of(backend) != pool {
            assert!(message.field("set-cookie").is_none(), "{name}: bound to backend {backend}, which helps out");
            return;
        }
        let home = match affinity {
            Affinity::Table => self.last[pool],
            Affinity::Cookie => carried.map(|cookie| self.known[cookie]),
        };
        let moved = home.filter(|&home| home != backend && world.is_healthy(home));
        assert!(moved.is_none(), "{name}: led to backend {backend}, away from {home:?}, which serves");
        self.last[pool] = Some(backend);
        if affinity == Affinity::Table {
            return;
        }
        let cookie = message.field("set-cookie").and_then(|text| text.split(';').next());
        assert!(cookie.is_some() == (home != Some(backend)), "{name}: {cookie:?} from {backend}, home {home:?}");
        let Some(cookie) = cookie else { return };
        let before = self.known.insert(cookie.to_owned(), backend);
        assert!(before.is_none_or(|before| before == backend), "{name}: {cookie} stands for two backends");
        self.jar[pool] = Some(cookie.to_owned());
    }
}
