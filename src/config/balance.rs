//! How a pool chooses a backend: the model, and its reading from a word or a map.

use serde_yaml::Value;

use super::error::Errors;
use super::leaf::Token;
use super::source::{Kind as NodeKind, Node};
use super::validate::Section;
use super::word::{Maybe, OrNone, Schema, choices, found, settings, words};

/// How a pool chooses a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// The one with the least load for its weight.
    LeastConnections,
    /// The better one of two that are drawn by their weights.
    Random,
    /// Always the same one for what is alike.
    Hash(HashBalance),
    /// The first one that can serve, in the order of the configuration.
    First,
}

/// What is alike, and how much of it one backend takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashBalance {
    /// What is hashed.
    pub on: HashOn,
    /// How many times its share of all load a backend may have, in hundredths above 100; `None` is any.
    pub load_factor: Option<u32>,
}

/// What is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    #[default]
    Source,
    /// The path, decoded as rules see it.
    Path,
    /// The path and the query, as they were sent.
    Uri,
    /// The value of this field.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this parameter of the query.
    UrlParameter(String),
}

impl Balance {
    /// What is hashed, where anything is.
    pub fn hash_on(&self) -> Option<&HashOn> {
        match self {
            Balance::Hash(HashBalance { on, .. }) => Some(on),
            _ => None,
        }
    }

    /// Whether it can be followed only where requests are understood.
    pub fn needs_http(&self) -> bool {
        self.hash_on().is_some_and(|on| *on != HashOn::Source)
    }
}

/// The algorithms, as they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// [`Balance::RoundRobin`]
    RoundRobin,
    /// [`Balance::LeastConnections`]
    LeastConnections,
    /// [`Balance::Random`]
    Random,
    /// [`Balance::Hash`]
    Hash,
    /// [`Balance::First`]
    First,
}

/// What is hashed, as it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// [`HashOn::Source`]
    Source,
    /// [`HashOn::Path`]
    Path,
    /// [`HashOn::Uri`]
    Uri,
    /// [`HashOn::Header`]
    Header,
    /// [`HashOn::Cookie`]
    Cookie,
    /// [`HashOn::UrlParameter`]
    UrlParameter,
}

choices!(Algorithm: "round_robin" RoundRobin, "least_connections" LeastConnections, "random" Random, "hash" Hash,
    "first" First);
choices!(Subject: "source" Source, "path" Path, "uri" Uri, "header" Header, "cookie" Cookie,
    "url_parameter" UrlParameter);

words! {
    /// A factor above 1, in hundredths.
    Factor(u32) = |value| {
        let hundredths = value.as_f64().map(|factor| factor * 100.0).filter(|factor| (101.0..=10_000.0).contains(factor));
        let whole = hundredths.filter(|factor| (factor - factor.round()).abs() < 1e-6).map(|factor| factor.round() as u32);
        found(value, "a number from 1.01 to 100 with at most two decimals", whole)
    };
    /// A word, or a map that is read as [`LongForm`].
    WordOrMap(Balance) = |value| match value {
        Value::Mapping(_) => Ok(Balance::default()),
        _ => Algorithm::read(value).map(|algorithm| balance(algorithm, HashBalance::default())),
    }, |_| Algorithm::write(&Algorithm::RoundRobin);
}

settings! {
    /// A `balance` in its long form.
    LongForm {
        /// The algorithm.
        algorithm as "type": Maybe<Algorithm>,
        /// What is hashed.
        on: Subject = Subject::Source,
        /// The name of the field, the cookie or the parameter.
        name: Maybe<Token>,
        /// How many times its share of all load a backend may have.
        load_factor: OrNone<Factor> = None,
    }
}

/// The `balance` of a section: what `read` was of a word, what stands in a map, or what is inherited.
pub(super) fn of(section: &Section, read: Balance, inherited: &Balance, errors: &mut Errors<'_>) -> Balance {
    match section.child("balance") {
        None => inherited.clone(),
        Some((node @ Node { kind: NodeKind::Map(_), .. }, path)) => long_form(node, path, errors),
        Some(_) => read,
    }
}

