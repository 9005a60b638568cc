//! Who may come in: the model of `access`, and the reading of it and of its files.
//!
//! Rules are read in their order, the first one that holds an address decides. What is kept of them is where the verdict
//! changes along all addresses, so that a question takes one search by halves, however many networks there are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_yaml::Value;

use super::error::{Errors, joined};
use super::leaf::{Name, Text};
use super::network::Network;
use super::source::{Kind, Node};
use super::validate::{PoolNames, Section, list};
use super::word::{Choice, Maybe, NONE, Nested, Word, choices, settings, wrong};

/// The longest file of networks, in bytes.
const FILE_BYTES_MAX: usize = 32 << 20;
/// The most networks of one `access`, over all of its rules: about 150 MiB while they are read, up to 32 MiB later.
const NETWORKS_MAX: usize = 1_000_000;
/// The most rules of one `access`.
const RULES_MAX: usize = 10_000;

/// Who may come in at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    verdicts: Arc<Verdicts>,
    denied: Denied,
}

/// What is said of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may come in.
    Allow,
    /// It may not.
    Deny,
}

choices!(Verdict: "allow" Allow, "deny" Deny);

/// What becomes of a client that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its connection is closed in good order.
    Close,
    /// Its connection is reset.
    Reject,
    /// This pool serves it, and no other one, whatever it asks for.
    Pool(u16),
}

choices!(Denied: "close" Close, "reject" Reject);

settings! {
    /// An `access`, as it is written.
    Schema {
        /// A list of maps, each read as [`Rule`].
        rules: Nested,
        /// What is said of an address that no rule holds.
        default: Maybe<Verdict>,
        /// What becomes of who is denied: a word, or a map that is read as [`Elsewhere`].
        action: Action = Denied::Close,
    }
}

settings! {
    /// A rule, with one of these keys.
    Rule {
        /// Who may come in: a network, a list of them, or a map that is read as [`NetworkFile`].
        allow: Nested,
        /// Who may not, likewise.
        deny: Nested,
    }
}

settings! {
    /// Networks that stand in a file.
    NetworkFile {
        /// Its name.
        file: Text,
    }
}

settings! {
    /// Where those are served who are denied.
    Elsewhere {
        /// The name of the pool.
        pool: Name,
    }
}

/// The word for what becomes of who is denied; a map is read apart.
pub struct Action;

impl Word for Action {
    type Of = Denied;

    fn read(value: &Value) -> Result<Denied, String> {
        match value {
            Value::Mapping(_) => Ok(Denied::Close),
            Value::String(_) => Denied::read(value),
            _ => Err(wrong("close or reject, or a map with the key pool", value)),
        }
    }

    fn write(denied: &Denied) -> Value {
        Denied::write(denied)
    }
}

impl Access {
    /// What becomes of this client, if it is denied; an IPv4 address that is mapped into IPv6 is itself.
    pub fn denied(&self, client: IpAddr) -> Option<Denied> {
        (self.verdicts.of(client) == Verdict::Deny).then_some(self.denied)
    }

    /// The pool that serves who is denied, if one does.
    pub fn pool(&self) -> Option<usize> {
        match self.denied {
            Denied::Pool(pool) => Some(pool.into()),
            Denied::Close | Denied::Reject => None,
        }
    }
}

/// What is said of each address.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    v4: Changes<u32>,
    v6: Changes<u128>,
}

/// The verdict on the lowest address, and where it turns into the other one, in order.
#[derive(Debug, PartialEq, Eq)]
struct Changes<T> {
    first: Verdict,
    at: Vec<T>,
}

/// The bits of the first address and those of the last one.
type Range = (u128, u128);

