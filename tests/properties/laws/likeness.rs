//! When a message that was written is the one that was sent: what may differ, and what may not.

use super::reader::{Extent, Head, Message};

/// Fields that plb writes itself, or that concern one connection only; those it writes are looked at on their own.
#[rustfmt::skip] // a list of words
const OWN: &[&str] = &[
    "connection", "content-length", "date", "expect", "forwarded", "host", "http2-settings", "keep-alive",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via",
];

/// Of a request that is cut, what was written is a beginning.
pub fn assert_same_request(written: &Message, sent: &Message) {
    let Some(head) = &written.head else { return };
    let Some(original) = &sent.head else { panic!("{:?}: the second reader sees no such head", sent.extent) };
    assert!(!matches!(written.extent, Extent::Bad(_)), "{:?}", written.extent);
    assert!(written.extent == sent.extent || written.extent == Extent::Part, "{:?} as whole", sent.extent);
    assert_eq!(head.line[0], original.line[0]);
    let (authority, target) = split_target(original);
    assert_eq!((&head.line[1][..], &head.line[2][..]), (&target[..], &b"HTTP/1.1"[..]));
    let host = authority.or(original.all("host").first().copied()).unwrap_or_default();
    assert_eq!(head.all("host"), [host]);
    assert_same_fields(head, original);
    let is_prefix = written.extent == Extent::Part && sent.body.starts_with(&written.body);
    assert!(is_prefix || sent.body == written.body, "the body is another one");
    assert!(written.trailers.is_empty() || sent.trailers == written.trailers, "other trailers");
}

/// The authority of the absolute form, and the target in origin form (RFC 9112 section 3.2).
fn split_target(head: &Head) -> (Option<&[u8]>, Vec<u8>) {
    let [method, target, _] = &head.line;
    let colon = target.windows(3).position(|bytes| bytes == b"://").filter(|_| !target.starts_with(b"/"));
    let Some(colon) = colon else { return (None, target.clone()) };
    let rest = &target[colon + 3..];
    let (authority, path) = rest.split_at(rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len()));
    let root: &[u8] = match path.first() {
        Some(b'/') => b"",
        None if method == b"OPTIONS" => b"*",
        _ => b"/",
    };
    (Some(authority), [root, path].concat())
}

/// What was written has the fields that nobody on the way may change, in their order, and of the others only plb's own.
pub fn assert_same_fields(written: &Head, sent: &Head) {
    let own = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).to_lowercase();
        let any_mark = name.replace(|letter: char| !letter.is_alphanumeric(), "-");
        let tells = any_mark.starts_with("x-forwarded-") || ["x-real-ip", "x-request-id"].contains(&&any_mark[..]);
        OWN.contains(&name.as_str()) || tells
    };
    let dropped = sent.options();
    let crosses = |name: &[u8]| !own(name) && !dropped.contains(&name.to_ascii_lowercase());
    // A location that was written anew has another place.
    let is_location = |name: &[u8]| [&b"location"[..], b"content-location"].contains(&&name.to_ascii_lowercase()[..]);
    let (sent_locations, sent): (Vec<&Field>, Vec<&Field>) =
        sent.fields.iter().filter(|(name, _)| crosses(name)).partition(|(name, _)| is_location(name));
    let (mut locations, written): (Vec<&Field>, Vec<&Field>) =
        written.fields.iter().filter(|(name, _)| !own(name)).partition(|(name, _)| is_location(name));
    assert_eq!(written, sent);
    for (name, value) in sent_locations {
        let stays = locations.iter().position(|field| field == &&(name.clone(), value.clone()));
        let back = || locations.iter().position(|field| field.0 == *name && leads_back(&field.1, value));
        let found = stays.or_else(back).unwrap_or_else(|| panic!("{} became {locations:?}", value.escape_ascii()));
        locations.swap_remove(found);
    }
    assert!(locations.is_empty(), "{locations:?} from nowhere");
}

/// A name and its value.
type Field = (Vec<u8>, Vec<u8>);

/// Whether this is a path of plb's where the URL named the backend.
fn leads_back(written: &[u8], url: &[u8]) -> bool {
    let url = url.to_ascii_lowercase();
    let rest = url.strip_prefix(b"http:").unwrap_or(&url).strip_prefix(b"//10.0.0.1").unwrap_or_default();
    let port = rest.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
    let names_backend = url.windows(2).any(|pair| pair == b"//") && [&b""[..], b":", b":80", b":080"].contains(&port);
    let is_path = written.starts_with(b"/") && !written.starts_with(b"//") && !written.starts_with(b"/\\");
    names_backend && is_path
}

pub fn assert_same_head(written: &Message, sent: &Message) {
    let (Some(head), Some(original)) = (&written.head, &sent.head) else {
        panic!("{:?}: the second reader sees no such head", (written.extent, sent.extent));
    };
    assert_eq!(head.status(), original.status());
    assert_same_fields(head, original);
}
