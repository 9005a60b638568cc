//! Request heads: parsed, judged and written anew for the backend in one step.
//!
//! The backend gets what was judged and nothing else: HTTP/1.1, a target in origin form, one `Host`, one framing,
//! no field that concerns the client's connection, and the truth about the client. No byte of a head that is
//! refused is ever written.

use std::mem::{self, MaybeUninit};
use std::net::IpAddr;

use httparse::Header;
use memchr::memchr;

use super::affinity;
use super::asked::Asked;
use super::fields::{self, CHUNKED_LINE, FIELDS_MAX, FieldSet, Judgement, Name, is_strict};
use super::forwarding::{self, Hop, Identity, Peer};
use super::hash;
use super::head::{self, Body, ClientText, EmptyLines, Extent, Method, Parsed, Refusal, Scan, Scheme, Version};
use super::methods;
use super::path;
use super::reply::Status;
use super::rewrite;
use super::site::{Course, Decision, Site};
use super::target::{Target, check_host};
use super::upgrade::Protocol;
use crate::base::time::Time;
use crate::config::route::{Prefix, Route};
use crate::config::{Listener, Pool, Trailers, Upgrade};

/// What a request is judged by and rewritten with.
pub struct RequestRules<'a> {
    /// The limits, routes and wishes of the listener.
    pub listener: &'a Listener,
    /// What its sessions share.
    pub site: &'a mut Site,
    /// All pools.
    pub pools: &'a [Pool],
    /// The pool that serves this client, whatever the routes say.
    pub diverted: Option<u16>,
    /// Who is connected.
    pub client: IpAddr,
    /// The same as text.
    pub client_text: &'a ClientText,
    /// How the client came.
    pub scheme: Scheme,
    /// To which port.
    pub port: u16,
    /// What it may ask to change to.
    pub upgrade: Upgrade,
    /// The moment of this turn.
    pub now: Time,
}

impl<'a> RequestRules<'a> {
    /// A client that came in the clear to this listener's port 80, and may ask for whatever its settings allow.
    pub fn new(listener: &'a Listener, site: &'a mut Site, client: IpAddr, client_text: &'a ClientText) -> Self {
        let upgrade = listener.http.upgrade;
        let (scheme, now, diverted) = (Scheme::Http, Time::START, None);
        RequestRules { listener, site, pools: &[], diverted, client, client_text, scheme, port: 80, upgrade, now }
    }
}

/// A request head that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The length in the input, skipped empty lines and the empty line at the end included.
    pub bytes: usize,
    /// What is asked.
    pub method: Method,
    /// What the client speaks; the backend gets HTTP/1.1 always.
    pub version: Version,
    /// What follows; never `UntilClose`.
    pub body: Body,
    /// The client wants to keep the connection.
    pub persistent: bool,
    /// The client waits for `100 Continue` before it sends the body; the rewritten head asks for it too.
    pub expects_continue: bool,
    /// What the client asks to change to, where it may; the rewritten head asks for it too.
    pub upgrade: Option<Protocol>,
    /// Who asks: whoever is connected, or whom trusted proxies name.
    pub client: IpAddr,
    /// What the request is called.
    pub identity: Option<Identity>,
    /// Who answers it.
    pub decision: Decision,
    /// The fields that its response gets from its route, as whole lines.
    pub response_fields: Vec<u8>,
}

