//! The header of the PROXY protocol, versions 1 and 2: whom a proxy forwards for, before the first byte of its client.
//!
//! The reader is strict: a header is decided as soon as its bytes allow it, and what is not exactly one is malformed. It
//! reads nothing behind the header. Where it says that a section is meant, that is one of the specification
//! (`proxy-protocol.txt`, which HAProxy publishes).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::config::{ProxyVersion, ProxyVersions};

/// The longest header of version 1, its CRLF included (section 2.1).
const LINE_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken: ten times of what proxies that add all they know send, and less than
/// a pipe always has room for.
pub const BLOCK_BYTES_MAX: usize = 4096;

/// What a header of version 2 begins with (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// The bytes of version 2 before the addresses.
const FIXED_BYTES: usize = 16;
/// The type of the only vector that is looked into (section 2.2.3).
const CRC32C: u8 = 3;
/// The bytes of a vector's type and length.
const VECTOR_BYTES: usize = 3;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header may yet come of them.
    Incomplete,
    /// A header.
    Header {
        /// Its length in bytes.
        bytes: usize,
        /// Where the client came from and where to. `None` is told of a connection of the proxy's own, such as a health
        /// check, and of one that has no such addresses.
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
    /// No header, for this reason.
    Malformed(&'static str),
}

/// Reads the header that `bytes` begin with.
pub fn parse(bytes: &[u8], versions: ProxyVersions) -> Parsed {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    let parsed = match versions {
        _ if bytes.is_empty() => Ok(None),
        ProxyVersions::Any | ProxyVersions::V1 if begins(WORD) => parse_line(bytes),
        ProxyVersions::Any | ProxyVersions::V2 if begins(SIGNATURE) => parse_block(bytes),
        _ => Err("it does not begin like a header"),
    };
    match parsed {
        Ok(None) => Parsed::Incomplete,
        Ok(Some((bytes, addresses))) => Parsed::Header { bytes, addresses },
        Err(why) => Parsed::Malformed(why),
    }
}

/// The length of a header and its addresses; `None` while it is incomplete.
type Read = Result<Option<(usize, Option<(SocketAddr, SocketAddr)>)>, &'static str>;

/// Version 1 (section 2.1).
fn parse_line(bytes: &[u8]) -> Read {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let end = within.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let text = &within[WORD.len().min(within.len())..end.unwrap_or(within.len())];
    check_line(text)?;
    match end {
        None if bytes.len() + 1 >= LINE_BYTES_MAX => Err("its line is too long"),
        None => Ok(None),
        Some(_) if text.is_empty() => Err("its line ends too early"),
        Some(end) if within[end] == b'\n' || within.get(end + 1).is_some_and(|byte| *byte != b'\n') => {
            Err("its line does not end with CRLF")
        }
        Some(end) if end + 2 > LINE_BYTES_MAX => Err("its line is too long"),
        Some(end) if within.len() < end + 2 => Ok(None),
        Some(end) => Ok(Some((end + 2, line_addresses(text)?))),
    }
}

/// Whether the rest of a line can begin so.
fn check_line(text: &[u8]) -> Result<(), &'static str> {
    let words: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
    let begins = |word: &&&[u8]| text.iter().zip(**word).all(|(byte, expected)| byte == expected);
    let word = words.iter().find(begins).ok_or("its line names no family")?;
    let rest = text.get(word.len()..).unwrap_or_default();
    let is_known = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b' ' | b'.' | b':');
    match *word {
        // What else it says does not count.
        b"UNKNOWN" if matches!(rest, [] | [b' ', ..]) => Ok(()),
        b"TCP4 " | b"TCP6 " if rest.iter().all(is_known) => Ok(()),
        _ => Err("its line is malformed"),
    }
}

/// The addresses of a whole line that has passed [`check_line`].
fn line_addresses(text: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, &'static str> {
    if text.starts_with(b"UNKNOWN") {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    let read = match text.split_once(' ') {
        Some(("TCP4", ends)) => endpoints::<Ipv4Addr>(ends),
        Some((_, ends)) => endpoints::<Ipv6Addr>(ends),
        None => None,
    };
    read.map(Some).ok_or("its addresses are malformed")
}

fn endpoints<A: FromStr + Into<IpAddr>>(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split(' ');
    let [source, destination, from, to] = std::array::from_fn(|_| words.next());
    let address = |word: Option<&str>| word?.parse::<A>().ok().map(A::into);
    let ends = [(address(source)?, port(from?)?), (address(destination)?, port(to?)?)];
    words.next().is_none().then(|| (ends[0].into(), ends[1].into()))
}

/// Decimal, and the only way to write it.
fn port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || text.starts_with(|digit: char| ('1'..='9').contains(&digit));
    text.parse().ok().filter(|_| is_plain)
}

