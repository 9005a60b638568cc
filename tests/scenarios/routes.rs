//! Proves that routes decide who answers: each condition and its negation, order, each action, and what is changed on the
//! way. The exact bytes are looked at, at the origin and at the client.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::harness::client::Client;
use crate::harness::plb::PROGRAM;
use crate::harness::{Message, Origin, Plb, ok};

/// A file with a listener `web` whose routes are these lines, and a pool of each of these names.
fn site(settings: &str, routes: &[&str], pools: &[(&str, SocketAddr)]) -> String {
    let mut text = String::from("core_dumps: true\nlisteners:\n  - name: web\n    listen: \"127.0.0.1:0\"\n");
    for line in settings.lines() {
        writeln!(text, "    {line}").expect("a string takes all");
    }
    text.push_str("    routes:\n");
    for route in routes {
        writeln!(text, "      - {route}").expect("a string takes all");
    }
    text.push_str("pools:\n");
    for (name, address) in pools {
        writeln!(text, "  {name}: {{ backends: [\"{address}\"] }}").expect("a string takes all");
    }
    text
}

/// Settings under which nothing is told of the client.
const PLAIN: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\n";

/// Answers with its name, and tells the head that it got byte by byte.
fn teller(name: &'static str) -> Origin {
    Origin::http(move |request| {
        let mut head = format!("{name}\n{}\n", request.start);
        for (field, value) in &request.fields {
            writeln!(head, "{field}: {value}").expect("a string takes all");
        }
        ok(&head)
    })
}

/// One exchange on a connection of its own.
fn exchange(address: SocketAddr, request: &str) -> Message {
    let mut client = Client::connect(address);
    client.send(request);
    let method = request.split(' ').next().unwrap_or_default();
    client.response_to(method).unwrap_or_else(|error| panic!("{error} for {request:?}"))
}

/// The status for this first line and these fields, and who answered where it was an origin.
fn outcome(address: SocketAddr, line: &str, fields: &str) -> String {
    let host = if fields.to_ascii_lowercase().contains("host:") { "" } else { "Host: plb.test\r\n" };
    let response = exchange(address, &format!("{line} HTTP/1.1\r\n{host}{fields}\r\n"));
    match response.status() {
        200 => response.text().lines().next().unwrap_or_default().to_string(),
        status => status.to_string(),
    }
}

