//! Texts with placeholders, such as `https://www.example.org{path}{query}`: read here, filled in where a request is known.

use super::error::{quoted, suggestion};

/// The placeholders by name.
const PLACEHOLDERS: [(&str, Part); 6] = [
    ("host", Part::Host),
    ("path", Part::Path),
    ("query", Part::Query),
    ("scheme", Part::Scheme),
    ("client", Part::Client),
    ("method", Part::Method),
];

/// A text with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// What follows one another; no two texts do.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This text: printable ASCII.
    Text(String),
    /// The host that was asked for, without its port.
    Host,
    /// The path as it was sent.
    Path,
    /// The query as it was sent, with its `?`; nothing where there is none.
    Query,
    /// `http` or `https`.
    Scheme,
    /// The client's address.
    Client,
    /// The method.
    Method,
}

impl Template {
    /// Reads `text`, in which `{{` and `}}` stand for the braces themselves.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn parse(text: &str) -> Result<Template, String> {
        if let Some(letter) = text.chars().find(|letter| !matches!(letter, ' '..='~')) {
            return Err(format!("must be printable ASCII, without {letter:?}"));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = behind;
                continue;
            }
            let (name, behind) = rest.split_once('}').filter(|_| brace == "{").ok_or_else(|| {
                format!("has a brace without its other one: {} (two of them stand for one)", quoted(text))
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(placeholder(name)?);
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The most bytes that it becomes where neither path nor query is in it.
    pub fn bytes_max(&self) -> usize {
        self.parts.iter().map(Part::bytes_max).sum()
    }
}

impl Part {
    fn bytes_max(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Host => 255,
            Part::Client => 39,
            Part::Scheme => 5,
            // Some methods of WebDAV have so many letters.
            Part::Method => 17,
            Part::Path | Part::Query => 0,
        }
    }
}

fn placeholder(name: &str) -> Result<Part, String> {
    let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name).map(|(_, part)| part.clone());
    known.ok_or_else(|| {
        let names: Vec<String> = PLACEHOLDERS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
        let near = suggestion(name, PLACEHOLDERS.iter().map(|(name, _)| *name));
        format!("has the unknown placeholder {}{near} (allowed: {})", quoted(name), names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_string())
    }

    #[test]
    fn a_template_is_text_and_placeholders() {
        let parts = |source: &str| Template::parse(source).unwrap().parts;
        assert_eq!(parts("https://a{path}{query}"), [text("https://a"), Part::Path, Part::Query]);
        assert_eq!(parts("{scheme}://{host}/x"), [Part::Scheme, text("://"), Part::Host, text("/x")]);
        assert_eq!(parts("{{{client}}} {{}}{method}"), [text("{"), Part::Client, text("} {}"), Part::Method]);
        assert_eq!(parts("plain"), [text("plain")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_is_allowed() {
        let error = |source: &str| Template::parse(source).unwrap_err();
        assert_eq!(
            error("{pth}"),
            "has the unknown placeholder \"pth\"; did you mean 'path'? \
             (allowed: {host}, {path}, {query}, {scheme}, {client}, {method})"
        );
        for source in ["{", "a{path", "}", "a}b", "{path}}", "{{}", "{{path}"] {
            assert!(error(source).starts_with("has a brace without its other one"), "{source}");
        }
        for source in ["a\r\nb", "\u{e9}", "\t", "\u{7f}", "{ho\nst}"] {
            assert!(error(source).starts_with("must be printable ASCII"), "{source:?}");
        }
        assert!(error("{}").starts_with("has the unknown placeholder"));
        assert!(error("{HOST}").contains("did you mean 'host'"));
    }
}
