//! YAML text to a tree that knows where each key and value stands.
//!
//! Refuses here, before anything is built from it: files too long, nesting too deep, several documents, anchors,
//! aliases (so that nothing can multiply), tags, keys that are not text, and keys that occur twice.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_yaml::Value;

use super::FILE_BYTES_MAX;
use super::error::{Errors, Position, joined};

/// A file that plb understands nests six levels deep.
const DEPTH_MAX: usize = 16;

/// A value of the file.
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something already reported; nothing more is said about it.
    Refused,
}

/// A key with its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Node {
    /// The node for serde: no setting is made of more than a list of scalars, so maps go without their contents, and so
    /// does what is in a list besides scalars.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(nodes) => {
                let entries = nodes.iter().filter(|node| !matches!(node.kind, Kind::Refused));
                Value::Sequence(entries.map(Node::shallow).collect())
            }
            Kind::Map(_) => Value::Mapping(serde_yaml::Mapping::new()),
            Kind::Refused => Value::Null,
        }
    }

    fn shallow(&self) -> Value {
        match &self.kind {
            Kind::List(_) => Value::Sequence(Vec::new()),
            _ => self.value(),
        }
    }
}

/// The tree of `text`; `None` when it cannot be read to its end. What is wrong goes to `errors`.
pub(super) fn read(text: &str, errors: &mut Errors<'_>) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is too long: {} bytes (at most {FILE_BYTES_MAX})", text.len());
        errors.add(Position::START, "", message);
        return None;
    }
    // The byte order mark is no part of the text (YAML 1.2.2 section 5.2).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Reader { parser: Parser::new_from_str(text), errors }.document()
}

struct Reader<'t, 'e, 'r> {
    parser: Parser<'t, StrInput<'t>>,
    errors: &'e mut Errors<'r>,
}

impl<'t> Reader<'t, '_, '_> {
    fn document(&mut self) -> Option<Node> {
        let mut root = Node { at: Position::START, kind: Kind::Scalar(Value::Null) };
        let mut documents = 0;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Some(root),
                (Event::DocumentStart(_), at) if documents > 0 => {
                    self.errors.add(at, "", "a second document begins here; the file must hold only one");
                    return Some(root);
                }
                (Event::DocumentStart(_), _) => {
                    documents += 1;
                    let (event, at) = self.next()?;
                    root = self.node(event, at, "", 0)?;
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Option<(Event<'t>, Position)> {
        match self.parser.next_event()? {
            Ok((event, span)) => Some((event, start(&span))),
            Err(error) => {
                self.errors.add(position(&error), "", scan_message(error.info()));
                None
            }
        }
    }

    /// The node that begins with `event`.
    fn node(&mut self, event: Event<'t>, at: Position, path: &str, depth: usize) -> Option<Node> {
        if depth > DEPTH_MAX {
            self.errors.add(at, "", too_deep());
            return None;
        }
        let refused = self.refuse_extras(&event, at, path);
        let kind = match event {
            Event::SequenceStart(..) => self.list(path, depth)?,
            Event::MappingStart(..) => self.map(path, depth)?,
            _ if refused => Kind::Refused,
            Event::Scalar(text, ScalarStyle::Plain, ..) => Kind::Scalar(resolved(&text)),
            Event::Scalar(text, ..) => Kind::Scalar(Value::String(text.into_owned())),
            _ => Kind::Refused,
        };
        Some(Node { at, kind })
    }

    fn list(&mut self, path: &str, depth: usize) -> Option<Kind> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(Kind::List(nodes)),
                (event, at) => {
                    let path = format!("{path}[{}]", nodes.len());
                    nodes.push(self.node(event, at, &path, depth + 1)?);
                }
            }
        }
    }

    fn map(&mut self, path: &str, depth: usize) -> Option<Kind> {
        let mut entries = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Some(Kind::Map(entries));
            }
            let Some(key) = self.key(event, at, path, depth)? else {
                let (event, at) = self.next()?;
                self.node(event, at, path, depth + 1)?;
                continue;
            };
            let path = joined(path, &key);
            if let Some(line) = lines.get(&key) {
                self.errors.add(at, &path, format!("duplicate key; it is already in line {line}"));
            } else {
                lines.insert(key.clone(), at.line);
            }
            let (event, value_at) = self.next()?;
            let mut value = self.node(event, value_at, &path, depth + 1)?;
            if matches!(value.kind, Kind::Scalar(Value::Null)) {
                // Where nothing stands there is no place; the parser names that of what follows.
                value.at = at;
            }
            entries.push(Entry { key, at, value });
        }
    }

    /// The key that begins with `event`; `Some(None)` when it was reported.
    fn key(&mut self, event: Event<'t>, at: Position, path: &str, depth: usize) -> Option<Option<String>> {
        match event {
            Event::Scalar(ref text, ..) => {
                let text = text.to_string();
                let refused = self.refuse_extras(&event, at, path);
                Some((!refused).then_some(text))
            }
            Event::Alias(_) => {
                self.refuse_extras(&event, at, path);
                Some(None)
            }
            _ => {
                self.errors.add(at, path, "a key must be text, not a list or a map");
                self.node(event, at, path, depth + 1)?;
                Some(None)
            }
        }
    }

    fn refuse_extras(&mut self, event: &Event<'t>, at: Position, path: &str) -> bool {
        let (anchor, tag) = match event {
            Event::Alias(_) => (1, &None),
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag)
            }
            _ => (0, &None),
        };
        if anchor != 0 {
            self.errors.add(at, path, "anchors (&name) and aliases (*name) are not allowed; write the value out");
        }
        if tag.is_some() {
            self.errors.add(at, path, "tags (!name) are not allowed; write the plain value");
        }
        anchor != 0 || tag.is_some()
    }
}

/// A plain scalar as `serde_yaml` resolves it: null, boolean, number or text.
fn resolved(text: &str) -> Value {
    let as_text = || Value::String(text.to_string());
    if text.contains(['\n', '\r']) {
        return as_text();
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => as_text(),
    }
}

/// The parser's word on what it cannot read; it looks ahead, so that it may meet its own limit of depth before ours.
fn scan_message(info: &str) -> String {
    match info {
        "recursion limit exceeded" => too_deep(),
        _ => format!("not valid YAML: {info}"),
    }
}

fn too_deep() -> String {
    format!("nested too deeply (at most {DEPTH_MAX} levels)")
}

fn start(span: &Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn position(error: &ScanError) -> Position {
    Position { line: error.marker().line().max(1), column: error.marker().col() + 1 }
}
