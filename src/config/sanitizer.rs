//! What a listener lets through of what HTTP allows: methods, and paths that servers read differently.

use serde_yaml::Value;

use super::word::{NONE, Several, Word, choices, good, words, wrong};

/// The word for all methods.
const ANY: &str = "any";
/// The methods that are served unless a list says otherwise: those of RFC 9110 but for `CONNECT`, which no server of
/// this kind serves, and `TRACE`, which shows cookies to scripts; and `PATCH` (RFC 5789).
const METHODS_DEFAULT: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

choices!(PathFault: "nul" Nul, "slash" Slash, "dots" Dots, "invalid" Invalid);

/// The methods that are served; never `CONNECT`. None: any token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods(Vec<String>);

impl Methods {
    /// Any token but `CONNECT`.
    pub const ANY: Methods = Methods(Vec::new());

    /// Whether the method of this name is served; names are case-sensitive (RFC 9110 section 9.1).
    pub fn allows(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|allowed| allowed == name)
    }

    /// The value of `Allow` (RFC 9110 section 10.2.1).
    pub fn listed(&self) -> String {
        self.0.join(", ")
    }
}

impl Default for Methods {
    fn default() -> Methods {
        Methods(METHODS_DEFAULT.map(str::to_string).to_vec())
    }
}

impl Word for Methods {
    type Of = Methods;

    fn read(value: &Value) -> Result<Methods, String> {
        match value {
            Value::String(word) if word == ANY => Ok(Methods::ANY),
            Value::Sequence(names) if !names.is_empty() => Several::<Method>::read(value).map(Methods),
            other => Err(wrong(&format!("{ANY} or a list of one or more methods"), other)),
        }
    }

    fn write(methods: &Methods) -> Value {
        if methods.0.is_empty() { ANY.into() } else { methods.0.clone().into() }
    }
}

words! {
    /// The name of a method that plb can serve.
    Method(String) = |value| good(value, "a method in capitals but CONNECT, such as GET", |name| {
        let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        !name.is_empty() && name.bytes().all(is_letter) && name != "CONNECT"
    }), |name| name.as_str().into();
    /// Any of the faults, or `none`.
    PathFaults(Vec<PathFault>) = |value| match value.as_str() {
        Some(NONE) => Ok(Vec::new()),
        _ => Several::<PathFault>::read(value),
    }, Several::<PathFault>::write;
}

/// What servers read differently in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// `%00`.
    Nul,
    /// `%2F`, `%5C` and backslashes.
    Slash,
    /// Parameters of `.`, of `..`, and of an empty segment before others; a `..` that leaves an empty segment.
    Dots,
    /// A `%` without two hexadecimal digits.
    Invalid,
}

impl PathFault {
    /// All of them.
    pub const ALL: [PathFault; 4] = [PathFault::Nul, PathFault::Slash, PathFault::Dots, PathFault::Invalid];
}
