//! What a route changes in a message: its fields and its path.

use httparse::Header;
use memchr::memchr_iter;

use super::asked::Asked;
use super::fields::{FieldSet, is_spelled, write_field};
use super::path::{self, dots};
use super::reply::{Answer, Status};
use super::route::behind;
use super::template::{Escaping, render, render_target};
use crate::config::route::{Action, Edits, Prefix, Respond, Route};
use crate::config::template::Part;

/// Has the fields dropped that the edits drop, however they are spelled: whoever removes a field means that no backend
/// takes another one for it.
pub(super) fn drop_fields(edits: &Edits, fields: &[Header], dropped: &mut FieldSet) {
    for name in &edits.dropped {
        for (index, field) in fields.iter().enumerate() {
            if field.name.len() == name.len() && is_spelled(field.name.as_bytes(), name.as_bytes()) {
                dropped.insert(index);
            }
        }
    }
}

/// Appends the fields that the edits add.
pub(super) fn write_added(edits: &Edits, asked: &Asked, out: &mut Vec<u8>) {
    for (name, value) in &edits.added {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        render(value, asked, Escaping::Value, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// What plb answers where a route says so.
pub(super) fn answer(route: &Route, asked: &Asked) -> Answer {
    let mut fields = Vec::new();
    let (status, document) = match &route.action {
        // An HTTP/1.0 client that names no host: the path would be taken for one.
        Action::Redirect { to, .. } if asked.host.is_none() && to.parts.contains(&Part::Host) => {
            (Status::BadRequest.code(), None)
        }
        Action::Redirect { status, to } => {
            fields.extend_from_slice(b"Location: ");
            render_target(to, asked, &mut fields);
            fields.extend_from_slice(b"\r\n");
            (*status, None)
        }
        Action::Respond(Respond { status, document, fields: own }) => {
            let is_dropped =
                |name: &str| route.response_edits.dropped.iter().any(|other| other.eq_ignore_ascii_case(name));
            for (name, value) in own.iter().filter(|(name, _)| !is_dropped(name)) {
                write_field(&mut fields, name, value.as_bytes());
            }
            (*status, document.clone())
        }
        Action::Deny | Action::Pool(_) => (Status::Forbidden.code(), None),
    };
    write_added(&route.response_edits, asked, &mut fields);
    Answer { status, fields, document }
}

/// Appends the path that is forwarded: the one that was sent, with its prefix replaced.
///
/// Where that one begins with the prefix only once it is decoded, or goes up by dot segments behind it, its normal form
/// is forwarded: what the backend gets means what was judged, less the prefix.
pub(super) fn write_path(prefix: &Prefix, asked: &Asked, out: &mut Vec<u8>) {
    let raw = asked.raw_path().as_bytes();
    if behind(asked.path, &prefix.from).is_none() {
        out.extend_from_slice(raw);
        return;
    }
    let start = out.len();
    out.extend_from_slice(prefix.to.as_bytes());
    let goes_up = |rest: &&[u8]| rest.split(|&byte| byte == b'/').any(|segment| matches!(dots(segment), Some(1..)));
    match behind(raw, &prefix.from).filter(|rest| !goes_up(rest)) {
        Some(rest) => out.extend_from_slice(rest),
        None => {
            let whole = out.len();
            path::normalize(raw, out);
            // Both forms have the same segments.
            let segments = prefix.from.matches('/').count();
            let rest = memchr_iter(b'/', &out[whole..]).nth(segments);
            out.drain(whole..rest.map_or(out.len(), |at| whole + at));
        }
    }
    // Two slashes would begin a host for whoever takes the target for a reference (RFC 3986 section 4.2).
    match out[start..].iter().take_while(|&&byte| byte == b'/').count() {
        0 => out.push(b'/'),
        slashes => drop(out.drain(start + 1..start + slashes)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::decode;
    use super::super::specimens::{asked, target};
    use super::*;

    fn forwarded(from: &str, to: &str, raw: &str) -> String {
        let (sent, mut room, mut out) = (target(raw), Vec::new(), b"GET ".to_vec());
        let path = decode(raw.as_bytes(), &mut room);
        let prefix = Prefix { from: from.to_string(), to: to.to_string() };
        write_path(&prefix, &Asked { target: &sent, path, ..asked() }, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("GET ").unwrap().to_string()
    }

    #[test]
    fn a_field_is_dropped_in_every_spelling_that_backends_take_for_its_name() {
        let fields =
            ["X-User", "x_user", "X.User", "X-User-Id", "XUser", "Y-User"].map(|name| Header { name, value: b"" });
        for name in ["X-User", "X_User", "x.user"] {
            let (edits, mut dropped) =
                (Edits { dropped: vec![name.to_string()], ..Edits::default() }, FieldSet::default());
            drop_fields(&edits, &fields, &mut dropped);
            assert_eq!(
                [0, 1, 2, 3, 4, 5].map(|index| dropped.contains(index)),
                [true, true, true, false, false, false]
            );
        }
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_was_not_asked_for() {
        let answered = |to: &str, host| {
            let routes = format!("[{{ redirect: {{ to: \"{to}\" }} }}]");
            let text = format!("listeners: [{{name: l, listen: '127.0.0.1:1', routes: {routes}}}]\n");
            let text = text + "pools: {p: {backends: [a:1]}}\n";
            let config = crate::config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
            let answer = answer(&config.listeners[0].routes[0], &Asked { host, ..asked() });
            (answer.status, String::from_utf8(answer.fields).unwrap())
        };
        assert_eq!(answered("https://{host}{path}", Some(b"a")), (302, "Location: https://a/\r\n".to_string()));
        // Browsers would take the first segment of the path for the host.
        assert_eq!(answered("https://{host}{path}", None), (400, String::new()));
        assert_eq!(answered("{path}", None), (302, "Location: /\r\n".to_string()));
    }

    #[test]
    fn a_prefix_is_taken_off_by_segments_and_the_rest_stays_as_it_was_sent() {
        for (raw, stripped, replaced) in [
            ("/api", "/", "/v2"),
            ("/api/", "/", "/v2/"),
            ("/api/x%20y%2Fz//;a", "/x%20y%2Fz//;a", "/v2/x%20y%2Fz//;a"),
            ("/apix", "/apix", "/apix"),
            ("/x/api", "/x/api", "/x/api"),
            ("*", "*", "*"),
        ] {
            assert_eq!(forwarded("/api", "", raw), stripped, "{raw}");
            assert_eq!(forwarded("/api", "/v2", raw), replaced, "{raw}");
        }
        assert_eq!(forwarded("", "/v2", "/x"), "/v2/x");
        assert_eq!(forwarded("/a b", "/c", "/a%20b/%20"), "/c/%20");
        assert_eq!(forwarded("/a/b", "", "/a/b/c/d"), "/c/d");
    }

    #[test]
    fn no_spelling_of_a_path_gets_out_of_what_was_judged() {
        for (raw, stripped) in [
            ("/%61pi/x", "/x"),
            ("//api/x", "/x"),
            ("/x/../api/y", "/y"),
            ("/api/../api/y", "/y"),
            ("/api/x/../../api/%2e/%7Ey", "/~y"),
            ("/api/%2e%2e/api/z", "/z"),
            ("/%61pi/a%20b%3F", "/a%20b%3F"),
            ("/api/../secret", "/api/../secret"),
            ("/api//evil.example/", "/evil.example/"),
            ("/api///", "/"),
            ("/api/..;/x", "/..;/x"),
        ] {
            assert_eq!(forwarded("/api", "", raw), stripped, "{raw}");
        }
    }
}
