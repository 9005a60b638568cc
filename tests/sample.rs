//! `plb.yaml.sample` and the schema say the same: every key of one is in the other, with the schema's default.

use plb::config::balance::LongForm;
use plb::config::check::{Check, CheckSettings, Exchange, HttpCheck, SmtpCheck};
use plb::config::schema::{self, Affinity, Backend, Schema};
use plb::config::{
    ClientTimeouts, Config, Confinement, Forwarding, Health, HttpSettings, Listener, Pool, ServerTimeouts,
    SocketOptions,
};
use serde_yaml::{Mapping, Value};

const SAMPLE: &str = include_str!("../plb.yaml.sample");

/// The sample with every `# key: value` made active; prose stays a comment.
fn with_all_settings_active() -> String {
    let activated = SAMPLE.lines().map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let setting = line.trim_start().strip_prefix("# ").filter(|rest| is_setting(rest));
        setting.map_or_else(|| line.to_string(), |setting| format!("{indent}{setting}")) + "\n"
    });
    activated.collect()
}

/// One word that may be a key, a colon, and one word.
fn is_setting(text: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    // A file that is named is read, and there is none. The others are for other types of probes than the one beside them.
    let is_elsewhere = ["secret_file: ", "helo: ", "send: ", "expect: "].iter().any(|key| text.starts_with(key));
    !is_elsewhere && text.split_once(": ").is_some_and(|(key, value)| is_key(key) && !value.contains(' '))
}

/// Every key of `T` is in `section`, with its default where it has one.
fn assert_defaults<T: Schema>(section: &Value) {
    for (key, default) in T::default().written() {
        let shown = section.get(&key).unwrap_or_else(|| panic!("the sample lacks {key:?}"));
        if default.is_null() {
            continue;
        }
        let alone = Value::Mapping(Mapping::from_iter([(key.clone(), shown.clone())]));
        let read: T = serde_yaml::from_value(alone).unwrap();
        assert_eq!(read.written()[&key], default, "the sample's value of {key:?} is not the default");
    }
}

#[test]
fn the_sample_shows_every_setting_with_its_default() {
    let sample: Value = serde_yaml::from_str(&with_all_settings_active()).unwrap();
    assert_defaults::<Config>(&sample);
    assert_defaults::<Confinement>(&sample);
    assert_defaults::<Listener>(&sample);
    assert_defaults::<HttpSettings>(&sample);
    assert_defaults::<Forwarding>(&sample);
    assert_defaults::<ClientTimeouts>(&sample);
    assert_defaults::<Pool>(&sample);
    assert_defaults::<SocketOptions>(&sample);
    assert_defaults::<ServerTimeouts>(&sample);
    assert_defaults::<schema::Listener>(&sample["listeners"][0]);
    assert_defaults::<schema::Pool>(&sample["pools"]["web"]);
    let mut affinity = sample["pools"]["web"]["affinity"].as_mapping().unwrap().clone();
    affinity.extend(sample["pools"]["database"]["affinity"].as_mapping().unwrap().clone());
    assert!(SAMPLE.contains("# secret_file: "));
    affinity.insert("secret_file".into(), "".into());
    assert_defaults::<Affinity>(&affinity.into());
    assert_defaults::<Health>(&sample["pools"]["web"]["health"]);
    let mut balance = sample["pools"]["database"]["balance"].as_mapping().unwrap().clone();
    assert!(SAMPLE.contains("name: X-Session"));
    balance.insert("name".into(), "X-Session".into());
    assert_defaults::<LongForm>(&balance.into());
    assert_defaults::<HttpCheck>(&sample["pools"]["web"]["health"]);
    assert_defaults::<CheckSettings>(&sample["pools"]["database"]["health"]);
    for other in ["type: smtp, helo: localhost", "type: exchange, send: \"PING\\r\\n\", expect: +PONG"] {
        assert!(other.split(", ").skip(1).all(|setting| SAMPLE.contains(&format!("# {setting}\n"))), "{other}");
        let other: Value = serde_yaml::from_str(&format!("{{ {other} }}")).unwrap();
        let is_smtp = other.get("helo").is_some();
        if is_smtp { assert_defaults::<SmtpCheck>(&other) } else { assert_defaults::<Exchange>(&other) }
    }
    assert_defaults::<Backend>(&sample["pools"]["web"]["backends"][1]);
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let examples: Vec<&str> = include_str!("../README.md").split("```yaml\n").skip(1).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let mut text = example.split("```").next().unwrap().to_string();
        // A part of a file shows its first pool, which somebody has to have.
        if !text.contains("listeners:") {
            let pool = text.split_once("pools:\n  ").and_then(|(_, pools)| pools.split(':').next()).unwrap();
            text = format!("listeners: [{{ name: any, listen: \"127.0.0.1:0\", pool: {pool} }}]\n{text}");
        }
        let read = plb::config::parse_with("the example", &text, &|_, _| Ok(b"# a file".to_vec()));
        assert_eq!(read.err(), None, "{text}");
    }
}

