//! The man pages say what the program does: `plb.yaml(5)` has every key of the schema with its default and its range,
//! every field of the access log; `plb(8)` every option of the help; and what they show as an example works.
//!
//! The pages are read as mdoc source. An item of a key is `.It Ic key : Cm default`, or `Ar` and a word for what is to be
//! written where there is no default; its text goes on to the next item.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use plb::base::time::Time;
use plb::cli;
use plb::config::schema::{
    Affinity, Backend, BasicAuth, Conditions, FieldEdits, Listener, ListenerSettings, Named, Negation, Pool,
    PoolSettings, Process, RateLimit, Redirect, ReplacePrefix, Respond, Route, Schema,
};
use plb::config::{AccessFormat, ProtocolName};
use plb::log::access::Format;
use plb::protocol::transcript::Transcript;
use plb::session::record::Record;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

const CONFIGURATION_PAGE: &str = include_str!("../man/plb.yaml.5");
const PROGRAM_PAGE: &str = include_str!("../man/plb.8");

/// The sections that describe keys.
const DESCRIBED: [&str; 16] = [
    "AFFINITY",
    "THE PROCESS",
    "EACH LISTENER",
    "SETTINGS OF LISTENERS",
    "EACH POOL",
    "SETTINGS OF POOLS",
    "EACH BACKEND",
    "EACH ROUTE",
    "CONDITIONS",
    "NAMES AND VALUES",
    "REDIRECTIONS",
    "RESPONSES",
    "PREFIXES",
    "FIELDS",
    "BASIC AUTHENTICATION",
    "RATE LIMITS",
];

/// All conditions of a route.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Match {
    #[serde(flatten)]
    conditions: Conditions,
    #[serde(flatten)]
    negation: Negation,
}

/// A key as the page shows it.
struct Item {
    key: String,
    /// `None`: it has no default.
    default: Option<String>,
    text: String,
}

/// What stands between `.Sh heading` and the next section.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let begin = format!("\n.Sh {heading}\n");
    let (_, after) = page.split_once(&begin).unwrap_or_else(|| panic!("there is no section {heading:?}"));
    after.split("\n.Sh ").next().unwrap_or(after)
}

/// The keys that a section of plb.yaml(5) describes.
fn items(heading: &str) -> Vec<Item> {
    let item = |source: &str| {
        let (head, text) = source.split_once('\n').unwrap_or((source, ""));
        let (key, value) = head.split_once(" : ").unwrap_or_else(|| panic!("{heading}: no \" : \" in {head:?}"));
        let (macro_name, value) = value.split_once(' ').unwrap_or((value, ""));
        let default = (macro_name == "Cm").then(|| value.replace("\\(dq", "\""));
        Item { key: key.to_string(), default, text: text.to_string() }
    };
    section(CONFIGURATION_PAGE, heading).split(".It Ic ").skip(1).map(item).collect()
}

/// The section describes the keys of `T` and no others, each with its default and its range.
fn assert_described<T: Schema>(heading: &str) {
    let items = items(heading);
    let defaults = T::defaults();
    let described: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let known: Vec<&str> = defaults.keys().filter_map(Value::as_str).collect();
    assert_eq!(BTreeSet::from_iter(&described), BTreeSet::from_iter(&known), "plb.yaml(5), {heading}");
    assert_eq!(described.len(), known.len(), "plb.yaml(5), {heading}: a key is described twice");
    for item in &items {
        assert_default::<T>(item, &defaults[item.key.as_str()]);
        if let Some(range) = range::<T>(&item.key) {
            let key = &item.key;
            assert!(item.text.contains(&range), "plb.yaml(5) does not say that {key} goes {range}");
        }
    }
}

fn assert_default<T: Schema>(item: &Item, default: &Value) {
    let key = item.key.as_str();
    let has_none = default.is_null() || default.as_str() == Some("");
    let shown = item.default.as_deref().map(|shown| serde_yaml::from_str::<Value>(shown).unwrap());
    assert_eq!(shown.is_none(), has_none, "plb.yaml(5): whether {key} has a default");
    if let Some(shown) = shown {
        // What is shown may be written otherwise, as 60s for 1m.
        let read: T = serde_yaml::from_value(alone(key, shown)).unwrap();
        let read = serde_yaml::to_value(read).unwrap();
        assert_eq!(&read[key], default, "plb.yaml(5) shows another default of {key}");
    }
}

/// `from A to B`, as the error message about a wrong value of this key says; durations have a common range.
fn range<T: Schema>(key: &str) -> Option<String> {
    let error = serde_yaml::from_value::<T>(alone(key, Value::Sequence(Vec::new()))).err()?.to_string();
    let (_, range) = error.split_once("from ").filter(|_| !error.contains("duration"))?;
    let words: Vec<&str> = range.split([' ', ',']).take(3).collect();
    Some(format!("from {}", words.join(" ")))
}

