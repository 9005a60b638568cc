//! Proves that the picture of the distributions is drawn well, and that the README shows one that is.

#[allow(dead_code, reason = "the command needs more of it")]
#[path = "../benches/distribution/drawing.rs"]
mod drawing;

use drawing::{Counts, Row, percents, picture, table};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// An element: its name and its attributes.
type Element = (String, BTreeMap<String, String>);

/// The elements of a document, in their order; panics where they are not well-formed (XML 1.0, section 2.1).
fn elements(document: &str) -> Vec<Element> {
    let (mut all, mut open) = (Vec::new(), Vec::<String>::new());
    for piece in document.trim().split('<').skip(1) {
        let (tag, words) = piece.split_once('>').unwrap_or_else(|| panic!("no end: {piece:?}"));
        for entity in words.split('&').skip(1) {
            assert!(entity.starts_with("amp;") || entity.starts_with("lt;"), "{words:?}");
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        assert!(all.is_empty() == open.is_empty(), "a second root: {tag:?}");
        let (name, rest) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag.trim_end_matches('/'), ""));
        let mut parts = rest.split('"');
        let mut attributes = BTreeMap::new();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            let key = key.trim().strip_suffix('=').unwrap_or_else(|| panic!("{tag:?}"));
            assert!(attributes.insert(key.into(), value.into()).is_none(), "{key} twice: {tag:?}");
        }
        all.push((name.to_owned(), attributes));
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    all
}

/// The numbers of one attribute of all elements of a class, in their order.
fn numbers(elements: &[Element], class: &str, attribute: &str) -> Vec<f64> {
    let of_class = elements.iter().filter(|(_, attributes)| attributes.get("class").is_some_and(|own| own == class));
    of_class.filter_map(|(_, attributes)| attributes.get(attribute)?.parse().ok()).collect()
}

fn row(name: &'static str, weighted: Counts) -> Row {
    let course = vec![[5, 5, 5, 5], [0, 6, 7, 7], [5, 5, 4, 6]];
    Row { name, note: "a < b & c", weighted, due: Some([1, 1, 2, 4]), slowed: [30, 10, 30, 30], course }
}

#[test]
fn bars_are_as_high_as_their_shares_and_parts_of_the_course_fill_it() {
    let rows = [row("one", [10, 20, 30, 40]), row("two", [3, 0, 0, 3])];
    let elements = elements(&picture(&rows, "facts"));
    // The first of each class is the legend's.
    let heights: Vec<Vec<f64>> =
        ["b1", "b2", "b3", "b4"].map(|class| numbers(&elements, class, "height")[1..].to_vec()).into();
    for bars in 0..4 {
        let whole: f64 = heights.iter().map(|of| of[bars]).sum();
        assert!((whole - 116.0).abs() < 0.3, "the highest bar is a half, and all of a group are twice that: {whole}");
    }
    assert!((heights[3][0] - 4.0 * heights[0][0]).abs() < 0.3, "{heights:?}");
    assert_eq!((heights[0][2], heights[3][2]), (58.0, 58.0), "all are drawn to one scale: {heights:?}");
    let paths: Vec<&str> =
        elements.iter().filter(|(name, _)| name == "path").map(|(_, own)| own["d"].as_str()).collect();
    let areas: Vec<&&str> = paths.iter().filter(|path| path.ends_with('Z')).collect();
    assert_eq!(areas.len(), 8);
    let edges = |path: &str| -> Vec<f64> {
        path.split('V').skip(1).filter_map(|part| part.split('h').next()?.parse().ok()).collect()
    };
    // Along the upper edge and back along the lower one.
    let (first, last) = (|path: &str| edges(path)[0], |path: &str| edges(path)[5]);
    for pair in areas[..4].windows(2) {
        assert_eq!(last(pair[0]), first(pair[1]), "one begins where the one above ends");
    }
    assert_eq!(last(areas[3]) - first(areas[0]), 58.0);
}

#[test]
fn percents_make_up_a_hundred() {
    for seed in 0..1_000_u32 {
        let counts = [7, 11, 13, 17].map(|factor| seed.wrapping_mul(factor).wrapping_mul(seed + factor) % 997);
        let whole = percents(counts);
        let sum: u32 = counts.iter().sum();
        assert_eq!(whole.iter().sum::<u32>(), if sum == 0 { 0 } else { 100 }, "{counts:?}");
        for (percent, count) in whole.into_iter().zip(counts) {
            let off = f64::from(percent) - 100.0 * f64::from(count) / f64::from(sum.max(1));
            assert!(off.abs() < 1.0, "{counts:?}: {whole:?}");
        }
    }
    let table = table(&[row("one", [1, 1, 2, 4])]);
    assert!(table.contains("13  12  25  50") || table.contains("12  13  25  50"), "{table}");
    assert!(table.contains("   0  30  35  35"), "while the first one is stopped: {table}");
}

#[test]
fn the_readme_shows_a_picture_with_every_algorithm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("it is there");
    assert!(readme.contains("](benches/distribution.svg)"));
    let svg = fs::read_to_string(root.join("benches/distribution.svg")).expect("it is there");
    assert!(svg.len() < 30 * 1_024, "{} bytes", svg.len());
    assert_eq!(elements(&svg)[0].0, "svg");
    for name in ["round_robin", "least_connections", "random", "hash", "first"] {
        assert!(svg.contains(&format!(">{name}</text>")), "{name} is not in the picture");
        assert!(readme.contains(&format!("- `{name}`: ")), "{name} has no sentence");
    }
}
