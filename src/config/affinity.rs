//! How clients of a pool are led back to the backend that served them: the model, and the section of the file.
//!
//! What is to be computed of names and secrets is computed here, once; the secret itself is kept nowhere.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Backend;
use super::error::{Errors, quoted};
use super::schema;
use super::source::Node;
use super::validate::Section;
use super::word::choices;

/// How many bytes of the SHA-256 sum of a backend's name are its id.
const ID_BYTES: usize = 4;
/// How many bytes of the HMAC are the signature.
const SIGNATURE_BYTES: usize = 16;
/// The longest and the shortest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=1_024;
/// What separates the id of a backend from the application's own value.
pub const PREFIX_END: u8 = b'~';

/// How clients of a pool are led back to the backend that served them.
#[derive(Clone, Debug, PartialEq)]
pub enum Affinity {
    /// By a table of clients.
    Table(Table),
    /// By a cookie of plb's own.
    InsertCookie(InsertCookie),
    /// By a cookie of the application's, whose value begins with the backend's id.
    PrefixCookie {
        /// Its name.
        name: String,
        /// What stands before its value.
        ids: Ids,
    },
}

impl Affinity {
    /// Whether it can be followed only where requests are understood.
    pub fn needs_http(&self) -> bool {
        !matches!(self, Affinity::Table(Table { mark: Mark::Source { .. }, .. }))
    }
}

/// A table of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What a client is known by.
    pub mark: Mark,
    /// One that does not come for so long is forgotten.
    pub ttl: Duration,
    /// The most clients; beyond them, whoever did not come for longest is forgotten.
    pub entries_max: usize,
    /// What becomes of one that was moved because its backend did not serve, when that serves again.
    pub failback: Failback,
}

/// What becomes of a client that was moved, when the backend serves again that it was bound to first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// It stays where it was moved to.
    #[default]
    Stay,
    /// It returns.
    Return,
}

/// What a client is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The network that its address is in.
    Source {
        /// The bits of an IPv4 address that count, up to 32.
        prefix_v4: u32,
        /// The bits of an IPv6 address that count, up to 128.
        prefix_v6: u32,
    },
    /// The user that it names (RFC 7617).
    BasicAuth,
    /// The value of this parameter of the query.
    UrlParameter(String),
    /// The value of this parameter of the path, as in `;name=value`; without a name, what stands behind the last
    /// semicolon.
    PathParameter(Option<String>),
    /// The value of this cookie of the application's.
    Cookie(String),
    /// The value of this field.
    Header(String),
}

/// A cookie of plb's own.
#[derive(Clone, Debug, PartialEq)]
pub struct InsertCookie {
    /// Its name.
    pub name: String,
    /// Its values.
    pub ids: Ids,
    /// What stands behind the value in `Set-Cookie`.
    pub attributes: String,
    /// The backend does not get to see it.
    pub indirect: bool,
    /// A response that sets it is for no cache that is shared.
    pub private: bool,
}

/// What stands for the backends of a pool in a cookie: the same in every process that knows them by these names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ids {
    texts: Vec<Box<str>>,
    /// Clients choose what is looked up, so that the hash has to have a random key. That also leaves nothing to be
    /// learned from the time that it takes: a guess at a signature is compared only when it has the hash of a right one.
    positions: HashMap<Box<[u8]>, u16>,
}

impl Ids {
    /// What stands for the backend at this position.
    pub fn text(&self, backend: usize) -> Option<&str> {
        self.texts.get(backend).map(AsRef::as_ref)
    }

    /// The position of the backend that this stands for.
    pub fn position(&self, text: &[u8]) -> Option<u16> {
        self.positions.get(text).copied()
    }

