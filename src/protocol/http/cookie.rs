//! Cookies: the pairs of a `Cookie` field, and what a `Set-Cookie` field sets (RFC 6265 sections 4.1 and 4.2).
//!
//! Strict in what is taken for a cookie of a name, which is compared letter by letter as browsers do; tolerant of all
//! else, which belongs to the application. A semicolon ends a pair always, for none can be in a value, quoted or not.
//! Nothing here allocates but the output that it appends to.

use std::ops::Range;

use httpdate::HttpDate;
use memchr::memchr;

/// The longest date that is looked at, in bytes.
const DATE_BYTES_MAX: usize = 40;

/// One pair of a `Cookie` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Empty where there is no equals sign.
    pub name: &'a [u8],
    /// As it was sent, with its quotes.
    pub value: &'a [u8],
    text: &'a [u8],
}

/// What becomes of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// This part of its value goes.
    Cut(Range<usize>),
}

/// The pairs of a `Cookie` field in their order.
pub fn pairs(field: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let texts = field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|text| !text.is_empty());
    texts.map(|text| match memchr(b'=', text) {
        Some(at) => Pair { name: text[..at].trim_ascii_end(), value: text[at + 1..].trim_ascii_start(), text },
        None => Pair { name: b"", value: text, text },
    })
}

/// A value without the quotes around it, and where it begins: some clients add them, some take them off.
pub fn unquoted(value: &[u8]) -> (&[u8], usize) {
    match value {
        [b'"', inner @ .., b'"'] => (inner, 1),
        _ => (value, 0),
    }
}

/// Appends the line of a `Cookie` field with its pairs edited, and no line when none is left.
pub fn write_edited(field: &[u8], out: &mut Vec<u8>, mut edit: impl FnMut(&Pair) -> Edit) {
    let begun = out.len();
    let mut separator: &[u8] = b"Cookie: ";
    let mut dropped = false;
    for pair in pairs(field) {
        // What begins with a dollar sign tells more of the cookie before it (RFC 2965 section 3.3.4).
        let edit = if dropped && pair.name.starts_with(b"$") { Edit::Drop } else { edit(&pair) };
        dropped = edit == Edit::Drop;
        let parts = match edit {
            Edit::Drop => continue,
            Edit::Keep => [pair.text, b"", b"", b""],
            Edit::Cut(part) => [pair.name, b"=", &pair.value[..part.start], &pair.value[part.end..]],
        };
        out.extend_from_slice(separator);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        separator = b"; ";
    }
    if out.len() > begun {
        out.extend_from_slice(b"\r\n");
    }
}

/// What a `Set-Cookie` field sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetCookie<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value, as it was sent.
    pub value: &'a [u8],
    /// Its value and what stands behind it.
    pub rest: &'a [u8],
}

impl<'a> SetCookie<'a> {
    /// `None` where there is no name (RFC 6265 section 5.2).
    pub fn parse(field: &'a [u8]) -> Option<SetCookie<'a>> {
        let end = memchr(b';', field).unwrap_or(field.len());
        let at = memchr(b'=', &field[..end])?;
        let name = field[..at].trim_ascii();
        let set = SetCookie { name, value: field[at + 1..end].trim_ascii(), rest: field[at + 1..].trim_ascii_start() };
        (!name.is_empty()).then_some(set)
    }

    /// Whether the client forgets the cookie at `now`, which is the text of a `Date` field (RFC 6265 section 5.3).
    pub fn is_deletion(&self, now: &str) -> bool {
        let (mut by_age, mut by_date) = (None, false);
        for attribute in self.rest.split(|&byte| byte == b';').skip(1) {
            let at = memchr(b'=', attribute).unwrap_or(attribute.len());
            let (name, value) = (attribute[..at].trim_ascii(), attribute[at..].get(1..).unwrap_or_default());
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case(b"max-age") {
                by_age = is_no_age(value).or(by_age);
            } else if name.eq_ignore_ascii_case(b"expires") {
                by_date = date(value).is_some_and(|date| now.parse::<HttpDate>().is_ok_and(|now| date <= now));
            }
        }
        by_age.unwrap_or(by_date)
    }
}

/// Whether a number of seconds is none; `None` when it is no number.
fn is_no_age(value: &[u8]) -> Option<bool> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.len() < value.len() || digits.iter().all(|&digit| digit == b'0'))
}

/// A date, also in the form with hyphens that cookies began with.
fn date(value: &[u8]) -> Option<HttpDate> {
    let mut text = [0; DATE_BYTES_MAX];
    let text = text.get_mut(..value.len())?;
    text.copy_from_slice(value);
    let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    parse(text).or_else(|| {
        text.iter_mut().filter(|byte| **byte == b'-').for_each(|byte| *byte = b' ');
        parse(text)
    })
}

#[cfg(test)]
mod tests {
    use super::super::specimens::{Chance, damaged};
    use super::*;

    const NOW: &str = "Sat, 21 Nov 2026 18:00:00 GMT";

    fn edited(field: &str, edit: impl Fn(&Pair) -> Edit) -> String {
        let mut out = Vec::new();
        write_edited(field.as_bytes(), &mut out, |pair| edit(pair));
        String::from_utf8(out).unwrap()
    }

    fn without_s(field: &str) -> String {
        edited(field, |pair| if pair.name == b"S" { Edit::Drop } else { Edit::Keep })
    }

