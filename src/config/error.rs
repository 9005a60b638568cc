//! What is wrong with a configuration file, and where. Shows the file's text only with its control characters taken out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::Files;

/// More errors than this are counted and not shown.
const ERRORS_MAX: usize = 100;
/// The longest excerpt of a source line, in characters.
const EXCERPT_CHARACTERS_MAX: usize = 120;
/// The longest piece of the file that a message repeats, in characters.
const QUOTED_CHARACTERS_MAX: usize = 48;
/// A longer word is not worth a suggestion.
const SUGGESTION_BYTES_MAX: usize = 64;

/// A place in the text: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    /// Where every file begins.
    pub(super) const START: Position = Position { line: 1, column: 1 };
}

/// One mistake in a configuration file. `Display` is one line; [`ConfigError::excerpt`] shows the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named to [`super::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The setting, such as `pools.web.backends[1].weight`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
    source_line: String,
}

impl ConfigError {
    /// The line of the file with a caret under the place, in two lines; empty when the line is too long to help.
    pub fn excerpt(&self) -> String {
        if self.column > EXCERPT_CHARACTERS_MAX || self.source_line.trim().is_empty() {
            return String::new();
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(self.column - 1);
        format!("  {number} | {}\n  {margin} | {indent}^\n", self.source_line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The errors of one file, as they are found.
///
/// It is handed to whatever reads the text, and so brings the files along that the text names.
pub(super) struct Errors<'a> {
    file: &'a str,
    text: &'a str,
    files: &'a Files<'a>,
    found: Vec<ConfigError>,
    left_out: usize,
}

impl<'a> Errors<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, files: &'a Files<'a>) -> Errors<'a> {
        Errors { file, text, files, found: Vec::new(), left_out: 0 }
    }

    /// What is in the file that the text names at this place; one that cannot be read, or is longer, is an error there.
    pub(super) fn file(&mut self, at: Position, path: &str, name: &str, bytes_max: usize) -> Option<Arc<[u8]>> {
        match (self.files)(Path::new(name), bytes_max) {
            Ok(bytes) if bytes.len() <= bytes_max => return Some(bytes.into()),
            Ok(_) => self.add(at, path, format!("{} is too long: at most {bytes_max} bytes", quoted(name))),
            Err(reason) => self.add(at, path, format!("{} cannot be read: {reason}", quoted(name))),
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds an error whose message takes some work, which is done only when it will be shown.
    pub(super) fn add_with(&mut self, at: Position, path: &str, message: impl FnOnce() -> String) {
        if self.found.len() == ERRORS_MAX {
            self.left_out += 1;
        } else {
            self.add(at, path, message());
        }
    }

    pub(super) fn add(&mut self, at: Position, path: &str, message: impl Into<String>) {
        if self.found.len() == ERRORS_MAX {
            self.left_out += 1;
            return;
        }
        let source_line = self.text.lines().nth(at.line - 1).unwrap_or_default();
        let mut message = message.into();
        if has_bare_ipv6(source_line) {
            message.push_str("; an IPv6 address needs quotes: \"[::1]:8080\"");
        }
        self.found.push(ConfigError {
            file: self.file.to_string(),
            line: at.line,
            column: at.column,
            path: path.to_string(),
            message,
            source_line: printable(source_line),
        });
    }

    /// The errors by line and column; the last one counts those that were left out.
    pub(super) fn sorted(mut self) -> Vec<ConfigError> {
        self.found.sort_by_key(|error| (error.line, error.column));
        if self.left_out > 0 {
            let at = self.found.last().map_or(Position::START, |e| Position { line: e.line, column: e.column });
            self.found.push(ConfigError {
                file: self.file.to_string(),
                line: at.line,
                column: at.column,
                path: String::new(),
                message: format!("{} more errors are not shown", self.left_out),
                source_line: String::new(),
            });
        }
        self.found
    }
}

/// `text` in quotes, short and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARACTERS_MAX).is_some() {
        shown.push_str("...");
    }
    format!("\"{}\"", shown.replace("\\'", "'"))
}

/// The path of `key` in the map at `path`.
pub(super) fn joined(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_plain = !key.is_empty() && key.len() <= SUGGESTION_BYTES_MAX && key.chars().all(plain);
    let key = if is_plain { key.to_string() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// `; did you mean 'weight'?`, or nothing when no word of `allowed` is near.
pub(crate) fn suggestion<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > SUGGESTION_BYTES_MAX {
        return String::new();
    }
    let lower = word.to_ascii_lowercase();
    let near = (word.chars().count() / 3).max(1);
    allowed
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= near)
        .min_by_key(|&(distance, _)| distance)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean '{candidate}'?"))
}

/// A line of the file without what a terminal would obey.
fn printable(line: &str) -> String {
    let invisible = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    line.chars().take(EXCERPT_CHARACTERS_MAX).map(|c| if invisible(c) { ' ' } else { c }).collect()
}

/// Whether a line has an IPv6 address in brackets without quotes, which YAML takes for a list.
fn has_bare_ipv6(line: &str) -> bool {
    line.match_indices('[').any(|(at, _)| {
        let (before, inside) = (&line[..at], line[at + 1..].split(']').next().unwrap_or_default());
        !before.ends_with(['"', '\'']) && inside.parse::<std::net::Ipv6Addr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_files(_: &Path, _: usize) -> Result<Vec<u8>, String> {
        Err("no such file".to_string())
    }

    #[test]
    fn an_address_in_brackets_without_quotes_is_noticed() {
        for bare in ["- [::1]:80", "listen: [127.0.0.1:80, [fe80::1]:80]"] {
            assert!(has_bare_ipv6(bare), "{bare}");
        }
        for good in ["- \"[::1]:80\"", "- '[::1]:80'", "listen: [127.0.0.1:80]", "backends: []", "- [", "[[[["] {
            assert!(!has_bare_ipv6(good), "{good}");
        }
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(suggestion("wieght", ["address", "weight"]), "; did you mean 'weight'?");
        assert_eq!(suggestion("Max-Clients", ["max_clients"]), "; did you mean 'max_clients'?");
        assert_eq!(suggestion("zebra", ["address", "weight"]), "");
        assert_eq!(suggestion(&"x".repeat(100_000), ["weight"]), "");
    }

    #[test]
    fn what_is_quoted_is_short_and_holds_no_control_character() {
        assert_eq!(quoted("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), QUOTED_CHARACTERS_MAX + 5);
        assert_eq!(joined("pools", "a b"), "pools.\"a b\"");
    }

    #[test]
    fn the_excerpt_has_a_caret_under_the_column() {
        let mut errors = Errors::new("f", "a: 1\n  b\u{7}d: 2\n", &no_files);
        errors.add(Position { line: 2, column: 3 }, "bd", "wrong");
        let error = &errors.sorted()[0];
        assert_eq!(error.to_string(), "f:2:3: bd: wrong");
        assert_eq!(error.excerpt(), "  2 |   b d: 2\n    |   ^\n");
    }

    #[test]
    fn more_errors_than_the_limit_are_counted() {
        let mut errors = Errors::new("f", "", &no_files);
        (0..ERRORS_MAX + 7).for_each(|_| errors.add(Position::START, "", "wrong"));
        let errors = errors.sorted();
        assert_eq!(errors.len(), ERRORS_MAX + 1);
        assert_eq!(errors[ERRORS_MAX].message, "7 more errors are not shown");
    }

    #[test]
    fn a_file_that_the_text_names_is_read_up_to_its_limit() {
        let at = Position { line: 1, column: 4 };
        let files = |_: &Path, bytes_max: usize| Ok(vec![b'x'; bytes_max.min(9) + 1]);
        let mut errors = Errors::new("f", "a: b\n", &files);
        assert_eq!(errors.file(at, "a", "b", 20).as_deref(), Some(&b"xxxxxxxxxx"[..]));
        assert_eq!(errors.file(at, "a", "b", 8), None);
        let found = errors.sorted();
        assert_eq!(found[0].to_string(), "f:1:4: a: \"b\" is too long: at most 8 bytes");
        let mut errors = Errors::new("f", "a: b\n", &no_files);
        assert_eq!(errors.file(at, "a", "b", 20), None);
        assert_eq!(errors.sorted()[0].to_string(), "f:1:4: a: \"b\" cannot be read: no such file");
    }
}
