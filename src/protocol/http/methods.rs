//! Which methods are served: what the settings allow, and what a client is told of others.

use super::head::{Method, Refusal};
use super::reply::Status;
use crate::config::Methods;

/// The methods that a client may have good reason to use, in their order: RFC 9110, PATCH (RFC 5789), QUERY, WebDAV and
/// its relatives (RFC 3253, 3648, 3744, 4437, 4791, 4918, 5323, 5842), LINK and UNLINK (RFC 2068).
#[rustfmt::skip] // a list of words
const KNOWN: &[&str] = &[
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LABEL", "LINK", "LOCK",
    "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "OPTIONS", "ORDERPATCH",
    "PATCH", "POST", "PROPFIND", "PROPPATCH", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND",
    "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
];

/// The method of this name.
///
/// # Errors
/// It is not served: a known one is not allowed (405), others and `CONNECT` are not implemented (501; RFC 9110 sections
/// 9.1 and 15.6.2).
pub(super) fn judge(name: &str, methods: &Methods) -> Result<Method, Refusal> {
    match Method::named(name) {
        Method::Connect => Err(Refusal::new(Status::NotImplemented, "CONNECT")),
        method if methods.allows(name) => Ok(method),
        _ if KNOWN.binary_search(&name).is_ok() => {
            Err(Refusal::new(Status::MethodNotAllowed, "a method that is not allowed"))
        }
        _ => Err(Refusal::new(Status::NotImplemented, "an unknown method")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Word;

    fn status(name: &str, methods: &Methods) -> u16 {
        judge(name, methods).map_or_else(|refusal| refusal.status.code(), |_| 200)
    }

    #[test]
    fn known_methods_that_are_not_listed_are_not_allowed_and_unknown_ones_not_implemented() {
        assert!(KNOWN.is_sorted());
        let methods = Methods::default();
        for name in methods.listed().split(", ") {
            assert_eq!(status(name, &methods), 200, "{name}");
            assert!(KNOWN.contains(&name), "{name}");
        }
        for name in KNOWN.iter().filter(|name| !methods.allows(name)) {
            assert_eq!(status(name, &methods), 405, "{name}");
        }
        for name in ["CONNECT", "BREW", "get", "GETS", "GE", "PRI", "_", "GET, HEAD"] {
            assert_eq!(status(name, &methods), 501, "{name}");
        }
        let own = Methods::read(&serde_yaml::from_str("[BREW, GET]").unwrap()).unwrap();
        assert_eq!((status("BREW", &own), status("POST", &own), status("TRACE", &own)), (200, 405, 405));
        assert_eq!((status("BREW", &Methods::ANY), status("CONNECT", &Methods::ANY)), (200, 501));
    }
}