    /// Makes those of some backends; two that have the same one are an error in this section.
    fn new(backends: &[Backend], signed: impl Fn(String) -> String, section: &Section, errors: &mut Errors) -> Ids {
        let mut ids = Ids::default();
        for (position, backend) in (0..=u16::MAX).zip(backends) {
            let text = signed(hex(&Sha256::digest(backend.name.as_bytes())[..ID_BYTES]));
            let taken = ids.positions.insert(text.as_bytes().into(), position);
            if taken.is_some_and(|other| backends[usize::from(other)].name != backend.name) {
                let name = quoted(&backend.name);
                let message = format!("the id of backend {name} is that of another one as well; give it another name");
                errors.add(section.at, &section.path, message);
            }
            ids.texts.push(text.into());
        }
        ids
    }
}

/// The kinds of affinity, as `type` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Mark::Source`]
    Source,
    /// [`Mark::BasicAuth`]
    BasicAuth,
    /// [`Mark::UrlParameter`]
    UrlParameter,
    /// [`Mark::PathParameter`]
    PathParameter,
    /// [`Mark::Cookie`]
    Cookie,
    /// [`Mark::Header`]
    Header,
    /// [`Affinity::InsertCookie`]
    InsertCookie,
    /// [`Affinity::PrefixCookie`]
    PrefixCookie,
}

/// From which sites a browser sends a cookie along, as `SameSite` spells it (RFC 6265bis section 4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The same one.
    Strict,
    /// Others too, where a link is followed.
    Lax,
    /// Any.
    None,
}

choices!(Kind: "source" Source, "basic_auth" BasicAuth, "url_parameter" UrlParameter, "path_parameter" PathParameter,
    "cookie" Cookie, "header" Header, "insert_cookie" InsertCookie, "prefix_cookie" PrefixCookie);
choices!(Failback: "stay" Stay, "return" Return);
choices!(Site: "strict" Strict, "lax" Lax, "none" None);

impl Kind {
    /// The keys that mean something to it, the required ones first; and how many these are.
    fn keys(self) -> (&'static str, usize) {
        match self {
            Kind::Source => ("type prefix_v4 prefix_v6 ttl table_size failback", 1),
            Kind::BasicAuth => ("type ttl table_size failback", 1),
            Kind::PathParameter => ("type name ttl table_size failback", 1),
            Kind::UrlParameter | Kind::Cookie | Kind::Header => ("type name ttl table_size failback", 2),
            Kind::InsertCookie => {
                ("type name secure http_only same_site path domain indirect private secret secret_file", 2)
            }
            Kind::PrefixCookie => ("type name", 2),
        }
    }
}

/// Reads the section of a pool that has these backends; `None` where that makes no sense, which is reported.
pub(super) fn read(node: &Node, path: String, backends: &[Backend], errors: &mut Errors<'_>) -> Option<Affinity> {
    let mut section = Section::open(node, path, "with the key type", errors);
    let own: schema::Affinity = section.read(errors);
    if !section.accepted.contains_key("type") {
        section.close(&["type"], errors);
        return None;
    }
    let (keys, required) = own.kind.keys();
    let keys: Vec<&str> = keys.split(' ').collect();
    section.narrow(&keys);
    section.close(&keys[..required], errors);
    let name = own.name.clone().unwrap_or_default();
    let mark = match own.kind {
        Kind::Source => return Some(source_table(&own)),
        Kind::BasicAuth => Mark::BasicAuth,
        Kind::UrlParameter => Mark::UrlParameter(name),
        Kind::PathParameter => Mark::PathParameter(own.name.clone()),
        Kind::Cookie => Mark::Cookie(name),
        Kind::Header => Mark::Header(name),
        Kind::InsertCookie => return Some(Affinity::InsertCookie(insert_cookie(&section, own, backends, errors))),
        Kind::PrefixCookie => {
            let ids = Ids::new(backends, |id| id, &section, errors);
            return Some(Affinity::PrefixCookie { name, ids });
        }
    };
    Some(table(mark, &own))
}

/// By a table of addresses.
pub(super) fn source_table(own: &schema::Affinity) -> Affinity {
    table(Mark::Source { prefix_v4: own.prefix_v4, prefix_v6: own.prefix_v6 }, own)
}

fn table(mark: Mark, own: &schema::Affinity) -> Affinity {
    Affinity::Table(Table { mark, ttl: own.ttl, entries_max: own.table_size, failback: own.failback })
}

