//! Proves that clients are led back to the backend that served them, by every type of affinity, and that neither side sees
//! what is between plb and the other one.

use crate::harness::client::Client;
use crate::harness::{Message, Origin, PATIENCE, Plb, configuration, poll_until};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;

/// The ids of the backends b1 and b2: how their SHA-256 sums begin.
const B1: &str = "7dc96f77";
const B2: &str = "4814d920";
/// What stands behind the value of an inserted cookie.
const ATTRIBUTES: &str = "; Path=/; HttpOnly; SameSite=Lax";

/// Answers with its name, and sets what the request asks it to set.
fn origin(name: &'static str) -> Origin {
    Origin::http(move |request| answer(name, request))
}

fn answer(name: &str, request: &Message) -> Vec<u8> {
    let mut fields = String::new();
    for (wish, field) in [("x-set", "Set-Cookie"), ("x-cache", "Cache-Control"), ("x-sid", "Sid")] {
        request.all(wish).iter().for_each(|value| fields += &format!("{field}: {value}\r\n"));
    }
    format!("HTTP/1.1 200 OK\r\nDate: D\r\n{fields}Content-Length: {}\r\n\r\n{name}", name.len()).into_bytes()
}

/// Two origins behind a plb.
struct Cast {
    one: Origin,
    two: Origin,
    plb: Plb,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    who: String,
    /// The `Cookie` lines that the origin got.
    got: Vec<String>,
    /// The `Set-Cookie` lines that the client got.
    set: Vec<String>,
    cache_control: Vec<String>,
}

fn with_affinity(affinity: &str, yaml: &str) -> String {
    yaml.replace("    backends:\n", &format!("    affinity: {{ {affinity} }}\n    backends:\n"))
}

impl Cast {
    fn new(affinity: &str) -> Cast {
        Cast::with_settings(affinity, "")
    }

    fn with_settings(affinity: &str, settings: &str) -> Cast {
        let (one, two) = (origin("b1"), origin("b2"));
        let yaml = configuration("http", settings, &[one.address(), two.address()]);
        let plb = Plb::start(&with_affinity(affinity, &yaml));
        Cast { one, two, plb }
    }

    /// A GET with these lines, on a connection of its own.
    fn ask(&self, target: &str, lines: &[&str]) -> Outcome {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut client = Client::connect(self.plb.web());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: plb.test\r\n{lines}\r\n"));
        let response = client.response();
        let texts = |message: &Message, name: &str| message.all(name).iter().map(|text| text.to_string()).collect();
        let who = response.text();
        let origin = if who == "b1" { &self.one } else { &self.two };
        let got = origin.seen(|seen| texts(seen.requests.last().expect("it answered one"), "cookie"));
        Outcome { who, got, set: texts(&response, "set-cookie"), cache_control: texts(&response, "cache-control") }
    }

    fn who(&self, target: &str, lines: &[&str]) -> String {
        self.ask(target, lines).who
    }

    /// Who answers so many requests that are alike.
    fn each(&self, count: usize, target: &str, lines: &[&str]) -> String {
        let names: Vec<String> = (0..count).map(|_| self.who(target, lines)).collect();
        names.join(" ")
    }
}

/// The cookie that a client keeps of a `Set-Cookie` line.
fn kept(set: &str) -> String {
    format!("Cookie: {}", set.split(';').next().expect("there is a first part"))
}

