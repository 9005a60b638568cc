//! Where a request comes from: what backends are told about it, and whose word on it is believed.
//!
//! A client's own word never reaches a backend. That of a trusted proxy is added to, as far as it can be read: a chain
//! of addresses is read from its end, and what stands before the first element that is none is left out. So whoever
//! stands before a trusted proxy cannot hide what the proxy has added.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use httparse::Header;

use super::fields::{Name, Told, is_token, write_field, write_number};
use super::head::{ClientText, Scheme};
use super::target::check_host;
use crate::base::rng::Rng;
use crate::config::{Forwarding, RequestId};

/// The longest `X-Request-Id` that is kept.
const ID_BYTES_MAX: usize = 64;
/// The length of one that is made.
const ID_BYTES_MADE: usize = 32;

/// What plb knows itself of the way of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    /// Who is connected to plb.
    pub(super) client: &'a ClientText,
    /// How.
    pub(super) scheme: Scheme,
    /// To which port.
    pub(super) port: u16,
    /// The host that is asked for, as it was sent.
    pub(super) host: Option<&'a [u8]>,
}

/// Who is connected to plb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody whose word about others means nothing.
    Client,
    /// A trusted proxy.
    Proxy,
}

impl Peer {
    pub(super) fn of(address: IpAddr, settings: &Forwarding) -> Peer {
        if settings.trusted_proxies.contains(address) { Peer::Proxy } else { Peer::Client }
    }

    /// Those fields of this peer's that may be believed.
    fn believed<'f, 'h>(self, fields: &'f [Header<'h>]) -> &'f [Header<'h>] {
        match self {
            Peer::Client => &[],
            Peer::Proxy => fields,
        }
    }
}

/// Whether a field that tells of the way of a request is not passed on as it is.
pub(super) fn is_dropped(told: Told, peer: Peer, settings: &Forwarding) -> bool {
    match told {
        Told::For | Told::Proto | Told::Host | Told::Port | Told::Forwarded | Told::Misspelt => true,
        Told::RequestId => settings.request_id != RequestId::None,
        Told::Other => peer == Peer::Client,
    }
}

/// Whose request it is: the last address of the chain that is not a trusted proxy's, or the last one that can be read.
pub(super) fn client(fields: &[Header], address: IpAddr, peer: Peer, settings: &Forwarding) -> IpAddr {
    // Of two chains one may be the work of a client whose proxies do not know it: the settings say which one counts.
    let told = match settings {
        Forwarding { x_forwarded_for: false, forwarded: true, .. } => Told::Forwarded,
        _ => Told::For,
    };
    let read = if told == Told::For { address_of } else { forwarded_for };
    let mut client = address.to_canonical();
    for line in lines(peer.believed(fields), told).rev() {
        for element in Backwards::of(line, b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
            let Some(address) = read(element) else { return client };
            client = address.to_canonical();
            if !settings.trusted_proxies.contains(client) {
                return client;
            }
        }
    }
    client
}