fn long_form(node: &Node, path: String, errors: &mut Errors<'_>) -> Balance {
    let mut section = Section::open(node, path, "", errors);
    let own: LongForm = section.read(errors);
    // The keys that mean something, the required ones first; and how many these are.
    let (keys, required) = match (own.algorithm, own.on) {
        (None, _) => (LongForm::KEYS, 1),
        (Some(Algorithm::Hash), Subject::Source | Subject::Path | Subject::Uri) => {
            (&["type", "on", "load_factor"][..], 1)
        }
        (Some(Algorithm::Hash), _) => (&["type", "name", "on", "load_factor"][..], 2),
        _ => (&["type"][..], 1),
    };
    section.narrow(keys);
    section.close(&keys[..required], errors);
    let name = own.name.unwrap_or_default();
    let on = match own.on {
        Subject::Source => HashOn::Source,
        Subject::Path => HashOn::Path,
        Subject::Uri => HashOn::Uri,
        Subject::Header => HashOn::Header(name),
        Subject::Cookie => HashOn::Cookie(name),
        Subject::UrlParameter => HashOn::UrlParameter(name),
    };
    let hash = HashBalance { on, load_factor: own.load_factor };
    own.algorithm.map_or_else(Balance::default, |algorithm| balance(algorithm, hash))
}

fn balance(algorithm: Algorithm, hash: HashBalance) -> Balance {
    match algorithm {
        Algorithm::RoundRobin => Balance::RoundRobin,
        Algorithm::LeastConnections => Balance::LeastConnections,
        Algorithm::Random => Balance::Random,
        Algorithm::Hash => Balance::Hash(hash),
        Algorithm::First => Balance::First,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    /// What two pools are balanced by: one that says so, and one that does not.
    fn read(top: &str, own: &str) -> [Balance; 2] {
        let text = format!(
            "{top}\nlisteners: [{{ name: a, listen: 1.2.3.4:0, pool: p }}]\n\
             pools: {{ p: {{ {own} backends: [a:1] }}, q: {{ backends: [a:1] }} }}"
        );
        let pools = parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}")).pools;
        [0, 1].map(|pool: usize| pools[pool].balance.clone())
    }

    #[test]
    fn a_word_or_a_map_says_how_a_pool_is_balanced_and_the_top_of_the_file_for_those_that_do_not() {
        let hash = |on, load_factor| Balance::Hash(HashBalance { on, load_factor });
        let plain = hash(HashOn::Source, None);
        assert_eq!(read("", "balance: least_connections,"), [Balance::LeastConnections, Balance::RoundRobin]);
        assert_eq!(read("balance: first", "balance: { type: random },"), [Balance::Random, Balance::First]);
        assert_eq!(read("balance: hash", "balance: round_robin,"), [Balance::RoundRobin, plain.clone()]);
        let path = "balance: { type: hash, on: path, load_factor: 1.25 }";
        assert_eq!(read(path, ""), [(); 2].map(|()| hash(HashOn::Path, Some(125))));
        assert_eq!(read(path, "balance: { type: hash, load_factor: 2 },")[0], hash(HashOn::Source, Some(200)));
        assert_eq!(read(path, "balance: { type: hash, load_factor: none },")[0], plain);
        let named = |on| read("", &format!("balance: {{ type: hash, on: {on}, name: X }},"))[0].clone();
        assert_eq!(named("header"), hash(HashOn::Header("X".to_string()), None));
        assert_eq!(named("cookie"), hash(HashOn::Cookie("X".to_string()), None));
        assert_eq!(named("url_parameter"), hash(HashOn::UrlParameter("X".to_string()), None));
    }

    #[test]
    fn what_a_tcp_listener_knows_needs_no_http() {
        let needs = |on| Balance::Hash(HashBalance { on, load_factor: None }).needs_http();
        assert_eq!([HashOn::Source, HashOn::Path, HashOn::Cookie(String::new())].map(needs), [false, true, true]);
        assert!(!Balance::First.needs_http());
    }
}