#[test]
fn an_inserted_cookie_leads_back_and_stays_between_plb_and_the_client() {
    let cast = Cast::new("type: insert_cookie, name: S");
    let table: [(&[&str], &str, &[&str]); 12] = [
        (&[], "", &[]),
        (&["Cookie: S=B1"], "b1", &[]),
        (&["Cookie: S=B2"], "b2", &[]),
        (&["Cookie: S=\"B2\""], "b2", &[]),
        (&["Cookie: x=1; S=B2; y=2"], "b2", &["x=1; y=2"]),
        (&["Cookie: x=1", "Cookie: S=B1", "Cookie: y=2; S=B2"], "b1", &["x=1", "y=2"]),
        (&["Cookie: S=nobody; S=B2"], "b2", &[]),
        (&["Cookie: S=nobody"], "", &[]),
        (&["Cookie: S="], "", &[]),
        (&["Cookie: S=B1~v"], "", &[]),
        (&["Cookie: s=B1; SS=B2"], "", &["s=B1; SS=B2"]),
        (&["Cookie: T=B1"], "", &["T=B1"]),
    ];
    for (lines, who, got) in table {
        let named = |text: &str| text.replace("B1", B1).replace("B2", B2);
        let lines: Vec<String> = lines.iter().map(|line| named(line)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let outcome = cast.ask("/", &lines);
        assert_eq!(outcome.got, got.iter().map(|text| named(text)).collect::<Vec<_>>(), "{lines:?}");
        if who.is_empty() {
            let id = if outcome.who == "b1" { B1 } else { B2 };
            assert_eq!(outcome.set, [format!("S={id}{ATTRIBUTES}")], "{lines:?}");
            assert_eq!(outcome.cache_control, ["private"]);
        } else {
            assert_eq!((outcome.who.as_str(), outcome.set, outcome.cache_control), (who, vec![], vec![]), "{lines:?}");
        }
    }
    assert_eq!(cast.each(4, "/", &[]), "b1 b2 b1 b2", "whoever has none takes turns");
}

#[test]
fn exactly_the_cookie_is_taken_from_what_the_backend_gets_and_added_to_what_the_client_gets() {
    let cast = Cast::with_settings(
        "type: insert_cookie, name: S",
        "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false",
    );
    let mut client = Client::connect(cast.plb.web());
    client.send(format!("GET /a HTTP/1.1\r\nHost: h\r\nCookie: a=1; S={B1}\r\nAccept: */*\r\n\r\n"));
    let expected = b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nb1";
    assert_eq!(client.exactly(expected.len()), expected);
    drop(client);
    let fields = cast.one.seen(|seen| seen.requests[0].fields.clone());
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(fields, ["Host: h", "Accept: */*", "Cookie: a=1"]);
    let mut client = Client::connect(cast.plb.web());
    client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-Cache: public, max-age=9\r\n\r\n");
    let response = client.response();
    let fields: Vec<_> = response.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let cookie = format!("Set-Cookie: S={B1}{ATTRIBUTES}");
    let shown = ["Cache-Control: private", &cookie, "Date: D", "Cache-Control: public, max-age=9", "Content-Length: 2"];
    assert_eq!(fields, shown, "what stands first is what a cache believes");
}

#[test]
fn the_settings_of_an_inserted_cookie_do_what_they_say() {
    let all = "secure: true, http_only: false, same_site: none, path: /app, domain: plb.test";
    let cast = Cast::new(&format!("type: insert_cookie, name: S, indirect: false, private: false, {all}"));
    let outcome = cast.ask("/", &[]);
    assert_eq!(outcome.set, [format!("S={B1}; Path=/app; Domain=plb.test; Secure; SameSite=None")]);
    assert_eq!(outcome.cache_control, [""; 0]);
    let line = format!("Cookie: S={B2}; x=1");
    assert_eq!(cast.ask("/", &[&line]).got, [&line[8..]], "the backend gets it as it is");
}

#[test]
fn a_shared_cache_is_told_only_where_it_might_keep_the_response() {
    let cast = Cast::new("type: insert_cookie, name: S");
    for fine in ["private", "max-age=9, PRIVATE", "no-store", "no-cache,no-store"] {
        assert_eq!(cast.ask("/", &[&format!("X-Cache: {fine}")]).cache_control, [fine]);
    }
    for open in ["max-age=9", "no-cache", "private=\"x\"", "public"] {
        assert_eq!(cast.ask("/", &[&format!("X-Cache: {open}")]).cache_control, ["private", open]);
    }
    let mut client = Client::connect(cast.plb.web());
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().field("cache-control"), None, "no cache keeps the answer to a PUT");
}

