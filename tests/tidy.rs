//! The keeper of the house: what `src/lib.rs` says of rooms, layers and sizes holds, or a test says where it does not.
//!
//! It reads text and understands only as much Rust as it needs: comments, literals, braces and the place where the
//! tests of a file begin. It must never change a file. Each rule is a function from a source to findings, and each is
//! shown to fail on a few lines that break it.

use std::fs;
use std::path::Path;

/// The rooms, and what each of them may name. `lib` is the map of all and names them with `mod` alone.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("config", &["base"]),
    ("balance", &["base", "config"]),
    ("protocol", &["base", "config", "balance"]),
    ("session", &["base", "config", "balance", "protocol"]),
    ("daemon", &["base", "config"]),
    ("net", &["base", "config", "balance", "protocol", "session"]),
    ("log", &["base", "config", "balance", "protocol", "session"]),
    ("cli", &["config"]),
    ("start", &["base", "config", "daemon", "net"]),
    ("server", &["base", "config", "balance", "protocol", "session", "daemon", "net", "log", "start"]),
    ("demo", &["base", "config", "start", "server"]),
    ("main", &["cli", "config", "daemon", "log", "start", "server", "demo"]),
    ("lib", &[]),
];

/// Rooms that can be tested without sockets, files and clocks.
const PURE_ROOMS: &[&str] = &["base", "config", "balance", "protocol", "session"];

/// What does not occur in a pure room, and where it belongs.
const SHELL_WORDS: &[(&str, &str)] = &[
    ("mio", "sockets belong in net"),
    ("TcpStream", "sockets belong in net"),
    ("TcpListener", "sockets belong in net"),
    ("UdpSocket", "sockets belong in net"),
    ("UnixStream", "sockets belong in net"),
    ("UnixListener", "sockets belong in net"),
    ("UnixDatagram", "sockets belong in net"),
    ("ToSocketAddrs", "names are resolved in start"),
    ("std::io", "reading and writing belong in net"),
    ("std::fs", "files are opened by main, start and log"),
    ("std::env", "the surroundings are main's to look at"),
    ("Instant", "the moment is given, as base::time::Time"),
    ("SystemTime", "the moment is given"),
    ("error!", "a pure room returns facts, the shell logs them"),
    ("warn!", "a pure room returns facts, the shell logs them"),
    ("info!", "a pure room returns facts, the shell logs them"),
    ("debug!", "a pure room returns facts, the shell logs them"),
    ("println!", "a pure room returns facts, the shell prints them"),
    ("eprintln!", "a pure room returns facts, the shell prints them"),
    ("Rc<RefCell", "state has one owner"),
    ("thread_local", "state has one owner"),
];

/// What does not occur in a protocol besides: it sees why a backend failed, but neither backends nor sessions.
const PROTOCOL_WORDS: &[(&str, &str)] =
    &[("Pools", "a protocol knows no backend"), ("Lease", "a protocol knows no backend")];

/// What occurs nowhere.
const NOWHERE: &[(&str, &str)] = &[
    ("unsafe", "it is forbidden in this crate"),
    ("todo!", "it is not finished"),
    ("unimplemented!", "it is not finished"),
    ("dbg!", "it is a trace of a search"),
];

/// All folders with Rust in them.
const EVERYWHERE: [&str; 6] = ["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets", "fuzz/examples"];

/// Names that say nothing of what a type is.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Helper", "Util", "Utils"];

/// The most lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;

/// The most lines of a function, from its signature to its brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The most lines of code in `src`: without tests, comments and empty lines.
const SOURCE_LINES_MAX: usize = 15_900;

// The rules over the whole house.

#[test]
fn rooms_name_only_rooms_below_them() {
    check(&sources(&["src"]), layers);
}

#[test]
fn pure_rooms_hold_no_sockets_files_clocks_or_logs() {
    check(&sources(&["src"]), purity);
}

#[test]
fn nothing_is_unsafe_or_left_unfinished() {
    check(&sources(&EVERYWHERE), |source| words(source, NOWHERE));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is there");
    assert!(manifest.contains("unsafe_code = \"forbid\""), "Cargo.toml: [lints.rust] lacks unsafe_code = \"forbid\"");
}

#[test]
fn every_file_opens_with_what_it_is() {
    check(&sources(&EVERYWHERE), opening);
}

#[test]
fn files_and_functions_stay_small() {
    check(&sources(&["src"]), file_size);
    check(&sources(&["src", "benches"]), function_size);
}

