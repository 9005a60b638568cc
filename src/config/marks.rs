//! The kinds of values that settings of affinity have, as serde sees them: names of cookies and parameters, and what a
//! cookie is set with. None of them can end the line of a field that it is written to.

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::affinity::{Kind, SameSite};
use super::leaf::{choice, chosen, leaf, name_of, wrong};

/// The kinds by name.
const KINDS: [(&str, Kind); 8] = [
    ("source", Kind::Source),
    ("basic_auth", Kind::BasicAuth),
    ("url_parameter", Kind::UrlParameter),
    ("path_parameter", Kind::PathParameter),
    ("cookie", Kind::Cookie),
    ("header", Kind::Header),
    ("insert_cookie", Kind::InsertCookie),
    ("prefix_cookie", Kind::PrefixCookie),
];
/// The values of `SameSite` by name.
const SAME_SITES: [(&str, SameSite); 3] =
    [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
/// The longest name of a cookie, parameter or field, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest path of a cookie, in bytes.
const PATH_BYTES_MAX: usize = 128;
/// The longest domain of a cookie, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

/// Declares a type of text that passes a check.
macro_rules! text {
    ($(#[$about:meta])* $name:ident($check:expr, $allowed:expr)) => {
        leaf! { $(#[$about])* $name(String) }

        impl TryFrom<Value> for $name {
            type Error = String;
            fn try_from(value: Value) -> Result<Self, String> {
                let text = value.as_str().filter(|text| $check(text));
                text.map(|text| $name(text.to_string())).ok_or_else(|| wrong($allowed, &value))
            }
        }

        impl From<$name> for Value {
            fn from(leaf: $name) -> Value {
                leaf.0.into()
            }
        }
    };
}

choice! {
    /// The kind of affinity.
    AffinityKind(Kind) of KINDS
}
choice! {
    /// Where a browser sends a cookie along.
    SameSiteChoice(SameSite) of SAME_SITES
}
text! {
    /// The name of a cookie, a parameter or a field; empty while it is not set.
    Token(is_token, "1 to 64 letters, digits or any of !#$%&'*+-.^_`|~")
}
text! {
    /// The path of a cookie.
    CookiePath(is_path, "a path of at most 128 characters of ASCII that begins with '/' and has no ';'")
}
text! {
    /// The domain of a cookie; empty while it is not set.
    Domain(is_domain, "a domain of letters, digits, '.' and '-'")
}
text! {
    /// A secret; empty while it is not set.
    Secret(|_: &str| true, "text")
}
text! {
    /// The name of a file with a secret; empty while it is not set.
    SecretFile(|name: &str| !name.is_empty() && !name.contains('\0'), "a file")
}

fn is_token(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_in)
}

fn is_path(text: &str) -> bool {
    let is_in = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
    text.starts_with('/') && text.len() <= PATH_BYTES_MAX && text.bytes().all(is_in)
}

fn is_domain(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (1..=DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_in)
}