/// Appends the fields that tell a backend where the request comes from.
pub(super) fn write(fields: &[Header], peer: Peer, hop: &Hop, settings: &Forwarding, out: &mut Vec<u8>) {
    let fields = peer.believed(fields);
    if settings.x_forwarded_for {
        out.extend_from_slice(b"X-Forwarded-For: ");
        write_chain(fields, Told::For, |element| address_of(element).is_some(), out);
        out.extend_from_slice(hop.client.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if settings.x_forwarded_proto {
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        if !write_kept(fields, Told::Proto, is_scheme, out) {
            out.extend_from_slice(scheme(hop));
        }
        out.extend_from_slice(b"\r\n");
    }
    if settings.x_forwarded_host {
        let start = out.len();
        out.extend_from_slice(b"X-Forwarded-Host: ");
        match (write_kept(fields, Told::Host, |host| check_host(host).is_ok(), out), hop.host) {
            (true, _) => out.extend_from_slice(b"\r\n"),
            (false, Some(host)) => {
                out.extend_from_slice(host);
                out.extend_from_slice(b"\r\n");
            }
            (false, None) => out.truncate(start),
        }
    }
    if settings.x_forwarded_port {
        out.extend_from_slice(b"X-Forwarded-Port: ");
        if !write_kept(fields, Told::Port, is_port, out) {
            write_number(out, u64::from(hop.port));
        }
        out.extend_from_slice(b"\r\n");
    }
    if settings.forwarded {
        out.extend_from_slice(b"Forwarded: ");
        write_chain(fields, Told::Forwarded, |element| pairs(element).all(|pair| pair.is_some()), out);
        write_element(hop, out);
    }
}

fn scheme(hop: &Hop) -> &'static [u8] {
    match hop.scheme {
        Scheme::Http => b"http",
        Scheme::Https => b"https",
    }
}

/// Appends plb's own element of `Forwarded` (RFC 7239 section 4), and ends the line.
fn write_element(hop: &Hop, out: &mut Vec<u8>) {
    let client = hop.client.as_bytes();
    let (before, after): (&[u8], &[u8]) = if client.contains(&b':') { (b"\"[", b"]\"") } else { (b"", b"") };
    for part in [b"for=", before, client, after] {
        out.extend_from_slice(part);
    }
    if let Some(host) = hop.host {
        // In no host is there anything to escape.
        let quote: &[u8] = if is_token(host) { b"" } else { b"\"" };
        for part in [b";host=", quote, host, quote] {
            out.extend_from_slice(part);
        }
    }
    for part in [b";proto=", scheme(hop), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends the elements of a chain that can be read, from its end, each line with a comma behind it.
fn write_chain(fields: &[Header], told: Told, is_read: fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    let start = out.len();
    for line in lines(fields, told) {
        let (mut elements, mut read) = (Backwards::of(line, b','), &line[line.len()..]);
        while let Some(element) = elements.next() {
            match element.trim_ascii() {
                b"" => {}
                element if is_read(element) => read = &line[elements.rest.map_or(0, |rest| rest.len() + 1)..],
                _ => {
                    out.truncate(start);
                    break;
                }
            }
        }
        while let [rest @ .., b',' | b' ' | b'\t'] = read {
            read = rest;
        }
        if !read.is_empty() {
            out.extend_from_slice(read.trim_ascii_start());
            out.extend_from_slice(b", ");
        }
    }
}

/// Appends all values of a field in their order, if there are any and all of them are good.
fn write_kept(fields: &[Header], told: Told, is_good: fn(&[u8]) -> bool, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for line in lines(fields, told) {
        if !line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).all(is_good) {
            out.truncate(start);
            return false;
        }
        if out.len() > start {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(line);
    }
    out.len() > start
}

fn lines<'f>(fields: &'f [Header], told: Told) -> impl DoubleEndedIterator<Item = &'f [u8]> {
    let is_meant = move |field: &&Header| Name::of(field.name.as_bytes()) == Name::Forwarding(told);
    fields.iter().filter(is_meant).map(|field| field.value)
}

fn is_scheme(value: &[u8]) -> bool {
    [&b"http"[..], b"https", b"ws", b"wss"].iter().any(|known| value.eq_ignore_ascii_case(known))
}

fn is_port(value: &[u8]) -> bool {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits && std::str::from_utf8(value).is_ok_and(|text| text.parse().is_ok_and(|port: u16| port != 0))
}

/// The address of an element of `X-Forwarded-For`, or of a node of RFC 7239 section 6, which may have a port.
fn address_of(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = text.parse::<IpAddr>().ok().or_else(|| in_brackets().map(IpAddr::from));
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The address in the only `for` of an element of `Forwarded`.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in pairs(element) {
        let (name, node) = pair?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(node).is_some() {
            return None;
        }
    }
    address_of(found?)
}

/// The pairs of an element of `Forwarded` from the last one, without their quotes; `None` is one that is malformed. There
/// is nothing that would have to be escaped.
fn pairs(element: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    let pairs = Backwards::of(element, b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|&byte| byte == b'=')?);
        let value = match &value[1..] {
            [b'"', text @ .., b'"'] if !text.iter().any(|byte| matches!(byte, b'"' | b'\\')) => text,
            value if is_token(value) => value,
            _ => return None,
        };
        is_token(name).then_some((name, value))
    })
}