/// Parses the request head at the start of `input`; when it is whole and good, and goes to a backend, its rewritten
/// form is appended to `out`.
pub fn parse_request(
    input: &[u8],
    scan: &mut Scan,
    rules: &mut RequestRules,
    out: &mut Vec<u8>,
) -> Parsed<RequestHead> {
    let limits = (rules.listener.http.head_bytes_max, EmptyLines::Skipped);
    let rewrite = |head: &[u8], extent| rewrite(head, extent, rules, out);
    match head::parse(input, scan, limits, check_first_line, rewrite) {
        Ok(Some((skipped, head))) => Parsed::Head(RequestHead { bytes: skipped + head.bytes, ..head }),
        Ok(None) => Parsed::Partial,
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// A client that speaks an older or newer HTTP may wait for an answer after its first line.
fn check_first_line(line: &[u8]) -> Result<(), Refusal> {
    httparse::Request::new(&mut []).parse(line).map(|_| ()).map_err(|error| syntax_refusal(error, line))
}

fn syntax_refusal(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(Status::HeadTooLarge, "too many fields"),
        httparse::Error::Version if names_other_version(head) => {
            Refusal::new(Status::VersionNotSupported, "an HTTP version other than 1.0 and 1.1")
        }
        httparse::Error::Version => Refusal::bad("no HTTP version in the request line"),
        httparse::Error::HeaderName => Refusal::bad("a malformed field name"),
        httparse::Error::HeaderValue => Refusal::bad("a malformed field value"),
        _ => Refusal::bad("a malformed request line"),
    }
}

/// Whether the first line is well-formed but for its version; 1.0 and 1.1 do not come here.
fn names_other_version(head: &[u8]) -> bool {
    let line = &head[..memchr(b'\r', head).unwrap_or(head.len())];
    let version = line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Judges a complete head and writes it for the backend. `None` when it is not complete, or not to be judged so.
fn rewrite(
    input: &[u8],
    extent: Extent,
    rules: &mut RequestRules,
    out: &mut Vec<u8>,
) -> Result<Option<RequestHead>, Refusal> {
    let mut storage = [const { MaybeUninit::<Header>::uninit() }; FIELDS_MAX];
    let room = &mut storage[..rules.listener.http.fields_max.min(FIELDS_MAX)];
    let mut syntax = httparse::Request::new(&mut []);
    let input = match (syntax.parse_with_uninit_headers(input, room), extent) {
        (Ok(httparse::Status::Complete(end)), Extent::Known) if end == input.len() => input,
        (Ok(httparse::Status::Complete(end)), Extent::Open) if is_strict(&input[..end], syntax.headers) => {
            &input[..end]
        }
        (Err(error), Extent::Known) => return Err(syntax_refusal(error, input)),
        _ => return Ok(None),
    };
    let (Some(method_name), Some(target)) = (syntax.method, syntax.path) else {
        return Err(Refusal::bad("a malformed request line"));
    };
    let version = if syntax.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let fields: &[Header] = syntax.headers;

    let method = methods::judge(method_name, &rules.listener.http.methods)?;
    let target = Target::judge(method, target)?;
    let mut judged = judge(method, version, fields, rules)?;
    if target.authority.is_some() {
        if let Some(index) = judged.host {
            judged.shared.dropped.insert(index);
        }
    }
    let host = target.authority.map(str::as_bytes).or(judged.host.map(|index| fields[index].value));
    let mut asked = Asked {
        method,
        method_name,
        scheme: rules.scheme,
        host,
        target: &target,
        fields,
        client: judged.head.client,
        peer: judged.peer,
        path: &[],
    };
    path::judge(asked.raw_path().as_bytes(), &rules.listener.http.path_refused)?;
    let mut room = mem::take(&mut rules.site.path);
    asked.path = path::decode(asked.raw_path().as_bytes(), &mut room);
    judged.head.decision = rules.site.decide(&asked, rules.listener, rules.diverted, rules.now);
    if let Decision::Forward(mut course) = judged.head.decision {
        check_length(judged.head.body, course.body_bytes_max(rules.listener))?;
        if let Some(route) = course.route(rules.listener) {
            judged.follow(route, &asked);
        }
        course.hash = course.hash_on(rules.pools).and_then(|on| hash::of(on, &asked));
        if let Some(affinity) = course.affinity(rules.pools) {
            let (key, cookies) = affinity::follow(affinity, &asked, &rules.site.keys, &mut judged.shared.dropped);
            judged.cookies = cookies;
            course.key = key;
        }
        write_head(&asked, &judged, course, input, rules, out);
        judged.head.decision = Decision::Forward(course);
    }
    rules.site.path = room;
    Ok(Some(RequestHead { bytes: input.len(), ..judged.head }))
}

/// A request and what only its rewriting needs.
struct Judged {
    head: RequestHead,
    shared: Judgement,
    /// The index of `Host`.
    host: Option<usize>,
    /// The `Cookie` fields that the backend does not get as they are.
    cookies: FieldSet,
    /// The client takes trailers, and may get some (RFC 9110 section 10.1.4).
    takes_trailers: bool,
    peer: Peer,
}

impl Judged {
    /// What the route changes.
    fn follow(&mut self, route: &Route, asked: &Asked) {
        rewrite::drop_fields(&route.request_edits, asked.fields, &mut self.shared.dropped);
        if route.auth.as_ref().is_some_and(|auth| !auth.forward) {
            // The password is plb's, and nobody else's.
            let is_password = |field: &Header| field.name.eq_ignore_ascii_case("authorization");
            let passwords = asked.fields.iter().enumerate().filter(|(_, field)| is_password(field));
            passwords.for_each(|(index, _)| self.shared.dropped.insert(index));
        }
        if let Some(index) = self.host.filter(|_| route.request_edits.host.is_some()) {
            self.shared.dropped.insert(index);
        }
        rewrite::write_added(&route.response_edits, asked, &mut self.head.response_fields);
    }
}

fn judge(method: Method, version: Version, fields: &[Header], rules: &mut RequestRules) -> Result<Judged, Refusal> {
    let settings = &rules.listener.http.forwarding;
    let peer = Peer::of(rules.client, settings);
    let mut shared = Judgement::default();
    let mut host = None;
    let mut expect = None;
    let mut takes_trailers = false;
    let may_trail = rules.listener.http.trailers == Trailers::Forward;
    for (index, field) in fields.iter().enumerate() {
        match Name::of(field.name.as_bytes()) {
            Name::Other => {}
            Name::Trailer if may_trail => {}
            Name::Trailer => shared.dropped.insert(index),
            Name::Forwarding(told) if forwarding::is_dropped(told, peer, settings) => shared.dropped.insert(index),
            Name::Host if host.is_some() => return Err(Refusal::bad("two Host fields")),
            Name::Host => {
                check_host(field.value)?;
                host = Some(index);
            }
            Name::Expect if expect.is_none() && field.value.eq_ignore_ascii_case(b"100-continue") => {
                expect = Some(index);
            }
            Name::Expect => return Err(Refusal::new(Status::ExpectationFailed, "an unknown expectation")),
            Name::Te => {
                takes_trailers |= may_trail && version == Version::Http11 && names_trailers(field.value);
                shared.dropped.insert(index);
            }
            name => shared.field(name, index, field.value)?,
        }
    }
    shared.finish(version, fields)?;
    if host.is_none() && version == Version::Http11 {
        return Err(Refusal::bad("no Host field"));
    }
    let body = judge_body(method, &shared)?;
    // HTTP/1.0 knows no interim response, and without a body there is nothing to wait for (RFC 9110 section 10.1.1).
    let may_expect = version == Version::Http11 && body != Body::None;
    if let Some(index) = expect.filter(|_| !may_expect) {
        shared.dropped.insert(index);
    }
    let expects_continue = expect.is_some_and(|index| !shared.dropped.contains(index));
    let persistent = shared.is_persistent(version);
    // A GET without body, as for WebSocket (RFC 6455 section 4.1): nothing may lie between a request and its tunnel.
    let may_upgrade = version == Version::Http11 && method == Method::Get && body == Body::None;
    let upgrade = shared.upgrade().filter(|protocol| may_upgrade && protocol.is_allowed(rules.upgrade));
    let head = RequestHead {
        bytes: 0,
        method,
        version,
        body,
        persistent,
        expects_continue,
        upgrade,
        client: forwarding::client(fields, rules.client, peer, settings),
        identity: Identity::of(fields, peer, settings, &mut rules.site.rng),
        decision: Decision::default(),
        response_fields: Vec::new(),
    };
    Ok(Judged { head, shared, host, cookies: FieldSet::default(), takes_trailers, peer })
}

fn names_trailers(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn judge_body(method: Method, shared: &Judgement) -> Result<Body, Refusal> {
    let body = match shared.length {
        _ if shared.chunked => Body::Chunked,
        None | Some(0) => Body::None,
        Some(length) => Body::Length(length),
    };
    match method {
        Method::Trace if body != Body::None => Err(Refusal::bad("TRACE with a body")),
        _ => Ok(body),
    }
}

/// The bodies of chunks are measured as they come.
fn check_length(body: Body, bytes_max: Option<u64>) -> Result<(), Refusal> {
    match (body, bytes_max) {
        (Body::Length(length), Some(most)) if length > most => {
            Err(Refusal::new(Status::ContentTooLarge, "the body is too long"))
        }
        _ => Ok(()),
    }
}

fn write_head(asked: &Asked, judged: &Judged, course: Course, input: &[u8], rules: &RequestRules, out: &mut Vec<u8>) {
    let Asked { target, fields, .. } = asked;
    let route = course.route(rules.listener);
    out.reserve(input.len() + head::GROWTH_BYTES_MAX);
    write_request_line(asked, course.replaced(rules.listener), rules, out);
    let host = route.and_then(|route| route.request_edits.host.as_deref()).or(target.authority);
    match (host, judged.host) {
        (Some(host), _) => fields::write_field(out, "Host", host.as_bytes()),
        // Who does not know the name says so with an empty one (RFC 9112 section 3.2).
        (None, None) => fields::write_field(out, "Host", b""),
        (None, Some(_)) => {}
    }
    fields::write_fields(input, fields, &judged.shared.dropped, out);
    if let Some(affinity) = course.affinity(rules.pools) {
        affinity::write_cookies(affinity, fields, &judged.cookies, out);
    }
    if let Some(route) = route {
        rewrite::write_added(&route.request_edits, asked, out);
    }
    match judged.shared.length {
        _ if judged.shared.chunked => out.extend_from_slice(CHUNKED_LINE),
        Some(length) => fields::write_length(out, length),
        None => {}
    }
    if let Some(protocol) = &judged.head.upgrade {
        protocol.write_fields(out);
    } else if judged.takes_trailers {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    let RequestRules { client_text: client, scheme, port, .. } = *rules;
    let hop = Hop { client, scheme, port, host: asked.host };
    forwarding::write(fields, judged.peer, &hop, &rules.listener.http.forwarding, out);
    judged.head.identity.iter().for_each(|identity| identity.write(out));
    if rules.listener.http.via {
        out.extend_from_slice(fields::via_line(judged.head.version));
    }
    out.extend_from_slice(b"\r\n");
}

fn write_request_line(asked: &Asked, prefix: Option<&Prefix>, rules: &RequestRules, out: &mut Vec<u8>) {
    let Asked { target, method_name, .. } = asked;
    let parts =
        |parts: &[&str], out: &mut Vec<u8>| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    parts(&[method_name, " "], out);
    match prefix {
        None if !rules.listener.http.normalize_path => parts(&[target.root, target.path, target.query], out),
        prefix => {
            match prefix {
                Some(prefix) => rewrite::write_path(prefix, asked, out),
                None => path::normalize(asked.raw_path().as_bytes(), out),
            }
            parts(&[target.query], out);
        }
    }
    parts(&[" HTTP/1.1\r\n"], out);
}

#[cfg(test)]
mod tests {
    use super::super::specimens::{Chance, damaged, listener, settings};
    use super::*;
    use crate::config::{Forwarding, HttpSettings, RequestId};

    /// Heads that are served, each with bytes of what follows.
    const GOOD: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /next",
        b"GET /x?y=%20z HTTP/1.1\r\nhost: [::1]:8080\r\nUser-Agent: curl/8\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        b"\r\n\r\nPOST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\nX-A:1\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n5\r\n",
        b"GET http://b.example:81?q HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Obs: \xe9\t\xff \r\n\r\n",
        b"GET /old HTTP/1.0\r\nConnection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\nEmpty: \r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a:80\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: upgrade, te\r\n\r\n",
        b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n\x81\x00",
        b"BREW /pot HTTP/1.1\r\nAccept_Additions: milk\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ];

    fn client(text: &str) -> (IpAddr, ClientText) {
        let address = text.parse().unwrap();
        (address, ClientText::new(address))
    }

    fn parse_with(settings: &HttpSettings, input: &[u8]) -> (Parsed<RequestHead>, Vec<u8>) {
        let (listener, mut site) = (listener(settings.clone()), Site::default());
        let (address, text) = client("::ffff:192.0.2.7");
        let mut rules = RequestRules::new(&listener, &mut site, address, &text);
        let mut out = b"kept".to_vec();
        let parsed = parse_request(input, &mut Scan::default(), &mut rules, &mut out);
        assert_eq!(out.drain(..4).collect::<Vec<_>>(), b"kept");
        assert!(matches!(parsed, Parsed::Head(_)) || out.is_empty(), "only a judged head is written");
        (parsed, out)
    }

    fn parse(input: &[u8]) -> (Parsed<RequestHead>, Vec<u8>) {
        parse_with(&settings(), input)
    }

    fn head(input: &[u8]) -> (RequestHead, String) {
        match parse(input) {
            (Parsed::Head(head), out) => (head, String::from_utf8_lossy(&out).into_owned()),
            (other, _) => panic!("{other:?} for {}", input.escape_ascii()),
        }
    }

    fn status(input: &[u8]) -> Option<u16> {
        match parse(input).0 {
            Parsed::Refused(refusal) => Some(refusal.status.code()),
            _ => None,
        }
    }

    /// Feeds the input in pieces that end at these places.
    fn parse_in_pieces(input: &[u8], ends: impl Iterator<Item = usize>) -> (Parsed<RequestHead>, Vec<u8>) {
        let (listener, mut site) = (listener(settings()), Site::default());
        let (mut scan, mut out) = (Scan::default(), Vec::new());
        let (address, text) = client("192.0.2.7");
        let mut rules = RequestRules::new(&listener, &mut site, address, &text);
        for end in ends {
            match parse_request(&input[..end], &mut scan, &mut rules, &mut out) {
                Parsed::Partial => assert!(out.is_empty()),
                parsed => return (parsed, out),
            }
        }
        (Parsed::Partial, out)
    }

    #[test]
    fn a_request_is_written_anew_in_its_order() {
        let (head, out) = head(
            b"POST /a HTTP/1.1\r\nX-First:  1 \r\nHost: a.example:80\r\nAccept: */*\r\nX-Forwarded-For: 6.6.6.6\r\n\
              forwarded: for=6.6.6.6\r\nX_Forwarded-Host: evil\r\nKeep-Alive: 5\r\ncontent-length: 007\r\n\
              Proxy-Connection: x\r\nX-Last: z\r\n\r\n1234567",
        );
        assert_eq!(
            out,
            "POST /a HTTP/1.1\r\nX-First: 1\r\nHost: a.example:80\r\nAccept: */*\r\nX-Last: z\r\nContent-Length: 7\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:80\r\n\r\n"
        );
        assert_eq!((head.method, head.version, head.body), (Method::Post, Version::Http11, Body::Length(7)));
        assert!(head.persistent && !head.expects_continue);
    }

    #[test]
    fn the_settings_decide_what_the_backend_is_told() {
        let forwarding = Forwarding {
            x_forwarded_for: false,
            x_forwarded_proto: false,
            x_forwarded_host: false,
            ..settings().forwarding
        };
        let quiet = HttpSettings { forwarding, via: true, ..settings() };
        let (_, out) =
            parse_with(&quiet, b"GET / HTTP/1.0\r\nHost: a\r\nX-Forwarded-Proto: https\r\nVia: 1.1 x\r\n\r\n");
        assert_eq!(out, b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x\r\nVia: 1.0 plb\r\n\r\n");
    }

    #[test]
    fn the_absolute_form_becomes_the_origin_form_and_its_authority_the_host() {
        let first_lines = |input: &[u8]| head(input).1.split("\r\n").take(2).collect::<Vec<_>>().join("|");
        let with = |line: &str| first_lines(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(with("GET http://b:81/x?y HTTP/1.1"), "GET /x?y HTTP/1.1|Host: b:81");
        assert_eq!(with("GET HTTPS://b HTTP/1.1"), "GET / HTTP/1.1|Host: b");
        assert_eq!(with("GET http://b?q=/ HTTP/1.1"), "GET /?q=/ HTTP/1.1|Host: b");
        assert_eq!(with("OPTIONS http://b HTTP/1.1"), "OPTIONS * HTTP/1.1|Host: b");
        let (_, out) = head(b"GET http://b/ HTTP/1.0\r\n\r\n");
        assert!(out.contains("\r\nHost: b\r\n") && out.contains("X-Forwarded-Host: b\r\n"), "{out}");
        assert_eq!(head(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n").1.matches("Host: a").count(), 0);
    }

    #[test]
    fn an_old_client_without_host_gets_an_empty_one() {
        let (head, out) = head(b"GET / HTTP/1.0\r\n\r\n");
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: \r\n") && !out.contains("X-Forwarded-Host"), "{out}");
        assert!(!head.persistent);
    }

    #[test]
    fn the_version_and_connection_decide_about_persistence() {
        let persistent = |version: &str, fields: &str| {
            head(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n").as_bytes()).0.persistent
        };
        assert!(persistent("1.1", ""));
        assert!(!persistent("1.1", "Connection: CLOSE\r\n"));
        assert!(!persistent("1.1", "Connection: a\r\nConnection: keep-alive,  close\r\n"));
        assert!(!persistent("1.0", ""));
        assert!(persistent("1.0", "Connection: Keep-Alive\r\n"));
        assert!(!persistent("1.0", "Connection: keep-alive, close\r\n"));
        assert!(!persistent("1.0", "Proxy-Connection: keep-alive\r\n"));
    }

    #[test]
    fn fields_that_connection_names_end_here_wherever_they_stand() {
        let (_, out) = head(b"GET / HTTP/1.1\r\nA: 1\r\nHost: a\r\nConnection: b, ,A\r\nb: 2\r\nab: 3\r\nB: 4\r\n\r\n");
        assert!(out.starts_with("GET / HTTP/1.1\r\nHost: a\r\nab: 3\r\nX-Forwarded-For:"), "{out}");
        let (_, out) = head(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n");
        assert!(out.contains("X-Forwarded-For: 192.0.2.7\r\n"), "a client cannot suppress the truth: {out}");
    }

    #[test]
    fn an_upgrade_is_passed_only_where_it_is_allowed_and_can_be_meant() {
        let upgrades = |allowed, line: &str, fields: &str| {
            let settings = HttpSettings { upgrade: allowed, ..settings() };
            let input = format!("{line}\r\nHost: a\r\n{fields}\r\n\r\n");
            let (Parsed::Head(head), out) = parse_with(&settings, input.as_bytes()) else { panic!("{input}") };
            let out = String::from_utf8(out).unwrap().to_ascii_lowercase();
            let asked = out.contains("\r\nconnection: upgrade\r\nupgrade: ");
            assert_eq!(asked, head.upgrade.is_some(), "{out}");
            let fields = usize::from(asked);
            assert_eq!(
                [out.matches("\r\nconnection:").count(), out.matches("\r\nupgrade:").count()],
                [fields; 2],
                "{out}"
            );
            asked
        };
        let websocket = |line: &str, fields: &str| upgrades(Upgrade::Websocket, line, fields);
        let (get, good) = ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: WebSocket");
        assert!(websocket(get, good));
        assert!(websocket(get, "Upgrade:websocket\r\nConnection: keep-alive\r\nConnection: x, UPGRADE"));
        assert!(websocket(get, &format!("{good}\r\nContent-Length: 0")));
        assert!(!websocket("GET / HTTP/1.0", good));
        assert!(!websocket("POST / HTTP/1.1", good));
        assert!(!websocket(get, &format!("{good}\r\nContent-Length: 1")));
        assert!(!websocket(get, &format!("{good}\r\nTransfer-Encoding: chunked")));
        assert!(!websocket(get, "Upgrade: websocket"));
        assert!(!websocket(get, "Connection: upgrade"));
        assert!(!websocket(get, "Connection: upgrades\r\nUpgrade: websocket"));
        for several in ["websocket, h2c", "h2c, websocket", "websocket,", "websocket\r\nUpgrade: websocket", "x"] {
            assert!(!websocket(get, &format!("Connection: upgrade\r\nUpgrade: {several}")), "{several}");
        }
        for twice in ["websocket\r\nUpgrade: h2c\r\nUpgrade: websocket", "\r\nUpgrade: websocket"] {
            assert!(!websocket(get, &format!("Connection: upgrade\r\nUpgrade: {twice}")), "{twice}");
        }
        assert!(!upgrades(Upgrade::None, get, good));
        assert!(upgrades(Upgrade::Any, get, "Connection: upgrade\r\nUpgrade: echo/2"));
        assert!(!upgrades(
            Upgrade::Any,
            get,
            "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x"
        ));
    }

    #[test]
    fn an_expectation_is_passed_only_where_a_body_waits_for_it() {
        let expects = |line: &str, fields: &str| {
            let (head, out) = head(format!("{line}\r\nHost: a\r\nExpect: 100-Continue\r\n{fields}\r\n").as_bytes());
            assert_eq!(out.contains("Expect: 100-Continue\r\n"), head.expects_continue, "{out}");
            head.expects_continue
        };
        assert!(expects("POST / HTTP/1.1", "Content-Length: 1\r\n"));
        assert!(expects("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"));
        assert!(!expects("POST / HTTP/1.1", "Content-Length: 0\r\n"));
        assert!(!expects("GET / HTTP/1.1", ""));
        assert!(!expects("POST / HTTP/1.0", "Content-Length: 1\r\n"));
        assert!(!expects("POST / HTTP/1.1", "Content-Length: 1\r\nConnection: expect\r\n"));
    }

    #[test]
    fn the_client_s_wish_for_trailers_is_passed_only_where_there_may_be_some() {
        let wishes = |trailers, line: &str, fields: &str| {
            let settings = HttpSettings { trailers, ..settings() };
            let input = format!("{line}\r\nHost: a\r\n{fields}\r\n\r\n");
            let (Parsed::Head(_), out) = parse_with(&settings, input.as_bytes()) else { panic!("{input}") };
            let out = String::from_utf8(out).unwrap();
            let wish = "TE: trailers\r\nConnection: TE\r\n";
            assert_eq!(out.to_ascii_lowercase().matches("\nte:").count(), out.matches(wish).count(), "{out}");
            (out.contains(wish), out.contains("Trailer: x"))
        };
        let fields = "TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\nTrailer: x";
        assert_eq!(wishes(Trailers::Forward, "GET / HTTP/1.1", fields), (true, true));
        assert_eq!(wishes(Trailers::Forward, "GET / HTTP/1.0", fields), (false, true));
        assert_eq!(wishes(Trailers::Drop, "GET / HTTP/1.1", fields), (false, false));
        for other in ["TE: gzip", "TE:", "TE: xtrailers", "TE: trailers;q=1"] {
            assert_eq!(wishes(Trailers::Forward, "GET / HTTP/1.1", other), (false, false), "{other}");
        }
    }

    #[test]
    fn a_path_is_forwarded_as_it_came_or_normalised() {
        let target = |normalize_path, target: &str| {
            let settings = HttpSettings { normalize_path, ..settings() };
            let (_, out) = parse_with(&settings, format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            String::from_utf8(out).unwrap().split(' ').nth(1).unwrap_or_default().to_string()
        };
        for (sent, came, normal) in [
            ("/x/../%61?../%61", "/x/../%61?../%61", "/a?../%61"),
            ("/a?", "/a?", "/a?"),
            ("*", "*", "*"),
            ("http://b", "*", "*"),
            ("http://b?q", "/?q", "/?q"),
            ("http://b//x", "//x", "/x"),
        ] {
            assert_eq!((target(false, sent).as_str(), target(true, sent).as_str()), (came, normal), "{sent}");
        }
        assert_eq!(status(b"GET /%00?x HTTP/1.1\r\nHost: a\r\n\r\n"), Some(400));
        assert_eq!(status(b"GET http://b/%2f HTTP/1.1\r\nHost: a\r\n\r\n"), Some(400));
    }

    #[test]
    fn smuggled_and_malformed_requests_are_refused() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        let cases: &[(u16, &str)] = &[
            // Two framings, or two readings of one.
            (400, "Content-Length: 6\r\nTransfer-Encoding: chunked"),
            (400, "Transfer-Encoding: chunked\r\nContent-Length: 6"),
            (400, "Content-Length: 0\r\nTransfer-Encoding: chunked"),
            (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
            (400, "Transfer-Encoding: chunked, chunked"),
            (400, "Transfer-Encoding: chunked, identity"),
            (400, "Transfer-Encoding: chunked,"),
            (400, "Transfer-Encoding: ,chunked"),
            (400, "Transfer-Encoding:"),
            (400, "Transfer-Encoding: \"chunked\""),
            (400, "Transfer-Encoding: chunked;q=1"),
            (400, "Transfer-Encoding: chunk ed"),
            (400, "Transfer-Encoding: \x0bchunked"),
            (400, "Transfer-Encoding: chunked\x00"),
            (400, "Transfer-Encoding : chunked"),
            (400, "Transfer-Encoding\t: chunked"),
            (400, " Transfer-Encoding: chunked"),
            (400, "X: y\r\n Transfer-Encoding: chunked"),
            (400, "Transfer-Encoding:\r\n chunked"),
            (400, "Transfer-Encoding: chunked\r\n , identity"),
            (400, "X: y\nTransfer-Encoding: chunked"),
            (400, "X: y\rTransfer-Encoding: chunked"),
            (400, "X: y\r\r\nZ: chunked"),
            (400, "Transfer\u{2d}Encoding\u{b}: chunked"),
            (501, "Transfer-Encoding: identity"),
            (501, "Transfer-Encoding: xchunked"),
            (501, "Transfer-Encoding: gzip, chunked"),
            (501, "Transfer-Encoding: chunked-"),
            // Lengths that are none.
            (400, "Content-Length: 6\r\nContent-Length: 6"),
            (400, "Content-Length: 6\r\ncontent-length: 7"),
            (400, "Content-Length: 6, 6"),
            (400, "Content-Length: 6 6"),
            (400, "Content-Length: +6"),
            (400, "Content-Length: -6"),
            (400, "Content-Length: 0x6"),
            (400, "Content-Length: 6."),
            (400, "Content-Length: 1e1"),
            (400, "Content-Length: six"),
            (400, "Content-Length:"),
            (400, "Content-Length: 9223372036854775808"),
            (400, "Content-Length: 18446744073709551616"),
            (400, "Content-Length: 18446744073709551622"),
            (400, "Content-Length: 99999999999999999999999"),
            (400, "Content-Length: \u{666}"),
            (400, "Content-Length : 6"),
            (400, "Content Length: 6"),
            (400, "Content-Length\x00: 6"),
            (400, "Content_length: 6"),
            (400, "Transfer_Encoding: chunked"),
            // Fields that are none.
            (400, ": x"),
            (400, "novalue"),
            (400, "a(b): x"),
            (400, "\u{e9}: x"),
            (400, "X: a\x00b"),
            (400, "X: a\x01b"),
            (400, "X: a\x7fb"),
            (400, "X: \x1b[31m"),
            // Who is asked, and for what.
            (400, "Host: a"),
            (400, "Host: b"),
            (400, "Connection: host"),
            (400, "Connection: close, Content-Length\r\nContent-Length: 6"),
            (400, "Connection: transfer-encoding\r\nTransfer-Encoding: chunked"),
            (417, "Expect: 200-ok"),
            (417, "Expect: 100-continue, x"),
            (417, "Expect: 100-continue\r\nExpect: 100-continue"),
            (417, "Expect:"),
        ];
        for (want, fields) in cases {
            assert_eq!(status(post(fields).as_bytes()), Some(*want), "{fields:?}");
        }
        let wide = format!("Connection: {}x", "a,".repeat(32));
        assert_eq!(status(post(&wide).as_bytes()), Some(400));
        assert_eq!(status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(400));
        assert_eq!(status(b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"), Some(400));
        assert_eq!(status(post("Content-Length: 9223372036854775807").as_bytes()), None);
    }

    #[test]
    fn request_lines_that_are_none_are_refused() {
        let cases: &[(u16, &str)] = &[
            (400, "GET /"),
            (400, "GET"),
            (400, "GET / "),
            (400, "GET / HTTP"),
            (400, "GET / HTTP/1"),
            (400, "GET / HTTP/1.1 "),
            (400, "GET / HTTP/11"),
            (400, "GET / HTTP/1.11"),
            (400, "GET / HTTP/ 1.1"),
            (400, "GET / http/1.1"),
            (400, "GET / ICY/1.1"),
            (400, "GET  / HTTP/1.1"),
            (400, "GET /  HTTP/1.1"),
            (400, " GET / HTTP/1.1"),
            (400, "GET\t/ HTTP/1.1"),
            (400, "G(T / HTTP/1.1"),
            (400, "GET /a b HTTP/1.1"),
            (400, "GET /a\tb HTTP/1.1"),
            (400, "GET /a\x00b HTTP/1.1"),
            (400, "GET /a\x7fb HTTP/1.1"),
            (400, "GET /\u{e9} HTTP/1.1"),
            (400, "GET /#x HTTP/1.1"),
            (400, "GET * HTTP/1.1"),
            (400, "OPTIONS ** HTTP/1.1"),
            (400, "GET a/b HTTP/1.1"),
            (400, "GET a.example:80 HTTP/1.1"),
            (400, "GET ftp://a/ HTTP/1.1"),
            (400, "GET http:/a/ HTTP/1.1"),
            (400, "GET http:///x HTTP/1.1"),
            (400, "GET http://u@a/ HTTP/1.1"),
            (400, "GET http://a\\b/ HTTP/1.1"),
            (400, "GET http://:80/ HTTP/1.1"),
            (501, "CONNECT a.example:443 HTTP/1.1"),
            (505, "GET / HTTP/2.0"),
            (505, "PRI * HTTP/2.0"),
            (505, "GET / HTTP/1.2"),
            (505, "GET / HTTP/0.9"),
        ];
        for (want, line) in cases {
            let whole = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(status(whole.as_bytes()), Some(*want), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_http_need_not_end_to_be_refused() {
        assert_eq!(status(b"GET / HTTP/1.1\nHost"), Some(400), "a bare line feed");
        assert_eq!(status(b"\n"), Some(400));
        assert_eq!(status(b"\rG"), Some(400));
        assert_eq!(status(b"\x16\x03\x01\x02"), Some(400), "a TLS handshake");
        assert_eq!(status(b"GET /\r\n"), Some(400), "HTTP/0.9 waits for its answer");
        assert_eq!(status(b"PRI * HTTP/2.0\r\n"), Some(505));
        assert_eq!(status(b"\r\n\r\n\r\n\r\n"), None);
        assert_eq!(status(b"\r\n\r\n\r\n\r\n\r\n"), Some(400));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port_or_none() {
        let good = ["a", "a.b-c_d", "127.0.0.1:80", "[::1]", "[2001:db8::1]:65535", "a:", "xn--bcher-kva.example"];
        let bad = [
            "",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:1:2",
            "a:123456",
            "a:65536",
            ":80",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]]",
            "[]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "a%4",
            "a%zz",
            "%41",
            "a\\b",
            "a?b",
            "a#b",
            "a\"",
            "<a>",
            "\u{e9}",
            "a, [b]",
        ];
        let with = |host: &str| status(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        good.iter().for_each(|host| assert_eq!(with(host), None, "{host:?}"));
        bad.iter().for_each(|host| assert_eq!(with(host), Some(400), "{host:?}"));
        assert_eq!(with(&"a".repeat(261)), None);
        assert_eq!(with(&"a".repeat(262)), Some(400));
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), Some(400));
        assert_eq!(status(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Some(400));
        assert_eq!(status(b"GET http://b/ HTTP/1.1\r\n\r\n"), Some(400), "the absolute form does without none");
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 16)).into_bytes();
        assert_eq!(status(&line(1023)), None);
        assert_eq!(status(&line(1024)), Some(431));
        assert_eq!(status(&line(1025)), Some(414));
        assert_eq!(status(&[b'G'; 1023]), None);
        assert_eq!(status(&[b'G'; 1024]), Some(414));
        let of_length = |length: usize| {
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{start}{}\r\n\r\nrest", "x".repeat(length - start.len() - 4)).into_bytes()
        };
        assert_eq!(head(&of_length(1024)).0.bytes, 1024);
        assert_eq!(status(&of_length(1025)), Some(431));
        let of_fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
        assert_eq!(status(of_fields(16).as_bytes()), None);
        assert_eq!(status(of_fields(17).as_bytes()), Some(431));
        let small = HttpSettings { body_bytes_max: Some(9), ..settings() };
        let of_body = |length: u64| format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        assert!(matches!(parse_with(&small, of_body(9).as_bytes()).0, Parsed::Head(_)));
        let Parsed::Refused(refusal) = parse_with(&small, of_body(10).as_bytes()).0 else { panic!("too long a body") };
        assert_eq!(refusal.status, Status::ContentTooLarge);
    }

    #[test]
    fn a_head_grows_by_no_more_than_it_may() {
        let host = "h".repeat(261);
        let fields: String = (0..200).map(|_| "a:b\r\n").collect();
        let input = format!("POST / HTTP/1.0\r\nHost:{host}\r\nTransfer-encoding:x\r\n\r\n{fields}");
        assert_eq!(status(input.as_bytes()), Some(501));
        let input = format!("GET http://{host} HTTP/1.0\r\nContent-Length:9\r\n{fields}\r\n");
        let forwarding = Forwarding {
            x_forwarded_port: true,
            forwarded: true,
            request_id: RequestId::Make,
            ..settings().forwarding
        };
        let wide = HttpSettings { fields_max: 256, head_bytes_max: 8192, via: true, forwarding, ..settings() };
        let (listener, mut site) = (listener(wide), Site::default());
        let (address, text) = client("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        let rules = RequestRules::new(&listener, &mut site, address, &text);
        let mut out = Vec::new();
        let mut rules = RequestRules { scheme: Scheme::Https, ..rules };
        let parsed = parse_request(input.as_bytes(), &mut Scan::default(), &mut rules, &mut out);
        assert!(matches!(parsed, Parsed::Head(_)), "{parsed:?}");
        assert!(out.len() <= input.len() + head::GROWTH_BYTES_MAX, "{} from {}", out.len(), input.len());
        assert!(out.len() > input.len() + 500, "the worst case is tried");
    }

    #[test]
    fn a_head_means_the_same_wherever_it_is_split_and_nothing_before_its_end() {
        for input in GOOD {
            let whole = parse(input);
            let Parsed::Head(head) = &whole.0 else { panic!("{:?} for {}", whole.0, input.escape_ascii()) };
            for split in 0..input.len() {
                assert_eq!(parse_in_pieces(input, [split, input.len()].into_iter()), whole, "split at {split}");
                let cut = parse(&input[..split]).0;
                assert_eq!(cut == Parsed::Partial, split < head.bytes, "{cut:?} at {split}");
            }
            assert_eq!(parse_in_pieces(input, 0..=input.len()), whole, "byte by byte");
        }
    }

    #[test]
    fn a_dripping_head_is_looked_at_once() {
        let mut input = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        input.resize(1000, b'x');
        let (listener, mut site, mut scan) = (listener(settings()), Site::default(), Scan::default());
        let (address, text) = client("192.0.2.7");
        let mut rules = RequestRules::new(&listener, &mut site, address, &text);
        assert_eq!(parse_request(&input, &mut scan, &mut rules, &mut Vec::new()), Parsed::Partial);
        // What was looked at is not looked at again: the damage is not seen.
        input.fill(b'\n');
        input.push(b'y');
        assert_eq!(parse_request(&input, &mut scan, &mut rules, &mut Vec::new()), Parsed::Partial);
        input.push(b'\n');
        input[1000] = b'\r';
        input.extend_from_slice(b"\r\n");
        let Parsed::Refused(_) = parse_request(&input, &mut scan, &mut rules, &mut Vec::new()) else { panic!() };
        assert_eq!(scan, Scan::default(), "ready for the next head");
    }

    #[test]
    fn damage_never_makes_two_readers_disagree() {
        let mut accepted = 0;
        for seed in 0..60_000 {
            let mut chance = Chance(seed);
            let input = damaged(&mut chance, GOOD);
            let whole = parse(&input);
            let split = chance.below(input.len() + 1);
            let pieces = parse_in_pieces(&input, [split, input.len()].into_iter());
            match whole.0 {
                Parsed::Refused(_) => assert!(matches!(pieces.0, Parsed::Refused(_)), "seed {seed}"),
                _ => assert_eq!(pieces, whole, "seed {seed}"),
            }
            let Parsed::Head(head) = whole.0 else { continue };
            accepted += 1;
            assert!(whole.1.len() <= head.bytes + head::GROWTH_BYTES_MAX, "seed {seed}");
            // An HTTP/1.0 request without a host gets an empty one, which plb takes from nobody.
            let (Parsed::Head(again), out) = parse(&whole.1) else {
                assert!(
                    head.version == Version::Http10 && whole.1.windows(10).any(|w| w == b"\r\nHost: \r\n"),
                    "seed {seed}"
                );
                continue;
            };
            assert_eq!(out, whole.1, "seed {seed}");
            assert_eq!(
                (again.bytes, again.method, again.body, again.expects_continue),
                (out.len(), head.method, head.body, head.expects_continue),
                "seed {seed}"
            );
        }
        assert!(accepted > 5_000, "only {accepted} survived: the damage is too heavy to mean much");
    }

    #[test]
    fn an_address_is_shown_as_the_client_knows_it() {
        let shown = |text: &str| ClientText::new(text.parse().unwrap()).as_bytes().to_vec();
        assert_eq!(shown("203.0.113.255"), b"203.0.113.255");
        assert_eq!(shown("::ffff:203.0.113.9"), b"203.0.113.9");
        assert_eq!(shown("2001:DB8::1"), b"2001:db8::1");
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(shown(longest), longest.as_bytes());
    }
}