#[test]
fn types_are_named_for_what_they_are() {
    check(&sources(&EVERYWHERE), names);
}

#[test]
fn the_whole_stays_small() {
    let lines: usize = sources(&["src"]).iter().map(Source::lines_of_code).sum();
    assert!(lines > 1_000, "only {lines} lines were found: this test looks in the wrong place");
    assert!(lines <= SOURCE_LINES_MAX, "src has {lines} lines of code: at most {SOURCE_LINES_MAX}");
}

#[test]
fn the_rooms_are_layers() {
    for (place, (room, below)) in ROOMS.iter().enumerate() {
        for name in *below {
            let known = ROOMS.iter().position(|(other, _)| other == name);
            let is_lower = known.is_some_and(|other| other < place);
            assert!(is_lower, "{room} may name {name}, which does not stand above it in the table");
        }
    }
}

fn check(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    assert!(!sources.is_empty(), "no file was found");
    let findings: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

// The rules, each for one file.

fn layers(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some((_, below)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![source.finding(0, &format!("the room {room} is not in the table of tests/tidy.rs"))];
    };
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        for named in rooms_named(&line.code, source.depth() + usize::from(line.in_tests)) {
            if named != room && !below.contains(&named) {
                let what = if named.is_empty() { "a group of rooms that goes over several lines" } else { named };
                findings.push(source.finding(index, &format!("{room} must not name {what}")));
            }
        }
    }
    findings
}

/// The rooms behind each `crate::`, each `plb::`, and each `super::` that leads out of a room `depth` modules deep.
fn rooms_named(code: &str, depth: usize) -> Vec<&str> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "plb::", "super::"] {
        let mut from = 0;
        while let Some(at) = find_word(&code[from..], prefix) {
            let chain = &code[from + at..];
            let rest = chain.trim_start_matches("super::");
            let climbed = (chain.len() - rest.len()) / "super::".len();
            let path = if prefix == "super::" { rest } else { &chain[prefix.len()..] };
            if prefix != "super::" || climbed >= depth {
                rooms.extend(first_names(path));
            }
            from = code.len() - path.len();
        }
    }
    rooms
}

/// `a` of `a::b`, and `a` and `c` of `{a::{b, x}, c}`; an empty name for a group that does not end in its line.
fn first_names(path: &str) -> Vec<&str> {
    let name =
        |path: &'_ str| path.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(path.len());
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..name(path)]] };
    let (mut names, mut braces, mut begins) = (Vec::new(), 1, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => braces += 1,
            '}' if braces == 1 => return names,
            '}' => braces -= 1,
            ',' if braces == 1 => begins = true,
            ' ' => {}
            _ if begins => {
                begins = false;
                names.push(&group[at..at + name(&group[at..])]);
            }
            _ => {}
        }
    }
    vec![""]
}

fn purity(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    if PURE_ROOMS.contains(&source.room()) {
        findings.extend(words(source, SHELL_WORDS));
    }
    if source.room() == "protocol" {
        findings.extend(words(source, PROTOCOL_WORDS));
    }
    findings
}

fn words(source: &Source, banned: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        for (word, reason) in banned {
            if find_word(&line.code, word).is_some() {
                findings.push(source.finding(index, &format!("`{word}`: {reason}")));
            }
        }
    }
    findings
}

fn opening(source: &Source) -> Vec<String> {
    let opens = source.lines.first().is_some_and(|line| line.raw.len() > 10 && line.raw.starts_with("//! "));
    if opens { Vec::new() } else { vec![source.finding(0, "a file opens with `//!`: what it is")] }
}

fn file_size(source: &Source) -> Vec<String> {
    let lines = source.lines_before_tests();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![source.finding(FILE_LINES_MAX, &format!("{lines} lines before tests: at most {FILE_LINES_MAX}"))]
}

fn function_size(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        // A test may be one long table.
        let begins = !line.in_tests && find_word(&line.code, "fn ").is_some();
        let lines = if begins { source.block_lines(index) } else { 0 };
        if lines > FUNCTION_LINES_MAX {
            findings.push(source.finding(index, &format!("a function of {lines} lines: at most {FUNCTION_LINES_MAX}")));
        }
    }
    findings
}

fn names(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        for keyword in ["struct ", "enum ", "trait ", "type ", "union "] {
            let Some(at) = find_word(&line.code, keyword) else { continue };
            let name = line.code[at + keyword.len()..].trim_start();
            let name = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
            if EMPTY_NAMES.iter().any(|empty| name.ends_with(empty)) {
                findings.push(source.finding(index, &format!("{name} says not what it is")));
            }
        }
    }
    findings
}

