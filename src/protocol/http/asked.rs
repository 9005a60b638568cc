//! What a rule may look at of a request that was judged: borrowed from the head, nothing is copied.

use std::borrow::Cow;
use std::net::IpAddr;

use httparse::Header;
use memchr::{memchr, memchr2};

use super::cookie;
use super::forwarding::Peer;
use super::head::{Method, Scheme};
use super::target::{Target, split_port};

/// A request that was judged and is about to be decided upon.
pub struct Asked<'a> {
    /// What is asked.
    pub method: Method,
    /// The same as the client wrote it.
    pub method_name: &'a str,
    /// How the client came.
    pub scheme: Scheme,
    /// The host that is asked, with its port as it was written; none in HTTP/1.0.
    pub host: Option<&'a [u8]>,
    /// Where the request goes.
    pub target: &'a Target<'a>,
    /// All fields, in their order.
    pub fields: &'a [Header<'a>],
    /// Who asks.
    pub client: IpAddr,
    /// Whose word it is.
    pub(super) peer: Peer,
    /// The path without escapes and dot segments, for comparisons.
    pub path: &'a [u8],
}

impl<'a> Asked<'a> {
    /// The host without its port; empty without one.
    pub fn host_name(&self) -> &'a [u8] {
        self.host.and_then(split_port).unwrap_or_default()
    }

    /// The path as the client wrote it; `*` for a server as a whole.
    pub fn raw_path(&self) -> &'a str {
        if self.target.path.is_empty() { self.target.root } else { self.target.path }
    }

    /// The query as the client wrote it, without its question mark; none without one.
    pub fn query(&self) -> Option<&'a str> {
        self.target.query.get(1..)
    }

    /// The values of the fields of this name, in their order.
    pub fn field(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The values of the cookies with this name, as they were sent.
    pub fn cookies(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let pairs = self.field("cookie").flat_map(cookie::pairs);
        pairs.filter(move |pair| pair.name == name.as_bytes()).map(|pair| pair.value)
    }

    /// The values of the parameters of the query with this name, decoded.
    pub fn parameters(&self, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let pairs = self.query().unwrap_or_default().as_bytes().split(|&byte| byte == b'&');
        pairs.filter_map(move |pair| {
            let end = memchr(b'=', pair).unwrap_or(pair.len());
            let is_it = *decoded(&pair[..end]) == *name.as_bytes();
            is_it.then(|| decoded(pair.get(end + 1..).unwrap_or_default()))
        })
    }
}

/// As forms are decoded: `%HH` is a byte and `+` a space.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let digit = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let escape = digit(0).zip(digit(1)).filter(|_| *first == b'%');
        rest = if escape.is_some() { &behind[2..] } else { behind };
        bytes.push(match escape {
            Some((high, low)) => (high * 16 + low) as u8,
            None if *first == b'+' => b' ',
            None => *first,
        });
    }
    Cow::Owned(bytes)
}