#[test]
fn no_backend_can_set_the_cookie_that_plb_inserts() {
    let cast = Cast::new("type: insert_cookie, name: S");
    let wishes = ["X-Set: S=app; Path=/", "X-Set: other=1", "X-Set: S=; Max-Age=0", "X-Set: s=2"];
    let outcome = cast.ask("/", &wishes);
    assert_eq!(outcome.set, [format!("S={B1}{ATTRIBUTES}").as_str(), "other=1", "s=2"]);
    let outcome = cast.ask("/", &[&wishes[..], &[&format!("Cookie: S={B2}")]].concat());
    assert_eq!((outcome.who.as_str(), outcome.set), ("b2", vec!["other=1".to_string(), "s=2".to_string()]));
}

#[test]
fn a_signed_cookie_cannot_be_made_up() {
    let affinity = |secret: &str| format!("type: insert_cookie, name: S, secret: \"{secret}\"");
    let cast = Cast::new(&affinity("0123456789abcdef"));
    let set = cast.ask("/", &[]).set.remove(0);
    let cookie = kept(&set);
    assert_eq!(cookie.len(), "Cookie: S=".len() + 8 + 1 + 32, "{cookie}");
    assert!(cookie.starts_with(&format!("Cookie: S={B1}.")), "{cookie}");
    assert_eq!(cast.each(3, "/", &[&cookie]), "b1 b1 b1");
    assert_eq!(cast.ask("/", &[&cookie]).set, [""; 0]);
    let other = cookie.replace(B1, B2);
    let changed = format!("{}{}", &cookie[..cookie.len() - 1], if cookie.ends_with('0') { '1' } else { '0' });
    let bare = format!("Cookie: S={B1}");
    for forged in [&other, &changed, &bare, &cookie[..cookie.len() - 1], &format!("{cookie}0"), "Cookie: S=."] {
        let outcome = cast.ask("/", &[forged]);
        assert_eq!((outcome.set.len(), outcome.got.len()), (1, 0), "{forged}: it is as if there were none");
    }
    let stranger = Cast::new(&affinity("0123456789abcdeF"));
    assert_eq!(stranger.ask("/", &[&cookie]).set.len(), 1, "another secret");
}

#[test]
fn two_nodes_understand_each_others_cookies_whatever_the_order_of_the_backends() {
    for kind in ["insert_cookie, name: S", "insert_cookie, name: S, secret: 0123456789abcdef", "prefix_cookie, name: S"]
    {
        let cast = Cast::new(&format!("type: {kind}"));
        let yaml = configuration("http", "", &[cast.two.address(), cast.one.address()]);
        let yaml = yaml.replace("name: b1", "name: b0").replace("name: b2", "name: b1").replace("name: b0", "name: b2");
        let twin = Plb::start(&with_affinity(&format!("type: {kind}"), &yaml));
        let other = Cast { one: origin("unused"), two: origin("unused"), plb: twin };
        for _ in 0..3 {
            let outcome = cast.ask("/", &["X-Set: S=app"]);
            let cookie = kept(&outcome.set[0]);
            let mut client = Client::connect(other.plb.web());
            client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{cookie}\r\n\r\n"));
            let response = client.response();
            assert_eq!((response.text(), response.field("set-cookie")), (outcome.who, None), "{kind}");
        }
    }
}

