//! The routes of a listener, from the tree of the file to the model.

use std::mem::take;
use std::sync::Arc;

use super::super::Document;
use super::super::leaf::{AnyHost, FieldValue, Filling, FreeField, Token};
use super::super::route::{
    Action, EDIT_BYTES_MAX, Edits, Named, Prefix, RESPOND_BYTES_MAX, ROUTES_MAX, Respond, Route, Test,
};
use super::super::template::Part;
use super::super::{auth, rate};
use super::{Entry, Errors, Kind, Node, PoolNames, Schema, Section, Word, joined, list, schema};

/// The keys of which a route has exactly one.
const ACTIONS: [&str; 4] = ["pool", "redirect", "respond", "deny"];
/// The keys that change what a pool gets.
const FOR_POOLS: [&str; 4] = ["strip_prefix", "replace_prefix", REQUEST, "body_max"];
const REQUEST: &str = "request_headers";
const RESPONSE: &str = "response_headers";
/// The type of a body whose type is not told.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// What is said of `Content-Type` among other fields.
const TYPE_ELSEWHERE: &str = "the type belongs into content_type";

/// The routes in this list.
pub(super) fn routes(node: &Node, path: &str, pools: &PoolNames<'_>, errors: &mut Errors<'_>) -> Vec<Route> {
    let nodes = list(node, path, "a list of routes", ROUTES_MAX, errors).unwrap_or_default();
    let each = nodes.iter().enumerate();
    each.map(|(index, node)| route(node, format!("{path}[{index}]"), pools, errors)).collect()
}

fn route(node: &Node, path: String, pools: &PoolNames<'_>, errors: &mut Errors<'_>) -> Route {
    let meaning = "with one of the keys pool, redirect, respond and deny";
    let (section, own) = Section::whole::<schema::Route>((node, path), meaning, &[], errors);
    let action = action(&section, &own, pools, errors);
    if !matches!(action, Action::Pool(_)) {
        for key in FOR_POOLS.iter().filter(|key| section.entry(key).is_some()) {
            section.refuse(key, "means nothing where no pool serves", errors);
        }
    }
    let response_edits = edits(&section, RESPONSE, errors);
    if !matches!(action, Action::Pool(_)) && response_edits.added.iter().any(|(name, _)| is_type(name)) {
        section.refuse(RESPONSE, TYPE_ELSEWHERE, errors);
    }
    let (mut conditions, mut exceptions) = (Vec::new(), Vec::new());
    if let Some((node, path)) = section.child("match") {
        conditions = tests(node, &path, Some(&mut exceptions), errors);
    }
    Route {
        conditions,
        exceptions,
        action,
        request_edits: edits(&section, REQUEST, errors),
        response_edits,
        prefix: prefix(&section, own.strip_prefix, errors),
        auth: section.child("basic_auth").and_then(|place| auth::auth(place, errors)),
        rate_limit: section.child("rate_limit").and_then(|place| rate::rate_limit(place, errors)),
        body_bytes_max: own.body_max,
    }
}

fn action(section: &Section<'_>, own: &schema::Route, pools: &PoolNames<'_>, errors: &mut Errors<'_>) -> Action {
    let given: Vec<&str> = ACTIONS.into_iter().filter(|key| section.entry(key).is_some()).collect();
    let &[key] = given.as_slice() else {
        if section.entries.is_some() {
            let found = if given.is_empty() { "none".to_string() } else { given.join(", ") };
            errors.add(section.at, &section.path, format!("must have one of {}, not {found}", ACTIONS.join(", ")));
        }
        return Action::Deny;
    };
    match key {
        "pool" => Action::Pool(pools.resolve(section, &own.pool, errors).unwrap_or(0)),
        "redirect" => redirect(section, errors),
        "respond" => Action::Respond(respond(section, errors)),
        _ => {
            if own.deny == Some(false) {
                section.refuse(key, "must be true, not false", errors);
            }
            Action::Deny
        }
    }
}

fn redirect(route: &Section<'_>, errors: &mut Errors<'_>) -> Action {
    let (_, own) = route.map::<schema::Redirect>("redirect", "with the key to", &["to"], errors);
    Action::Redirect { status: own.status.unwrap_or(302), to: own.to }
}

/// What stands at `respond` in this section, which has it.
pub(super) fn respond(section: &Section<'_>, errors: &mut Errors<'_>) -> Respond {
    let (section, own) = section.map::<schema::Respond>("respond", "with the key text or file", &[], errors);
    let mut body: Option<Arc<[u8]>> = own.text.map(|text| text.into_bytes().into());
    if let Some(name) = own.file {
        if body.is_some() {
            section.refuse("file", "there is a text already", errors);
        }
        body = section.file("file", &name, RESPOND_BYTES_MAX, errors);
    }
    let status = own.status.unwrap_or(200);
    if matches!(status, 205 | 304) || (status == 204 && body.is_some()) {
        errors.add(section.at, &section.path, format!("a response {status} has no content"));
    }
    let content_type = own.content_type.as_deref().unwrap_or(CONTENT_TYPE).into();
    let fields = values::<FieldValue>(&section, "headers", None, errors);
    if fields.iter().any(|(name, _)| is_type(name)) {
        section.refuse("headers", TYPE_ELSEWHERE, errors);
    }
    Respond { status, document: body.map(|body| Document { content_type, body }), fields }
}

fn is_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
}

fn prefix(route: &Section<'_>, strip: Option<String>, errors: &mut Errors<'_>) -> Option<Prefix> {
    if route.entry("replace_prefix").is_none() {
        return strip.map(|from| Prefix { from, to: String::new() });
    }
    let required = ["from", "to"];
    let (section, own) = route.map::<Prefix>("replace_prefix", "with the keys from and to", &required, errors);
    if route.entry("strip_prefix").is_some() {
        errors.add(section.at, &section.path, "there is a strip_prefix already");
    }
    Some(Prefix { to: encoded(&own.to), ..own })
}

