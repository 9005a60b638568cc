//! Upgrades: which protocols a client may ask to change to, and how both heads of the change say so.
//!
//! Strict like the framing: one `Upgrade` field with one protocol in it, or there is none. Only what both peers have
//! agreed upon opens a tunnel, for whatever flows in a tunnel is not judged any more.

use super::fields;
use crate::config::Upgrade;

/// The longest name with its version; `websocket` has nine bytes.
const PROTOCOL_BYTES_MAX: usize = 31;

/// Protocols in which further requests would follow, past whatever judges requests here and in front of plb.
const NEVER: [&[u8]; 4] = [b"h2c", b"h2", b"http", b"tls"];

/// The protocol that a peer names in `Upgrade`: a name, and perhaps a version (RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    bytes: [u8; PROTOCOL_BYTES_MAX],
    length: u8,
}

impl Protocol {
    /// What this value of `Upgrade` names; `None` unless it is one protocol.
    pub(super) fn named(value: &[u8]) -> Option<Protocol> {
        if value.len() > PROTOCOL_BYTES_MAX || !value.splitn(2, |&byte| byte == b'/').all(fields::is_token) {
            return None;
        }
        let mut bytes = [0; PROTOCOL_BYTES_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Some(Protocol { bytes, length: value.len() as u8 })
    }

    /// Whether a client may ask for it.
    pub(super) fn is_allowed(&self, allowed: Upgrade) -> bool {
        let name = self.as_bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
        match allowed {
            Upgrade::None => false,
            Upgrade::Websocket => self.as_bytes().eq_ignore_ascii_case(b"websocket"),
            Upgrade::Any => !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never)),
        }
    }

    /// Appends the two fields that ask for the change, or agree to it.
    pub(super) fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        fields::write_field(out, "Upgrade", self.as_bytes());
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Names are compared without regard to case (RFC 9110 section 7.8).
impl PartialEq for Protocol {
    fn eq(&self, other: &Protocol) -> bool {
        self.as_bytes().eq_ignore_ascii_case(other.as_bytes())
    }
}

impl Eq for Protocol {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_names_one_protocol_or_none() {
        for good in ["websocket", "WebSocket", "foo/1.1", "a", "x!#$/y"] {
            assert!(Protocol::named(good.as_bytes()).is_some(), "{good}");
        }
        let long = "x".repeat(PROTOCOL_BYTES_MAX + 1);
        for bad in ["", "a, b", "a,", ",a", "a b", "/1", "a/", "a/b/c", "a;b", "\"a\"", "caf\u{e9}", &long] {
            assert!(Protocol::named(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Protocol::named(&long.as_bytes()[1..]).is_some());
    }

    #[test]
    fn no_setting_lets_http_into_a_tunnel() {
        let allowed = |name: &str| {
            let named = Protocol::named(name.as_bytes()).unwrap();
            [Upgrade::None, Upgrade::Websocket, Upgrade::Any].map(|allowed| named.is_allowed(allowed))
        };
        assert_eq!(allowed("WEBsocket"), [false, true, true]);
        for other in ["websocket/13", "foo", "h2cx", "https"] {
            assert_eq!(allowed(other), [false, false, true], "{other}");
        }
        for never in ["h2c", "H2C", "h2", "h2c/1", "HTTP/2.0", "http", "TLS/1.0"] {
            assert_eq!(allowed(never), [false; 3], "{never}");
        }
    }
}