#[test]
fn a_prefix_goes_to_the_client_and_comes_back_to_plb_alone() {
    let cast = Cast::new("type: prefix_cookie, name: S");
    let set = cast.ask("/", &["X-Set: a=1", "X-Set: S=app1; Path=/; HttpOnly", "X-Set: s=2"]).set;
    assert_eq!(set, ["S=B1~app1; Path=/; HttpOnly".replace("B1", B1).as_str(), "a=1", "s=2"]);
    assert_eq!(cast.ask("/", &[]).set, [""; 0]);
    let table = [
        ("S=B2~v1", "b2", "S=v1"),
        ("x=1; S=B2~v1; y=2", "b2", "x=1; S=v1; y=2"),
        ("S=\"B1~v 1\"; y", "b1", "S=\"v 1\"; y"),
        ("S=B1~B2~v", "b1", "S=B2~v"),
        ("S=B2~", "b2", "S="),
        ("S=Z~v; S=B2~w", "b2", "S=Z~v; S=w"),
    ];
    for (cookie, who, got) in table {
        let line = format!("Cookie: {cookie}").replace("B1", B1).replace("B2", B2);
        let outcome = cast.ask("/", &[&line]);
        assert_eq!((outcome.who.as_str(), outcome.got), (who, vec![got.replace("B2", B2)]), "{cookie}");
    }
    // What has no id of ours is the application's own, whatever it looks like, and leads nowhere.
    for cookie in ["S=Z~q~r", "S=plain", "S=~v", "S=", &format!("S={B1}"), &format!("T={B1}~v")] {
        let line = format!("Cookie: {cookie}");
        let [first, second] = [(); 2].map(|()| cast.ask("/", &[&line]));
        assert_ne!(first.who, second.who, "{cookie}");
        assert_eq!(first.got, [cookie]);
    }
}

/// A type, two requests (target, field) of one client, one of another, and those that bear no mark.
type Row<'a> = (&'a str, [(&'a str, &'a str); 2], (&'a str, &'a str), &'a [(&'a str, &'a str)]);

#[test]
fn each_mark_leads_its_clients_back() {
    let alice = ["Authorization: Basic YWxpY2U6b25l", "authorization: basic  YWxpY2U6dHdv"];
    let bob = "Authorization: Basic Ym9iOm9uZQ==";
    let table: [Row; 7] = [
        (
            "basic_auth",
            [("/", alice[0]), ("/", alice[1])],
            ("/", bob),
            &[
                ("/", "Authorization: Basic Om9uZQ=="),
                ("/", "Authorization: Basic !"),
                ("/", "Authorization: Bearer YWxpY2U6b25l"),
            ],
        ),
        (
            "url_parameter, name: sid",
            [("/?sid=1&x", "A: b"), ("/other?a=b&sid=1", "A: b")],
            ("/?sid=2", "A: b"),
            &[("/?sid=", "A: b"), ("/?xsid=1", "A: b"), ("/sid=1", "A: b"), ("/?sid", "A: b")],
        ),
        (
            "path_parameter, name: sid",
            [("/a;sid=1?x", "A: b"), ("/b;v=2;sid=1/c", "A: b")],
            ("/a;sid=2", "A: b"),
            &[("/a;sid=", "A: b"), ("/sid=1", "A: b"), ("/a?;sid=1", "A: b")],
        ),
        (
            "path_parameter",
            [("/a;x;1", "A: b"), ("/b;1?x", "A: b")],
            ("/a;2", "A: b"),
            &[("/a;", "A: b"), ("/a", "A: b")],
        ),
        (
            "cookie, name: sid",
            [("/", "Cookie: a=b; sid=1"), ("/", "Cookie: sid=\"1\"")],
            ("/", "Cookie: sid=2"),
            &[("/", "Cookie: sid="), ("/", "Cookie: sid=\"\""), ("/", "Cookie: SID=1")],
        ),
        (
            "header, name: X-User",
            [("/", "X-User: 1"), ("/", "x-user:1 ")],
            ("/", "X-User: 2"),
            &[("/", "X-User: "), ("/", "X-Usr: 1")],
        ),
        ("source", [("/", "A: b"), ("/", "A: c")], ("/", "A: d"), &[]),
    ];
    for (kind, alike, other, unmarked) in table {
        let cast = Cast::new(&format!("type: {kind}"));
        assert_eq!(cast.each(3, alike[0].0, &[alike[0].1]), "b1 b1 b1", "{kind}");
        assert_eq!(cast.each(3, alike[1].0, &[alike[1].1]), "b1 b1 b1", "{kind}: alike");
        if unmarked.is_empty() {
            continue;
        }
        assert_eq!(cast.each(3, other.0, &[other.1]), "b2 b2 b2", "{kind}: another one");
        for (target, line) in unmarked {
            assert_eq!(cast.each(4, target, &[line]), "b1 b2 b1 b2", "{kind}: {target} {line}: nobody's");
        }
    }
}