/// A path as it is sent (RFC 3986 section 3.3).
fn encoded(path: &str) -> String {
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
    let each = path.bytes();
    each.map(|byte| if stays(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The conditions of this map; those of the map at `not` in it, where there may be one, go to `exceptions`.
fn tests(node: &Node, path: &str, exceptions: Option<&mut Vec<Test>>, errors: &mut Errors<'_>) -> Vec<Test> {
    let mut section = Section::open(node, path.to_string(), "of conditions", errors);
    let mut own: schema::Conditions = section.read(errors);
    if let Some(exceptions) = exceptions {
        section.read::<schema::Negation>(errors);
        if let Some((node, path)) = section.child("not") {
            *exceptions = tests(node, &path, None, errors);
        }
    }
    section.close(&[], errors);
    let mut all = Vec::new();
    for entry in section.entries.unwrap_or_default() {
        let path = joined(path, &entry.key);
        if matches!(&entry.value.kind, Kind::List(nodes) if nodes.is_empty()) {
            errors.add(entry.value.at, &path, "the list is empty, so that no request could meet it");
        }
        all.push(match entry.key.as_str() {
            "host" => Test::Host(take(&mut own.host)),
            "path" => Test::Path(take(&mut own.path)),
            "path_prefix" => Test::PathPrefix(take(&mut own.path_prefix)),
            "path_regex" => Test::PathRegex(take(&mut own.path_regex)),
            "query" => Test::Query(named(entry, &path, errors)),
            "header" => Test::Header(named(entry, &path, errors)),
            "cookie" => Test::Cookie(named(entry, &path, errors)),
            "method" => Test::Method(take(&mut own.method)),
            "client" => Test::Client(take(&mut own.client)),
            _ => continue,
        });
    }
    all
}

/// One map with a name, or a list of them.
fn named(entry: &Entry, path: &str, errors: &mut Errors<'_>) -> Vec<Named> {
    let mut all = Vec::new();
    match &entry.value.kind {
        Kind::List(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                all.push(one_named(node, format!("{path}[{index}]"), errors));
            }
        }
        _ => all.push(one_named(&entry.value, path.to_string(), errors)),
    }
    // A parameter may have any name.
    for Named { name, .. } in all.iter().filter(|named| entry.key != "query" && !named.name.is_empty()) {
        if let Err(message) = Token::read(&name.as_str().into()) {
            errors.add(entry.value.at, path, message);
        }
    }
    all
}

fn one_named(node: &Node, path: String, errors: &mut Errors<'_>) -> Named {
    Section::whole((node, path), "with the key name, or a list of them", &["name"], errors).1
}

/// The changes at `key`: `Host` can be set in requests.
fn edits(route: &Section<'_>, key: &str, errors: &mut Errors<'_>) -> Edits {
    if route.entry(key).is_none() {
        return Edits::default();
    }
    let (section, own) = route.map::<schema::FieldEdits>(key, "with the keys set, add and remove", &[], errors);
    let mut edits = Edits::default();
    let is_request = key == REQUEST;
    let host = if is_request { Some(&mut edits.host) } else { None };
    edits.added = values::<Filling>(&section, "set", host, errors);
    edits.dropped = edits.added.iter().map(|(name, _)| name.clone()).chain(own.remove).collect();
    edits.added.extend(values::<Filling>(&section, "add", None, errors));
    let has_any = |parts: &[Part]| parts.iter().any(|part| matches!(part, Part::Path | Part::Query));
    if !is_request && edits.added.iter().any(|(_, value)| has_any(&value.parts)) {
        // The path of a client would decide whether the head still fits, and the backend be blamed for it.
        errors.add(section.at, &section.path, "{path} and {query} are for requests only");
    }
    let bytes: usize = edits.added.iter().map(|(name, value)| name.len() + value.bytes_max() + 4).sum();
    if bytes > EDIT_BYTES_MAX {
        errors.add(section.at, &section.path, format!("adds up to {bytes} bytes to a head (at most {EDIT_BYTES_MAX})"));
    }
    edits
}

/// The fields in the map at `key`. Where `host` is given, `Host` may be among them, and goes there.
fn values<W: Word>(
    section: &Section<'_>,
    key: &str,
    mut host: Option<&mut Option<String>>,
    errors: &mut Errors<'_>,
) -> Vec<(String, W::Of)> {
    let Some((node, path)) = section.child(key) else { return Vec::new() };
    let inner = Section::open(node, path, "from names of fields to their values", errors);
    let mut values = Vec::new();
    for entry in inner.entries.unwrap_or_default() {
        let path = joined(&inner.path, &entry.key);
        let mut report = |at, message: String| errors.add(at, &path, message);
        if let Some(host) = host.as_deref_mut().filter(|_| entry.key.eq_ignore_ascii_case("host")) {
            *host = AnyHost::read(&entry.value.value()).map_err(|message| report(entry.value.at, message)).ok();
            continue;
        }
        match (FreeField::read(&entry.key.as_str().into()), W::read(&entry.value.value())) {
            (Ok(name), Ok(value)) => values.push((name, value)),
            (Err(message), _) => report(entry.at, message),
            (_, Err(message)) => report(entry.value.at, message),
        }
    }
    values
}

impl Section<'_> {
    /// The map at `key`, read as `T`.
    fn map<T: Schema>(&self, key: &str, meaning: &str, required: &[&str], errors: &mut Errors<'_>) -> (Section<'_>, T) {
        Section::whole(self.child(key).expect("the caller asked for it"), meaning, required, errors)
    }
}