fn alone(key: &str, value: Value) -> Value {
    Value::Mapping(Mapping::from_iter([(key.into(), value)]))
}

#[test]
fn plb_yaml_5_describes_every_setting_with_its_default_and_range() {
    assert_described::<Process>("THE PROCESS");
    assert_described::<Listener>("EACH LISTENER");
    assert_described::<ListenerSettings>("SETTINGS OF LISTENERS");
    assert_described::<Pool>("EACH POOL");
    assert_described::<PoolSettings>("SETTINGS OF POOLS");
    assert_described::<Backend>("EACH BACKEND");
    assert_described::<Affinity>("AFFINITY");
    assert_described::<Route>("EACH ROUTE");
    assert_described::<Redirect>("REDIRECTIONS");
    assert_described::<Respond>("RESPONSES");
    assert_described::<Named>("NAMES AND VALUES");
    assert_described::<ReplacePrefix>("PREFIXES");
    assert_described::<FieldEdits>("FIELDS");
    assert_described::<BasicAuth>("BASIC AUTHENTICATION");
    assert_described::<RateLimit>("RATE LIMITS");
    // It has one key more, which is not for what stands in that.
    assert_described::<Match>("CONDITIONS");
    let all = CONFIGURATION_PAGE.matches(".It Ic ").count();
    let headings = CONFIGURATION_PAGE.split("\n.Sh ").filter_map(|section| section.lines().next());
    let described: usize =
        headings.filter(|heading| DESCRIBED.contains(heading)).map(|heading| items(heading).len()).sum();
    assert_eq!(all, described, "plb.yaml(5) describes a key elsewhere");
    assert_eq!(range::<Process>("max_clients").as_deref(), Some("from 1 to 1000000"), "ranges are found");
}

#[test]
fn the_examples_of_plb_yaml_5_are_valid() {
    let examples: Vec<&str> = CONFIGURATION_PAGE.split(".Bd -literal -offset indent\n").skip(1).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let text = example.split(".Ed").next().unwrap();
        assert_eq!(plb::config::parse("the example", text).err(), None, "{text}");
    }
}

#[test]
fn plb_8_describes_the_options_that_the_help_shows() {
    let shown = options(cli::HELP.lines().filter(|line| line.starts_with("  -")).map(str::to_string));
    let fields = PROGRAM_PAGE.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let described = options(fields.map(|line| format!("-{}", line.replace("Fl ", "-"))));
    assert_eq!(described, shown);
    assert!(shown.len() >= 8, "{shown:?}");
}

/// The options of each line, which begins with them: `-c, --config FILE` is `-c --config`.
fn options(lines: impl Iterator<Item = String>) -> BTreeSet<String> {
    let of_line = |line: String| {
        let words = line.split_whitespace().map(|word| word.trim_matches(',')).filter(|word| !word.is_empty());
        words.take_while(|word| word.starts_with('-')).collect::<Vec<_>>().join(" ")
    };
    lines.map(of_line).collect()
}

#[test]
fn the_examples_of_plb_8_are_understood() {
    let examples: Vec<&str> = PROGRAM_PAGE.lines().filter_map(|line| line.strip_prefix(".Dl plb ")).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let parsed = cli::parse(example.split_whitespace().map(OsString::from));
        assert!(parsed.is_ok(), "plb {example}: {parsed:?}");
    }
}

#[test]
fn plb_8_tells_every_exit_status() {
    let line = cli::HELP.lines().find_map(|line| line.strip_prefix("Exit status: ")).unwrap();
    let shown = line.split(", ").filter_map(|meaning| meaning.split(' ').next());
    let described = section(PROGRAM_PAGE, "EXIT STATUS").lines().filter_map(|line| line.strip_prefix(".It "));
    assert_eq!(described.collect::<Vec<_>>(), shown.collect::<Vec<_>>());
}

#[test]
fn plb_yaml_5_describes_every_field_of_the_access_log() {
    let config = plb::config::quick_start(ProtocolName::Http, "127.0.0.1:80", &["127.0.0.1:1".to_string()]).unwrap();
    let client = "192.0.2.1:5000".parse().unwrap();
    let record = Record::new(0, client, Time::START, Transcript::new(AccessFormat::Json));
    let mut line = Vec::new();
    Format::new(AccessFormat::Json).write(&record, Duration::ZERO, &config, &mut line);
    // JSON is YAML.
    let line: Mapping = serde_yaml::from_slice(&line).unwrap();
    let written: Vec<&str> = line.keys().filter_map(Value::as_str).collect();
    let items = section(CONFIGURATION_PAGE, "THE ACCESS LOG").lines().filter_map(|line| line.strip_prefix(".It Sy "));
    let described: Vec<&str> = items.flat_map(|names| names.split(" , Sy ")).collect();
    assert_eq!(described, written);
}