#[test]
fn what_a_response_tells_binds_the_client_to_who_said_it() {
    let cast = Cast::new("type: cookie, name: sid");
    assert_eq!(cast.who("/", &["X-Set: a=1", "X-Set: sid=new; Path=/", "X-Set: b=2"]), "b1");
    assert_eq!(cast.each(3, "/", &["Cookie: sid=new"]), "b1 b1 b1", "the second of three lines");
    assert_eq!(cast.who("/", &["X-Set: sid=gone; Max-Age=0"]), "b2");
    assert_eq!(cast.who("/", &["Cookie: sid=gone"]), "b1", "whose turn it is: a deletion binds nobody");
    assert_eq!(cast.who("/", &["X-Set: sid=old; Expires=Thu, 01-Jan-1970 00:00:01 GMT"]), "b2");
    assert_eq!(cast.who("/", &["Cookie: sid=old"]), "b1");
    assert_eq!(cast.who("/", &["X-Set: sid="]), "b2");
    let outcome = cast.ask("/", &["Cookie: sid=new", "X-Set: sid=\"next\""]);
    assert_eq!(
        (outcome.who.as_str(), outcome.got, outcome.set),
        ("b1", vec!["sid=new".to_string()], vec!["sid=\"next\"".to_string()])
    );
    assert_eq!(cast.each(2, "/", &["Cookie: sid=next"]), "b1 b1", "a new name for the same session");
    let cast = Cast::new("type: header, name: sid");
    assert_eq!(cast.who("/", &["X-Sid: 7"]), "b1");
    assert_eq!(cast.each(3, "/", &["Sid: 7"]), "b1 b1 b1");
}

#[test]
fn the_listeners_of_a_pool_know_the_same_clients() {
    let (one, two) = (origin("b1"), origin("b2"));
    let yaml = with_affinity("type: header, name: sid", &configuration("http", "", &[one.address(), two.address()]));
    let second = "listeners:\n  - { name: second, listen: \"127.0.0.1:0\", pool: web }\n";
    let plb = Plb::start(&yaml.replace("listeners:\n", second));
    let who = |listener: &str, sid: u32| {
        let mut client = Client::connect(plb.address(listener));
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nSid: {sid}\r\n\r\n"));
        client.response().text()
    };
    assert_eq!([who("web", 1), who("second", 1), who("second", 2), who("web", 2)], ["b1", "b1", "b2", "b2"]);
}

#[test]
fn the_table_forgets_whoever_did_not_come_for_longest() {
    let cast = Cast::new("type: header, name: sid, table_size: 2");
    let who = |sid: &str| cast.who("/", &[&format!("Sid: {sid}")]);
    assert_eq!(["1", "2", "1", "2"].map(who), ["b1", "b2", "b1", "b2"]);
    assert_eq!(who("3"), "b1", "1 is forgotten");
    assert_eq!(who("2"), "b2");
    assert_eq!(who("1"), "b2", "whose turn it is");
}

#[test]
fn the_table_forgets_whoever_did_not_come_for_the_time_to_live() {
    let cast = Cast::new("type: header, name: sid, ttl: 1ms");
    poll_until("two backends for one client", || cast.who("/", &["Sid: 1"]) == "b2");
}

const RETRY: &str = "server_retry: 1\ntimeout_cleanup: 100ms";

