//! What the tests of this room share: settings, a seeded source of chance, and damage. Never part of the program.

use std::sync::LazyLock;

use std::net::{IpAddr, Ipv4Addr};

use super::asked::Asked;
use super::forwarding::Peer;
use super::head::{Method, Scheme};
use super::target::Target;
use crate::config::{HttpSettings, Listener, Methods, ProtocolName, Trailers, quick_start};

/// The defaults, with narrow limits and whatever can be let through.
pub(super) fn settings() -> HttpSettings {
    let defaults = of_the_quick_start().http;
    HttpSettings {
        head_bytes_max: 1024,
        fields_max: 16,
        methods: Methods::ANY,
        trailers: Trailers::Forward,
        ..defaults
    }
}

/// A listener with these settings, whose first pool serves everything.
pub(super) fn listener(http: HttpSettings) -> Listener {
    Listener { http, ..of_the_quick_start() }
}

fn of_the_quick_start() -> Listener {
    let config = quick_start(ProtocolName::Http, "127.0.0.1:1", &["a:1".to_string()]).expect("it is right");
    config.listeners.into_iter().next().expect("there is one")
}

/// A target in origin form.
pub(super) fn target(path: &str) -> Target<'_> {
    Target::new("", path, None)
}

/// A plain question.
pub(super) fn asked() -> Asked<'static> {
    static ROOT: LazyLock<Target> = LazyLock::new(|| target("/"));
    Asked {
        method: Method::Get,
        method_name: "GET",
        scheme: Scheme::Http,
        host: Some(b"a.example"),
        target: &ROOT,
        fields: &[],
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        peer: Peer::Client,
        path: b"/",
    }
}

/// SplitMix64.
pub(super) struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// What attackers put where it does not belong.
const SPLINTERS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\xff",
    b"0",
    b"-",
    b"/",
    b"#",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: a\r\n",
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"Expect: 100-continue\r\n",
    b"X-Forwarded-For: 1\r\n",
    b"a:b\r\n",
    b"c:\r\n",
];

/// One of the specimens with one to three places damaged.
pub(super) fn damaged(chance: &mut Chance, specimens: &[&[u8]]) -> Vec<u8> {
    let mut bytes = chance.pick(specimens).to_vec();
    for _ in 0..=chance.below(3) {
        let start = chance.below(bytes.len() + 1);
        let end = bytes.len().min(start + chance.below(8));
        match chance.below(4) {
            0 => drop(bytes.drain(start..end)),
            1 => drop(bytes.splice(start..end, chance.pick(SPLINTERS).iter().copied())),
            2 => drop(bytes.splice(start..start, chance.pick(SPLINTERS).iter().copied())),
            _ => {
                let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
                let (from, to) = (chance.below(lines.len().max(1)), chance.below(lines.len() + 1));
                let line = lines.get(from).unwrap_or(&&b""[..]).to_vec();
                let at = lines[..to].concat().len();
                bytes.splice(at..at, line);
            }
        }
    }
    bytes
}