/// The elements of a list from the last one. A separator between quotes is none; where there are escapes, quotes are
/// misunderstood, but only in what comes before them.
struct Backwards<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Backwards<'a> {
    fn of(list: &'a [u8], separator: u8) -> Backwards<'a> {
        Backwards { rest: Some(list), separator }
    }
}

impl<'a> Iterator for Backwards<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut quoted = false;
        let at = rest.iter().rposition(|&byte| {
            quoted ^= byte == b'"';
            byte == self.separator && !quoted
        });
        self.rest = at.map(|at| &rest[..at]);
        Some(&rest[at.map_or(0, |at| at + 1)..])
    }
}

/// What a request is called from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    bytes: [u8; ID_BYTES_MAX],
    length: u8,
}

impl Identity {
    /// What this request is called, if it gets a name.
    pub(super) fn of(fields: &[Header], peer: Peer, settings: &Forwarding, rng: &mut Rng) -> Option<Identity> {
        match settings.request_id {
            RequestId::None => None,
            RequestId::Make => Some(Identity::made(rng)),
            RequestId::Keep => {
                let mut lines = lines(peer.believed(fields), Told::RequestId);
                let only = lines.next().filter(|_| lines.next().is_none());
                Some(only.and_then(Identity::kept).unwrap_or_else(|| Identity::made(rng)))
            }
        }
    }

    fn kept(value: &[u8]) -> Option<Identity> {
        let mut bytes = [0; ID_BYTES_MAX];
        bytes.get_mut(..value.len()).filter(|_| is_token(value))?.copy_from_slice(value);
        Some(Identity { bytes, length: value.len() as u8 })
    }

    fn made(rng: &mut Rng) -> Identity {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let mut bytes = [0; ID_BYTES_MAX];
        for (place, digit) in bytes[..ID_BYTES_MADE].iter_mut().enumerate() {
            *digit = DIGITS[(random >> (4 * place)) as usize & 15];
        }
        Identity { bytes, length: ID_BYTES_MADE as u8 }
    }