fn insert_cookie(section: &Section, own: schema::Affinity, backends: &[Backend], errors: &mut Errors) -> InsertCookie {
    let same_site = own.same_site;
    if same_site == Site::None && !own.secure {
        let message = "browsers take a cookie with same_site: none only with secure: true";
        section.refuse("same_site", message, errors);
    }
    let path = own.path.unwrap_or_else(|| "/".to_string());
    let domain = own.domain.map_or(String::new(), |domain| format!("; Domain={domain}"));
    let secure = if own.secure { "; Secure" } else { "" };
    let http_only = if own.http_only { "; HttpOnly" } else { "" };
    let attributes = format!("; Path={path}{domain}{secure}{http_only}; SameSite={same_site:?}");
    let secret = secret(section, own.secret, own.secret_file, errors);
    let name = own.name.unwrap_or_default();
    let signed = |id: String| match &secret {
        Some(secret) => sign(secret, &name, &id),
        None => id,
    };
    let ids = Ids::new(backends, signed, section, errors);
    InsertCookie { name, ids, attributes, indirect: own.indirect, private: own.private }
}

/// The secret from the text or from the file that it names; a line end behind it does not count.
fn secret(section: &Section, text: Option<String>, file: Option<String>, errors: &mut Errors) -> Option<Vec<u8>> {
    let key = if file.is_some() { "secret_file" } else { "secret" };
    let secret = match (text, file) {
        (Some(_), Some(_)) => {
            section.refuse(key, "only one of secret and secret_file can be used", errors);
            return None;
        }
        (None, Some(file)) => section.file(key, &file, *SECRET_BYTES.end(), errors)?.trim_ascii_end().to_vec(),
        (text, None) => text?.into_bytes(),
    };
    if !SECRET_BYTES.contains(&secret.len()) {
        let (least, most) = SECRET_BYTES.into_inner();
        let message = format!("the secret must have {least} to {most} bytes, not {}", secret.len());
        section.refuse(key, message, errors);
    }
    Some(secret)
}

