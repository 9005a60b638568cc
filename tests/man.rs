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
use plb::config::access;
use plb::config::balance::LongForm;
use plb::config::check::{CheckSettings, Exchange, HttpCheck, SmtpCheck};
use plb::config::route::Prefix;
use plb::config::schema::{
    Affinity, Backend, BasicAuth, Conditions, FieldEdits, Named, Negation, Redirect, Respond, Route, Schema,
};
use plb::config::{
    self, AccessFormat, ClientTimeouts, Config, Confinement, Forwarding, Health, HttpSettings, ProtocolName, RateLimit,
    ServerTimeouts, SocketOptions, schema,
};
use plb::log::access::Format;
use plb::protocol::transcript::Transcript;
use plb::session::record::Record;
use serde_yaml::{Mapping, Value};

const CONFIGURATION_PAGE: &str = include_str!("../man/plb.yaml.5");
const PROGRAM_PAGE: &str = include_str!("../man/plb.8");

/// The sections that describe keys.
const DESCRIBED: [&str; 21] = [
    "ACCESS",
    "ACCESS RULES",
    "AFFINITY",
    "BALANCING",
    "HEALTH",
    "THE PROCESS",
    "EACH LISTENER",
    "SETTINGS OF LISTENERS",
    "EACH POOL",
    "SETTINGS OF POOLS",
    "SETTINGS OF LISTENERS AND POOLS",
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

/// A key of the schema.
#[derive(Clone)]
struct Key {
    name: &'static str,
    /// Null: it has none.
    default: Value,
    /// Reads a value of it, and writes that.
    read: fn(&str, Value) -> Result<Value, String>,
}

/// The keys of `T`.
fn keys<T: Schema>() -> Vec<Key> {
    let defaults = T::default().written();
    assert_eq!(T::KEYS.len(), defaults.len());
    let key = |&name: &&'static str| Key { name, default: defaults[name].clone(), read: read::<T> };
    T::KEYS.iter().map(key).collect()
}

fn read<T: Schema>(key: &str, value: Value) -> Result<Value, String> {
    let alone = Value::Mapping(Mapping::from_iter([(key.into(), value)]));
    let read: T = serde_yaml::from_value(alone).map_err(|error| error.to_string())?;
    Ok(read.written()[key].clone())
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

/// The section describes these keys and no others, each with its default and its range.
fn assert_described(heading: &str, keys: &[Vec<Key>]) {
    let items = items(heading);
    let described: BTreeSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let known: BTreeSet<&str> = keys.iter().flatten().map(|key| key.name).collect();
    assert_eq!(described, known, "plb.yaml(5), {heading}");
    assert_eq!(described.len(), items.len(), "plb.yaml(5), {heading}: a key is described twice");
    for item in &items {
        let key = keys.iter().flatten().find(|key| key.name == item.key).unwrap();
        assert_default(item, key);
        if let Some(range) = range(key) {
            assert!(item.text.contains(&range), "plb.yaml(5) does not say that {} goes {range}", key.name);
        }
    }
}

fn assert_default(item: &Item, Key { name, default, read }: &Key) {
    let shown = item.default.as_deref().map(|shown| serde_yaml::from_str::<Value>(shown).unwrap());
    assert_eq!(shown.is_none(), default.is_null(), "plb.yaml(5): whether {name} has a default");
    if let Some(shown) = shown {
        // What is shown may be written otherwise, as 60s for 1m.
        assert_eq!(read(name, shown).as_ref(), Ok(default), "plb.yaml(5) shows another default of {name}");
    }
}

/// `from A to B`, as the error message about a wrong value of this key says; durations have a common range.
fn range(key: &Key) -> Option<String> {
    let error = (key.read)(key.name, Value::Mapping(Mapping::new())).err()?;
    let (_, range) = error.split_once("from ").filter(|_| !error.contains("duration"))?;
    let words: Vec<&str> = range.split([' ', ',']).take(3).collect();
    Some(format!("from {}", words.join(" ")))
}

#[test]
fn plb_yaml_5_describes_every_setting_with_its_default_and_range() {
    assert_described("THE PROCESS", &[keys::<Config>(), keys::<Confinement>()]);
    assert_described("EACH LISTENER", &[keys::<schema::Listener>()]);
    let of_listeners =
        [keys::<config::Listener>(), keys::<HttpSettings>(), keys::<Forwarding>(), keys::<ClientTimeouts>()];
    assert_described("SETTINGS OF LISTENERS", &of_listeners);
    assert_described("EACH POOL", &[keys::<schema::Pool>()]);
    assert_described("SETTINGS OF POOLS", &[keys::<config::Pool>(), keys::<ServerTimeouts>()]);
    assert_described("SETTINGS OF LISTENERS AND POOLS", &[keys::<SocketOptions>()]);
    assert_described("EACH BACKEND", &[keys::<Backend>()]);
    assert_described("BALANCING", &[keys::<LongForm>()]);
    assert_described("AFFINITY", &[keys::<Affinity>()]);
    assert_described("ACCESS", &[keys::<access::Schema>(), keys::<access::Elsewhere>()]);
    assert_described("ACCESS RULES", &[keys::<access::Rule>(), keys::<access::NetworkFile>()]);
    let of_types = [keys::<HttpCheck>(), keys::<SmtpCheck>(), keys::<Exchange>()];
    assert_described("HEALTH", &[&[keys::<Health>(), keys::<CheckSettings>()][..], &of_types].concat());
    assert_described("EACH ROUTE", &[keys::<Route>()]);
    assert_described("REDIRECTIONS", &[keys::<Redirect>()]);
    assert_described("RESPONSES", &[keys::<Respond>()]);
    assert_described("NAMES AND VALUES", &[keys::<Named>()]);
    assert_described("PREFIXES", &[keys::<Prefix>()]);
    assert_described("FIELDS", &[keys::<FieldEdits>()]);
    assert_described("BASIC AUTHENTICATION", &[keys::<BasicAuth>()]);
    assert_described("RATE LIMITS", &[keys::<RateLimit>()]);
    assert_described("CONDITIONS", &[keys::<Conditions>(), keys::<Negation>()]);
    let all = CONFIGURATION_PAGE.matches(".It Ic ").count();
    let headings = CONFIGURATION_PAGE.split("\n.Sh ").filter_map(|section| section.lines().next());
    let described: usize =
        headings.filter(|heading| DESCRIBED.contains(heading)).map(|heading| items(heading).len()).sum();
    assert_eq!(all, described, "plb.yaml(5) describes a key elsewhere");
    let found: Vec<String> = of_listeners.iter().flatten().filter_map(range).collect();
    assert!(found.contains(&"from 1 to 65535".to_string()), "ranges are found: {found:?}");
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
fn the_readme_shows_the_options_that_the_help_shows() {
    let readme = include_str!("../README.md");
    let shown = options(cli::HELP.lines().map(str::to_string));
    let missing =
        shown.iter().flat_map(|both| both.split(' ')).filter(|option| !readme.contains(&format!("`{option}")));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn plb_yaml_5_and_the_readme_explain_every_end_of_an_exchange() {
    let names = include_str!("../src/session/record.rs").lines().filter(|line| line.contains("End::"));
    let ends: Vec<&str> = names.filter_map(|line| line.split("=> \"").nth(1)?.split('"').next()).collect();
    assert!(ends.contains(&"busy"), "{ends:?}");
    for end in ends {
        let page = section(CONFIGURATION_PAGE, "THE ACCESS LOG");
        assert!(page.contains(&format!("\n.Cm {end} ")), "plb.yaml(5) lacks {end}");
        assert!(include_str!("../README.md").contains(&format!("`{end}`")), "the README lacks {end}");
    }
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