/// Where the word stands in the text, and not as a part of a longer one.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        let open_end = word.ends_with(is_letter) && text[at + word.len()..].starts_with(is_letter);
        !text[..at].ends_with(is_letter) && !open_end
    })
}

// Sources.

/// A file of Rust.
struct Source {
    path: String,
    lines: Vec<Line>,
}

struct Line {
    raw: String,
    /// Without comments and what stands in literals.
    code: String,
    in_tests: bool,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code = code_of(text);
        let code: Vec<&str> = code.split('\n').collect();
        let opens_tests = |index: usize| {
            let next = code.get(index + 1).copied().unwrap_or_default();
            code[index].starts_with("#[cfg(test)]") && next.starts_with("mod ") && next.ends_with('{')
        };
        let tests_from = (0..code.len()).find(|&index| opens_tests(index)).unwrap_or(code.len());
        let lines = text.lines().zip(&code).enumerate().map(|(index, (raw, code))| Line {
            raw: raw.to_string(),
            code: code.to_string(),
            in_tests: index >= tests_from,
        });
        Source { path: path.to_string(), lines: lines.collect() }
    }

    /// `net` for `src/net/driver.rs`, `server` for `src/server.rs`.
    fn room(&self) -> &str {
        let path = self.path.trim_start_matches("src/");
        path.split(['/', '.']).next().unwrap_or_default()
    }

    /// How many `super` lead from this file's module to the crate.
    fn depth(&self) -> usize {
        let path = self.path.trim_start_matches("src/").trim_end_matches("/mod.rs");
        path.split('/').count()
    }

    fn lines_before_tests(&self) -> usize {
        self.lines.iter().filter(|line| !line.in_tests).count()
    }

    /// The lines that are neither empty nor a comment nor a test: what has to be understood, and not what explains it.
    fn lines_of_code(&self) -> usize {
        if self.lines.iter().any(|line| line.code.starts_with("#![cfg(test)]")) {
            return 0;
        }
        self.lines.iter().filter(|line| !line.in_tests && !line.code.trim().is_empty()).count()
    }

    /// The lines from this one to the brace that closes what it opens; 0 for a signature without a body.
    fn block_lines(&self, first: usize) -> usize {
        let (mut braces, mut brackets) = (0, 0);
        for (index, line) in self.lines.iter().enumerate().skip(first) {
            for letter in line.code.chars() {
                match letter {
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets -= 1,
                    '{' => braces += 1,
                    '}' if braces == 1 => return index - first + 1,
                    '}' => braces -= 1,
                    ';' if braces == 0 && brackets == 0 => return 0,
                    _ => {}
                }
            }
        }
        0
    }

    fn finding(&self, index: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, index + 1)
    }
}

/// The text with comments and the inside of literals left out; every line break stays.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest, &code) {
            length
        } else if letter == '"' {
            quoted(rest, '"')
        } else if letter == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|&letter| letter == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// The length of the raw string that begins here, behind `code`.
fn raw_string(rest: &str, code: &str) -> Option<usize> {
    let fences = rest.strip_prefix('r')?.trim_start_matches('#');
    let count = rest.len() - 1 - fences.len();
    let in_word = code.trim_end_matches('b').ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let inside = fences.strip_prefix('"').filter(|_| !in_word)?;
    let end = format!("\"{}", "#".repeat(count));
    Some(inside.find(&end).map_or(rest.len(), |at| 1 + count + 1 + at + end.len()))
}

/// Whether the quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    let first = letters.next();
    first == Some('\\') || letters.next() == Some('\'')
}

