//! A law of paths: no spelling of one leads past a rule.

use std::sync::LazyLock;

use plb::config::Config;
use plb::protocol::http::path;

use super::connections::{Answers, answers_to};
use super::reader::{self, Writer};
use super::relay::{Feed, Relay};

/// A listener that serves everything but what is below `/admin`, and forwards paths in their normal form, however odd
/// they are.
static GUARDED: LazyLock<Config> = LazyLock::new(|| {
    let text = "path_refuse: none\nnormalize_path: true\n\
                listeners: [{name: l, listen: \"127.0.0.1:80\", protocol: http, pool: p, \
                routes: [{match: {path_prefix: /admin}, deny: true}]}]\n\
                pools: {p: {backends: [\"10.0.0.1:80\"]}}\n";
    plb::config::parse("laws", text).unwrap_or_else(|errors| panic!("{errors:?}"))
});

/// However a path is spelled, it means the same to the rules and to the second reader, in its normal form too; and no
/// spelling leads past a rule.
pub fn path(input: &[u8]) {
    let visible = input.iter().filter(|byte| byte.is_ascii_graphic() && !b"?#".contains(byte)).copied();
    let raw: Vec<u8> = [b'/'].into_iter().chain(visible.take(800)).collect();
    let meaning = meaning_of(&raw);
    let (mut room, mut normal, mut again) = (Vec::new(), Vec::new(), Vec::new());
    assert_eq!(path::decode(&raw, &mut room).escape_ascii().to_string(), meaning.escape_ascii().to_string());
    path::normalize(&raw, &mut normal);
    path::normalize(&normal, &mut again);
    assert_eq!(normal, again, "what is normal stays");
    assert!(normal.iter().all(u8::is_ascii_graphic), "{}", normal.escape_ascii());
    assert_eq!(meaning_of(&normal), meaning, "{} of {}", normal.escape_ascii(), raw.escape_ascii());

    let asked = [b"GET ", &raw[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let script = |_: usize, received: &[u8]| Feed::open(answers_to(received, Answers::InTime));
    let outgoing = Relay::new(&GUARDED, Feed::whole(&asked), &script).run();
    let is_denied = meaning == b"/admin" || meaning.starts_with(b"/admin/");
    assert_eq!(outgoing.requests.len(), usize::from(!is_denied), "{}", raw.escape_ascii());
    for exchange in outgoing.requests {
        let line = reader::request(&exchange.bytes, Writer::Plb).head.expect("it was forwarded").line;
        assert_eq!(line[1], normal);
    }
}

/// What a path means: its segments without parameters, each decoded once, but for those that are dots. A slash that was
/// data stays escaped, and dots with parameters are a name.
fn meaning_of(raw: &[u8]) -> Vec<u8> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut is_folder = false;
    let mut segments = raw[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let name = unescaped(segment.split(|&byte| byte == b';').next().unwrap_or_default());
        let is_name = match &name[..] {
            b"" => segments.peek().is_none(),
            b"." | b".." => false,
            _ => true,
        };
        let segment = if is_name { name } else { unescaped(segment) };
        is_folder = matches!(&segment[..], b"" | b"." | b"..");
        match &segment[..] {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut path = kept.iter().flat_map(|segment| [b"/", &segment[..]].concat()).collect::<Vec<u8>>();
    path.extend_from_slice(if is_folder { b"/" } else { b"" });
    path
}

fn unescaped(segment: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < segment.len() {
        let digits = segment.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.filter(|_| segment[at] == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(b'/') => bytes.extend_from_slice(b"%2F"),
            Some(byte) => bytes.push(byte),
            None => bytes.push(segment[at]),
        }
        at += if code.is_some() { 3 } else { 1 };
    }
    bytes
}
