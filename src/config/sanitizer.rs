//! What a listener lets through of what HTTP allows: methods, and paths that servers read differently.

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::leaf::{chosen, name_of, wrong};

/// The word for all methods.
const ANY: &str = "any";
/// The methods that are served unless a list says otherwise: those of RFC 9110 but for `CONNECT`, which no server of
/// this kind serves, and `TRACE`, which shows cookies to scripts; and `PATCH` (RFC 5789).
const METHODS_DEFAULT: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
/// What a path must not have, by name.
const PATH_FAULTS: [(&str, PathFault); 4] =
    [("nul", PathFault::Nul), ("slash", PathFault::Slash), ("dots", PathFault::Dots), ("invalid", PathFault::Invalid)];

/// The methods that are served; never `CONNECT`. None: any token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
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

impl TryFrom<Value> for Methods {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match &value {
            Value::String(word) if word == ANY => Ok(Methods::ANY),
            Value::Sequence(names) if !names.is_empty() => {
                names.iter().map(method).collect::<Result<_, _>>().map(Methods)
            }
            other => Err(wrong(&format!("{ANY} or a list of one or more methods"), other)),
        }
    }
}

/// The name of a method.
///
/// # Errors
/// It is none that plb ever serves.
pub fn method(value: &Value) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let name = value.as_str().filter(|name| !name.is_empty() && name.bytes().all(is_letter) && *name != "CONNECT");
    name.map(str::to_string).ok_or_else(|| wrong("a method in capitals but CONNECT, such as GET", value))
}

impl From<Methods> for Value {
    fn from(methods: Methods) -> Value {
        if methods.0.is_empty() { ANY.into() } else { methods.0.into() }
    }
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

/// What a path must not have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PathFaults(pub Vec<PathFault>);

impl Default for PathFaults {
    fn default() -> PathFaults {
        PathFaults(PATH_FAULTS.map(|(_, fault)| fault).to_vec())
    }
}

impl TryFrom<Value> for PathFaults {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let words = match &value {
            Value::Sequence(words) => words.as_slice(),
            Value::String(word) if word == "none" => &[],
            single => std::slice::from_ref(single),
        };
        words.iter().map(|word| chosen(word, &PATH_FAULTS)).collect::<Result<_, _>>().map(PathFaults)
    }
}

impl From<PathFaults> for Value {
    fn from(faults: PathFaults) -> Value {
        Value::Sequence(faults.0.iter().map(|fault| name_of(fault, &PATH_FAULTS)).collect())
    }
}
