//! Who answers when nobody of a pool lives, from the tree of the file to the model; pools that lead round in a circle are
//! refused.

use serde_yaml::Value;

use super::super::attempts::Emergency;
use super::super::word::wrong;
use super::super::{Affinity, Pool};
use super::{Entry, Errors, Kind, Node, PoolNames, Section, joined, quoted, route, schema};

const KEY: &str = "emergency";

/// Reads what each of the pools at `node` says about it.
pub(super) fn read(node: &Node, pools: &mut [Pool], errors: &mut Errors<'_>) {
    let Kind::Map(entries) = &node.kind else { return };
    if pools.is_empty() {
        return;
    }
    let names = PoolNames::of(pools);
    let all: Vec<_> = entries.iter().map(|entry| emergency(entry, &names, errors)).collect();
    for (pool, emergency) in pools.iter_mut().zip(all) {
        pool.emergency = emergency;
    }
    for (index, entry) in (0..pools.len()).zip(entries) {
        let chain: Vec<usize> = chain(pools, index).collect();
        if chain.last().and_then(|last| next(pools, *last)) == Some(index) {
            let names = chain.iter().chain([&index]).map(|pool| pools[*pool].name.as_str()).collect::<Vec<_>>();
            let message = format!("the emergencies lead round in a circle: {}", names.join(", "));
            refuse(entry, message, errors);
        }
    }
}

/// Why a tcp listener cannot have this pool, if it cannot; `whose` is the word for that pool.
pub(super) fn unfit_for_tcp(pools: &[Pool], pool: usize, whose: &str) -> Option<String> {
    chain(pools, pool).find_map(|index| {
        let Pool { name, affinity, balance, emergency, .. } = &pools[index];
        let whose = if index == pool { whose.to_string() } else { format!("in an emergency, {}'s", quoted(name)) };
        if affinity.as_ref().is_some_and(Affinity::needs_http) {
            Some(format!("{whose} affinity is of a type that a tcp listener cannot follow (allowed: source)"))
        } else if balance.needs_http() {
            Some(format!(
                "{whose} backends are chosen by a hash of what a tcp listener does not know (allowed: on: source)"
            ))
        } else if matches!(emergency, Some(Emergency::Respond(_))) {
            Some(format!("{whose} emergency is a response, which a tcp listener cannot give (allowed: a pool)"))
        } else {
            None
        }
    })
}

/// The pool and those that it leads to, each once.
fn chain(pools: &[Pool], first: usize) -> impl Iterator<Item = usize> {
    let mut seen = vec![false; pools.len()];
    std::iter::successors(Some(first), |index| next(pools, *index))
        .take_while(move |index| !std::mem::replace(&mut seen[*index], true))
}

fn next(pools: &[Pool], index: usize) -> Option<usize> {
    match pools[index].emergency {
        Some(Emergency::Pool(next)) => Some(next),
        _ => None,
    }
}

fn emergency(pool: &Entry, names: &PoolNames<'_>, errors: &mut Errors<'_>) -> Option<Emergency> {
    let setting = setting(pool)?;
    let path = joined(&joined("pools", &pool.key), KEY);
    match &setting.value.kind {
        Kind::Refused => None,
        Kind::Scalar(Value::String(name)) => {
            names.index(name).map_err(|message| errors.add(setting.value.at, &path, message)).ok().map(Emergency::Pool)
        }
        // A pool is named without a key: what it would be told of an unknown one leads nowhere.
        Kind::Map(entries) if entries.iter().all(|entry| entry.key != "pool") => {
            let meaning = "with the key respond";
            let (section, _) =
                Section::whole::<schema::Emergency>((&setting.value, path), meaning, &["respond"], errors);
            section.entry("respond").map(|_| Emergency::Respond(route::respond(&section, errors)))
        }
        _ => {
            let message = wrong("the name of a pool, or a map with the key respond", &setting.value.value());
            errors.add(setting.value.at, &path, message);
            None
        }
    }
}

fn setting(pool: &Entry) -> Option<&Entry> {
    let Kind::Map(entries) = &pool.value.kind else { return None };
    entries.iter().find(|entry| entry.key == KEY)
}

fn refuse(pool: &Entry, message: String, errors: &mut Errors<'_>) {
    let at = setting(pool).map_or(pool.at, |setting| setting.value.at);
    errors.add(at, &joined(&joined("pools", &pool.key), KEY), message);
}
