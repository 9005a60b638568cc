//! Error pages: what a client is shown instead of plb's own words, by status. Read at the start, never again.

use super::Document;
use super::error::{Errors, joined, suggestion};
use super::leaf::File;
use super::source::{Entry, Kind, Node};
use super::word::{Word, wrong};

/// The statuses that plb answers with in a backend's stead; only these can have a page.
pub const PAGE_STATUSES: [u16; 16] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 429, 431, 501, 502, 503, 504, 505];
/// The longest page, in bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// What a file holds, by the ending of its name; others hold the first.
const CONTENT_TYPES: [(&str, &str); 4] =
    [("html", "text/html"), ("txt", "text/plain"), ("json", "application/json"), ("xml", "application/xml")];

/// The map from statuses to files at `node`, whose path is `path`: each with what is in its file.
pub(super) fn read(node: &Node, path: &str, errors: &mut Errors<'_>) -> Vec<(u16, Document)> {
    const ALLOWED: &str = "a map from statuses to files, such as { 503: /etc/plb/503.html }";
    match &node.kind {
        Kind::Map(entries) => entries.iter().filter_map(|entry| page(entry, path, errors)).collect(),
        Kind::Refused => Vec::new(),
        _ => {
            errors.add(node.at, path, wrong(ALLOWED, &node.value()));
            Vec::new()
        }
    }
}

fn page(entry: &Entry, path: &str, errors: &mut Errors<'_>) -> Option<(u16, Document)> {
    let path = joined(path, &entry.key);
    let Some(status) = PAGE_STATUSES.into_iter().find(|status| status.to_string() == entry.key) else {
        let allowed = PAGE_STATUSES.map(|status| status.to_string());
        let near = suggestion(&entry.key, allowed.iter().map(String::as_str));
        errors.add(entry.at, &path, format!("plb has no such page{near} (allowed: {})", allowed.join(", ")));
        return None;
    };
    if matches!(entry.value.kind, Kind::Refused) {
        return None;
    }
    let name = File::read(&entry.value.value()).map_err(|message| errors.add(entry.value.at, &path, message)).ok()?;
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let known = CONTENT_TYPES.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known));
    let (_, content_type) = known.unwrap_or(&CONTENT_TYPES[0]);
    let body = errors.file(entry.value.at, &path, &name, PAGE_BYTES_MAX)?;
    Some((status, Document { content_type: (*content_type).into(), body }))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse_with};
    use std::path::Path;

    const FILE: &str = "\
error_pages: { 503: /e/503.html, 404: /e/404.TXT }
listeners:
  - { name: a, listen: 1.2.3.4:0, pool: p }
  - { name: b, listen: 1.2.3.4:0, pool: p, error_pages: { 502: page } }
  - { name: c, listen: 1.2.3.4:0, pool: p, error_pages: {} }
pools: { p: { backends: [a:1] } }
";

    fn parse(text: &str) -> Config {
        let files = |path: &Path, _: usize| Ok(path.display().to_string().into_bytes());
        parse_with("f", text, &files).unwrap()
    }

    #[test]
    fn a_page_is_what_is_in_its_file_and_its_name_tells_of_what_type() {
        let config = parse(FILE);
        let page = |listener: usize, status| {
            let mut pages = config.listeners[listener].http.error_pages.iter();
            let (_, page) = pages.find(|(of, _)| *of == status)?;
            Some((&*page.content_type, String::from_utf8(page.body.to_vec()).unwrap()))
        };
        assert_eq!(page(0, 503), Some(("text/html", "/e/503.html".to_string())));
        assert_eq!(page(0, 404), Some(("text/plain", "/e/404.TXT".to_string())));
        assert_eq!(page(0, 502), None);
        assert_eq!((page(1, 502), page(1, 503)), (Some(("text/html", "page".to_string())), None), "its own ones only");
        assert_eq!(page(2, 503), None);
    }

    #[test]
    fn a_page_that_is_too_long_is_an_error() {
        let files = |_: &Path, bytes_max: usize| Ok(vec![b'x'; bytes_max + 1]);
        let errors = parse_with("f", FILE, &files).unwrap_err();
        assert_eq!(errors.len(), 3);
        assert_eq!(
            errors[0].to_string(),
            "f:1:21: error_pages.503: \"/e/503.html\" is too long: at most 1048576 bytes"
        );
    }
}