/// Version 2 (section 2.2).
fn parse_block(bytes: &[u8]) -> Read {
    let [command, family] = [SIGNATURE.len(), SIGNATURE.len() + 1].map(|place| bytes.get(place).copied());
    let is_local = match command {
        Some(0x20) => true,
        None | Some(0x21) => false,
        Some(_) => return Err("its version or command is unknown"),
    };
    let address_bytes = match family {
        // What a proxy tells of a connection of its own is not looked at.
        _ if is_local => 0,
        None | Some(0x00) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err("its family or protocol is unknown"),
    };
    let Some(fixed) = bytes.get(..FIXED_BYTES) else { return Ok(None) };
    let whole = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if whole < FIXED_BYTES + address_bytes {
        return Err("it is too short for its addresses");
    }
    if whole > BLOCK_BYTES_MAX {
        return Err("it is too long");
    }
    let Some(block) = bytes.get(..whole) else { return Ok(None) };
    if is_local {
        return Ok(Some((whole, None)));
    }
    check_vectors(block, FIXED_BYTES + address_bytes)?;
    Ok(Some((whole, block_addresses(block))))
}

/// The addresses of a whole block, where they are those of a TCP connection.
fn block_addresses(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ends = &block[FIXED_BYTES..];
    let port = |place: usize| u16::from_be_bytes([ends[place], ends[place + 1]]);
    match block[13] {
        0x11 => {
            let address = |place: usize| ends[place..].first_chunk::<4>().copied().map(Ipv4Addr::from);
            Some(((address(0)?, port(8)).into(), (address(4)?, port(10)).into()))
        }
        0x21 => {
            let address = |place: usize| ends[place..].first_chunk::<16>().copied().map(Ipv6Addr::from);
            Some(((address(0)?, port(32)).into(), (address(16)?, port(34)).into()))
        }
        _ => None,
    }
}

/// Walks the vectors of a whole block, which begin at `place`. A checksum has to be right, and there is one at the most.
fn check_vectors(block: &[u8], mut place: usize) -> Result<(), &'static str> {
    let mut checksum = None;
    while place < block.len() {
        let cut = "a vector in it is cut off";
        let vector = block.get(place..place + VECTOR_BYTES).ok_or(cut)?;
        let from = place + VECTOR_BYTES;
        place = from + usize::from(u16::from_be_bytes([vector[1], vector[2]]));
        let value = block.get(from..place).ok_or(cut)?;
        if vector[0] == CRC32C {
            let told = u32::from_be_bytes(value.try_into().map_err(|_| "its checksum is malformed")?);
            if checksum.replace((told, from)).is_some() {
                return Err("it has two checksums");
            }
        }
    }
    match checksum {
        Some((told, from)) if told != crc32c(block, from) => Err("its checksum is wrong"),
        _ => Ok(()),
    }
}

/// The CRC-32C of a block whose four bytes from `zeroed` on count as zeros (RFC 4960 appendix B). Few proxies send one,
/// and a block is short: there is no table.
fn crc32c(block: &[u8], zeroed: usize) -> u32 {
    let sum = block.iter().enumerate().fold(u32::MAX, |sum, (place, byte)| {
        let byte = if (zeroed..zeroed + 4).contains(&place) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    });
    !sum
}

/// Appends a header for a client that came from `source` to `destination`. An IPv4 address that is mapped into IPv6 is
/// itself, unless the other address is none: then both are IPv6 ones, so that nothing is lost.
pub fn write(version: ProxyVersion, source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let mut ends = [source, destination].map(|end| end.ip().to_canonical());
    let is_v4 = ends.iter().all(IpAddr::is_ipv4);
    if !is_v4 {
        ends = ends.map(|end| match end {
            IpAddr::V4(end) => end.to_ipv6_mapped().into(),
            IpAddr::V6(_) => end,
        });
    }
    let ([from, to], ports) = (ends, [source.port(), destination.port()]);
    match version {
        ProxyVersion::V1 => {
            let family = if is_v4 { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {from} {to} {} {}\r\n", ports[0], ports[1]);
            out.extend_from_slice(line.as_bytes());
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(if is_v4 { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] });
            for end in ends {
                match end {
                    IpAddr::V4(end) => out.extend_from_slice(&end.octets()),
                    IpAddr::V6(end) => out.extend_from_slice(&end.octets()),
                }
            }
            ports.iter().for_each(|port| out.extend_from_slice(&port.to_be_bytes()));
        }
    }
}