#[test]
fn each_condition_takes_what_it_says_and_its_negation_the_rest() {
    let (yes, no) = (teller("yes"), teller("no"));
    for (condition, takes, leaves) in [
        (
            "host: [one.example, \"*.two.example\"]",
            vec![("GET /", "Host: ONE.example:8080\r\n"), ("GET /", "Host: a.b.two.example.\r\n")],
            vec![("GET /", "Host: two.example\r\n"), ("GET /", "Host: xone.example\r\n"), ("GET /", "")],
        ),
        (
            "host: one.example",
            vec![("GET http://one.example/", "Host: other\r\n")],
            vec![("GET http://other/", "Host: one.example\r\n")],
        ),
        (
            "path: [/a, /b]",
            vec![("GET /a?x", ""), ("GET /%62", ""), ("GET //x/../a", "")],
            vec![("GET /a/", ""), ("GET /A", ""), ("GET /", "")],
        ),
        (
            "path_prefix: /api",
            vec![("GET /api", ""), ("GET /api/x", ""), ("GET /%61pi/x", "")],
            vec![("GET /apix", ""), ("GET /api/../x", ""), ("GET /API", "")],
        ),
        (
            "path_regex: '^/user/[0-9]+$'",
            vec![("GET /user/12?a", "")],
            vec![("GET /user/x", ""), ("GET /x/user/12", "")],
        ),
        (
            "query: { name: debug, equals: '1' }",
            vec![("GET /?a&debug=1", ""), ("GET /?%64ebug=%31", "")],
            vec![("GET /?debug=2", ""), ("GET /", "")],
        ),
        (
            "header: [{ name: X-Key, regex: '^v[0-9]$' }, { name: X-Any }]",
            vec![("GET /", "x-key: v1\r\n"), ("GET /", "X-Key: no\r\nX-KEY: v2\r\n"), ("GET /", "X-Any:\r\n")],
            vec![("GET /", "X-Key: v10\r\n"), ("GET /", "")],
        ),
        (
            "cookie: { name: beta, equals: 'on' }",
            vec![("GET /", "Cookie: a=b; beta=on\r\n")],
            vec![("GET /", "Cookie: beta=off\r\n"), ("GET /", "Cookie: xbeta=on\r\n"), ("GET /", "")],
        ),
        ("method: [POST, DELETE]", vec![("DELETE /", ""), ("POST /", "Content-Length: 0\r\n")], vec![("GET /", "")]),
        ("client: 127.0.0.0/8", vec![("GET /", "")], vec![]),
        ("client: 10.0.0.0/8", vec![], vec![("GET /", ""), ("GET /", "X-Forwarded-For: 10.0.0.1\r\n")]),
        ("path: /a, method: GET", vec![("GET /a", "")], vec![("GET /b", ""), ("DELETE /a", "")]),
    ] {
        let pools = [("yes", yes.address()), ("no", no.address())];
        let is = format!("{{ match: {{ {condition} }}, pool: yes }}");
        let plb = Plb::start(&site("pool: no", &[&is], &pools));
        for (line, fields) in &takes {
            assert_eq!(outcome(plb.web(), line, fields), "yes", "{condition} takes {line} {fields}");
        }
        for (line, fields) in &leaves {
            assert_eq!(outcome(plb.web(), line, fields), "no", "{condition} leaves {line} {fields}");
        }
        if condition.contains(", method") {
            continue; // negated they are two conditions of which none may hold
        }
        let is_not = format!("{{ match: {{ not: {{ {condition} }} }}, pool: yes }}");
        let plb = Plb::start(&site("pool: no", &[&is_not], &pools));
        for (line, fields) in &takes {
            assert_eq!(outcome(plb.web(), line, fields), "no", "not {condition} leaves {line} {fields}");
        }
        for (line, fields) in &leaves {
            assert_eq!(outcome(plb.web(), line, fields), "yes", "not {condition} takes {line} {fields}");
        }
    }
}

#[test]
fn the_first_route_decides_then_the_pool_and_then_nobody() {
    let (first, second) = (teller("first"), teller("second"));
    let routes = [
        "{ match: { path_prefix: /x }, pool: first }",
        "{ match: { host: a.example }, pool: second }",
        "{ match: { path_prefix: /x/y }, deny: true }",
        "{ match: { path: /denied }, deny: true }",
    ];
    let pools = [("first", first.address()), ("second", second.address())];
    let plb = Plb::start(&site("", &routes, &pools));
    let mut client = Client::connect(plb.web());
    for (path, status) in [("/x/y", 200), ("/denied", 403), ("/other", 503), ("/x", 200)] {
        assert_eq!(client.get(path).status(), status, "{path}: the connection goes on, whoever answers");
    }
    assert_eq!(outcome(plb.web(), "GET /x/y", "Host: a.example\r\n"), "first");
    assert_eq!(outcome(plb.web(), "GET /denied", "Host: a.example\r\n"), "second");
    plb.stop_unmarked();
    let plb = Plb::start(&site("no_route: 404", &routes, &pools));
    assert_eq!(outcome(plb.web(), "GET /other", ""), "404");
}

