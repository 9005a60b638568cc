//! Who may come in: the model of `access`, and the reading of it and of its files.
//!
//! Rules are read in their order, the first one that holds an address decides. What is kept of them is where the verdict
//! changes along all addresses, so that a question takes one search by halves, however many networks there are.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::error::{Errors, joined};
use super::leaf::{File, Name};
use super::network::Network;
use super::source::{Kind, Node};
use super::validate::{PoolNames, Section, list};
use super::word::{Choice, Maybe, NONE, Nested, Word, choices, settings};

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
        action: Nested,
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
        file: File,
    }
}

settings! {
    /// Where those are served who are denied.
    Elsewhere {
        /// The name of the pool.
        pool: Name,
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

/// What is said of each address, those of IPv4 before those of IPv6.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    /// What is said of the first one.
    first: Verdict,
    /// From where on the other thing is said, in order.
    turns: Vec<IpAddr>,
}

impl Verdicts {
    /// What the first network says that holds an address; the default, where none does.
    fn new(networks: &[(Network, Verdict)], default: Verdict) -> Verdicts {
        let mut events: Vec<(IpAddr, usize)> = Vec::with_capacity(2 * networks.len());
        for (number, (network, _)) in networks.iter().enumerate() {
            let (first, last) = network.ends();
            events.push((first, number));
            events.extend(behind(last).map(|at| (at, number)));
        }
        events.sort_unstable();
        // Goes along all addresses, with the numbers of those networks at hand that hold the present one.
        let mut here = BTreeSet::new();
        let (mut verdicts, mut verdict) = (Verdicts { first: default, turns: Vec::new() }, default);
        for events in events.chunk_by(|one, other| one.0 == other.0) {
            for &(_, number) in events {
                // The first time it begins, the second time it is over.
                if !here.remove(&number) {
                    here.insert(number);
                }
            }
            let before = std::mem::replace(&mut verdict, here.first().map_or(default, |&number| networks[number].1));
            if events[0].0 == Ipv4Addr::UNSPECIFIED {
                verdicts.first = verdict;
            } else if verdict != before {
                verdicts.turns.push(events[0].0);
            }
        }
        verdicts.turns.shrink_to_fit();
        verdicts
    }

    fn of(&self, client: IpAddr) -> Verdict {
        let client = client.to_canonical();
        let passed = self.turns.partition_point(|turn| *turn <= client);
        match (passed % 2, self.first) {
            (0, first) => first,
            (_, Verdict::Allow) => Verdict::Deny,
            (_, Verdict::Deny) => Verdict::Allow,
        }
    }
}

/// The address behind this one, if there is one.
fn behind(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Ipv6Addr::UNSPECIFIED.into()),
        IpAddr::V4(address) => Some(Ipv4Addr::from_bits(address.to_bits() + 1).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
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
        for (index, rule) in rules.iter().enumerate() {
            read_rule(rule, format!("{path}[{index}]"), &mut networks, errors);
            if networks.len() > NETWORKS_MAX {
                errors.add(rule.at, &path, format!("too many networks (at most {NETWORKS_MAX})"));
                return None;
            }
        }
    }
    let denied = section.child("action").and_then(|place| action(place, pools, errors)).unwrap_or(Denied::Close);
    Some(Access { verdicts: Verdicts::new(&networks, own.default?).into(), denied })
}

/// Reads a word, or a map with a pool.
fn action((node, path): (&Node, String), pools: &PoolNames, errors: &mut Errors<'_>) -> Option<Denied> {
    if let Kind::Scalar(value) = &node.kind {
        return Denied::read(value)
            .map_err(|message| errors.add(node.at, &path, message + ", or a map with the key pool"))
            .ok();
    }
    let (section, own) = Section::whole::<Elsewhere>((node, path), "with the key pool, or a word", &["pool"], errors);
    // There are at most `POOLS_MAX`.
    pools.resolve(&section, &own.pool, errors).map(|pool| Denied::Pool(pool as u16))
}

