//! A law of the PROXY protocol: what the first bytes of a connection are does not depend on how they come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use plb::config::{ProxyVersion, ProxyVersions};
use plb::protocol::proxy_header::{BLOCK_BYTES_MAX, Parsed, parse, write};

/// The length of a header, and whom it tells of.
type Header = (usize, Option<(SocketAddr, SocketAddr)>);

/// Any bytes are a header where a second reader says so, and then they are it however many of them have come; whoever is
/// told of, is told of by what is written.
pub fn proxy_header(input: &[u8]) {
    let judged = |bytes: &[u8]| parse(bytes, ProxyVersions::Any);
    let second = read(input);
    match judged(input) {
        Parsed::Header { bytes, addresses } => {
            assert_eq!(second, Some((bytes, addresses)), "{}", input.escape_ascii());
            for part in (0..bytes).rev().take(300).chain(0..bytes.min(300)) {
                assert_eq!(judged(&input[..part]), Parsed::Incomplete, "{part} of {bytes}");
            }
            for part in [bytes, (bytes + 1).min(input.len())] {
                assert_eq!(judged(&input[..part]), Parsed::Header { bytes, addresses });
            }
            addresses.into_iter().for_each(write_again);
        }
        Parsed::Incomplete => assert_eq!(second, None),
        Parsed::Malformed(why) => {
            assert_eq!(second, None, "{why}: {}", input.escape_ascii());
            let first = (0..input.len()).find(|&part| matches!(judged(&input[..part]), Parsed::Malformed(_)));
            let decided = first.unwrap_or(input.len());
            assert!((decided..=input.len()).all(|part| matches!(judged(&input[..part]), Parsed::Malformed(_))));
            assert!((0..decided).all(|part| judged(&input[..part]) == Parsed::Incomplete), "{why}");
        }
    }
    for (versions, first) in [(ProxyVersions::V1, b'P'), (ProxyVersions::V2, b'\r')] {
        let alone = parse(input, versions);
        match input.first() {
            Some(byte) if *byte != first => assert!(matches!(alone, Parsed::Malformed(_))),
            _ => assert_eq!(alone, judged(input)),
        }
    }
}

fn write_again(ends: (SocketAddr, SocketAddr)) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write(version, ends.0, ends.1, &mut out);
        let Some((bytes, Some(again))) = read(&out) else { panic!("{}", out.escape_ascii()) };
        assert_eq!(bytes, out.len());
        assert_eq!((plain(again.0), plain(again.1)), (plain(ends.0), plain(ends.1)));
        let parsed = parse(&out, ProxyVersions::Any);
        assert_eq!(parsed, Parsed::Header { bytes, addresses: Some(again) });
    }
}

/// The second reader, which waits for a whole header before it looks at it.
fn read(input: &[u8]) -> Option<Header> {
    if input.starts_with(b"PROXY ") {
        let line = (0..106).find(|&at| input[at.min(input.len())..].starts_with(b"\r\n"))?;
        return Some((line + 2, read_line(&input[6..line])?));
    }
    let rest = input.strip_prefix(&[0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])?;
    let length = usize::from(*rest.get(2)?) * 256 + usize::from(*rest.get(3)?);
    let body = rest.get(4..4 + length).filter(|_| 16 + length <= BLOCK_BYTES_MAX)?;
    let addresses = match (rest[0], rest[1]) {
        (0x20, _) => return Some((16 + length, None)),
        (0x21, 0x00) => 0,
        (0x21, 0x11 | 0x12) => 12,
        (0x21, 0x21 | 0x22) => 36,
        (0x21, 0x31 | 0x32) => 216,
        _ => return None,
    };
    let (ends, vectors) = body.split_at_checked(addresses)?;
    if !vectors_hold(&input[..16 + length], vectors) {
        return None;
    }
    let port = |at: usize| u16::from(ends[at]) * 256 + u16::from(ends[at + 1]);
    let four = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ends[at..at + 4]).expect("four"));
    let six = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ends[at..at + 16]).expect("sixteen"));
    let told = match rest[1] {
        0x11 => Some((SocketAddr::new(four(0), port(8)), SocketAddr::new(four(4), port(10)))),
        0x21 => Some((SocketAddr::new(six(0), port(32)), SocketAddr::new(six(16), port(34)))),
        _ => None,
    };
    Some((16 + length, told))
}

fn vectors_hold(header: &[u8], mut vectors: &[u8]) -> bool {
    let mut checksums = 0;
    while let [kind, high, low, rest @ ..] = vectors {
        let length = usize::from(*high) * 256 + usize::from(*low);
        let Some((value, behind)) = rest.split_at_checked(length) else { return false };
        if *kind == 3 {
            checksums += 1;
            let mut zeroed = header.to_vec();
            let at = header.len() - behind.len() - length;
            zeroed[at..at + length].fill(0);
            if length != 4 || checksum(&zeroed).to_be_bytes() != value {
                return false;
            }
        }
        vectors = behind;
    }
    vectors.is_empty() && checksums < 2
}

/// CRC-32C by division of polynomials, the first bit of each byte last.
fn checksum(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |place| u32::from(byte >> place & 1))) {
        let divides = (remainder & 1) ^ bit == 1;
        remainder >>= 1;
        if divides {
            remainder ^= 0x1EDC_6F41_u32.reverse_bits();
        }
    }
    remainder ^ u32::MAX
}

/// The addresses of a line; the outer `None` is a line that is none.
fn read_line(line: &[u8]) -> Option<Option<(SocketAddr, SocketAddr)>> {
    if line.contains(&b'\r') || line.contains(&b'\n') {
        return None;
    }
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let text = std::str::from_utf8(line).ok()?;
    let [family, from, to, from_port, to_port] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let address = |text: &str| match family {
        "TCP4" => read_four(text).map(IpAddr::from),
        "TCP6" => read_six(text).map(IpAddr::from),
        _ => None,
    };
    let port = |text: &str| text.parse().ok().filter(|port: &u16| port.to_string() == text);
    let end = |ip: &str, of: &str| Some(SocketAddr::new(address(ip)?, port(of)?));
    Some(Some((end(from, from_port)?, end(to, to_port)?)))
}

fn read_four(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> =
        text.split('.').map(|part| (0..=u8::MAX).find(|number| number.to_string() == part)).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(parts).ok()?))
}

fn read_six(text: &str) -> Option<Ipv6Addr> {
    let groups = |side: &str| -> Option<Vec<u16>> {
        let mut groups = Vec::new();
        let parts: Vec<&str> = if side.is_empty() { Vec::new() } else { side.split(':').collect() };
        for (place, part) in parts.iter().enumerate() {
            if part.contains('.') && place + 1 == parts.len() {
                let [a, b, c, d] = read_four(part)?.octets();
                groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            } else if (1..=4).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                groups.push(u16::from_str_radix(part, 16).ok()?);
            } else {
                return None;
            }
        }
        Some(groups)
    };
    let all: Vec<u16> = match text.split_once("::") {
        None => groups(text)?,
        Some((before, _)) if before.contains('.') => return None,
        Some((before, behind)) => {
            let (before, behind) = (groups(before)?, groups(behind)?);
            let zeros = 8_usize.checked_sub(before.len() + behind.len()).filter(|zeros| *zeros > 0)?;
            [before, vec![0; zeros], behind].concat()
        }
    };
    Some(Ipv6Addr::from(<[u16; 8]>::try_from(all).ok()?))
}
