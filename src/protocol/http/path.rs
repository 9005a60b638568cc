//! The path of a target (RFC 3986 section 3.3): what of it is refused, what rules are matched with, and how it is
//! forwarded normalised.
//!
//! Two servers that read a path differently let a client past the rules of one of them. So rules see what the path
//! means, [`decode`], in whatever spelling it came; and where spellings mean different things to different servers,
//! [`judge`] refuses them unless the settings say that the backends are known to read them as plb does:
//!
//! | in the path | plb takes it for | others for |
//! |---|---|---|
//! | `%2F` | data in a segment; it never becomes a slash | a slash |
//! | `%5C`, a backslash | data | a slash |
//! | `%00` | data | the end |
//! | `..;x`, `/;x/` | names like any other | `..`, nothing |
//! | `/a//..` | `/` | `/a/` |
//! | `/a;x` | `/a`, as far as rules are concerned | a name like any other |
//! | `%` without two hexadecimal digits | itself | an error, or whatever |
//!
//! Nothing is decoded twice, and no query is looked at.

use memchr::{memchr, memchr3_iter, memmem, memrchr};

use super::fields;
use super::head::Refusal;
use crate::config::PathFault;

/// The most bytes of a segment of dots, all of them escaped, and the slash before it.
const DOTS_BYTES_MAX: usize = "/%2e%2e".len();

/// What stands for itself in a normalised path: an escape of it is replaced by it (RFC 3986 section 6.2.2.2).
const UNRESERVED: [bool; 256] = fields::bytes_among(b"-._~");

/// Judges what a path is made of, without its query.
///
/// # Errors
/// It holds what the settings refuse.
pub fn judge(raw: &[u8], refused: &[PathFault]) -> Result<(), Refusal> {
    for at in memchr3_iter(b'%', b'\\', b';', raw) {
        let (fault, why) = match (raw[at], escape(&raw[at..])) {
            (b'%', None) => (PathFault::Invalid, "a malformed escape in the path"),
            (b'%', Some(0)) => (PathFault::Nul, "an escaped NUL in the path"),
            (b'%', Some(b'/' | b'\\')) => (PathFault::Slash, "an escaped slash in the path"),
            (b'\\', _) => (PathFault::Slash, "a backslash in the path"),
            (b';', _) if is_ambiguous(raw, at) => (PathFault::Dots, "a dot segment with parameters in the path"),
            _ => continue,
        };
        if refused.contains(&fault) {
            return Err(Refusal::bad(why));
        }
    }
    if refused.contains(&PathFault::Dots) && leaves_empty_segment(raw) {
        return Err(Refusal::bad("a dot segment that leaves an empty one in the path"));
    }
    Ok(())
}

/// What a path means: escapes decoded, repeated slashes merged, dot segments removed after that; `..` above the root
/// is the root. Parameters (`;x`) are left away, but for those of segments of dots and of empty ones before others: to servers that
/// know them they do not tell one resource from another. Where that changes nothing it is `raw` itself, and `room` is
/// left alone.
///
/// `%2F` stays what it is, because a slash that was data shall not separate segments. A path with `%252F` has the same
/// meaning here.
pub fn decode<'a>(raw: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    if !raw.starts_with(b"/") || (is_plain(raw) && memchr(b';', raw).is_none()) {
        return raw;
    }
    let last = memrchr(b'/', raw).map_or(0, |slash| slash + 1);
    let raw = if raw[last..].starts_with(b";") { &raw[..last] } else { raw };
    room.clear();
    rebuild(raw, room, without_parameters, |byte, out| match byte {
        Piece::Escape(b'/') => out.extend_from_slice(b"%2F"),
        Piece::Escape(byte) => out.push(byte),
        Piece::Percent => out.push(b'%'),
    });
    room
}

/// Appends a path in its normal form (RFC 3986 section 6.2.2), which means the same: dot segments are removed, repeated
/// slashes merged, escapes of what is unreserved decoded, and other escapes written with capitals. A `%` that begins no
/// escape becomes one (`%25`).
pub fn normalize(raw: &[u8], out: &mut Vec<u8>) {
    if !raw.starts_with(b"/") || is_plain(raw) {
        out.extend_from_slice(raw);
        return;
    }
    rebuild(
        raw,
        out,
        |segment| segment,
        |piece, out| match piece {
            Piece::Escape(byte) if UNRESERVED[usize::from(byte)] => out.push(byte),
            Piece::Escape(byte) => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
            Piece::Percent => out.extend_from_slice(b"%25"),
        },
    );
}

/// What does not stand for itself in a segment.
enum Piece {
    /// The escape of this byte.
    Escape(u8),
    /// A `%` that begins no escape.
    Percent,
}

/// Whether a path has no escape, no empty segment and nothing that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    memchr(b'%', path).is_none() && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."))
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    let name = memchr(b';', segment).map_or(segment, |at| &segment[..at]);
    if dots(name).is_some() { segment } else { name }
}

