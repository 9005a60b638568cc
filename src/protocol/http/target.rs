//! Where a request goes: its target (RFC 9112 section 3.2) and the host that it names (RFC 9110 section 7.2).

use std::net::Ipv6Addr;

use memchr::memchr;

use super::fields;
use super::head::{Method, Refusal};

/// The longest `Host`: a name of 255 bytes, a colon and a port.
pub(super) const HOST_BYTES_MAX: usize = 261;

/// Where a request goes, from its request line (RFC 9112 section 3.2).
pub struct Target<'a> {
    /// The path begins at the root although the client left that away.
    pub(super) root: &'static str,
    /// The rest of the path, or `*`.
    pub(super) path: &'a str,
    /// The query with its question mark; empty without one.
    pub(super) query: &'a str,
    /// From the absolute form: it replaces `Host`.
    pub(super) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(super) fn judge(method: Method, target: &'a str) -> Result<Self, Refusal> {
        if !target.is_ascii() || memchr(b'#', target.as_bytes()).is_some() {
            return Err(Refusal::bad("a target with a fragment or beyond ASCII"));
        }
        if target.starts_with('/') || (target == "*" && method == Method::Options) {
            return Ok(Self::new("", target, None));
        }
        let rest = strip_scheme(target).ok_or(Refusal::bad("a target of unknown form"))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        check_host(authority.as_bytes())?;
        let root = match path.as_bytes().first() {
            Some(b'/') => "",
            None if method == Method::Options => "*",
            _ => "/",
        };
        Ok(Self::new(root, path, Some(authority)))
    }

    pub(super) fn new(root: &'static str, rest: &'a str, authority: Option<&'a str>) -> Self {
        let (path, query) = rest.split_at(memchr(b'?', rest.as_bytes()).unwrap_or(rest.len()));
        Self { root, path, query, authority }
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2), not empty.
pub(super) fn check_host(value: &[u8]) -> Result<(), Refusal> {
    let valid = value.len() <= HOST_BYTES_MAX && split_port(value).is_some_and(is_name_or_address);
    if valid { Ok(()) } else { Err(Refusal::bad("a malformed Host")) }
}

/// What stands before the port, when that is well-formed.
pub(super) fn split_port(value: &[u8]) -> Option<&[u8]> {
    let host_end = match value.first()? {
        b'[' => memchr(b']', value)? + 1,
        _ => memchr(b':', value).unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(host_end);
    let valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && number(digits) <= 65_535,
        _ => false,
    };
    valid.then_some(host)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| 10 * number + u32::from(digit - b'0'))
}

fn is_name_or_address(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
        name => is_registered_name(name),
    }
}

/// `reg-name` (RFC 3986 section 3.2.2) without escapes, which no name needs and not everybody decodes; it includes IPv4
/// addresses.
fn is_registered_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| IN_NAME[usize::from(byte)])
}

/// `unreserved` and `sub-delims`: what stands for itself in a registered name.
const IN_NAME: [bool; 256] = fields::bytes_among(b"-._~!$&'()*+,;=");
