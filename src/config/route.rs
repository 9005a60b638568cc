//! Routes: which requests of a listener are meant, and what is done with them.

use regex::bytes::{Regex, RegexBuilder};

use super::leaf::UrlPrefix;
use super::network::Networks;
pub use super::schema::Named;
use super::template::Template;
use super::word::settings;
use super::{Auth, Document, RateLimit};

/// The most routes of a listener.
pub const ROUTES_MAX: usize = 10_000;
/// The longest body of `respond`, in bytes.
pub const RESPOND_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes that the edits of a route add to a head, in each direction, besides paths and queries.
pub const EDIT_BYTES_MAX: usize = 1024;
/// The most memory of a compiled regular expression, and of its cache, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// What is done with some of the requests of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// All of these hold for the requests that are meant; without any, all requests are.
    pub conditions: Vec<Test>,
    /// None of these holds for them.
    pub exceptions: Vec<Test>,
    /// What becomes of such a request.
    pub action: Action,
    /// What is changed in its fields.
    pub request_edits: Edits,
    /// What is changed in the fields of its response.
    pub response_edits: Edits,
    /// What is changed in its path.
    pub prefix: Option<Prefix>,
    /// Who may ask at all.
    pub auth: Option<Auth>,
    /// How often each client may ask.
    pub rate_limit: Option<RateLimit>,
    /// The longest body in bytes, instead of the listener's; `Some(None)` is no limit.
    pub body_bytes_max: Option<Option<u64>>,
}

/// What a request can be asked; it holds when one of the values fits.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The host without port.
    Host(Vec<HostName>),
    /// The decoded and normalized path, as a whole.
    Path(Vec<String>),
    /// The beginning of that path, in whole segments; without a slash at the end.
    PathPrefix(Vec<String>),
    /// A part of that path.
    PathRegex(Vec<Pattern>),
    /// A parameter of the query, decoded.
    Query(Vec<Named>),
    /// A field.
    Header(Vec<Named>),
    /// A cookie.
    Cookie(Vec<Named>),
    /// The method.
    Method(Vec<String>),
    /// The client's address.
    Client(Networks),
}

/// A host, in lower case and without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// This one.
    Exact(String),
    /// All hosts below this one: `example.org` for `*.example.org`.
    Below(String),
}

/// A regular expression over bytes: what is not ASCII in it has to be written as its bytes.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`; it takes linear time and bounded memory wherever it searches.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut builder = RegexBuilder::new(text);
        // A dot is any byte: an escaped line feed in a path leads around no rule.
        builder
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        builder.build().map(Pattern).map_err(|error| {
            // Its last line says what, those before draw where.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("must be a regular expression: {reason}")
        })
    }

    /// Whether it finds something in these bytes.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// This pool serves it: an index into [`super::Config::pools`].
    Pool(usize),
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// A URL with scheme and host, or a path.
        to: Template,
    },
    /// It is answered with what is here.
    Respond(Respond),
    /// It is refused (403).
    Deny,
}

/// An answer of plb's own, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The content; without one, a page about the status.
    pub document: Option<Document>,
    /// Fields with their values.
    pub fields: Vec<(String, String)>,
}

/// Changes of the fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The names of the fields that are dropped; of no field that plb governs.
    pub dropped: Vec<String>,
    /// The fields that are added then.
    pub added: Vec<(String, Template)>,
    /// What `Host` becomes.
    pub host: Option<String>,
}

settings! {
    /// The segments that a path begins with, and what they become.
    #[derive(Eq)]
    Prefix {
        /// As in [`Test::PathPrefix`].
        from: UrlPrefix,
        /// Percent-encoded, without a slash at the end.
        to: UrlPrefix,
    }
}
