//! What a listener lets through of what HTTP allows: methods, and paths that servers read differently.

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::error::suggestion;
use super::leaf::wrong;

/// The most methods of a list.
const METHODS_MAX: usize = 64;
/// The longest name of a method in bytes.
const METHOD_BYTES_MAX: usize = 32;
/// The word for all methods.
const ANY: &str = "any";
/// The methods that are served unless a list says otherwise: those of RFC 9110 but for `CONNECT`, which no server of
/// this kind serves, and `TRACE`, which shows cookies to scripts; and `PATCH` (RFC 5789).
const METHODS_DEFAULT: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// The methods that are served; never `CONNECT`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Methods {
    /// Any token but `CONNECT`.
    Any,
    /// These, at least one.
    Only(Vec<String>),
}

impl Methods {
    /// Whether the method of this name is served; names are case-sensitive (RFC 9110 section 9.1).
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Methods::Any => true,
            Methods::Only(names) => names.iter().any(|allowed| allowed == name),
        }
    }

    /// The value of `Allow` (RFC 9110 section 10.2.1).
    pub fn listed(&self) -> String {
        match self {
            Methods::Any => String::new(),
            Methods::Only(names) => names.join(", "),
        }
    }
}

impl Default for Methods {
    fn default() -> Methods {
        Methods::Only(METHODS_DEFAULT.map(str::to_string).to_vec())
    }
}

impl TryFrom<Value> for Methods {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match &value {
            Value::String(word) if word == ANY => Ok(Methods::Any),
            Value::Sequence(names) if (1..=METHODS_MAX).contains(&names.len()) => {
                names.iter().map(method).collect::<Result<_, _>>().map(Methods::Only)
            }
            Value::Sequence(_) => Err(format!("must name 1 to {METHODS_MAX} methods, or be {ANY}")),
            other => Err(wrong(&format!("{ANY} or a list of methods"), other)),
        }
    }
}

fn method(value: &Value) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let is_name = |name: &&str| (1..=METHOD_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter);
    match value.as_str().filter(is_name) {
        Some("CONNECT") => Err("must be another method: CONNECT is never served".to_string()),
        Some(name) => Ok(name.to_string()),
        None => Err(wrong("the name of a method in capitals, such as GET", value)),
    }
}

impl From<Methods> for Value {
    fn from(methods: Methods) -> Value {
        match methods {
            Methods::Any => ANY.into(),
            Methods::Only(names) => names.into(),
        }
    }
}

/// What a path must not have, because servers read it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PathRefusals {
    /// `%00`.
    pub nul: bool,
    /// `%2F`, `%5C` and backslashes.
    pub slash: bool,
    /// Parameters of `.`, of `..`, and of an empty segment before others.
    pub dots: bool,
    /// A `%` without two hexadecimal digits.
    pub invalid: bool,
}

impl PathRefusals {
    fn none() -> PathRefusals {
        PathRefusals { nul: false, slash: false, dots: false, invalid: false }
    }

    /// Each by its name.
    fn named(&mut self) -> [(&'static str, &mut bool); 4] {
        [("nul", &mut self.nul), ("slash", &mut self.slash), ("dots", &mut self.dots), ("invalid", &mut self.invalid)]
    }
}

impl Default for PathRefusals {
    fn default() -> PathRefusals {
        PathRefusals { nul: true, slash: true, dots: true, invalid: true }
    }
}

impl TryFrom<Value> for PathRefusals {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let mut refusals = PathRefusals::none();
        let words = match &value {
            Value::Sequence(words) => words.as_slice(),
            Value::String(word) if word == "none" => &[],
            single => std::slice::from_ref(single),
        };
        for value in words {
            let word = value.as_str().unwrap_or_default();
            let Some((_, refused)) = refusals.named().into_iter().find(|(name, _)| *name == word) else {
                let names = PathRefusals::none().named().map(|(name, _)| name);
                return Err(wrong(&format!("none or a list of {}", names.join(", ")), value) + &suggestion(word, names));
            };
            *refused = true;
        }
        Ok(refusals)
    }
}

impl From<PathRefusals> for Value {
    fn from(mut refusals: PathRefusals) -> Value {
        let refused = refusals.named().into_iter().filter(|(_, refused)| **refused);
        Value::Sequence(refused.map(|(name, _)| name.into()).collect())
    }
}