    #[test]
    fn pairs_are_told_apart_however_they_are_spaced() {
        let all = |field: &'static str| -> Vec<(&[u8], &[u8])> {
            pairs(field.as_bytes()).map(|pair| (pair.name, pair.value)).collect()
        };
        assert_eq!(all("a=1; b=2"), [(&b"a"[..], &b"1"[..]), (b"b", b"2")]);
        assert_eq!(all(" a = 1 ;b=\"2\";; c ;"), [(&b"a"[..], &b"1"[..]), (b"b", b"\"2\""), (b"", b"c")]);
        assert_eq!(all("a=b=c; =d; e="), [(&b"a"[..], &b"b=c"[..]), (b"", b"d"), (b"e", b"")]);
        assert_eq!((all(""), all(" ; ;")), (vec![], vec![]));
    }

    #[test]
    fn a_cookie_is_removed_and_the_rest_stays_right() {
        let table = [
            ("x=1; S=B; y=2", "Cookie: x=1; y=2\r\n"),
            ("S=B; y=2", "Cookie: y=2\r\n"),
            ("x=1; S=B", "Cookie: x=1\r\n"),
            ("x=1;S=B;y=\"2 3\"", "Cookie: x=1; y=\"2 3\"\r\n"),
            ("S=A; S=B", ""),
            ("S=B", ""),
            (" S = \"B\" ;", ""),
            ("s=B; SS=B; S", "Cookie: s=B; SS=B; S\r\n"),
            ("$Version=1; S=B; $Path=/; y=2; $Path=/x", "Cookie: $Version=1; y=2; $Path=/x\r\n"),
        ];
        for (field, expected) in table {
            assert_eq!(without_s(field), expected, "{field}");
        }
    }

    #[test]
    fn a_part_of_a_value_is_cut_out() {
        let cut = |field: &str| edited(field, |pair| if pair.name == b"S" { Edit::Cut(1..3) } else { Edit::Keep });
        assert_eq!(cut("x=1; S=\"a~v\"; y=2"), "Cookie: x=1; S=\"v\"; y=2\r\n");
        assert_eq!(cut("S = abc"), "Cookie: S=a\r\n");
        assert_eq!(
            (unquoted(b"\"a\""), unquoted(b"\""), unquoted(b"a")),
            ((&b"a"[..], 1), (&b"\""[..], 0), (&b"a"[..], 0))
        );
    }

    #[test]
    fn what_is_set_is_told_from_its_attributes() {
        let set = SetCookie::parse(b" S = a b ; Path=/").unwrap();
        assert_eq!((set.name, set.value, set.rest), (&b"S"[..], &b"a b"[..], &b"a b ; Path=/"[..]));
        let set = SetCookie::parse(b"S=").unwrap();
        assert_eq!((set.value, set.rest), (&b""[..], &b""[..]));
        for nothing in ["", "S", "=v", "S; Path=/", " =v; x"] {
            assert_eq!(SetCookie::parse(nothing.as_bytes()), None, "{nothing}");
        }
    }

    #[test]
    fn a_deletion_is_understood() {
        let is_deletion = |attributes: &str| {
            let field = format!("S=x{attributes}");
            SetCookie::parse(field.as_bytes()).unwrap().is_deletion(NOW)
        };
        for gone in [
            "; Max-Age=0",
            ";max-age = -1 ; Path=/",
            "; Max-Age=00",
            "; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "; expires=Thu, 01-Jan-1970 00:00:01 GMT",
            "; Expires=Thursday, 01-Jan-70 00:00:01 GMT",
            "; Max-Age=x; Expires=Sat, 21 Nov 2026 18:00:00 GMT",
            "; Max-Age=5; Max-Age=0",
            "; Expires=Fri, 01 Jan 2100 00:00:00 GMT; Max-Age=0",
        ] {
            assert!(is_deletion(gone), "{gone}");
        }
        for kept in [
            "",
            "; Max-Age=1",
            "; Max-Age=",
            "; Max-Age",
            "; Max-Age=-",
            "; X-Max-Age=0",
            "; Expires=Sat, 21 Nov 2026 18:00:01 GMT",
            "; Expires=Fri, 01-Jan-2100 00:00:00 GMT",
            "; Expires=never",
            "; Expires=",
            "; Expires=Thu, 01 Jan 1970 00:00:00 GMT and some time after that",
            "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60",
        ] {
            assert!(!is_deletion(kept), "{kept}");
        }
    }

    #[test]
    fn whatever_comes_an_edited_field_has_the_pairs_that_were_kept() {
        const SPECIMENS: &[&[u8]] = &[
            b"x=1; S=B~a; y=\"2 3\"; $Path=/",
            b"S=a; S=b; s=c",
            b"a;b;=c;S",
            b"S=\"~\"; x=\"; S=y",
            b"\xff=\xe9; S==;",
        ];
        let mut chance = Chance(4);
        for _ in 0..20_000 {
            let field = damaged(&mut chance, SPECIMENS);
            let field: Vec<u8> = field.into_iter().filter(|&byte| byte == b'\t' || byte >= b' ').collect();
            let mut out = Vec::new();
            write_edited(&field, &mut out, |pair| if pair.name == b"S" { Edit::Drop } else { Edit::Keep });
            let left = out.strip_prefix(b"Cookie: ").map(|line| line.strip_suffix(b"\r\n").expect("one line"));
            let left = left.unwrap_or_default();
            assert_eq!(left.is_empty(), out.is_empty(), "{}", field.escape_ascii());
            assert!(pairs(left).all(|pair| pair.name != b"S"), "{}", field.escape_ascii());
            let is_extra = |pair: &Pair| pair.name == b"S" || pair.name.starts_with(b"$");
            let others = |field: &[u8]| pairs(field).filter(|pair| !is_extra(pair)).count();
            assert_eq!(others(left), others(&field), "{}", field.escape_ascii());
            let sets = |end: usize| SetCookie::parse(&field[..end]).filter(|set| !set.is_deletion(NOW));
            assert!((0..=field.len()).filter_map(sets).all(|set| set.rest.starts_with(set.value)));
        }
    }
}
