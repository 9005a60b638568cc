//! What a route changes in a message: its fields and its path.

use httparse::Header;
use memchr::memchr_iter;

use super::asked::Asked;
use super::fields::FieldSet;
use super::path::{self, dots};
use super::route::behind;
use super::template::{Escaping, render};
use crate::config::route::{Edits, Prefix};

/// Has the fields dropped that the edits drop.
pub(super) fn drop_fields(edits: &Edits, fields: &[Header], dropped: &mut FieldSet) {
    for name in &edits.dropped {
        for (index, field) in fields.iter().enumerate() {
            if field.name.eq_ignore_ascii_case(name) {
                dropped.insert(index);
            }
        }
    }
}

/// Appends the fields that the edits add.
pub fn write_added(edits: &Edits, asked: &Asked, out: &mut Vec<u8>) {
    for (name, value) in &edits.added {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        render(value, asked, Escaping::Value, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the path that is forwarded: the one that was sent, with its prefix replaced.
///
/// Where that one begins with the prefix only once it is decoded, or goes up by dot segments behind it, its normal form
/// is forwarded: what the backend gets means what was judged, less the prefix.
pub fn write_path(prefix: &Prefix, asked: &Asked, out: &mut Vec<u8>) {
    let raw = asked.raw_path().as_bytes();
    if behind(asked.path, &prefix.from).is_none() {
        out.extend_from_slice(raw);
        return;
    }
    let start = out.len();
    out.extend_from_slice(prefix.to.as_bytes());
    let goes_up = |rest: &&[u8]| rest.split(|&byte| byte == b'/').any(|segment| matches!(dots(segment), Some(1..)));
    match behind(raw, &prefix.from).filter(|rest| !goes_up(rest)) {
        Some(rest) => out.extend_from_slice(rest),
        None => {
            let whole = out.len();
            path::normalize(raw, out);
            // Both forms have the same segments.
            let segments = prefix.from.matches('/').count();
            let rest = memchr_iter(b'/', &out[whole..]).nth(segments);
            out.drain(whole..rest.map_or(out.len(), |at| whole + at));
        }
    }
    // Two slashes would begin a host for whoever takes the target for a reference (RFC 3986 section 4.2).
    match out[start..].iter().take_while(|&&byte| byte == b'/').count() {
        0 => out.push(b'/'),
        slashes => drop(out.drain(start + 1..start + slashes)),
    }
}