#[test]
fn the_readme_shows_every_example_of_a_file_as_yaml() {
    let fences = include_str!("../README.md").split("```\n").filter(|text| text.starts_with("pools:"));
    assert_eq!(fences.count(), 0, "what is not marked as YAML is not checked");
}

#[test]
fn the_links_of_the_readme_lead_somewhere() {
    let readme = include_str!("../README.md");
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-").replace([',', '.', '`'], "");
    let headings: Vec<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim_start()))
        .collect();
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        match link.strip_prefix('#') {
            Some(goal) => assert!(headings.iter().any(|heading| heading == goal), "{link}"),
            None => assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}"),
        }
    }
}

#[test]
fn nothing_in_the_sample_is_unknown() {
    let errors = plb::config::parse("plb.yaml.sample", &with_all_settings_active()).err();
    assert_eq!(errors, None);
    assert!(with_all_settings_active().matches("\ntimeout_").count() >= 10, "commented settings were found");
}

#[test]
fn the_commented_settings_change_nothing() {
    let mut active = plb::config::parse("plb.yaml.sample", &with_all_settings_active()).unwrap();
    let mut shown = plb::config::parse("plb.yaml.sample", SAMPLE).unwrap();
    // These have no default to show, but an example.
    active.pools[0].backends[1].name.clone_from(&shown.pools[0].backends[1].name);
    active.pools[0].affinity.clone_from(&shown.pools[0].affinity);
    let [of_active, of_shown] = [&mut active, &mut shown].map(|config| config.pools[0].health.as_mut().unwrap());
    assert!(of_active.port.take().is_some() && of_active.address.take().is_some(), "the sample shows where else");
    let Check::Http(http) = &mut of_active.check else { panic!("{of_active:?}") };
    assert!(http.host.take().is_some() && http.body.take().is_some(), "the sample shows a name and a text");
    assert_eq!(of_active, of_shown);
    active.pools[0].emergency.take().expect("the sample names an emergency");
    active.confinement.user.take().expect("the sample names a user");
    active.confinement.group.take().expect("the sample names a group");
    active.confinement.chroot_dir.take().expect("the sample names a root directory");
    assert_eq!(active, shown);
}

#[test]
fn the_sample_needs_no_privilege_and_no_other_host() {
    let config = plb::config::parse("plb.yaml.sample", SAMPLE).unwrap();
    let listen = config.listeners[0].listen[0].address;
    assert_eq!(listen.to_string(), "127.0.0.1:8080");
    let backends: Vec<_> =
        config.pools[0].backends.iter().map(|backend| (backend.host.as_str(), backend.port)).collect();
    assert_eq!(backends, [("127.0.0.1", 8081), ("127.0.0.1", 8082)]);
}