/// Appends the header of a connection of plb's own (version 2): its receiver is to go by the addresses that it sees.
pub fn write_local(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0x20, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().expect("it is an address")
    }

    fn written(version: ProxyVersion, source: &str, destination: &str) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write(version, end(source), end(destination), &mut out);
        out.split_off(6)
    }

    /// A header of version 2 with these vectors behind its addresses.
    fn block(command: u8, family: u8, addresses: &[u8], vectors: &[u8]) -> Vec<u8> {
        let bytes = ((addresses.len() + vectors.len()) as u16).to_be_bytes();
        [SIGNATURE, &[command, family], &bytes, addresses, vectors].concat()
    }

    fn whole(bytes: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, &'static str> {
        match parse(bytes, ProxyVersions::Any) {
            Parsed::Header { bytes: length, addresses } if length == bytes.len() => Ok(addresses),
            Parsed::Malformed(why) => Err(why),
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        let line = |source, destination| {
            String::from_utf8(written(ProxyVersion::V1, source, destination)).expect("it is text")
        };
        assert_eq!(line("192.0.2.1:5", "192.0.2.2:80"), "PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n");
        assert_eq!(line("[::ffff:192.0.2.1]:5", "192.0.2.2:80"), "PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n");
        assert_eq!(line("[2001:DB8:0::1]:65535", "[::1]:0"), "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n");
        assert_eq!(line("192.0.2.1:5", "[2001:db8::2]:80"), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5 80\r\n");
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert!(line(longest, longest).len() <= LINE_BYTES_MAX);
        assert_eq!(
            written(ProxyVersion::V2, "[::ffff:192.0.2.1]:5", "192.0.2.2:80"),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x05\0\x50"
        );
        let mixed = written(ProxyVersion::V2, "[2001:db8::1]:5", "192.0.2.2:80");
        assert_eq!(whole(&mixed), Ok(Some((end("[2001:db8::1]:5"), end("[::ffff:192.0.2.2]:80")))));
        let mut local = Vec::new();
        write_local(&mut local);
        assert_eq!((local.len(), whole(&local)), (16, Ok(None)));
    }

    #[test]
    fn a_line_is_read_in_its_one_form_only() {
        let ends = |source, destination| Ok(Some((end(source), end(destination))));
        assert_eq!(whole(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n"), ends("192.0.2.1:1", "192.0.2.2:65535"));
        assert_eq!(whole(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 0\r\n"), ends("0.0.0.0:0", "255.255.255.255:0"));
        assert_eq!(
            whole(b"PROXY TCP6 2001:DB8::1 ::ffff:1.2.3.4 9 8\r\n"),
            ends("[2001:db8::1]:9", "[::ffff:1.2.3.4]:8")
        );
        for known in ["", " ", " TCP4 \u{1}\u{e9}", " ffff::f ffff::f 65535 65535 and so on"] {
            let line = [b"PROXY UNKNOWN", known.as_bytes(), b"\r\n"].concat();
            assert_eq!(whole(&line), Ok(None), "{known:?}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        assert_eq!((longest.len(), whole(longest.as_bytes())), (LINE_BYTES_MAX, Ok(None)));
        let malformed = [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 ::1 ::1%1 1 2\r\n",
            "PROXY TCP6 [::1] [::1] 1 2\r\n",
            "PROXY TCP6 1:::2 ::1 1 2\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN \n\r\n",
            "PROXY TCP4 \r\n",
            "PROXY TCP4\r\n",
            "PROXY UNK\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            " PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ];
        for text in malformed {
            assert!(matches!(parse(text.as_bytes(), ProxyVersions::Any), Parsed::Malformed(_)), "{text:?}");
        }
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 15));
        assert_eq!(whole(too_long.as_bytes()), Err("its line is too long"));
    }

    #[test]
    fn a_block_is_skipped_by_its_length_and_its_addresses_are_those_of_tcp() {
        let four = [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[0, 5, 0, 80]].concat();
        let six = [&[1; 16][..], &[2; 16], &[0, 5, 0, 80]].concat();
        let vectors = b"\x04\0\0\x01\0\x02h2\xe0\0\x01x";
        let ends = Ok(Some((end("192.0.2.1:5"), end("192.0.2.2:80"))));
        assert_eq!(whole(&block(0x21, 0x11, &four, b"")), ends);
        assert_eq!(whole(&block(0x21, 0x11, &four, vectors)), ends);
        let read = whole(&block(0x21, 0x21, &six, vectors)).unwrap().unwrap();
        assert_eq!((read.0.port(), read.0.ip().to_string()), (5, "101:101:101:101:101:101:101:101".to_string()));
        assert_eq!((read.1.port(), read.1.ip().to_string()), (80, "202:202:202:202:202:202:202:202".to_string()));
        for (family, bytes) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216), (0x00, 0)] {
            assert_eq!(whole(&block(0x21, family, &vec![7; bytes], vectors)), Ok(None), "{family:x}");
        }
        // What a proxy tells of a connection of its own does not count, whatever it is.
        for (family, told) in [(0x00, &b""[..]), (0x11, &four), (0x11, b"\xff"), (0x00, b"\x03\0\0"), (0xff, b"?")] {
            assert_eq!(whole(&block(0x20, family, told, b"")), Ok(None), "{family:x}");
        }
        assert_eq!(whole(&block(0x20, 0, &[0; BLOCK_BYTES_MAX - FIXED_BYTES], b"")), Ok(None));
        assert_eq!(whole(&block(0x20, 0, &[0; BLOCK_BYTES_MAX - FIXED_BYTES + 1], b"")), Err("it is too long"));
        for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x41, 0xff] {
            assert!(whole(&block(0x21, family, &[0; 216], b"")).is_err(), "{family:x}");
        }
        for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff] {
            assert!(whole(&block(command, 0x11, &four, b"")).is_err(), "{command:x}");
        }
        for (family, bytes) in [(0x11, 11), (0x12, 0), (0x21, 35), (0x22, 12), (0x31, 215), (0x32, 0)] {
            let short = block(0x21, family, &vec![0; bytes], b"");
            assert_eq!(whole(&short), Err("it is too short for its addresses"), "{family:x}");
        }
        for cut in [&b"\x01"[..], b"\x01\0", b"\x01\0\x01", b"\x04\0\0\x04", b"\x01\xff\xff?", b"\x01\0\x01xy"] {
            assert_eq!(whole(&block(0x21, 0x11, &four, cut)), Err("a vector in it is cut off"), "{cut:?}");
        }
    }

    #[test]
    fn a_checksum_is_verified_wherever_it_stands() {
        // RFC 3720 appendix B.4 has these two; nothing is zeroed.
        let far = usize::MAX - 4;
        assert_eq!((crc32c(&[0; 32], far), crc32c(&[0xff; 32], far)), (0x8a91_36aa, 0x62a8_ab43));
        for (before, after) in
            [(&b""[..], &b""[..]), (b"\x04\0\0", b""), (b"", b"\x01\0\x02h2"), (b"\x04\0\x01x", b"\x04\0\0")]
        {
            let vectors = [before, b"\x03\0\x04\0\0\0\0", after].concat();
            let mut good = block(0x21, 0x11, &[9; 12], &vectors);
            let place = FIXED_BYTES + 12 + before.len() + VECTOR_BYTES;
            let sum = crc32c(&good, place);
            good[place..place + 4].copy_from_slice(&sum.to_be_bytes());
            assert!(whole(&good).unwrap().is_some());
            for damaged in FIXED_BYTES..FIXED_BYTES + 12 {
                let mut bad = good.clone();
                bad[damaged] ^= 1;
                assert_eq!(whole(&bad), Err("its checksum is wrong"), "{damaged}");
            }
        }
        for (vectors, why) in [
            (&b"\x03\0\x03abc"[..], "its checksum is malformed"),
            (b"\x03\0\x05abcde", "its checksum is malformed"),
            (b"\x03\0\0", "its checksum is malformed"),
            (b"\x03\0\x04abcd\x03\0\x04abcd", "it has two checksums"),
        ] {
            assert_eq!(whole(&block(0x21, 0x11, &[9; 12], vectors)), Err(why));
        }
    }

    #[test]
    fn a_version_that_is_not_taken_is_refused_at_its_first_byte() {
        use ProxyVersions::{Any, V1, V2};
        for (byte, versions) in [(b'P', V2), (b'\r', V1), (b'G', Any), (b'G', V1), (b'\n', V2), (0, Any)] {
            assert!(matches!(parse(&[byte], versions), Parsed::Malformed(_)), "{byte} {versions:?}");
        }
        for (byte, versions) in [(b'P', V1), (b'P', Any), (b'\r', V2), (b'\r', Any)] {
            assert_eq!(parse(&[byte], versions), Parsed::Incomplete, "{byte} {versions:?}");
        }
        assert_eq!(parse(b"", Any), Parsed::Incomplete);
    }
}