    /// Appends the field.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_field(out, "X-Request-Id", self.as_bytes());
    }

    /// A token (RFC 9110 section 5.6.2).
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::is_value;
    use super::super::specimens::{Chance, damaged, settings};
    use super::*;
    use crate::config::{Network, Networks};

    /// What plb tells about a request with these fields that comes from 10.0.0.2, which is a trusted proxy, as 10.0.0.3 is.
    fn told(settings: &Forwarding, lines: &[(&str, &str)]) -> (String, IpAddr) {
        let fields: Vec<Header> = lines.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let address = "10.0.0.2".parse().unwrap();
        let peer = Peer::of(address, settings);
        let client_text = ClientText::new(address);
        let hop = Hop { client: &client_text, scheme: Scheme::Http, port: 8080, host: Some(b"a:1") };
        let mut out = Vec::new();
        write(&fields, peer, &hop, settings, &mut out);
        (String::from_utf8_lossy(&out).replace("\r\n", "|"), client(&fields, address, peer, settings))
    }

    fn only(name: &str) -> Forwarding {
        let trusted: Networks = [Network::parse("10.0.0.2/31").unwrap()].into_iter().collect();
        Forwarding {
            x_forwarded_for: name == "X-Forwarded-For",
            x_forwarded_proto: name == "X-Forwarded-Proto",
            x_forwarded_host: name == "X-Forwarded-Host",
            x_forwarded_port: name == "X-Forwarded-Port",
            forwarded: name == "Forwarded",
            trusted_proxies: trusted,
            ..settings().forwarding
        }
    }

    #[test]
    fn the_chain_of_a_trusted_proxy_is_added_to_as_far_as_it_can_be_read() {
        // The lines, what the backend gets, and the client.
        let table: &[(&[&str], &str, &str)] = &[
            (&[], "10.0.0.2", "10.0.0.2"),
            (&["192.0.2.1"], "192.0.2.1, 10.0.0.2", "192.0.2.1"),
            (&["192.0.2.1,10.0.0.3"], "192.0.2.1,10.0.0.3, 10.0.0.2", "192.0.2.1"),
            (&["192.0.2.1", "192.0.2.9 , 10.0.0.3"], "192.0.2.1, 192.0.2.9 , 10.0.0.3, 10.0.0.2", "192.0.2.9"),
            (&["10.0.0.3"], "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            (&["::ffff:10.0.0.3", "2001:db8::1"], "::ffff:10.0.0.3, 2001:db8::1, 10.0.0.2", "2001:db8::1"),
            (&["192.0.2.1, ::ffff:10.0.0.3"], "192.0.2.1, ::ffff:10.0.0.3, 10.0.0.2", "192.0.2.1"),
            (
                &["192.0.2.1:99, [2001:db8::1], [2001:db8::1]:5"],
                "192.0.2.1:99, [2001:db8::1], [2001:db8::1]:5, 10.0.0.2",
                "2001:db8::1",
            ),
            // What cannot be read, and all before it.
            (&["unknown"], "10.0.0.2", "10.0.0.2"),
            (&["192.0.2.1, <script>, 10.0.0.3"], "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            (&["192.0.2.1", "x", "10.0.0.3"], "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            (&["10.1.1.1, \"", "192.0.2.1"], "192.0.2.1, 10.0.0.2", "192.0.2.1"),
            (&["\"10.1.1.1, 192.0.2.1"], "192.0.2.1, 10.0.0.2", "192.0.2.1"),
            (&["10.1.1.1 192.0.2.1, 192.0.2.256"], "10.0.0.2", "10.0.0.2"),
            // Nothing between commas is nothing.
            (&[", 192.0.2.1,, 10.0.0.3 , ,", "", ","], "192.0.2.1,, 10.0.0.3, 10.0.0.2", "192.0.2.1"),
        ];
        for (lines, chain, client) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-FOR", *line)).collect();
            let (written, found) = told(&only("X-Forwarded-For"), &lines);
            assert_eq!(written, format!("X-Forwarded-For: {chain}|"), "{lines:?}");
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn the_same_holds_for_forwarded() {
        let own = "for=10.0.0.2;host=\"a:1\";proto=http";
        let table: &[(&[&str], &str, &str)] = &[
            (&[], "", "10.0.0.2"),
            (&["for=192.0.2.1"], "for=192.0.2.1, ", "192.0.2.1"),
            (
                &["For=192.0.2.1;by=x, for=10.0.0.3; proto=https"],
                "For=192.0.2.1;by=x, for=10.0.0.3; proto=https, ",
                "192.0.2.1",
            ),
            (
                &["for=\"[2001:db8::1]:4711\"", "for=\"10.0.0.3:1\""],
                "for=\"[2001:db8::1]:4711\", for=\"10.0.0.3:1\", ",
                "2001:db8::1",
            ),
            (&["for=192.0.2.1, for=unknown"], "for=192.0.2.1, for=unknown, ", "10.0.0.2"),
            (&["for=192.0.2.1, for=_hidden, for=10.0.0.3"], "for=192.0.2.1, for=_hidden, for=10.0.0.3, ", "10.0.0.3"),
            (&["for=192.0.2.1, proto=https"], "for=192.0.2.1, proto=https, ", "10.0.0.2"),
            (&["for=192.0.2.1;for=192.0.2.2"], "for=192.0.2.1;for=192.0.2.2, ", "10.0.0.2"),
            // A client that wants to swallow what is added.
            (&["for=\"10.1.1.1, for=192.0.2.1"], "for=192.0.2.1, ", "192.0.2.1"),
            (&["for=\"10.1.1.1\\\", for=192.0.2.1"], "for=192.0.2.1, ", "192.0.2.1"),
            (&["for=10.1.1.1;host=\"a, for=192.0.2.1", "for=10.0.0.3"], "for=192.0.2.1, for=10.0.0.3, ", "192.0.2.1"),
            (&["for=\"a,b\";host=\";\", for=192.0.2.1"], "for=\"a,b\";host=\";\", for=192.0.2.1, ", "192.0.2.1"),
            // Malformed ones.
            (&["for"], "", "10.0.0.2"),
            (&["for=192.0.2.1, for = 192.0.2.2"], "", "10.0.0.2"),
            (&["for=2001:db8::1"], "", "10.0.0.2"),
            (&["for=\"192.0.2.1"], "", "10.0.0.2"),
            (&["=192.0.2.1"], "", "10.0.0.2"),
        ];
        for (lines, chain, client) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            let (written, found) = told(&only("Forwarded"), &lines);
            assert_eq!(written, format!("Forwarded: {chain}{own}|"), "{lines:?}");
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn the_other_fields_of_a_trusted_proxy_are_kept_when_they_can_be_read() {
        let table: &[(&str, &[&str], &str)] = &[
            ("X-Forwarded-Proto", &["https"], "https"),
            ("X-Forwarded-Proto", &["HTTPS, http", "wss"], "HTTPS, http, wss"),
            ("X-Forwarded-Proto", &["https", "x"], "http"),
            ("X-Forwarded-Proto", &[""], "http"),
            ("X-Forwarded-Proto", &[], "http"),
            ("X-Forwarded-Host", &["b.example:443"], "b.example:443"),
            ("X-Forwarded-Host", &["b.example", "[::1]:2"], "b.example, [::1]:2"),
            ("X-Forwarded-Host", &["b.example/x"], "a:1"),
            ("X-Forwarded-Host", &[], "a:1"),
            ("X-Forwarded-Port", &["443"], "443"),
            ("X-Forwarded-Port", &["0"], "8080"),
            ("X-Forwarded-Port", &["65536"], "8080"),
            ("X-Forwarded-Port", &["+443"], "8080"),
            ("X-Forwarded-Port", &[], "8080"),
        ];
        for (name, lines, value) in table {
            let lines: Vec<_> = lines.iter().map(|line| (*name, *line)).collect();
            assert_eq!(told(&only(name), &lines).0, format!("{name}: {value}|"), "{lines:?}");
        }
    }

    #[test]
    fn a_client_is_believed_nothing() {
        let lines = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "b"),
            ("X-Forwarded-Port", "443"),
            ("Forwarded", "for=192.0.2.1"),
        ];
        let all = Forwarding {
            x_forwarded_for: true,
            x_forwarded_proto: true,
            x_forwarded_host: true,
            x_forwarded_port: true,
            forwarded: true,
            ..settings().forwarding
        };
        let (written, client) = told(&all, &lines);
        assert_eq!(
            written,
            "X-Forwarded-For: 10.0.0.2|X-Forwarded-Proto: http|X-Forwarded-Host: a:1|X-Forwarded-Port: 8080|\
             Forwarded: for=10.0.0.2;host=\"a:1\";proto=http|"
        );
        assert_eq!(client, IpAddr::from([10, 0, 0, 2]));
        // Where one chain is not told, it is not asked either.
        let one = |name| told(&only(name), &lines).1;
        assert_eq!(one("X-Forwarded-Proto"), IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn of_two_chains_the_one_that_backends_are_told_counts() {
        let lines = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.2")];
        assert_eq!(told(&only("X-Forwarded-For"), &lines).1, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(told(&only("Forwarded"), &lines).1, IpAddr::from([192, 0, 2, 2]));
        let both = Forwarding { x_forwarded_for: true, ..only("Forwarded") };
        assert_eq!(told(&both, &lines).1, IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn names_are_told_apart_in_every_spelling() {
        let table = [
            ("X-Forwarded-For", Some(Told::For)),
            ("x-forwarded-port", Some(Told::Port)),
            ("FORWARDED", Some(Told::Forwarded)),
            ("X-Real-IP", Some(Told::Other)),
            ("X-Forwarded-User", Some(Told::Other)),
            ("X-Request-ID", Some(Told::RequestId)),
            ("X_Forwarded_For", Some(Told::Misspelt)),
            ("x-forwarded_host", Some(Told::Misspelt)),
            ("X.Forwarded-Proto", Some(Told::Misspelt)),
            ("X_Forwarded_User", Some(Told::Misspelt)),
            ("X_Real_IP", Some(Told::Misspelt)),
            ("X!Request-Id", Some(Told::Misspelt)),
            ("X-Forwarded-", None),
            ("X-Request-Ids", None),
            ("XAForwarded-For", None),
            ("Y-Forwarded-For", None),
        ];
        for (name, told) in table {
            assert_eq!(Name::of(name.as_bytes()), told.map_or(Name::Other, Name::Forwarding), "{name}");
        }
    }

    #[test]
    fn a_request_id_is_kept_from_a_trusted_proxy_when_it_is_a_token() {
        let identity = |request_id, trusted: &[&str], values: &[&str]| {
            let networks = trusted.iter().map(|network| Network::parse(network).unwrap()).collect();
            let settings = Forwarding { request_id, trusted_proxies: networks, ..settings().forwarding };
            let fields: Vec<_> =
                values.iter().map(|value| Header { name: "X-Request-ID", value: value.as_bytes() }).collect();
            let peer = Peer::of([10, 0, 0, 2].into(), &settings);
            let made = Identity::of(&fields, peer, &settings, &mut Rng::new(1));
            made.map(|identity| String::from_utf8(identity.as_bytes().to_vec()).unwrap())
        };
        let (proxy, long) = (["10.0.0.2"], "a".repeat(64));
        assert_eq!(identity(RequestId::None, &proxy, &["a"]), None);
        assert_eq!(identity(RequestId::Keep, &proxy, &["a-b.C_1"]).as_deref(), Some("a-b.C_1"));
        assert_eq!(identity(RequestId::Keep, &proxy, &[&long]), Some(long.clone()));
        let made = identity(RequestId::Make, &proxy, &["a"]).unwrap();
        assert!(made.len() == 32 && made.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{made}");
        for values in [&[][..], &[""], &["a b"], &["a\"b"], &["a", "b"], &["\u{e9}"], &[&format!("{long}a")]] {
            assert_eq!(identity(RequestId::Keep, &proxy, values).as_ref(), Some(&made), "{values:?}");
        }
        assert_eq!(identity(RequestId::Keep, &[], &["a"]), Some(made), "a client is not believed");
        let mut rng = Rng::new(7);
        assert_ne!(Identity::made(&mut rng), Identity::made(&mut rng));
    }

    #[test]
    fn whatever_a_proxy_passes_on_plb_has_the_last_word_and_sees_what_the_proxy_added() {
        let specimens: &[&[u8]] = &[
            b"192.0.2.1, 10.0.0.3",
            b"for=\"[2001:db8::1]:4711\";proto=http;by=203.0.113.43, for=\"_a\\\"b\"",
            b"for=192.0.2.1;host=\"a,b\", \", ;;= for",
        ];
        for seed in 0..20_000 {
            // What cannot be in a field was refused before.
            let mut junk = damaged(&mut Chance(seed), specimens);
            junk.retain(|&byte| is_value(&[byte]));
            for (name, added, own) in [
                ("X-Forwarded-For", "192.0.2.9", "192.0.2.9, 10.0.0.2|"),
                ("Forwarded", "for=192.0.2.9", "for=192.0.2.9, for=10.0.0.2;host=\"a:1\";proto=http|"),
            ] {
                let text = String::from_utf8_lossy(&junk);
                let (written, client) = told(&only(name), &[(name, &format!("{text}, {added}"))]);
                assert!(written.ends_with(own), "seed {seed}: {text} became {written}");
                assert_eq!(client, IpAddr::from([192, 0, 2, 9]), "seed {seed}: {text}");
                let (again, _) = told(&only(name), &[(name, &written[name.len() + 2..written.len() - 1])]);
                assert!(again.starts_with(&written[..written.len() - 1]), "seed {seed}: {written} became {again}");
            }
        }
    }
}
