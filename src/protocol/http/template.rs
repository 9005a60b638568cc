//! Templates are filled in here with what a client has sent: nothing of it gets into a head but escaped.

use super::asked::Asked;
use super::fields::bytes_among;
use super::head::{ClientText, Scheme};
use crate::config::template::{Part, Template};

/// What a URL may consist of (RFC 3986 section 2): all else would end it, or a line.
const IN_URL: [bool; 256] = bytes_among(b"-._~:/?#[]@!$&'()*+,;=%");

/// What stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// What may be in a URL.
    Url,
    /// What may be in the value of a field: printable ASCII.
    Value,
}

/// Appends `template` with its placeholders filled in; what may not stand there is percent-encoded.
pub fn render(template: &Template, asked: &Asked, escaping: Escaping, out: &mut Vec<u8>) {
    for part in &template.parts {
        match part {
            Part::Text(text) => escape(text.as_bytes(), escaping, out),
            Part::Host => escape(asked.host_name(), escaping, out),
            // Of the whole server (RFC 9112 section 3.2.4), which has no path.
            Part::Path if asked.raw_path() == "*" => out.push(b'/'),
            Part::Path => escape(asked.raw_path().as_bytes(), escaping, out),
            Part::Query => {
                if let Some(query) = asked.query() {
                    out.push(b'?');
                    escape(query.as_bytes(), escaping, out);
                }
            }
            Part::Scheme => out.extend_from_slice(match asked.scheme {
                Scheme::Http => b"http",
                Scheme::Https => b"https",
            }),
            Part::Client => out.extend_from_slice(ClientText::new(asked.client).as_bytes()),
            Part::Method => escape(asked.method_name.as_bytes(), escaping, out),
        }
    }
}

/// Appends the target of a redirection. One that begins with a path stays on this host: two slashes would name another
/// one (RFC 3986 section 4.2).
pub fn render_target(template: &Template, asked: &Asked, out: &mut Vec<u8>) {
    let start = out.len();
    render(template, asked, Escaping::Url, out);
    let slashes = out[start..].iter().take_while(|&&byte| byte == b'/').count();
    out.drain(start..start + slashes.saturating_sub(1));
}

/// Appends bytes with what may not stand there percent-encoded.
pub(super) fn escape(bytes: &[u8], escaping: Escaping, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        let stays = match escaping {
            Escaping::Url => IN_URL[usize::from(byte)],
            Escaping::Value => matches!(byte, b' '..=b'~'),
        };
        match stays {
            true => out.push(byte),
            false => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::specimens;
    use super::super::specimens::asked;
    use super::*;

    fn rendered(template: &str, asked: &Asked, escaping: Escaping) -> String {
        let mut out = b"kept".to_vec();
        render(&Template::parse(template).unwrap(), asked, escaping, &mut out);
        String::from_utf8(out.split_off(4)).unwrap()
    }

    fn target(template: &str, path: &str) -> String {
        let mut out = b"kept".to_vec();
        let path = specimens::target(path);
        render_target(&Template::parse(template).unwrap(), &Asked { target: &path, ..asked() }, &mut out);
        String::from_utf8(out.split_off(4)).unwrap()
    }

    #[test]
    fn placeholders_are_what_the_client_has_sent() {
        let path = specimens::target("/x%20y?q=1&r");
        let asked = Asked { host: Some(b"A.example:81"), target: &path, method_name: "PUT", ..asked() };
        let text = "{scheme}|{host}|{path}|{query}|{client}|{method}|{{}}";
        assert_eq!(rendered(text, &asked, Escaping::Value), "http|A.example|/x%20y|?q=1&r|192.0.2.7|PUT|{}");
        let path = specimens::target("*");
        let bare = Asked { host: None, target: &path, scheme: Scheme::Https, ..asked };
        assert_eq!(rendered(text, &bare, Escaping::Value), "https||/||192.0.2.7|PUT|{}");
    }

    #[test]
    fn no_byte_of_a_client_ends_a_url_or_a_line() {
        for letter in (0..=255).map(char::from) {
            let path = format!("/{letter}x?{letter}");
            let (path, host) = (specimens::target(&path), [b'a', letter as u8, b'x']);
            let asked = Asked { target: &path, host: Some(&host), ..asked() };
            for escaping in [Escaping::Url, Escaping::Value] {
                let text = rendered("{host}{path}{query}", &asked, escaping);
                let harmless = |byte: u8| match escaping {
                    Escaping::Url => byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte),
                    Escaping::Value => byte.is_ascii_graphic() || byte == b' ',
                };
                assert!(text.bytes().all(harmless), "{letter:?}: {text:?}");
            }
        }
        assert_eq!(target("{path}", "/\r\nX: \"y\""), "/%0D%0AX:%20%22y%22");
        assert_eq!(target("/a b", "/"), "/a%20b");
    }

    #[test]
    fn a_redirection_to_a_path_stays_on_its_host() {
        assert_eq!(target("{path}{query}", "//evil.example/x?//y"), "/evil.example/x?//y");
        assert_eq!(target("/{path}", "/a"), "/a");
        assert_eq!(target("/{path}", "///a"), "/a");
        assert_eq!(target("{path}", "/\\evil.example"), "/%5Cevil.example");
        assert_eq!(target("https://a{path}", "//b//c"), "https://a//b//c");
        assert_eq!(target("https://a{path}{query}", "*"), "https://a/");
    }
}
