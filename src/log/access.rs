//! The access log: a record becomes a line. README.md tells what the fields mean.
//!
//! Nothing that a peer sent can break a line or end a field: what is not plain ASCII is escaped, and what is long is cut.

use std::net::IpAddr;
use std::time::Duration;

use super::stamp::Calendar;
use crate::base::time::Time;
use crate::config::{AccessFormat, Config};
use crate::protocol::transcript::TEXT_BYTES_MAX;
use crate::session::record::Record;

/// What ends a text that was cut.
const CUT: &[u8] = b"...";

/// How a byte is written that does not stand for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// `\x0a`
    Hex,
    /// `\u000a` (RFC 8259 section 7)
    Json,
}

/// Writes the lines of the access log.
#[derive(Debug)]
pub struct Format {
    name: AccessFormat,
    calendar: Calendar,
}

impl Format {
    /// Lines of this format.
    pub fn new(name: AccessFormat) -> Format {
        Format { name, calendar: Calendar::default() }
    }

    /// What it writes moments with.
    pub fn calendar(&mut self) -> &mut Calendar {
        &mut self.calendar
    }

    /// Appends the line of a record of an exchange that began at `moment`, with its end.
    pub fn write(&mut self, record: &Record, moment: Duration, config: &Config, out: &mut Vec<u8>) {
        match self.name {
            AccessFormat::Plb => self.write_plb(record, moment, config, out),
            AccessFormat::Combined => self.write_combined(record, moment, out),
            AccessFormat::Json => self.write_json(record, moment, config, out),
        }
        out.push(b'\n');
    }

    fn write_plb(&mut self, record: &Record, moment: Duration, config: &Config, out: &mut Vec<u8>) {
        self.calendar.write_rfc3339(moment, out);
        out.push(b' ');
        write_client(record, out);
        append(out, &[" ", &config.listeners[usize::from(record.listener)].name, " "]);
        if !write_backend(record, config, out) {
            out.push(b'-');
        }
        out.push(b' ');
        write_quoted(record.transcript.request_line(), Escape::Hex, out);
        for (_, number) in numbers(record) {
            out.push(b' ');
            write_number(number, b"-", out);
        }
        out.push(b' ');
        write_end(record, out);
        if let Some(cause) = record.transcript.cause {
            append(out, &[":", cause.name()]);
        }
    }

    /// As Apache's documentation of its mod_log_config defines it.
    fn write_combined(&mut self, record: &Record, moment: Duration, out: &mut Vec<u8>) {
        let transcript = &record.transcript;
        write_address(transcript.client.unwrap_or(record.client.ip()).to_canonical(), None, out);
        out.extend_from_slice(b" - ");
        match transcript.user() {
            b"" => out.push(b'-'),
            user => write_word(user, out),
        }
        out.extend_from_slice(b" [");
        self.calendar.write_web(moment, out);
        out.extend_from_slice(b"] ");
        write_quoted(transcript.request_line(), Escape::Hex, out);
        out.push(b' ');
        write_number(status(record), b"-", out);
        out.push(b' ');
        let body = record.sent.saturating_sub(transcript.head_bytes);
        write_number((body > 0).then_some(body), b"-", out);
        for text in [transcript.referer(), transcript.user_agent()] {
            out.push(b' ');
            write_quoted(text, Escape::Hex, out);
        }
    }

