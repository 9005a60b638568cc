//! A law of cookies.

use plb::protocol::http::cookie::{self, Edit, SetCookie};

use super::DATE;

/// Of a `Cookie` field, the pairs that are to stay do, those that are to go are gone, and nothing new is made of them; a
/// `Set-Cookie` field sets a cookie with a name, or none.
pub fn cookies(input: &[u8]) {
    if input.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return; // no field value
    }
    let before = plain_pairs(input);
    for start in [b'a', b'"', b'z'] {
        let mut out = b"kept".to_vec();
        cookie::write_edited(input, &mut out, |pair| match pair.name.first() {
            Some(&first) if first == start => Edit::Drop,
            Some(b'm') if !pair.value.is_empty() => Edit::Cut(0..1),
            _ => Edit::Keep,
        });
        let line = out.strip_prefix(b"kept").expect("what was there stays");
        let mut went = false;
        let wanted = before.iter().filter_map(|(name, value)| {
            // What begins with a dollar sign belongs to the cookie before it.
            went = name.first() == Some(&start) || (went && name.starts_with(b"$"));
            let cut = usize::from(name.starts_with(b"m") && !value.is_empty());
            (!went).then(|| (name.clone(), trimmed(&value[cut..])))
        });
        let wanted: Vec<_> = wanted.collect();
        match line.strip_prefix(b"Cookie: ").and_then(|line| line.strip_suffix(b"\r\n")) {
            Some(value) => assert_eq!(plain_pairs(value), wanted),
            None => assert!(line.is_empty() && wanted.is_empty(), "{}", line.escape_ascii()),
        }
    }
    if let Some(set) = SetCookie::parse(input) {
        let (name, value) = plain_pairs(input).swap_remove(0);
        assert_eq!((set.name, set.value), (&name[..], &value[..]));
        assert!(!name.is_empty() && set.rest.starts_with(set.value));
        set.is_deletion(DATE);
    }
}

/// The pairs of a field: names, which may be empty, and values.
fn plain_pairs(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let texts = field.split(|&byte| byte == b';').map(trimmed).filter(|text| !text.is_empty());
    let pairs = texts.map(|text| match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (trimmed(&text[..at]), trimmed(&text[at + 1..])),
        None => (Vec::new(), text),
    });
    pairs.collect()
}

fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    bytes[start..end].to_vec()
}