/// Appends the segments that are left of a path, as much of them as `cut` leaves, with what does not stand for itself in
/// them written by `write`.
fn rebuild(path: &[u8], out: &mut Vec<u8>, cut: fn(&[u8]) -> &[u8], write: impl Fn(Piece, &mut Vec<u8>)) {
    let root = out.len();
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        match dots(segment) {
            Some(0 | 1) => {}
            Some(_) => {
                let parent = memrchr(b'/', &out[root..]).unwrap_or(0);
                out.truncate(root + parent);
            }
            None => {
                out.push(b'/');
                append(cut(segment), out, &write);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
}

fn append(mut segment: &[u8], out: &mut Vec<u8>, write: impl Fn(Piece, &mut Vec<u8>)) {
    while let Some(at) = memchr(b'%', segment) {
        out.extend_from_slice(&segment[..at]);
        let piece = escape(&segment[at..]);
        segment = &segment[at + if piece.is_some() { 3 } else { 1 }..];
        write(piece.map_or(Piece::Percent, Piece::Escape), out);
    }
    out.extend_from_slice(segment);
}

/// The byte whose escape is at the start.
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match bytes {
        [b'%', high, low, ..] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
        _ => None,
    }
}

/// How many dots a segment is made of, when it has one or two, escaped or not, or nothing at all.
pub(super) fn dots(mut segment: &[u8]) -> Option<usize> {
    for count in 0..=2 {
        segment = match segment {
            [] => return Some(count),
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
    }
    None
}

/// Whether `..` takes an empty segment away in the reading of servers that keep those, and another one in that of others.
fn leaves_empty_segment(path: &[u8]) -> bool {
    if memmem::find(path, b"//").is_none() {
        return false;
    }
    let mut ups = 0_usize;
    path[1..].rsplit(|&byte| byte == b'/').any(|segment| {
        match dots(segment) {
            Some(0) => return ups > 0,
            Some(1) => {}
            Some(_) => ups += 1,
            None => ups = ups.saturating_sub(1),
        }
        false
    })
}

/// Whether the parameters that begin here make a segment that is gone in the reading of servers which drop parameters
/// first: that of a dot segment, or of an empty one before others. (A session's id at the root is common.)
fn is_ambiguous(path: &[u8], semicolon: usize) -> bool {
    let before = &path[semicolon.saturating_sub(DOTS_BYTES_MAX)..semicolon];
    match memrchr(b'/', before).and_then(|slash| dots(&before[slash + 1..])) {
        Some(0) => memchr(b'/', &path[semicolon..]).is_some(),
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::specimens::{Chance, damaged};
    use super::*;

    const STRICT: &[PathFault] = &[PathFault::Nul, PathFault::Slash, PathFault::Dots, PathFault::Invalid];

    fn decoded(raw: &str) -> String {
        String::from_utf8_lossy(decode(raw.as_bytes(), &mut b"old".to_vec())).into_owned()
    }

    fn normalized(raw: &str) -> String {
        let mut out = b"GET ".to_vec();
        normalize(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap().strip_prefix("GET ").unwrap().to_string()
    }

    #[test]
    fn a_path_means_the_same_in_every_spelling() {
        for spelling in [
            "/admin",
            "/%61dmin",
            "/%61%64%6D%69%6e",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2E/admin",
            "/x/.%2e/admin",
            "/x//../admin",
            "/../admin",
            "/../../x/.././/admin",
            "/%2e/admin",
            "/x/y/../../admin",
        ] {
            assert_eq!(decoded(spelling), "/admin", "{spelling}");
            assert_eq!(normalized(spelling), "/admin", "{spelling}");
        }
    }

    #[test]
    fn ends_and_slashes_keep_their_meaning() {
        for (raw, want) in [
            ("/", "/"),
            ("*", "*"),
            ("//", "/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../", "/a/"),
            ("/a/../..", "/"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/..a/.b", "/..a/.b"),
            ("/a/..;x/b", "/a/..;x/b"),
        ] {
            assert_eq!(decoded(raw), want, "{raw}");
            assert_eq!(normalized(raw), want, "{raw}");
        }
    }

    #[test]
    fn rules_see_no_parameters_and_backends_get_them() {
        for (raw, meaning, normal) in [
            ("/a;x=1/b;y", "/a/b", "/a;x=1/b;y"),
            ("/%61;x/", "/a/", "/a;x/"),
            ("/a;/;b/c;", "/a/;b/c", "/a;/;b/c;"),
            ("/a/;x", "/a/", "/a/;x"),
            ("/;x", "/", "/;x"),
            ("/a%3bx;y", "/a;x", "/a%3Bx;y"),
            ("/%2e;x/%2e%2e;/a", "/.;x/..;/a", "/.;x/..;/a"),
        ] {
            assert_eq!(decoded(raw), meaning, "{raw}");
            assert_eq!(normalized(raw), normal, "{raw}");
        }
    }

    #[test]
    fn nothing_is_decoded_twice_and_what_was_data_stays_data() {
        for (raw, meaning, normal) in [
            ("/%2561", "/%61", "/%2561"),
            ("/%252e%252e/x", "/%2e%2e/x", "/%252e%252e/x"),
            ("/a%2fb", "/a%2Fb", "/a%2Fb"),
            ("/x/..%2fadmin", "/x/..%2Fadmin", "/x/..%2Fadmin"),
            ("/a%5cb", "/a\\b", "/a%5Cb"),
            ("/a%3fb%23%20c", "/a?b# c", "/a%3Fb%23%20c"),
            ("/a%3bx%2B", "/a;x+", "/a%3Bx%2B"),
            ("/100%", "/100%", "/100%25"),
            ("/%zz%4", "/%zz%4", "/%25zz%254"),
            ("/%%36%31", "/%61", "/%2561"),
            ("/%25%36%31", "/%61", "/%2561"),
            ("/%7e%41", "/~A", "/~A"),
        ] {
            assert_eq!(decoded(raw), meaning, "{raw}");
            assert_eq!(normalized(raw), normal, "{raw}");
        }
        assert_eq!(decode(b"/%00%ff%0a", &mut Vec::new()), b"/\0\xff\n");
        assert_eq!(normalized("/%00%ff%0a"), "/%00%FF%0A");
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        let (raw, mut room) = (b"/a/b.cd/e..f".to_vec(), Vec::new());
        assert_eq!(decode(&raw, &mut room).as_ptr(), raw.as_ptr());
        assert_eq!(room.capacity(), 0);
    }

    #[test]
    fn what_servers_read_differently_is_refused_by_its_own_setting() {
        let refused = |raw: &str, refused: &[PathFault]| judge(raw.as_bytes(), refused).is_err();
        for (paths, fault) in [
            (&["/%00", "/a%00.gif"][..], PathFault::Nul),
            (&["/a%2fb", "/%2F", "/..%2F", "/a%5cb", "/%5C", "/a\\b"], PathFault::Slash),
            (
                &["/a//..", "/a//../b", "/a//%2e%2E/b", "/a//./../b", "/a//b/../../c", "/a//b/c/../.%2e/../d"],
                PathFault::Dots,
            ),
            (
                &["/..;/a", "/a/..;x", "/.;x/", "/%2e%2E;x/", "/.%2e;", "/a/%2e;/b", "/a;b/..;x;y/c", "/a/;x/b", "/;/"],
                PathFault::Dots,
            ),
            (&["/%", "/a%", "/%4", "/%zz", "/%4z", "/%%61", "/%u0061", "/%-1", "/%+1", "/% 1"], PathFault::Invalid),
        ] {
            for path in paths {
                assert!(refused(path, &[fault]), "{path}");
                let others: Vec<PathFault> = STRICT.iter().copied().filter(|other| *other != fault).collect();
                assert!(!refused(path, &others), "{path}");
            }
        }
        for good in [
            "/",
            "*",
            "/a;x=1",
            "/a..;x/b",
            "/...;x",
            "/;id=5",
            "/a/;x",
            "/%61%2e%2e/%3b",
            "/a%252f",
            "/%20%C3%A9",
            "/../a",
            "//x/../a",
            "/a//b/../c",
            "/a/..//b",
            "/a/../",
        ] {
            assert!(!refused(good, STRICT), "{good}");
        }
    }

    #[test]
    fn damage_never_makes_meaning_and_normal_form_disagree() {
        const GOOD: &[&[u8]] = &[
            b"/a/%2e%2e/b%2fc/./d//e/..;x/%41%zz/../f",
            b"/../%2E/..//%5c\\/x/%252e%252e/%2",
            b"/%61dmin/;a/b;c/%2e./.%2e/",
            b"/",
        ];
        for seed in 0..40_000 {
            let mut chance = Chance(seed);
            let raw = damaged(&mut chance, GOOD);
            if !raw.starts_with(b"/") {
                continue;
            }
            let (mut room, mut again) = (Vec::new(), Vec::new());
            let meaning = decode(&raw, &mut room);
            assert!(meaning.starts_with(b"/") && meaning.len() <= raw.len(), "seed {seed}");
            for segment in meaning[1..].split(|&byte| byte == b'/') {
                assert!(!matches!(segment, b"." | b".."), "seed {seed}");
            }
            assert!(!meaning.windows(2).any(|pair| pair == b"//"), "seed {seed}");
            let (mut normal, mut twice) = (Vec::new(), Vec::new());
            normalize(&raw, &mut normal);
            assert_eq!(decode(&normal, &mut again), meaning, "seed {seed}: {}", raw.escape_ascii());
            normalize(&normal, &mut twice);
            assert_eq!(twice, normal, "seed {seed}");
            let plain = |path: &[u8]| judge(path, STRICT).is_ok();
            assert!(!plain(&raw) || plain(&normal), "seed {seed}: a good path stays good");
        }
    }
}
