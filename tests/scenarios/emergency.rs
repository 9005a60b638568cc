//! Proves that whoever is there for emergencies serves when nobody of a pool lives, and only then.

use std::fmt::Write as _;

use crate::harness::client::{Client, get};
use crate::harness::plb::{PROGRAM, written};
use crate::harness::{Message, Origin, Plb, Reservation, ok};

const STAYS_DOWN: &str = "server_retry: 1\ntimeout_cleanup: 1h\n";

/// A file with a listener `web` of this protocol, with these lines of settings of its own, and these pools.
fn file(settings: &str, protocol: &str, own: &str, pools: &[&str]) -> String {
    let mut text = format!("core_dumps: true\n{settings}listeners:\n  - name: web\n    listen: \"127.0.0.1:0\"\n");
    writeln!(text, "    protocol: {protocol}\n    pool: web").expect("a string takes all");
    own.lines().for_each(|line| writeln!(text, "    {line}").expect("a string takes all"));
    text.push_str("pools:\n");
    pools.iter().for_each(|pool| writeln!(text, "  {pool}").expect("a string takes all"));
    text
}

fn pool(name: &str, more: &str, origin: &Origin) -> String {
    format!("{name}: {{ {more} backends: [\"{}\"] }}", origin.address())
}

/// Sends this on a connection of its own.
fn send(plb: &Plb, request: &str) -> Message {
    let mut client = Client::connect(plb.web());
    client.send(request);
    client.response_to(request.split(' ').next().unwrap_or_default()).expect("an answer")
}

const POST: &str = "POST /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 3\r\n\r\none";

#[test]
fn the_emergency_pool_serves_until_somebody_is_back() {
    let (mut one, sorry) = (Origin::named("one"), Origin::named("sorry"));
    one.stop();
    let web = pool("web", "emergency: sorry,", &one);
    let plb =
        Plb::start(&file("server_retry: 3\ntimeout_cleanup: 200ms\n", "http", "", &[&web, &pool("sorry", "", &sorry)]));
    let mut client = Client::connect(plb.web());
    for _ in 0..4 {
        // Refused at first, and then out.
        assert_eq!(client.get("/").text(), "sorry");
    }
    plb.wait_for_log("down after 3 failures");
    assert_eq!(send(&plb, POST).text(), "sorry", "nothing of it had left");
    one.revive();
    plb.wait_for_log(": up after ");
    assert_eq!(client.get("/").text(), "one", "at once, and on the same connection");
    assert_eq!(get(plb.web(), "/").text(), "one");
    assert_eq!((one.requests(), sorry.requests()), (2, 5));
}

#[test]
fn nobody_is_bound_to_who_helps_out() {
    let (mut one, sorry) = (
        Origin::named("one"),
        Origin::http(|_| b"HTTP/1.1 200 OK\r\nSet-Cookie: APP=1\r\nContent-Length: 5\r\n\r\nsorry".to_vec()),
    );
    for affinity in
        ["type: insert_cookie, name: PLB", "type: prefix_cookie, name: APP", "type: source", "type: cookie, name: APP"]
    {
        one.stop();
        let web = pool("web", &format!("affinity: {{ {affinity} }}, emergency: sorry,"), &one);
        let settings = "server_retry: 1\ntimeout_cleanup: 100ms\n";
        let plb =
            Plb::start(&file(settings, "http", "", &[&web, &pool("sorry", "affinity: { type: source },", &sorry)]));
        let response = get(plb.web(), "/");
        assert_eq!((response.text(), response.all("set-cookie")), ("sorry".into(), vec!["APP=1"]), "{affinity}");
        plb.wait_for_log("down after 1 failure");
        one.revive();
        plb.wait_for_log(": up after ");
        let mut client = Client::connect(plb.web());
        client.send("GET / HTTP/1.1\r\nHost: plb.test\r\nCookie: APP=1\r\n\r\n");
        assert_eq!(client.response().text(), "one", "{affinity}");
    }
}