impl Verdicts {
    /// What the first network says that holds an address; the default, where none does.
    fn new(networks: &[(Network, Verdict)], default: Verdict) -> Verdicts {
        let (mut v4, mut v6): (Vec<(Range, Verdict)>, Vec<(Range, Verdict)>) = (Vec::new(), Vec::new());
        for &(network, verdict) in networks {
            match network.ends() {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    v4.push(((first.to_bits().into(), last.to_bits().into()), verdict));
                }
                (first, last) => v6.push(((bits(first), bits(last)), verdict)),
            }
        }
        let (v4, v6) = (changes(&v4, default), changes(&v6, default));
        // What would begin behind the last address is left out.
        let at = v4.at.into_iter().filter_map(|at| u32::try_from(at).ok()).collect();
        Verdicts { v4: Changes { first: v4.first, at }, v6 }
    }

    fn of(&self, client: IpAddr) -> Verdict {
        match client.to_canonical() {
            IpAddr::V4(address) => self.v4.verdict(address.to_bits()),
            IpAddr::V6(address) => self.v6.verdict(address.to_bits()),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl<T: Ord + Copy> Changes<T> {
    fn verdict(&self, address: T) -> Verdict {
        let passed = self.at.partition_point(|at| *at <= address);
        if passed % 2 == 0 { self.first } else { self.first.other() }
    }
}

impl Verdict {
    fn other(self) -> Verdict {
        match self {
            Verdict::Allow => Verdict::Deny,
            Verdict::Deny => Verdict::Allow,
        }
    }
}

/// Goes along all addresses, with the numbers of those ranges at hand that hold the present one.
fn changes(ranges: &[(Range, Verdict)], default: Verdict) -> Changes<u128> {
    let begins = ranges.iter().enumerate().map(|(number, ((first, _), _))| (*first, number));
    let ends = ranges.iter().enumerate().filter_map(|(number, ((_, last), _))| Some((last.checked_add(1)?, number)));
    let mut events: Vec<(u128, usize)> = begins.chain(ends).collect();
    events.sort_unstable();
    let mut here = BTreeSet::new();
    let mut changes = Changes { first: default, at: Vec::new() };
    let mut verdict = default;
    for events in events.chunk_by(|one, other| one.0 == other.0) {
        for &(_, number) in events {
            // The first time it begins, the second time it ends.
            if !here.remove(&number) {
                here.insert(number);
            }
        }
        let next = here.first().map_or(default, |&number| ranges[number].1);
        if events[0].0 == 0 {
            changes.first = next;
        } else if next != verdict {
            changes.at.push(events[0].0);
        }
        verdict = next;
    }
    changes.at.shrink_to_fit();
    changes
}

/// Reads an `access` at its path: a map, or `none`.
pub(super) fn access((node, path): (&Node, String), pools: &PoolNames, errors: &mut Errors<'_>) -> Option<Access> {
    if node.value().as_str() == Some(NONE) {
        return None;
    }
    let meaning = "with the keys rules and default, or none";
    let (section, own) = Section::whole::<Schema>((node, path), meaning, &["rules", "default"], errors);
    let mut networks = Vec::new();
    if let Some((node, path)) = section.child("rules") {
        let rules = list(node, &path, "a list of rules", RULES_MAX, errors).unwrap_or_default();
        for (index, node) in rules.iter().enumerate() {
            rule(node, format!("{path}[{index}]"), &mut networks, errors);
        }
        if networks.len() > NETWORKS_MAX {
            errors.add(node.at, &path, format!("too many networks: {} (at most {NETWORKS_MAX})", networks.len()));
        }
    }
    let denied = match section.child("action") {
        Some(place) if matches!(place.0.kind, Kind::Map(_)) => {
            let (section, own) = Section::whole::<Elsewhere>(place, "with the key pool", &["pool"], errors);
            // There are at most `POOLS_MAX`.
            pools.resolve(&section, &own.pool, errors).map_or(Denied::Close, |pool| Denied::Pool(pool as u16))
        }
        _ => own.action,
    };
    Some(Access { verdicts: Verdicts::new(&networks, own.default?).into(), denied })
}

/// Reads a rule: its networks go to `networks`, with what it says of them.
fn rule(node: &Node, path: String, networks: &mut Vec<(Network, Verdict)>, errors: &mut Errors<'_>) {
    let (section, _) = Section::whole::<Rule>((node, path), "with one of the keys allow and deny", &[], errors);
    let given = Verdict::CHOICES.iter().filter_map(|&(key, verdict)| Some((section.child(key)?, verdict)));
    match given.collect::<Vec<_>>().as_slice() {
        [((node, path), verdict)] => {
            let mut take = |network: Network| networks.push((network, *verdict));
            match &node.kind {
                Kind::Map(_) => file((node, path.clone()), &mut take, errors),
                Kind::List(_) => {
                    let nodes = list(node, path, "a list of networks", NETWORKS_MAX, errors).unwrap_or_default();
                    for (index, node) in nodes.iter().enumerate() {
                        one(node, &format!("{path}[{index}]"), &mut take, errors);
                    }
                }
                _ => one(node, path, &mut take, errors),
            }
        }
        _ if matches!(node.kind, Kind::Map(_)) => {
            errors.add(section.at, &section.path, "must have one of allow and deny");
        }
        _ => {}
    }
}

fn one(node: &Node, path: &str, take: &mut impl FnMut(Network), errors: &mut Errors<'_>) {
    match Network::read(&node.value()) {
        Ok(network) => take(network),
        Err(_) if matches!(node.kind, Kind::Refused) => {}
        Err(message) => errors.add(node.at, path, message),
    }
}

/// Reads a file: a network a line, and comments behind `#`.
fn file(place: (&Node, String), take: &mut impl FnMut(Network), errors: &mut Errors<'_>) {
    let (section, own) = Section::whole::<NetworkFile>(place, "with the key file", &["file"], errors);
    if own.file.is_empty() {
        return;
    }
    let Some(bytes) = section.file("file", &own.file, FILE_BYTES_MAX, errors) else { return };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return section.refuse("file", format!("{}: it must be UTF-8", own.file), errors);
    };
    let (at, path) = (section.place("file"), joined(&section.path, "file"));
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match Network::parse(line) {
            Ok(network) => take(network),
            Err(message) => errors.add_with(at, &path, || format!("{}:{number}: {message}", own.file)),
        }
    }
}
