//! What a route changes in a message: its fields and its path.

use httparse::Header;

use super::asked::Asked;
use super::fields::FieldSet;
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
/// Where that one begins with the prefix only once it is decoded, or goes up from it by dot segments, the normalized
/// path is forwarded: what the backend gets is what was judged, less the prefix.
pub fn write_path(prefix: &Prefix, asked: &Asked, out: &mut Vec<u8>) {
    let raw = asked.raw_path();
    let Some(normalized) = behind(asked.path, &prefix.from) else {
        out.extend_from_slice(raw);
        return;
    };
    let start = out.len();
    encode(prefix.to.as_bytes(), out);
    match behind(raw, &prefix.from).filter(|rest| !rest.split(|&byte| byte == b'/').any(is_dots)) {
        Some(rest) => out.extend_from_slice(rest),
        None => encode(normalized, out),
    }
    // Two slashes would begin with a host for whoever takes the target for a reference (RFC 3986 section 4.2).
    let slashes = out[start..].iter().take_while(|&&byte| byte == b'/').count();
    match slashes {
        0 => out.insert(start, b'/'),
        more => drop(out.drain(start..start + more - 1)),
    }
}

/// Whether a segment is `.` or `..`, in whatever spelling.
fn is_dots(segment: &[u8]) -> bool {
    let (mut rest, mut dots) = (segment, 0);
    while let [b'.', behind @ ..] | [b'%', b'2', b'e' | b'E', behind @ ..] = rest {
        (rest, dots) = (behind, dots + 1);
    }
    rest.is_empty() && matches!(dots, 1 | 2)
}