#[test]
fn a_chain_is_followed_to_whoever_lives() {
    let (mut one, mut two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    one.stop();
    two.stop();
    let (web, second) = (pool("web", "emergency: second,", &one), pool("second", "emergency: third,", &two));
    let plb = Plb::start(&file(STAYS_DOWN, "http", "", &[&web, &second, &pool("third", "", &three)]));
    for _ in 0..3 {
        assert_eq!(get(plb.web(), "/").text(), "three");
    }
    drop(three);
    let responses = [(); 3].map(|()| get(plb.web(), "/").status());
    assert_eq!(responses, [503; 3]);
}

#[test]
fn a_response_of_plbs_own_stands_in_for_the_pool() {
    let nobody = Reservation::new();
    let web = format!(
        "web: {{ backends: [\"{}\"], emergency: {{ respond: {{ status: 200, text: \"back soon\", content_type: text/x, \
         headers: {{ Retry-After: \"60\" }} }} }} }}",
        nobody.address()
    );
    let plb = Plb::start(&file(STAYS_DOWN, "http", "", &[&web]));
    let mut client = Client::connect(plb.web());
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status(), response.text().as_str()), (200, "back soon"), "and the connection is kept");
        assert_eq!((response.field("content-type"), response.field("retry-after")), (Some("text/x"), Some("60")));
    }
    client.send("HEAD / HTTP/1.1\r\nHost: plb.test\r\n\r\n");
    let head = client.response_to("HEAD").expect("an answer");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("9")));
    let response = send(&plb, POST);
    assert_eq!((response.status(), response.text().as_str()), (200, "back soon"));
}

#[test]
fn what_was_sent_and_cannot_be_repeated_gets_no_second_server() {
    let dying = Origin::raw(|connection| {
        drop(connection.request());
        connection.reset();
    });
    let sorry = Origin::named("sorry");
    let web = pool("web", "emergency: sorry,", &dying);
    let plb = Plb::start(&file("server_retry: 100\n", "http", "", &[&web, &pool("sorry", "", &sorry)]));
    assert_eq!(send(&plb, POST).status(), 502);
    assert_eq!(sorry.requests(), 0);
    assert_eq!(get(plb.web(), "/").text(), "sorry", "a GET can be repeated, and nobody else is left");
    assert_eq!((dying.requests(), sorry.requests()), (2, 1));
}

#[test]
fn who_is_denied_never_gets_there() {
    let nobody = Reservation::new();
    let sorry = Origin::named("sorry");
    let web = format!("web: {{ emergency: sorry, backends: [\"{}\"] }}", nobody.address());
    let own =
        "rate_limit: { requests: 1, period: 1h, burst: 4 }\nroutes:\n  - { match: { path: /denied }, deny: true }";
    let plb = Plb::start(&file(STAYS_DOWN, "http", own, &[&web, &pool("sorry", "", &sorry)]));
    assert_eq!(get(plb.web(), "/").text(), "sorry");
    assert_eq!(get(plb.web(), "/denied").status(), 403);
    assert_eq!(send(&plb, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status(), 400);
    let statuses = [(); 3].map(|()| get(plb.web(), "/").status());
    assert_eq!(statuses[2], 429, "{statuses:?}");
    assert_eq!(sorry.requests(), 1 + statuses.iter().filter(|status| **status == 200).count());
}

#[test]
fn a_tcp_client_is_served_by_the_emergency_pool() {
    let (mut main, sorry) = (Origin::echo(), Origin::raw(|connection| drop(connection.send("sorry"))));
    main.stop();
    let web = pool("web", "affinity: { type: source }, emergency: sorry,", &main);
    let settings = "server_retry: 1\ntimeout_cleanup: 200ms\n";
    let plb = Plb::start(&file(settings, "tcp", "", &[&web, &pool("sorry", "", &sorry)]));
    for _ in 0..2 {
        assert_eq!(Client::connect(plb.web()).until_end().expect("an orderly end"), b"sorry");
    }
    main.revive();
    plb.wait_for_log(": up after ");
    let mut client = Client::connect(plb.web());
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
}

#[test]
fn without_failover_it_serves_only_when_nobody_is_up() {
    let (mut one, mut two, sorry) = (Origin::named("one"), Origin::named("two"), Origin::http(|_| ok("sorry")));
    let web = format!(
        "web: {{ failover: false, emergency: sorry, affinity: {{ type: source }}, backends: [\"{}\", \"{}\"] }}",
        one.address(),
        two.address()
    );
    let plb = Plb::start(&file(STAYS_DOWN, "http", "", &[&web, &pool("sorry", "", &sorry)]));
    let from = |last: u8| Client::connect_from([127, 0, 0, last], plb.web()).get("/");
    assert_eq!([1, 2].map(|last| from(last).text()), ["one", "two"]);
    one.stop();
    assert_eq!([from(1).status(), from(1).status()], [503, 503]);
    two.stop();
    assert_eq!(from(2).status(), 200, "the last one went down with it");
    assert_eq!([1, 2, 3].map(|last| from(last).text()), ["sorry", "sorry", "sorry"]);
}

#[test]
fn pools_that_lead_round_in_a_circle_are_no_configuration() {
    let pools = ["web: { emergency: b, backends: [a:1] }", "b: { emergency: web, backends: [a:1] }"];
    let (_directory, path) = written(&file("", "http", "", &pools));
    let output = std::process::Command::new(PROGRAM).arg("--check").arg("-c").arg(path).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("circle: web, b, web"), "{said}");
}