#[test]
fn a_client_that_failed_over_stays_where_it_is_when_its_backend_is_back() {
    let mut cast = Cast::with_settings("type: url_parameter, name: sid", RETRY);
    assert_eq!(cast.each(3, "/?sid=1", &[]), "b1 b1 b1");
    assert_eq!(cast.who("/?sid=2", &[]), "b2");
    cast.one.stop();
    assert_eq!(cast.each(3, "/?sid=1", &[]), "b2 b2 b2", "bound anew");
    cast.plb.wait_for_log("backend web/b1: down");
    cast.one.revive();
    cast.plb.wait_for_log("backend web/b1: up");
    assert_eq!(cast.each(3, "/?sid=1", &[]), "b2 b2 b2");
}

#[test]
fn a_cookie_of_a_backend_that_is_down_is_replaced() {
    for kind in ["insert_cookie", "prefix_cookie"] {
        let mut cast = Cast::with_settings(&format!("type: {kind}, name: S"), RETRY);
        cast.one.stop();
        let suffix = if kind == "insert_cookie" { ATTRIBUTES } else { "~app" };
        let value = if kind == "insert_cookie" { B1.to_string() } else { format!("{B1}~old") };
        let old = format!("Cookie: S={value}");
        let outcome = cast.ask("/", &[&old, "X-Set: S=app"]);
        assert_eq!((outcome.who.as_str(), outcome.set), ("b2", vec![format!("S={B2}{suffix}")]));
        assert_eq!(outcome.got, if kind == "insert_cookie" { vec![] } else { vec!["S=old".to_string()] });
        cast.plb.wait_for_log("backend web/b1: down");
        cast.one.revive();
        cast.plb.wait_for_log("backend web/b1: up");
        assert_eq!(cast.each(3, "/", &[&old]), "b1 b1 b1", "whoever still has the old one is led back");
    }
}

#[test]
fn nobody_moves_because_an_idle_connection_was_closed() {
    // Each connection answers once, and closes on the second request.
    let once = |name: &'static str| {
        Origin::raw(move |connection| {
            if let Some(request) = connection.request() {
                drop(connection.send(answer(name, &request)));
                drop(connection.request());
            }
        })
    };
    let (one, two) = (once("b1"), once("b2"));
    let yaml = configuration("http", "", &[one.address(), two.address()]);
    let plb = Plb::start(&with_affinity("type: insert_cookie, name: S", &yaml));
    let mut client = Client::connect(plb.web());
    for _ in 0..4 {
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: S={B1}\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.text().as_str(), response.field("set-cookie")), ("b1", None));
    }
    assert_eq!(two.connections(), 0);
    plb.stop_unmarked();
}

#[test]
fn a_websocket_gets_the_cookie_with_its_101() {
    let origin = Origin::raw(|connection| {
        if connection.request_head().is_some() {
            drop(connection.send("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello"));
        }
    });
    let yaml = configuration("http", "", &[origin.address()]);
    let plb = Plb::start(&with_affinity("type: insert_cookie, name: S", &yaml));
    let mut client = Client::connect(plb.web());
    client.send("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    let head = client.response_head().expect("a head");
    assert_eq!((head.status(), head.field("set-cookie")), (101, Some(format!("S={B1}{ATTRIBUTES}").as_str())));
    assert_eq!(client.exactly(5), b"hello");
}

/// A connection from this address of the loopback network.
fn connect_from(source: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("loopback has it");
    socket.connect_timeout(&to.into(), PATIENCE).expect("somebody listens");
    Client::over(socket.into())
}

#[test]
fn tcp_clients_are_led_back_by_the_network_that_they_come_from() {
    let named = |name: &'static str| Origin::raw(move |connection| drop(connection.send(name)));
    let (one, two) = (named("b1"), named("b2"));
    let yaml = configuration("tcp", "", &[one.address(), two.address()]);
    let plb = Plb::start(&with_affinity("type: source, prefix_v4: 24", &yaml));
    let who = |source: [u8; 4]| String::from_utf8(connect_from(source, plb.web()).exactly(2)).expect("a name");
    assert_eq!([[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 9]].map(who), ["b1"; 3]);
    assert_eq!([[127, 0, 1, 1], [127, 0, 1, 2]].map(who), ["b2"; 2]);
    assert_eq!(who([127, 0, 0, 1]), "b1");
}