/// Reads a rule: its networks go to `networks`, with what it says of them.
fn read_rule(node: &Node, path: String, networks: &mut Vec<(Network, Verdict)>, errors: &mut Errors<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::config::{Config, parse_with};

    const BLOCKED: &str =
        "# who is blocked\n\n198.51.100.0/24 # a network\r\n  2001:db8:bad::/48\n::ffff:203.0.113.9\n";

    fn config(access: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "listeners: [{{name: l, listen: '127.0.0.1:1', pool: p, access: {access}}}]\n\
             pools: {{p: {{backends: [a:1]}}, tar: {{backends: [a:1]}}}}\n"
        );
        let files = |path: &std::path::Path, _| match path.to_str() {
            Some("blocked") => Ok(BLOCKED.as_bytes().to_vec()),
            Some("none") => Ok(b"# nobody\n".to_vec()),
            Some("broken") => Ok(b"10.0.0.0/8\n10.0.0.1/8\nlocalhost\n10.0.0.0/33 # x\n".to_vec()),
            Some("long") => Ok("::1\n".repeat(NETWORKS_MAX).into_bytes()),
            Some("binary") => Ok(b"10.0.0.0/8\n\xff\n".to_vec()),
            _ => Err("no such file".to_string()),
        };
        parse_with("f", &text, &files).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn access(text: &str) -> Access {
        config(text).unwrap_or_else(|errors| panic!("{errors:#?}")).listeners.remove(0).access.unwrap()
    }

    fn denies(access: &Access, client: &str) -> bool {
        access.denied(client.parse().unwrap()).is_some()
    }

    #[test]
    fn the_first_rule_that_holds_an_address_decides_and_else_the_default() {
        let access = access(
            "{ rules: [{ deny: 10.1.2.3 }, { allow: [10.1.0.0/16, 2001:db8::/32] }, { deny: 10.0.0.0/8 }, \
             { allow: 10.1.2.3 }, { deny: [0.0.0.0/1, '::/1'] }], default: allow }",
        );
        let table = [
            ("10.1.2.3", true),
            ("10.1.2.2", false),
            ("10.1.255.255", false),
            ("10.2.0.0", true),
            ("10.255.255.255", true),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.1.2.4", false),
            ("0.0.0.0", true),
            ("127.255.255.255", true),
            ("128.0.0.0", false),
            ("255.255.255.255", false),
            ("::", true),
            ("2001:db8::", false),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:db9::", true),
            ("7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("8000::", false),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ];
        for (client, whether) in table {
            assert_eq!(denies(&access, client), whether, "{client}");
        }
    }

    #[test]
    fn a_family_that_no_rule_names_has_the_default() {
        let open = access("{ rules: [deny: 0.0.0.0/0], default: allow }");
        assert!(denies(&open, "192.0.2.1") && !denies(&open, "2001:db8::1"));
        let closed = access("{ rules: [allow: '::/0'], default: deny }");
        assert!(denies(&closed, "192.0.2.1") && denies(&closed, "::ffff:192.0.2.1") && !denies(&closed, "2001:db8::1"));
    }

    #[test]
    fn networks_may_stand_in_a_file_with_comments() {
        let access = access("{ rules: [{ deny: { file: blocked } }, { deny: { file: none } }], default: allow }");
        for client in ["198.51.100.255", "2001:db8:bad:ffff::", "203.0.113.9", "::ffff:203.0.113.9"] {
            assert!(denies(&access, client), "{client}");
        }
        assert!(!denies(&access, "198.51.101.0") && !denies(&access, "2001:db8:bae::"));
    }

    #[test]
    fn what_becomes_of_who_is_denied_is_a_word_or_a_pool() {
        for (action, denied) in [
            ("", Denied::Close),
            (", action: close", Denied::Close),
            (", action: reject", Denied::Reject),
            (", action: { pool: tar }", Denied::Pool(1)),
        ] {
            let access = access(&format!("{{ rules: [allow: 10.0.0.1], default: deny{action} }}"));
            assert_eq!(access.denied([10, 0, 0, 2].into()), Some(denied), "{action}");
            assert_eq!(access.denied([10, 0, 0, 1].into()), None);
        }
        assert_eq!(config("none").unwrap().listeners[0].access, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_in_a_file_with_its_line() {
        let network = "must be an address or a network, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32";
        let table = [
            ("5", "access: must be a map with the keys rules and default, or none, not 5".to_string()),
            ("{ rules: [allow: ::1] }", "access: the key 'default' is missing (required: rules, default)".to_string()),
            ("{ default: deny }", "access: the key 'rules' is missing (required: rules, default)".to_string()),
            ("{ rules: [], default: deny }", "access.rules: the list is empty; it must be a list of rules".to_string()),
            (
                "{ rules: [allow: '::1'], default: none }",
                "access.default: must be allow or deny, not \"none\"".to_string(),
            ),
            (
                "{ rules: [10.0.0.1], default: deny }",
                "access.rules[0]: must be a map with one of the keys allow and deny, not \"10.0.0.1\"".to_string(),
            ),
            ("{ rules: [{}], default: deny }", "access.rules[0]: must have one of allow and deny".to_string()),
            (
                "{ rules: [{allow: '::1', deny: '::2'}], default: deny }",
                "access.rules[0]: must have one of allow and deny".to_string(),
            ),
            (
                "{ rules: [permit: '::1'], default: deny }",
                "access.rules[0].permit: unknown key (allowed: allow, deny)".to_string(),
            ),
            (
                "{ rules: [deny: 10.1.0.0/8], default: deny }",
                "access.rules[0].deny: \"10.1.0.0/8\" has bits behind its prefix; the network is 10.0.0.0/8"
                    .to_string(),
            ),
            (
                "{ rules: [deny: 7], default: deny }",
                format!("access.rules[0].deny: {network}, or a list of them, not 7"),
            ),
            (
                "{ rules: [deny: []], default: deny }",
                "access.rules[0].deny: the list is empty; it must be a list of networks".to_string(),
            ),
            ("{ rules: [deny: ['::1', x]], default: deny }", format!("access.rules[0].deny[1]: {network}, not \"x\"")),
            (
                "{ rules: [deny: {}], default: deny }",
                "access.rules[0].deny: the key 'file' is missing (required: file)".to_string(),
            ),
            (
                "{ rules: [deny: { file: '' }], default: allow }",
                "access.rules[0].deny.file: must be a file, not \"\"".to_string(),
            ),
            (
                "{ rules: [deny: { file: lost }], default: deny }",
                "access.rules[0].deny.file: \"lost\" cannot be read: no such file".to_string(),
            ),
            (
                "{ rules: [deny: { file: binary }], default: deny }",
                "access.rules[0].deny.file: binary: it must be UTF-8".to_string(),
            ),
            (
                "{ rules: [deny: '::1'], default: deny, action: drop }",
                "access.action: must be close or reject, not \"drop\", or a map with the key pool".to_string(),
            ),
            (
                "{ rules: [deny: '::1'], default: deny, action: [] }",
                "access.action: must be a map with the key pool, or a word, not a list".to_string(),
            ),
            (
                "{ rules: [deny: '::1'], default: deny, action: { pool: tra } }",
                "access.action.pool: there is no pool \"tra\"; did you mean 'tar'? (pools: p, tar)".to_string(),
            ),
            (
                "{ rules: [deny: '::1'], default: deny, action: {} }",
                "access.action: the key 'pool' is missing (required: pool)".to_string(),
            ),
        ];
        for (text, message) in table {
            let found = config(text).expect_err(text);
            assert!(found[0].ends_with(&format!(": listeners[0].{message}")), "{text}: {found:#?}");
        }
        let found = config("{ rules: [allow: '::1', { deny: { file: long } }], default: deny }").unwrap_err();
        assert!(found[0].ends_with(": listeners[0].access.rules: too many networks (at most 1000000)"), "{found:#?}");
        let found = config("{ rules: [allow: '::1', { deny: { file: broken } }], default: deny }").unwrap_err();
        let lines = [
            "broken:2: \"10.0.0.1/8\" has bits behind its prefix; the network is 10.0.0.0/8".to_string(),
            format!("broken:3: {network}, not \"localhost\""),
            format!("broken:4: {network}, not \"10.0.0.0/33\""),
        ];
        assert_eq!(found.len(), 3);
        for (found, line) in found.iter().zip(lines) {
            assert!(found.ends_with(&format!(": listeners[0].access.rules[1].deny.file: {line}")), "{found}");
        }
    }

    /// However networks overlap: the verdict is that of the first one that holds the address.
    #[test]
    fn the_verdict_is_that_of_a_look_at_each_network_in_turn_for_any_seed() {
        for seed in 0..500 {
            let mut rng = Rng::new(seed);
            // Few bits vary, and at both ends of all addresses, so that networks overlap and touch.
            let address = |rng: &mut Rng| -> IpAddr {
                let low = rng.below(16);
                match rng.below(4) {
                    0 => Ipv4Addr::from_bits((low as u32) << 28 | rng.below(8) as u32).into(),
                    1 => Ipv4Addr::from_bits(u32::MAX - low as u32).into(),
                    2 => Ipv6Addr::from_bits(u128::from(low) << 124 | u128::from(rng.below(8))).into(),
                    _ => Ipv6Addr::from_bits(u128::MAX - u128::from(low)).into(),
                }
            };
            let verdict = |rng: &mut Rng| if rng.chance(1, 2) { Verdict::Allow } else { Verdict::Deny };
            let networks: Vec<(Network, Verdict)> = (0..rng.below(30))
                .map(|_| {
                    let address = address(&mut rng);
                    let length = if address.is_ipv4() { 32 } else { 128 };
                    let prefix = if rng.chance(1, 2) { rng.below(6) } else { length - rng.below(6) } as u32;
                    let first: IpAddr = match address {
                        IpAddr::V4(address) => {
                            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                            Ipv4Addr::from_bits(address.to_bits() & mask).into()
                        }
                        IpAddr::V6(address) => {
                            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                            Ipv6Addr::from_bits(address.to_bits() & mask).into()
                        }
                    };
                    (Network::parse(&format!("{first}/{prefix}")).expect("it is masked"), verdict(&mut rng))
                })
                .collect();
            let default = verdict(&mut rng);
            let verdicts = Verdicts::new(&networks, default);
            let mut asked: Vec<IpAddr> = (0..100).map(|_| address(&mut rng)).collect();
            asked.extend(networks.iter().flat_map(|(network, _)| [network.ends().0, network.ends().1]));
            for client in asked {
                let holds = |network: &Network| {
                    let (first, last) = network.ends();
                    first.is_ipv4() == client.is_ipv4() && first <= client && client <= last
                };
                let first = networks.iter().find(|(network, _)| holds(network));
                let plainly = first.map_or(default, |&(_, verdict)| verdict);
                // What is mapped is IPv4, and none of these is.
                assert_eq!(verdicts.of(client), plainly, "seed {seed}: {client} in {networks:?}, else {default:?}");
            }
            assert!(verdicts.turns.is_sorted_by(|one, other| one < other), "seed {seed}");
        }
    }
}