    fn write_json(&mut self, record: &Record, moment: Duration, config: &Config, out: &mut Vec<u8>) {
        append(out, &["{\"time\":\""]);
        self.calendar.write_rfc3339(moment, out);
        let listener = &config.listeners[usize::from(record.listener)].name;
        append(out, &["\",\"client\":\""]);
        write_client(record, out);
        append(out, &["\",\"listener\":\"", listener, "\",\"backend\":\""]);
        // The names of listeners, pools and backends have nothing to escape.
        if write_backend(record, config, out) {
            out.push(b'"');
        } else {
            out.pop();
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"request\":");
        match record.transcript.request_line() {
            b"" => out.extend_from_slice(b"null"),
            line => write_quoted(line, Escape::Json, out),
        }
        for (name, number) in numbers(record) {
            append(out, &[",\"", name, "\":"]);
            write_number(number, b"null", out);
        }
        out.extend_from_slice(b",\"end\":\"");
        write_end(record, out);
        match record.transcript.cause {
            Some(cause) => append(out, &["\",\"cause\":\"", cause.name(), "\""]),
            None => append(out, &["\",\"cause\":null"]),
        }
        match record.transcript.fault {
            Some(fault) => append(out, &[",\"fault\":\"", fault, "\""]),
            None => append(out, &[",\"fault\":null"]),
        }
        out.extend_from_slice(b",\"request_id\":");
        match &record.transcript.identity {
            Some(identity) => write_quoted(identity.as_bytes(), Escape::Json, out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
}

/// The numbers of a record with their names, in their order. A time is that of one stretch of the way, in milliseconds.
fn numbers(record: &Record) -> [(&'static str, Option<u64>); 8] {
    let stretch = |from: Option<Time>, to: Option<Time>| Some(to?.since(from?).as_millis() as u64);
    let Record { began, asked, connected, heard, ended, .. } = *record;
    [
        ("status", status(record)),
        ("received", Some(record.received)),
        ("sent", Some(record.sent)),
        ("waiting_ms", stretch(Some(began), asked)),
        ("connecting_ms", stretch(asked, connected)),
        ("first_byte_ms", stretch(connected, heard)),
        ("total_ms", stretch(Some(began), Some(ended))),
        ("attempts", Some(u64::from(record.attempts))),
    ]
}

fn status(record: &Record) -> Option<u64> {
    let status = record.transcript.status;
    (status > 0).then_some(u64::from(status))
}

/// Writes `pool/backend`, unless nobody was asked.
fn write_backend(record: &Record, config: &Config, out: &mut Vec<u8>) -> bool {
    let Some(backend) = record.backend else { return false };
    let pool = &config.pools[backend.pool()];
    append(out, &[&pool.name, "/", &pool.backends[backend.backend()].name]);
    true
}

fn write_end(record: &Record, out: &mut Vec<u8>) {
    match record.end {
        Some(end) => out.extend_from_slice(end.name().as_bytes()),
        None => out.push(b'-'),
    }
}

fn write_number(number: Option<u64>, absent: &[u8], out: &mut Vec<u8>) {
    match number {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.extend_from_slice(absent),
    }
}

/// Writes a text of a peer's between quotes, or `"-"` when there is none.
fn write_quoted(text: &[u8], escape: Escape, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let text = if text.is_empty() { b"-" } else { text };
    out.push(b'"');
    let end = out.len() + TEXT_BYTES_MAX;
    for &byte in text {
        let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        let (prefix, rest): (&[u8], &[u8]) = match (byte, escape) {
            (b'"' | b'\\' | 0..0x20 | 0x7f.., Escape::Hex) => (b"\\x", &digits),
            (b'"' | b'\\' | 0..0x20 | 0x7f.., Escape::Json) => (b"\\u00", &digits),
            _ => (b"", &[byte]),
        };
        if out.len() + prefix.len() + rest.len() > end {
            out.extend_from_slice(CUT);
            break;
        }
        out.extend_from_slice(prefix);
        out.extend_from_slice(rest);
    }
    out.push(b'"');
}

/// Writes a text of a peer's that stands without quotes: a space in it is escaped, too.
fn write_word(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'!'..=b'~' if byte != b'"' && byte != b'\\' => out.push(byte),
            _ => append(out, &[&format!("\\x{byte:02x}")]),
        }
    }
}

/// Writes who asked: of whom proxies speak, no port is known.
fn write_client(record: &Record, out: &mut Vec<u8>) {
    match record.transcript.client {
        Some(client) => write_address(client, None, out),
        None => write_address(record.client.ip(), Some(record.client.port()), out),
    }
}

/// Writes an address, with brackets where a port follows one of IPv6. An IPv4 address is most of what std's formatting
/// would cost a line.
fn write_address(address: IpAddr, port: Option<u16>, out: &mut Vec<u8>) {
    match (address, port) {
        (IpAddr::V4(address), _) => {
            for (octet, point) in address.octets().into_iter().zip(["", ".", ".", "."]) {
                append(out, &[point, itoa::Buffer::new().format(octet)]);
            }
        }
        (IpAddr::V6(address), Some(_)) => append(out, &[&format!("[{address}]")]),
        (IpAddr::V6(address), None) => append(out, &[&address.to_string()]),
    }
    if let Some(port) = port {
        append(out, &[":", itoa::Buffer::new().format(port)]);
    }
}

fn append(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BackendId;
    use crate::config::{ProtocolName, quick_start};
    use crate::protocol::refusal::Cause;
    use crate::protocol::transcript::Transcript;
    use crate::session::record::End;

    fn line(format: AccessFormat, record: &Record) -> String {
        let backends = ["a.example:1".to_owned(), "[::1]:2".to_owned()];
        let config = quick_start(ProtocolName::Http, "127.0.0.1:80", &backends).expect("it is right");
        let mut out = Vec::new();
        Format::new(format).write(record, Duration::from_millis(1_046_262_896_789), &config, &mut out);
        String::from_utf8(out).expect("it is ASCII")
    }

    fn record(format: AccessFormat, head: &[u8]) -> Record {
        let client = "[::ffff:192.0.2.7]:5000".parse().expect("it is an address");
        let mut record = Record::new(0, client, Time::from_millis(10), Transcript::new(format));
        record.transcript.ask(head);
        record
    }

    fn served(format: AccessFormat) -> Record {
        let head = b"GET /a HTTP/1.1\r\nHost: a\r\nReferer: http://b/\"\r\nUser-Agent: x y\r\n\r\n";
        let mut record = record(format, head);
        record.transcript.answer(200, &[0; 90]);
        (record.asked, record.connected) = (Some(Time::from_millis(11)), Some(Time::from_micros(13_999)));
        (record.heard, record.ended) = (Some(Time::from_millis(20)), Time::from_millis(1_010));
        (record.backend, record.attempts) = (Some(BackendId::new(0, 1)), 2);
        (record.received, record.sent, record.end) = (70, 100, Some(End::Done));
        record
    }

    #[test]
    fn the_fields_come_in_their_order() {
        let plb = line(AccessFormat::Plb, &served(AccessFormat::Plb));
        assert_eq!(
            plb,
            "2003-02-26T12:34:56.789Z [::ffff:192.0.2.7]:5000 quick quick/[::1]:2 \"GET /a HTTP/1.1\" 200 70 100 1 2 6 \
             1000 2 done\n"
        );
        let combined = line(AccessFormat::Combined, &served(AccessFormat::Combined));
        assert_eq!(
            combined,
            "192.0.2.7 - - [26/Feb/2003:12:34:56 +0000] \"GET /a HTTP/1.1\" 200 10 \"http://b/\\x22\" \"x y\"\n"
        );
        let json = line(AccessFormat::Json, &served(AccessFormat::Json));
        assert_eq!(
            json,
            "{\"time\":\"2003-02-26T12:34:56.789Z\",\"client\":\"[::ffff:192.0.2.7]:5000\",\"listener\":\"quick\",\
             \"backend\":\"quick/[::1]:2\",\"request\":\"GET /a HTTP/1.1\",\"status\":200,\"received\":70,\"sent\":100,\
             \"waiting_ms\":1,\"connecting_ms\":2,\"first_byte_ms\":6,\"total_ms\":1000,\"attempts\":2,\"end\":\"done\",\
             \"cause\":null,\"fault\":null,\"request_id\":null}\n"
        );
    }

    #[test]
    fn what_was_not_reached_is_absent() {
        let plb = line(AccessFormat::Plb, &record(AccessFormat::Plb, b""));
        assert!(plb.ends_with(" quick - \"-\" - 0 0 - - - 0 0 -\n"), "{plb}");
        let combined = line(AccessFormat::Combined, &record(AccessFormat::Combined, b""));
        assert!(combined.ends_with("] \"-\" - - \"-\" \"-\"\n"), "{combined}");
        let json = line(AccessFormat::Json, &record(AccessFormat::Json, b""));
        assert!(json.contains("\"backend\":null,\"request\":null,\"status\":null,\"received\":0"), "{json}");
        serde_yaml::from_str::<serde_yaml::Value>(&json).expect("JSON is YAML");
    }

    #[test]
    fn a_refusal_tells_its_cause_and_who_asked() {
        let head = b"GET / HTTP/1.1\r\nAuthorization: Basic YSAiYsO8Og==\r\n\r\n";
        let refused = |format| {
            let mut record = record(format, head);
            (record.transcript.cause, record.end) = (Some(Cause::Rate), Some(End::Refused));
            line(format, &record)
        };
        assert!(refused(AccessFormat::Plb).ends_with(" 0 refused:rate\n"));
        assert!(
            refused(AccessFormat::Json)
                .contains(",\"end\":\"refused\",\"cause\":\"rate\",\"fault\":null,\"request_id\":")
        );
        assert!(refused(AccessFormat::Combined).starts_with("192.0.2.7 - a\\x20\\x22b\\xc3\\xbc [26/Feb/2003"));
    }

    #[test]
    fn every_byte_is_written_so_that_it_breaks_nothing() {
        for byte in 0..=255 {
            for (escape, prefix) in [(Escape::Hex, "\\x"), (Escape::Json, "\\u00")] {
                let mut out = Vec::new();
                write_quoted(&[b'a', byte, b'z'], escape, &mut out);
                let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                let middle = if plain { char::from(byte).to_string() } else { format!("{prefix}{byte:02x}") };
                assert_eq!(String::from_utf8_lossy(&out), format!("\"a{middle}z\""));
            }
        }
    }

    #[test]
    fn an_address_is_written_as_std_writes_it() {
        for text in ["0.0.0.0:0", "192.0.2.255:65535", "[::]:80", "[2001:db8::1]:1", "[::ffff:192.0.2.7]:9"] {
            let address: std::net::SocketAddr = text.parse().expect("an address");
            let [mut with, mut without] = [Vec::new(), Vec::new()];
            write_address(address.ip(), Some(address.port()), &mut with);
            write_address(address.ip(), None, &mut without);
            assert_eq!(String::from_utf8_lossy(&with), text);
            assert_eq!(String::from_utf8_lossy(&without), address.ip().to_string());
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let quoted = |text: &[u8], escape| {
            let mut out = Vec::new();
            write_quoted(text, escape, &mut out);
            String::from_utf8(out).expect("it is ASCII")
        };
        let whole = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(quoted(whole.as_bytes(), Escape::Hex), format!("\"{whole}\""));
        assert_eq!(quoted(format!("{whole}x").as_bytes(), Escape::Hex), format!("\"{whole}...\""));
        // No escape is cut in its middle.
        assert_eq!(quoted(&[0; 2000], Escape::Json), format!("\"{}...\"", "\\u0000".repeat(170)));
        let longest = record(AccessFormat::Combined, &[b"GET / HTTP/1.1\r\nReferer: ", &[7; 9000][..]].concat());
        assert!(line(AccessFormat::Combined, &longest).len() < 4096, "a pipe takes it in one piece");
    }
}