#[test]
fn no_spelling_of_a_path_escapes_a_rule_for_it() {
    let origin = teller("origin");
    let routes = ["{ match: { path_prefix: /admin }, deny: true }"];
    let plb = Plb::start(&site("pool: web", &routes, &[("web", origin.address())]));
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x",
        "/%61dmin",
        "/%61%64%6D%69%6e/x",
        "/x/../admin",
        "/x/%2e%2E/admin",
        "/./admin",
        "//admin",
        "//x/../admin",
        "/../admin",
        "http://plb.test/admin",
        "http://plb.test/x/../%61dmin",
    ] {
        assert_eq!(outcome(plb.web(), &format!("GET {path}"), ""), "403", "{path}");
    }
    // To servers that keep empty segments these are in it, to others they are not.
    for path in ["/admin//../x", "/x//../admin", "/admin//y/%2e%2e/../x"] {
        assert_eq!(outcome(plb.web(), &format!("GET {path}"), ""), "400", "{path}");
    }
    assert_eq!(origin.requests(), 0);
    // What is no such path is forwarded as it was written.
    for path in ["/administrator", "/x/admin", "/%2561dmin", "/admin/../x", "/Admin", "/x?/admin"] {
        let response = exchange(plb.web(), &format!("GET {path} HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
        let text = response.text();
        assert_eq!(text.lines().nth(1), Some(format!("GET {path} HTTP/1.1").as_str()), "{path}");
    }
}

#[test]
fn a_redirection_is_a_whole_answer_with_an_escaped_target() {
    let origin = teller("origin");
    let routes = [
        "{ match: { host: old.example }, redirect: { status: 301, to: \"https://www.example{path}{query}\" } }",
        "{ match: { path_prefix: /moved }, redirect: { status: 308, to: \"{path}{query}#{method}\" } }",
        "{ match: { path_prefix: /all }, redirect: { to: \"https://{host}{path}?from={scheme}&{client}\" } }",
        "{ redirect: { status: 303, to: \"{path}{query}\" } }",
    ];
    let plb = Plb::start(&site("", &routes, &[("web", origin.address())]));
    for (host, target, status, location) in [
        ("old.example:8080", "/a%20b?c=d&e", 301, "https://www.example/a%20b?c=d&e"),
        ("OLD.example", "http://old.example", 301, "https://www.example/"),
        ("a", "/moved/x?y", 308, "/moved/x?y#GET"),
        ("A.example:1", "/all", 302, "https://A.example/all?from=http&127.0.0.1"),
        // Nobody is sent to a host of the client's choice ..
        ("a", "//evil.example/..", 303, "/evil.example/.."),
        ("a", "///evil.example", 303, "/evil.example"),
        ("a", "http://plb.test//evil.example", 303, "/evil.example"),
        // .. and no byte of a client gets out of the field.
        ("a", "/%0d%0aSet-Cookie:%20x=y", 303, "/%0d%0aSet-Cookie:%20x=y"),
        ("a", "/?\"'<>^`{|}", 303, "/?%22'%3C%3E%5E%60%7B%7C%7D"),
    ] {
        let response = exchange(plb.web(), &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(response.status(), status, "{target}");
        let names: Vec<&str> = response.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Date", "Location", "Content-Type", "Content-Length", "Connection"], "{target}");
        assert_eq!(response.field("location"), Some(location), "{target}");
        assert_eq!(response.field("connection"), Some("keep-alive"), "{target}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_response_of_plbs_own_comes_from_text_or_file_and_a_head_has_no_body() {
    let long = "long ".repeat(40_000);
    let directory = tempfile::tempdir().expect("there is room for a file");
    std::fs::write(directory.path().join("page.html"), &long).expect("there is room for a file");
    let routes = [
        "{ match: { path: /text }, respond: { text: \"a\\nb\" } }",
        "{ match: { path: /page }, respond: { status: 503, file: page.html, content_type: text/html, \
         headers: { Retry-After: \"120\", X-Own: a } }, \
         response_headers: { set: { X-Own: \"{method}\" }, add: { X-More: \"{host}\" } } }",
        "{ match: { path: /gone }, respond: { status: 410 } }",
        "{ match: { path: /empty }, respond: { status: 204 } }",
    ];
    let file = directory.path().join("plb.yaml");
    std::fs::write(&file, site("", &routes, &[("web", "127.0.0.1:1".parse().unwrap())])).expect("there is room");
    let plb = Plb::run(std::process::Command::new(PROGRAM).arg("-c").arg(&file));
    plb.wait_for_log("plb: serving");
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        let text = client.get("/text");
        assert_eq!((text.status(), text.text().as_str()), (200, "a\nb"));
        assert_eq!(text.field("content-type"), Some("text/plain; charset=utf-8"));
        let page = client.get("/page");
        assert_eq!((page.status(), page.start.as_str()), (503, "HTTP/1.1 503 Service Unavailable"));
        assert!(page.text() == long, "the whole file");
        assert_eq!(page.field("content-type"), Some("text/html"));
        assert_eq!(page.field("retry-after"), Some("120"));
        assert_eq!((page.field("x-own"), page.field("x-more")), (Some("GET"), Some("plb.test")));
        client.send("HEAD /page HTTP/1.1\r\nHost: plb.test\r\n\r\n");
        let head = client.response_to("HEAD").expect("a head");
        assert_eq!((head.status(), head.field("x-own")), (503, Some("HEAD")));
        assert_eq!(head.field("content-length"), Some(long.len().to_string().as_str()));
        let gone = client.get("/gone");
        assert_eq!((gone.status(), gone.text().contains("410 Gone")), (410, true));
        let empty = client.get("/empty");
        assert_eq!((empty.status(), empty.field("content-length"), empty.text()), (204, None, String::new()));
    }
    // What a request still has to send is not taken for the next one.
    client.send("POST /text HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 26\r\n\r\nGET /gone HTTP/1.1\r\nHost: ");
    assert_eq!(client.response().field("connection"), Some("close"));
    client.closed();
}

#[test]
fn no_trailer_brings_a_field_back_that_a_route_takes_out() {
    let origin = Origin::http(|request| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}1\r\n{}\r\n0\r\nX-Secret: 1\r\n\r\n", request.trailers.len()).into_bytes()
    });
    let routes = [
        "{ match: { path: /in }, pool: web, request_headers: { set: { X-User: nobody } } }",
        "{ match: { path: /out }, pool: web, response_headers: { remove: X-Secret } }",
        "{ pool: web, request_headers: { add: { X-More: y } } }",
    ];
    let plb = Plb::start(&site("trailers: forward", &routes, &[("web", origin.address())]));
    for (path, got, given) in [("/in", "0", 1), ("/out", "1", 0), ("/", "1", 1)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: plb.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let response = exchange(plb.web(), &format!("{head}1\r\nx\r\n0\r\nX-User: admin\r\n\r\n"));
        assert_eq!((response.text().as_str(), response.trailers.len()), (got, given), "{path}");
    }
}

#[test]
fn fields_are_set_added_and_removed_in_both_directions() {
    let origin = Origin::http(|request| {
        let text = format!("{:?}", request.fields);
        format!(
            "HTTP/1.1 200 OK\r\nServer: secret\r\nX-Old: 1\r\nSet-Cookie: a=b\r\nx-old: 2\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    });
    let routes = ["{ pool: web, \
        request_headers: { set: { X-Real-IP: \"{client}\", Host: app.internal:8080, X-Empty: \"\" }, \
          add: { X-Line: \"{method} {scheme}://{host}{path}{query} {{}}\" }, remove: [X-Debug, Cookie] }, \
        response_headers: { set: { X-Old: \"new {host}\" }, add: { Set-Cookie: c=d }, remove: Server } }"];
    let plb = Plb::start(&site(PLAIN, &routes, &[("web", origin.address())]));
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        client.send(
            "GET /p%20q?r=s HTTP/1.1\r\nX-First: 1\r\nHost: A.example:81\r\nx-real-ip: 6.6.6.6\r\nX-REAL-IP: 7.7.7.7\r\n\
             x-debug: 1\r\nX-Line: mine\r\nCookie: e=f\r\nX-Last: 2\r\n\r\n",
        );
        let response = client.response();
        let fields = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let expected = fields(&[
            ("Host", "app.internal:8080"),
            ("X-First", "1"),
            ("X-Line", "mine"),
            ("X-Last", "2"),
            ("X-Real-IP", "127.0.0.1"),
            ("X-Empty", ""),
            ("X-Line", "GET http://A.example/p%20q?r=s {}"),
        ]);
        assert_eq!(response.text(), format!("{expected:?}"));
        assert_eq!(response.all("server"), [""; 0]);
        assert_eq!(response.all("x-old"), ["new A.example"]);
        assert_eq!(response.all("set-cookie"), ["a=b", "c=d"]);
    }
    // What comes before the answer stays as it is.
    let hints = Origin::http(|_| [b"HTTP/1.1 103 Early Hints\r\nX-Old: 1\r\n\r\n".to_vec(), ok("x")].concat());
    let plb = Plb::start(&site(PLAIN, &routes, &[("web", hints.address())]));
    let mut client = Client::connect(plb.web());
    let hint = client.get("/");
    assert_eq!((hint.status(), hint.field("x-old")), (103, Some("1")));
    assert_eq!(client.response().field("x-old"), Some("new plb.test"));
}

#[test]
fn a_prefix_is_stripped_or_replaced_in_what_the_origin_gets() {
    let origin = teller("origin");
    let routes = [
        "{ match: { path_prefix: /api }, pool: web, strip_prefix: /api }",
        "{ match: { path_prefix: /old/app }, pool: web, replace_prefix: { from: /old/app, to: \"/new app\" } }",
        "{ pool: web, strip_prefix: /api }",
    ];
    let plb = Plb::start(&site("", &routes, &[("web", origin.address())]));
    for (sent, got) in [
        ("/api", "/"),
        ("/api?q=/api/x", "/?q=/api/x"),
        ("/api/", "/"),
        ("/api/a%2Db/%20;c?d", "/a%2Db/%20;c?d"),
        ("/%61pi/a%2Db", "/a-b"),
        ("/x/../api/y", "/y"),
        ("/api/../api/y", "/y"),
        ("/api//evil.example/x", "/evil.example/x"),
        ("/apix", "/apix"),
        ("/api/../secret", "/api/../secret"),
        ("/old/app/x", "/new%20app/x"),
        ("/old/app", "/new%20app"),
        ("/old/%61pp/x?y", "/new%20app/x?y"),
        ("http://plb.test/api/z", "/z"),
    ] {
        let response = exchange(plb.web(), &format!("GET {sent} HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
        let text = response.text();
        assert_eq!(text.lines().nth(1), Some(format!("GET {got} HTTP/1.1").as_str()), "{sent}");
    }
}

#[test]
fn a_route_has_a_body_limit_of_its_own() {
    let origin = Origin::http(|request| ok(&request.body.len().to_string()));
    let routes = [
        "{ match: { path: /small }, pool: web, body_max: 4 }",
        "{ match: { path: /any }, pool: web, body_max: none }",
        "{ match: { path: /same }, pool: web }",
    ];
    let plb = Plb::start(&site("pool: web\nbody_max: 8", &routes, &[("web", origin.address())]));
    for (path, length, status) in [
        ("/small", 4, 200),
        ("/small", 5, 413),
        ("/any", 9, 200),
        ("/same", 8, 200),
        ("/same", 9, 413),
        ("/other", 9, 413),
    ] {
        let body = "x".repeat(length);
        let head = format!("POST {path} HTTP/1.1\r\nHost: plb.test\r\n");
        let whole = exchange(plb.web(), &format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        assert_eq!(whole.status(), status, "{path} with {length} bytes");
        let chunked =
            exchange(plb.web(), &format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"));
        assert_eq!(chunked.status(), status, "{path} with {length} bytes in a chunk");
    }
}

#[test]
fn a_thousand_hosts_each_have_their_pool() {
    let origins: Vec<Origin> = ["zero", "one", "two"].into_iter().map(teller).collect();
    let names = ["zero", "one", "two"];
    let routes: Vec<String> = (0..1_000)
        .map(|index| format!("{{ match: {{ host: h{index}.example }}, pool: {} }}", names[index % 3]))
        .chain(["{ match: { host: \"*.example\" }, deny: true }".to_string()])
        .collect();
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let pools: Vec<(&str, SocketAddr)> = names.into_iter().zip(origins.iter().map(Origin::address)).collect();
    let plb = Plb::start(&site("", &routes, &pools));
    for index in [0, 1, 2, 499, 998, 999] {
        let host = format!("Host: H{index}.example:80\r\n");
        assert_eq!(outcome(plb.web(), "GET /", &host), names[index % 3], "{index}");
    }
    assert_eq!(outcome(plb.web(), "GET /", "Host: h1000.example\r\n"), "403");
    assert_eq!(outcome(plb.web(), "GET /", "Host: h1.example.org\r\n"), "503");
}
