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
    match affinity {
        Affinity::Table(table) => learn(&table.mark, fields, rules),
        Affinity::InsertCookie(cookie) => {
            set_cookies(fields, &cookie.name).for_each(|(index, _)| dropped.insert(index));
            if rules.course.key != Key::Backend(backend.backend() as u16) {
                insert(cookie, backend.backend(), fields, rules, out);
            }
            Key::None
        }
        Affinity::PrefixCookie { name, ids } => {
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
    match mark {
        Mark::Cookie(name) => {
            let sets = set_cookies(fields, name).filter(|(_, set)| !set.is_deletion(rules.date));
            sets.last().map_or(Key::None, |(_, set)| rules.keys.of(unquoted(set.value).0))
        }
        Mark::Header(name) => {
            let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map_or(Key::None, |field| rules.keys.of(field.value))
        }
        _ => Key::None,
    }
}