/// The id with its signature, which is for this cookie and no other one.
fn sign(secret: &[u8], cookie: &str, id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    [cookie, "=", id].iter().for_each(|part| mac.update(part.as_bytes()));
    format!("{id}.{}", hex(&mac.finalize().into_bytes()[..SIGNATURE_BYTES]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse_with};

    /// A pool with this affinity and these backends.
    fn read_with(secret: &str, affinity: &str, backends: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p }}]\n\
             pools: {{ p: {{ backends: [{backends}], affinity: {{ {affinity} }} }} }}"
        );
        let files = |_: &std::path::Path, _: usize| Ok(secret.as_bytes().to_vec());
        parse_with("f", &text, &files).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    const BACKENDS: &str = "{ address: a:1, name: one }, b:2";

    fn affinity(text: &str) -> Affinity {
        let config = read_with("from the file: 1\n", text, BACKENDS).unwrap();
        config.pools[0].affinity.clone().unwrap()
    }

    fn cookie(text: &str) -> InsertCookie {
        match affinity(&format!("type: insert_cookie, name: PLB{text}")) {
            Affinity::InsertCookie(cookie) => cookie,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_type_becomes_what_it_says() {
        let of_defaults = |mark| {
            let (ttl, failback) = (Duration::from_secs(1_800), Failback::Stay);
            Table { mark, ttl, entries_max: 100_000, failback }
        };
        let table = |mark| Affinity::Table(of_defaults(mark));
        let source = |prefix_v4, prefix_v6| Mark::Source { prefix_v4, prefix_v6 };
        let sid = || "sid".to_string();
        // The full address counts, unless something else is asked for.
        assert_eq!(affinity("type: source"), table(source(32, 128)));
        assert_eq!(affinity("type: source, prefix_v4: 24, prefix_v6: 48"), table(source(24, 48)));
        assert_eq!(affinity("type: basic_auth"), table(Mark::BasicAuth));
        assert_eq!(affinity("type: url_parameter, name: sid"), table(Mark::UrlParameter(sid())));
        assert_eq!(affinity("type: path_parameter"), table(Mark::PathParameter(None)));
        assert_eq!(affinity("type: path_parameter, name: sid"), table(Mark::PathParameter(Some(sid()))));
        assert_eq!(affinity("type: cookie, name: sid"), table(Mark::Cookie(sid())));
        let returning = Table { failback: Failback::Return, ..of_defaults(Mark::BasicAuth) };
        assert_eq!(affinity("type: basic_auth, failback: return"), Affinity::Table(returning));
        let short = Table { ttl: Duration::from_secs(1), entries_max: 2, ..of_defaults(Mark::Header(sid())) };
        assert_eq!(affinity("type: header, name: sid, ttl: 1s, table_size: 2"), Affinity::Table(short));
        let Affinity::PrefixCookie { name, ids } = affinity("type: prefix_cookie, name: sid") else { panic!() };
        assert_eq!((name, ids.text(0)), (sid(), Some("7692c3ad")));
    }

    #[test]
    fn an_id_follows_from_the_name_of_its_backend_alone() {
        // Each is what sha256sum(1) shows first of the name's sum.
        let ids = cookie("").ids;
        assert_eq!([0, 1, 2].map(|backend| ids.text(backend)), [Some("7692c3ad"), Some("e4716373"), None]);
        assert_eq!(
            [&b"7692c3ad"[..], b"e4716373", b"", b"7692C3AD"].map(|text| ids.position(text)),
            [Some(0), Some(1), None, None]
        );
        let turned = read_with("", "type: insert_cookie, name: X", "b:2, { address: c:3, name: one }").unwrap();
        let Some(Affinity::InsertCookie(turned)) = &turned.pools[0].affinity else { panic!() };
        assert_eq!([turned.ids.text(1), turned.ids.text(0)], [ids.text(0), ids.text(1)]);
    }

    #[test]
    fn a_signature_depends_on_the_secret_and_the_cookie() {
        let signed = cookie(", secret: \"from the file: 1\"").ids;
        let text = signed.text(0).unwrap();
        // As `printf PLB=7692c3ad | openssl dgst -sha256 -hmac "from the file: 1"` says.
        assert_eq!(text, "7692c3ad.46277589eae9c574bc43f5b70756a855");
        assert_eq!(cookie(", secret_file: s").ids, signed, "the line end behind it does not count");
        assert_ne!(cookie(", secret: \"from the file: 2\"").ids.text(0), Some(text));
        let Affinity::InsertCookie(other) = affinity("type: insert_cookie, name: Q, secret_file: s") else { panic!() };
        assert_ne!(other.ids.text(0), Some(text));
        for forged in [&text[..8], &text[..text.len() - 1], &format!("{text}0"), &format!("e4716373{}", &text[8..])] {
            assert_eq!(signed.position(forged.as_bytes()), None, "{forged}");
        }
    }

    #[test]
    fn the_attributes_are_those_that_were_set() {
        assert_eq!(cookie("").attributes, "; Path=/; HttpOnly; SameSite=Lax");
        let all = cookie(", secure: true, http_only: false, same_site: none, path: /a b, domain: x.example");
        assert_eq!(all.attributes, "; Path=/a b; Domain=x.example; Secure; SameSite=None");
        assert_eq!((all.indirect, all.private), (true, true));
        assert!(cookie(", same_site: strict").attributes.ends_with("SameSite=Strict"));
    }

    #[test]
    fn two_backends_with_one_id_are_an_error() {
        // Found by trying: their sums begin alike.
        let found = read_with(
            "",
            "type: prefix_cookie, name: S",
            "{ address: a:1, name: b82486 }, { address: b:1, name: b131142 }",
        );
        let message = "the id of backend \"b131142\" is that of another one as well; give it another name";
        assert_eq!(found.unwrap_err(), [format!("f:2:102: pools.p.affinity: {message}")]);
    }
}