/// The length of the literal that begins here, quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of Rust in these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
                found.push(Source::new(&name, &fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

// Each rule can fail.

fn findings(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    rule(&Source::new(path, text))
}

#[test]
fn a_use_of_a_higher_room_is_found() {
    let found = |path, text| findings(layers, path, text);
    let pools = "//! Text.\nuse crate::balance::Pools;\n";
    assert_eq!(found("src/base/pipe.rs", pools), ["src/base/pipe.rs:2: base must not name balance"]);
    assert!(found("src/session/mod.rs", pools).is_empty());
    assert!(found("src/balance/mod.rs", pools).is_empty(), "a room may name itself");
    assert_eq!(
        found("src/session/mod.rs", "fn f(id: crate::net::Id) {}"),
        ["src/session/mod.rs:1: session must not name net"]
    );
    assert_eq!(found("src/net/idle.rs", "use super::super::server;"), ["src/net/idle.rs:1: net must not name server"]);
    assert_eq!(found("src/session/mod.rs", "use super::net;"), ["src/session/mod.rs:1: session must not name net"]);
    assert!(found("src/net/idle.rs", "use super::stream::Stream;").is_empty());
    assert!(found("src/net/idle.rs", "#[cfg(test)]\nmod tests {\n    use super::super::token;\n}").is_empty());
    assert!(found("src/base/pipe.rs", "// crate::server\nlet a = \"crate::server\";").is_empty());
    assert_eq!(
        found("src/net/idle.rs", "use crate::{base::{arena, time}, server, start as begin};"),
        ["src/net/idle.rs:1: net must not name server", "src/net/idle.rs:1: net must not name start"]
    );
    assert_eq!(
        found("src/net/idle.rs", "use crate::{\n    base,\n};"),
        ["src/net/idle.rs:1: net must not name a group of rooms that goes over several lines"]
    );
    assert_eq!(found("src/new.rs", ""), ["src/new.rs:1: the room new is not in the table of tests/tidy.rs"]);
    assert_eq!(found("src/main.rs", "use plb::net::stream;"), ["src/main.rs:1: main must not name net"]);
}

#[test]
fn a_banned_word_is_found_in_code_only() {
    for (word, _) in SHELL_WORDS {
        let text = format!("\nlet a = {word}(());");
        assert_eq!(findings(purity, "src/session/mod.rs", &text).len(), 1, "{word}");
        assert!(findings(purity, "src/net/mod.rs", &text).is_empty(), "{word}");
    }
    let lines = "use std::io::Read;\nlet text = \"mio\"; // mio\nlet miones = 'm'; r#\"mio\"#;\nInstant::now()";
    let found = findings(purity, "src/base/pipe.rs", lines);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("src/base/pipe.rs:1: `std::io`") && found[1].starts_with("src/base/pipe.rs:4: "));
    assert_eq!(findings(purity, "src/protocol/tcp.rs", "use crate::balance::{Failure, Lease};").len(), 1);
    let nowhere = words(&Source::new("f.rs", "unsafe {}\ntodo!()\nunimplemented!()\ndbg!(1)\nunsafe_code"), NOWHERE);
    assert_eq!(nowhere.len(), 4);
}

#[test]
fn a_file_without_an_opening_is_found() {
    assert_eq!(findings(opening, "f.rs", "use std::fs;\n//! late"), ["f.rs:1: a file opens with `//!`: what it is"]);
    assert_eq!(findings(opening, "f.rs", "").len(), 1);
    assert!(findings(opening, "f.rs", "//! A file of its own.\n").is_empty());
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let long = "x\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(findings(file_size, "src/net/a.rs", &long), ["src/net/a.rs:501: 501 lines before tests: at most 500"]);
    assert!(findings(file_size, "src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}")).is_empty());

    let function = |lines: usize| format!("x\nfn f(a: [u8; 2]) {{\n{}}}\n", "if '{' {}\n".repeat(lines - 2));
    let found = findings(function_size, "f.rs", &function(FUNCTION_LINES_MAX + 1));
    assert_eq!(found, ["f.rs:2: a function of 71 lines: at most 70"]);
    assert!(findings(function_size, "f.rs", &function(FUNCTION_LINES_MAX)).is_empty());
    let declared = format!("fn f(a: [u8; 2]);\nstruct S {{\n{}}}", "a,\n".repeat(100));
    assert!(findings(function_size, "f.rs", &declared).is_empty());
}

#[test]
fn an_empty_name_is_found() {
    assert_eq!(findings(names, "f.rs", "pub struct PoolManager<T>(T);"), ["f.rs:1: PoolManager says not what it is"]);
    assert_eq!(findings(names, "f.rs", "enum Util {}\ntrait Handler {}\ntype TimeHelper = u8;").len(), 3);
    assert!(findings(names, "f.rs", "struct Handle;\nenum Utility {}\n// struct Manager;").is_empty());
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a/* b\n*/c \"d\\\"e\nf\" 'g' '\\'' 'static r#\"h\"i\"# br\"j\" for\" k\" // l\nm";
    assert_eq!(code_of(text), "a\nc \n   'static  b for \nm");
}
