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

/// Appends the path that is forwarded: the one that was sent, with the prefix replaced.
///
/// As many segments are taken off as the prefix has. So that these are the ones that were judged, a path with dot
/// segments or empty ones is normalized first; the spelling of all others stays.
pub fn write_path(prefix: &Prefix, asked: &Asked, out: &mut Vec<u8>) {
    let raw = asked.raw_path().as_bytes();
    if behind(asked.path, &prefix.from).is_none() {
        out.extend_from_slice(raw);
        return;
    }
    let start = out.len();
    out.extend_from_slice(prefix.to.as_bytes());
    path::normalize_into(raw, &mut normal);
}
