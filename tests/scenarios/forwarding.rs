//! Proves what backends are told about clients, to the byte, and whose word on it counts; and that what a backend says
//! of its own address leads the client back to plb.

use crate::harness::client::{Client, get};
use crate::harness::lines::Lines;
use crate::harness::{Origin, Plb, Reservation, configuration, locked, ok};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// An origin that remembers every head to the byte.
fn exact() -> (Origin, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&heads);
    let origin = Origin::raw(move |connection| {
        let mut head = Vec::new();
        while let Ok(bytes) = connection.some() {
            if bytes.is_empty() {
                return;
            }
            head.extend_from_slice(&bytes);
            if head.ends_with(b"\r\n\r\n") {
                locked(&seen).push(String::from_utf8_lossy(&head).into_owned());
                head.clear();
                if connection.send(ok("")).is_err() {
                    return;
                }
            }
        }
    });
    (origin, heads)
}

fn start(listen: &str, settings: &str, backends: &[SocketAddr]) -> Plb {
    Plb::start(&configuration("http", settings, backends).replace("127.0.0.1:0", listen))
}

/// What a backend gets behind `Host` of a request with these lines; `PORT` is where plb listens.
fn forwarded(listen: &str, settings: &str, lines: &str) -> String {
    let (origin, heads) = exact();
    let plb = start(listen, settings, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test:81\r\n{lines}\r\n"));
    assert_eq!(client.response().status(), 200, "{settings} {lines}");
    let port = format!("-Port: {}\r", plb.web().port());
    let head = locked(&heads)[0].replace(&port, "-Port: PORT\r");
    let behind = head.strip_prefix("GET / HTTP/1.1\r\nHost: a.test:81\r\n").and_then(|rest| rest.strip_suffix("\r\n"));
    behind.unwrap_or_else(|| panic!("{head}")).to_string()
}

const IPV4: &str = "127.0.0.1:0";
const IPV6: &str = "[::1]:0";
/// IPv4 clients appear with IPv6 addresses here.
const MAPPED: &str = "[::ffff:127.0.0.1]:0";

/// Each of the fields alone, and what it says of a client at 127.0.0.1.
const EACH: [(&str, &str); 5] = [
    ("x_forwarded_for", "X-Forwarded-For: 127.0.0.1\r\n"),
    ("x_forwarded_proto", "X-Forwarded-Proto: http\r\n"),
    ("x_forwarded_host", "X-Forwarded-Host: a.test:81\r\n"),
    ("x_forwarded_port", "X-Forwarded-Port: PORT\r\n"),
    ("forwarded", "Forwarded: for=127.0.0.1;host=\"a.test:81\";proto=http\r\n"),
];

/// Only these of the fields.
fn only(keys: &[&str]) -> String {
    EACH.map(|(key, _)| format!("{key}: {}\n", keys.contains(&key))).concat()
}

/// What a client may send under all the names, in many spellings.
const LIES: &str = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\nX-FORWARDED-HOST: evil.test\r\n\
    X-Forwarded-Port: 666\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-User: root\r\n\
    X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil.test\r\nx.forwarded.proto: https\r\nX_Real_IP: 6.6.6.6\r\n\
    Connection: x-forwarded-for, forwarded\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded: kept\r\n";

#[test]
fn each_field_is_told_where_it_is_switched_on_and_no_client_can_forge_any() {
    let all = EACH.map(|(_, line)| line).concat();
    assert_eq!(forwarded(IPV4, "", ""), EACH[..3].iter().map(|(_, line)| *line).collect::<String>(), "the default");
    for lines in ["", LIES] {
        let kept = if lines.is_empty() { "" } else { "X-Forwarded: kept\r\n" };
        for (key, line) in EACH {
            assert_eq!(forwarded(IPV4, &only(&[key]), lines), format!("{kept}{line}"), "{key}");
        }
        assert_eq!(forwarded(IPV4, &only(&EACH.map(|(key, _)| key)), lines), format!("{kept}{all}"));
        assert_eq!(forwarded(IPV4, &only(&[]), lines), kept);
        // Others are trusted, but not this client.
        let others = format!("trusted_proxies: [127.0.0.2, \"::1\", 10.0.0.0/8]\n{}", only(&["x_forwarded_for"]));
        assert_eq!(forwarded(IPV4, &others, lines), format!("{kept}{}", EACH[0].1));
    }
}

#[test]
fn an_ipv6_client_is_shown_as_each_field_wants_it_and_a_mapped_one_as_what_it_is() {
    let both = only(&["x_forwarded_for", "forwarded"]);
    assert_eq!(
        forwarded(IPV6, &both, LIES),
        "X-Forwarded: kept\r\nX-Forwarded-For: ::1\r\n\
         Forwarded: for=\"[::1]\";host=\"a.test:81\";proto=http\r\n"
    );
    let mapped = format!("v6_only: false\n{both}");
    let shown = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1;host=\"a.test:81\";proto=http\r\n";
    assert_eq!(forwarded(MAPPED, &mapped, ""), shown);
    let trusted = format!("trusted_proxies: 127.0.0.0/8\n{mapped}");
    assert_eq!(
        forwarded(MAPPED, &trusted, "X-Forwarded-For: 192.0.2.1\r\n"),
        shown.replacen("For: ", "For: 192.0.2.1, ", 1),
        "a mapped address is that of the trusted proxy"
    );
}

#[test]
fn what_a_trusted_proxy_tells_is_kept_and_added_to() {
    let own = "for=127.0.0.1;host=\"a.test:81\";proto=http";
    // The only field that is told, what the proxy sends, and what the backend gets.
    let table = [
        ("x_forwarded_for", "X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n"),
        (
            "x_forwarded_for",
            "X-Forwarded-For: 192.0.2.1,2001:db8::1\r\nA: b\r\nx-forwarded-for: 10.0.0.1\r\n",
            "A: b\r\nX-Forwarded-For: 192.0.2.1,2001:db8::1, 10.0.0.1, 127.0.0.1\r\n",
        ),
        ("x_forwarded_for", "X-Forwarded-For: 1.2.3.4, x, 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n"),
        ("x_forwarded_for", "X-Forwarded-For: x\r\n", "X-Forwarded-For: 127.0.0.1\r\n"),
        (
            "x_forwarded_for",
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: x\r\nX-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n",
        ),
        ("x_forwarded_for", "X_Forwarded_For: 192.0.2.1\r\n", "X-Forwarded-For: 127.0.0.1\r\n"),
        (
            "x_forwarded_for",
            "Connection: X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.1\r\n",
            "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n",
        ),
        (
            "x_forwarded_for",
            "X-Real-IP: 192.0.2.1\r\nForwarded: for=a\r\n",
            "X-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 127.0.0.1\r\n",
        ),
        ("x_forwarded_proto", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: https\r\n"),
        ("x_forwarded_proto", "X-Forwarded-Proto: gopher\r\n", "X-Forwarded-Proto: http\r\n"),
        ("x_forwarded_proto", "X-Forwarded-Host: b\r\n", "X-Forwarded-Proto: http\r\n"),
        (
            "x_forwarded_host",
            "X-Forwarded-Host: b.test\r\nX-Forwarded-Host: c.test:1\r\n",
            "X-Forwarded-Host: b.test, c.test:1\r\n",
        ),
        ("x_forwarded_host", "X-Forwarded-Host: b/c\r\n", "X-Forwarded-Host: a.test:81\r\n"),
        ("x_forwarded_port", "X-Forwarded-Port: 443\r\n", "X-Forwarded-Port: 443\r\n"),
        ("x_forwarded_port", "X-Forwarded-Port: https\r\n", "X-Forwarded-Port: PORT\r\n"),
        (
            "forwarded",
            "Forwarded: for=192.0.2.1;proto=https\r\nForwarded: for=\"[2001:db8::1]\"\r\n",
            &format!("Forwarded: for=192.0.2.1;proto=https, for=\"[2001:db8::1]\", {own}\r\n"),
        ),
        ("forwarded", "Forwarded: for=\"_x, for=192.0.2.1\r\n", &format!("Forwarded: for=192.0.2.1, {own}\r\n")),
        (
            "forwarded",
            "Forwarded: for=192.0.2.1;host=\"a,b\"\r\n",
            &format!("Forwarded: for=192.0.2.1;host=\"a,b\", {own}\r\n"),
        ),
        ("forwarded", "Forwarded: nonsense\r\n", &format!("Forwarded: {own}\r\n")),
    ];
    for (key, sent, got) in table {
        let settings = format!("trusted_proxies: [10.0.0.0/8, 127.0.0.0/24]\n{}", only(&[key]));
        assert_eq!(forwarded(IPV4, &settings, sent), got, "{sent}");
    }
}

#[test]
fn a_request_has_one_id_that_its_response_and_the_log_have_too() {
    let id_of = |head: &str| {
        let mut ids = head.lines().filter_map(|line| line.strip_prefix("X-Request-Id: "));
        let id = ids.next().map(str::to_string);
        assert_eq!(ids.next(), None, "{head}");
        id
    };
    // Settings, what the client sends, and what the id is; "" is a new one.
    let table = [
        ("request_id: none", "X-Request-Id: abc\r\n", Some("abc")),
        ("request_id: none", "", None),
        ("request_id: make", "X-Request-Id: abc\r\n", Some("")),
        ("request_id: make\ntrusted_proxies: 127.0.0.1", "X-Request-Id: abc\r\n", Some("")),
        ("request_id: keep", "X-Request-Id: abc\r\n", Some("")),
        ("request_id: keep\ntrusted_proxies: 127.0.0.1", "X-Request-Id: abc\r\n", Some("abc")),
        ("request_id: keep\ntrusted_proxies: 127.0.0.1", "X_Request_Id: abc\r\n", Some("")),
        ("request_id: keep\ntrusted_proxies: 127.0.0.1", "X-Request-Id: a,b\r\n", Some("")),
        ("request_id: keep\ntrusted_proxies: 127.0.0.1", "X-Request-Id: a\r\nX-Request-Id: b\r\n", Some("")),
    ];
    for (settings, sent, expected) in table {
        let ((origin, heads), lines) = (exact(), Lines::new());
        let log = format!("access_log: {}\naccess_log_format: json\n", lines.path().display());
        let plb = Plb::http(&format!("{log}{settings}\nrequest_id_in_response: true"), &[origin.address()]);
        let mut client = Client::connect(plb.web());
        let responses = [(); 2].map(|()| {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{sent}\r\n"));
            client.response()
        });
        let (heads, lines) = (locked(&heads), lines.wait_for(2));
        let ids = [0, 1].map(|number| id_of(&heads[number]));
        match expected {
            Some("") => {
                assert_ne!(ids[0], ids[1], "{settings}: each request has its own");
                let id = ids[0].as_deref().expect("there is one");
                assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{settings}: {id}");
            }
            expected => assert_eq!(ids[0].as_deref(), expected, "{settings}"),
        }
        for ((response, line), id) in responses.iter().zip(&lines).zip(&ids) {
            let given = id.as_deref().filter(|_| !settings.ends_with("none"));
            assert_eq!(response.field("x-request-id"), given, "{settings}");
            let logged = given.map_or("null".to_string(), |id| format!("\"{id}\""));
            assert!(line.ends_with(&format!(",\"request_id\":{logged}}}")), "{line}");
        }
    }
    let origin = Origin::http(|_| b"HTTP/1.1 200 OK\r\nX-Request-Id: of-backend\r\nContent-Length: 0\r\n\r\n".to_vec());
    let plb = Plb::http("request_id: make", &[origin.address()]);
    assert_eq!(get(plb.web(), "/").field("x-request-id"), Some("of-backend"), "the client is not told otherwise");
    let first = [(); 2].map(|()| {
        let plb = Plb::http("request_id: make\nrequest_id_in_response: true", &[origin.address()]);
        get(plb.web(), "/").field("x-request-id").map(str::to_string)
    });
    assert!(first[0] != first[1] && first.iter().flatten().all(|id| id.len() == 32), "{first:?}");
}

#[test]
fn the_log_shows_the_client_that_a_trusted_proxy_tells_of() {
    let origin = Origin::named("one");
    let shown = |format: &str, settings: &str| {
        let lines = Lines::new();
        let log = format!("access_log: {}\naccess_log_format: {format}\n{settings}", lines.path().display());
        let plb = Plb::http(&log, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9, 192.0.2.1, 127.0.0.9\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        lines.wait_for(1)[0].clone()
    };
    let trusted = "trusted_proxies: 127.0.0.0/8";
    assert_eq!(shown("plb", trusted).split(' ').nth(1), Some("192.0.2.1"));
    assert!(shown("combined", trusted).starts_with("192.0.2.1 - - ["));
    assert!(shown("json", trusted).contains("\"client\":\"192.0.2.1\","));
    assert!(shown("combined", "").starts_with("127.0.0.1 - - ["));
}

#[test]
fn a_location_that_names_the_backend_leads_back_to_plb_and_any_other_stays() {
    // What the backend says of `HERE`, which is itself, and what the client gets.
    let table = [
        ("http://HERE/x?y#z", "/x?y#z"),
        ("http://HERE", "/"),
        ("HTTP://HERE/", "/"),
        ("http://b1:PORT/x", "/x"),
        ("//HERE/x", "/x"),
        ("http://HERE//evil.test", "/.//evil.test"),
        ("http://HERE/\\evil.test", "/./\\evil.test"),
        ("https://HERE/x", "https://HERE/x"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x"),
        ("http://127.0.0.1/x", "http://127.0.0.1/x"),
        ("http://HERE@evil.test/", "http://HERE@evil.test/"),
        ("http://HERE.evil.test/", "http://HERE.evil.test/"),
        ("http://evil.test/?HERE", "http://evil.test/?HERE"),
        ("http://HERE/\t/evil.test", "http://HERE/\t/evil.test"),
        ("/x", "/x"),
        ("x", "x"),
    ];
    let here = Arc::<Mutex<Option<SocketAddr>>>::default();
    let filled = |text: &str, here: SocketAddr| {
        text.replace("HERE", &here.to_string()).replace("PORT", &here.port().to_string())
    };
    let origin = Origin::http({
        let here = Arc::clone(&here);
        move |request| {
            let number: usize = request.target()[1..].parse().expect("a number");
            let here = locked(&here).expect("it is known");
            let value = table[number].0.replace("HERE", &here.to_string()).replace("PORT", &here.port().to_string());
            let fields = format!("Location: {value}\r\nA: b\r\ncontent-location: {value}\r\n");
            format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n{fields}\r\n").into_bytes()
        }
    });
    *locked(&here) = Some(origin.address());
    for (settings, column) in [("", 1), ("rewrite_location: false", 0)] {
        let plb = Plb::http(settings, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        for (number, (said, becomes)) in table.into_iter().enumerate() {
            let expected = filled([said, becomes][column], origin.address());
            let response = client.get(&format!("/{number}"));
            assert_eq!(response.field("location"), Some(expected.as_str()), "{said}");
            assert_eq!(response.field("content-location"), Some(expected.as_str()), "{said}");
            assert_eq!(response.field("a"), Some("b"));
        }
    }
}

#[test]
fn an_error_page_is_shown_instead_of_plbs_own_words_and_head_gets_its_length_only() {
    let directory = tempfile::tempdir().expect("there is room for a file");
    let page = directory.path().join("sorry.html");
    std::fs::write(&page, "<p>Back soon.</p>").expect("there is room for a file");
    let nobody = Reservation::new();
    let plb = Plb::http(&format!("error_pages: {{ 503: {} }}", page.display()), &[nobody.address()]);
    std::fs::remove_file(&page).expect("it is there");
    let mut client = Client::connect(plb.web());
    let shown = client.get("/");
    assert_eq!((shown.status(), shown.text().as_str()), (503, "<p>Back soon.</p>"));
    assert_eq!(shown.field("content-type"), Some("text/html"));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD").expect("a head");
    assert_eq!((head.status(), head.field("content-length")), (503, Some("17")));
    client.send("GET /# HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().text().contains("<h1>400 Bad Request</h1>"), "other statuses have plb's words");
}

/// A listener with these routes before its pool `web`.
fn with_routes(settings: &str, routes: &str, backend: SocketAddr) -> Plb {
    let yaml = configuration("http", settings, &[backend]);
    Plb::start(&yaml.replacen("    pool: web\n", &format!("    pool: web\n    routes: {routes}\n"), 1))
}

#[test]
fn what_a_route_took_off_the_path_is_put_back_where_it_took_something() {
    let origin = Origin::http(|request| {
        let value = request.field("x-say").unwrap_or("");
        format!("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: {value}\r\n\r\n").into_bytes()
    });
    let routes = "[{ replace_prefix: { from: \"/app\", to: \"/v 1\" }, pool: web }]";
    let plb = with_routes("", routes, origin.address());
    let dropping = "[{ response_headers: { remove: [Location] }, pool: web }]";
    let other = with_routes("", dropping, origin.address());
    let here = format!("http://{}", origin.address());
    let mut client = Client::connect(plb.web());
    for (target, said, becomes) in [
        ("/app/x", "/v%201/login?y", "/app/login?y"),
        ("/app/x", &format!("{here}/v%201"), "/app"),
        ("/app/x", &format!("{here}/other"), "/other"),
        ("/app/x", "/v%2010", "/v%2010"),
        ("/app/x", "http://evil.test/v%201/x", "http://evil.test/v%201/x"),
        ("/other", "/v%201/login", "/v%201/login"),
        ("/other", &format!("{here}/v%201/login"), "/v%201/login"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Say: {said}\r\n\r\n"));
        assert_eq!(client.response().field("location"), Some(becomes), "{target}: {said}");
    }
    let mut client = Client::connect(other.web());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Say: {here}/x\r\n\r\n"));
    assert_eq!(client.response().field("location"), None, "what a route removes does not come back");
}

#[test]
fn a_rule_for_an_address_asks_whom_trusted_proxies_name_and_nobody_else() {
    let origin = Origin::named("one");
    let routes = "[{ match: { client: 192.0.2.0/24 }, deny: true }]";
    let status = |settings: &str, chain: &str| {
        let plb = with_routes(settings, routes, origin.address());
        let mut client = Client::connect(plb.web());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {chain}\r\n\r\n"));
        client.response().status()
    };
    let trusted = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]";
    assert_eq!(status(trusted, "192.0.2.1"), 403);
    assert_eq!(status(trusted, "203.0.113.1, 192.0.2.1, 10.0.0.9"), 403);
    assert_eq!(status(trusted, "192.0.2.1, 203.0.113.1"), 200, "the client's own word is believed by no proxy");
    assert_eq!(status(trusted, "192.0.2.1, x"), 200, "what cannot be read ends the chain");
    assert_eq!(status("", "192.0.2.1"), 200);
}
