//! Proves that what is limited for each client holds, lets through what is below it, and is counted.

use crate::harness::client::{Client, get};
use crate::harness::lines::Lines;
use crate::harness::{Origin, Plb, configuration, ok, poll_until};
use crate::limits::summary;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;

/// A file whose listener has this line besides.
fn with_line(settings: &str, line: &str, backends: &[SocketAddr]) -> String {
    configuration("http", settings, backends).replacen("    pool: web\n", &format!("    pool: web\n    {line}\n"), 1)
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_again_and_others_are_served() {
    let origin = Origin::named("only");
    let limit = "rate_limit: { requests: 1, period: 1h, burst: 3 }";
    let plb = Plb::start(&with_line("", limit, &[origin.address()]));
    let mut client = Client::connect(plb.web());
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "only");
    }
    let refused = client.get("/");
    assert_eq!(refused.status(), 429);
    let seconds: u64 = refused.field("Retry-After").expect("a time").parse().expect("seconds");
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(client.get("/").status(), 429, "the connection is kept");
    assert_eq!(get(plb.web(), "/").status(), 429, "another connection is no other client");
    assert_eq!(origin.requests(), 3);
    assert_eq!(Client::connect_from([127, 0, 0, 2], plb.web()).get("/").text(), "only");
    assert!(summary(&plb).contains("listener web: refused 3 rate"), "{}", summary(&plb));
    plb.stop_unmarked();
}

#[test]
fn a_client_that_waits_is_served_again() {
    let origin = Origin::named("only");
    let limit = "rate_limit: { requests: 1, period: 100ms }";
    let plb = Plb::start(&with_line("", limit, &[origin.address()]));
    let mut client = Client::connect(plb.web());
    let (mut refused, mut served) = (0, 0);
    poll_until("many are refused, and some are served", || {
        match client.get("/").status() {
            200 => served += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
        served >= 5 && refused >= 5
    });
}

#[test]
fn what_is_refused_for_the_rate_ends_no_connection_in_a_reset() {
    let origin = Origin::named("only");
    let plb = Plb::start(&with_line("", "rate_limit: { requests: 1, period: 1h }", &[origin.address()]));
    assert_eq!(get(plb.web(), "/").status(), 200);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(client.response_to("POST").expect("an answer").status(), 429);
    // Where the next request would begin is not certain.
    client.closed();
    assert_eq!(origin.requests(), 1);
}

#[test]
fn the_last_request_of_a_connection_is_answered_with_its_end() {
    let origin = Origin::named("only");
    let plb = Plb::http("max_requests: 3", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        assert_ne!(client.get("/").field("Connection"), Some("close"));
    }
    client.send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.field("Connection")), ("only", Some("close")));
    // What is sent behind it is no request, and brings no reset.
    drop(client.try_send("GET /5 HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.closed();
    assert_eq!(origin.requests(), 3);
    let mut client = Client::connect(plb.web());
    (0..3).for_each(|_| assert_eq!(client.get("/").text(), "only"));
    plb.stop_unmarked();
}

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    let origin = Origin::named("only");
    let plb = Plb::http("max_clients_per_address: 2", &[origin.address()]);
    let mut two = [Client::connect(plb.web()), Client::connect(plb.web())];
    two.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only"));
    let third = Client::try_connect_from([127, 0, 0, 1], plb.web());
    assert!(third.and_then(|mut client| client.until_end()).is_err(), "a reset");
    plb.wait_for_log("listener web: 127.0.0.1 has max_clients_per_address (2) connections, more are reset");
    assert_eq!(Client::connect_from([127, 0, 0, 2], plb.web()).get("/").text(), "only", "that is another client");
    two.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only", "who is in stays"));
    let [first, mut second] = two;
    drop(first);
    poll_until("there is room again", || {
        let Ok(mut client) = Client::try_connect_from([127, 0, 0, 1], plb.web()) else { return false };
        drop(client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response_to("GET").is_ok_and(|response| response.text() == "only")
    });
    assert_eq!(second.get("/").text(), "only");
    assert!(summary(&plb).contains(" crowd"), "{}", summary(&plb));
}

#[test]
fn a_trusted_proxy_has_as_many_connections_as_it_likes() {
    let origin = Origin::named("only");
    let settings = "max_clients_per_address: 1\ntrusted_proxies: [127.0.0.2]";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut many: Vec<Client> = (0..5).map(|_| Client::connect_from([127, 0, 0, 2], plb.web())).collect();
    many.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "only"));
}

#[test]
fn a_body_that_drips_is_cut_off_and_one_that_is_fast_enough_is_not() {
    let origin = Origin::http(|request| ok(&request.body.len().to_string()));
    let strict = Plb::http("min_body_rate: 1KiB", &[origin.address()]);
    let lenient = Plb::http("min_body_rate: 10", &[origin.address()]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let [mut dripping, mut steady] = [Client::connect(strict.web()), Client::connect(lenient.web())];
    dripping.send(head);
    steady.send(head);
    let mut sent = 0;
    while !dripping.has_news(Duration::from_millis(20)) {
        // 50 bytes a second, about.
        drop(dripping.try_send("x"));
        steady.send("x");
        sent += 1;
        assert!(sent < 1_000, "the drip goes on");
    }
    assert_eq!(dripping.response_to("POST").expect("an answer").status(), 408);
    for _ in 0..50 {
        assert!(!steady.has_news(Duration::from_millis(20)), "it is fast enough");
        steady.send("x");
    }
    steady.send("x".repeat(100_000 - sent - 50));
    assert_eq!(steady.response_to("POST").expect("an answer").text(), "100000");
    assert!(summary(&strict).contains("listener web: refused 1 slow_body"), "{}", summary(&strict));
    assert!(summary(&lenient).contains("listener web: refused nothing"), "{}", summary(&lenient));
}

#[test]
fn every_refusal_is_counted_by_its_cause() {
    let origin = Origin::named("only");
    let plb = Plb::http("body_max: 10\nhead_max: 1KiB\ntimeout_header_client_read: 100ms", &[origin.address()]);
    let long = "x".repeat(2_000);
    let requests = [
        (400, "GET / HTTP/1.1\r\n\r\n".to_string()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n".to_string()),
        (405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_string()),
        (414, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")),
        (413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_string()),
        (413, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n".to_string()),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_string()),
        (408, "GET / HTTP/1.1\r\nHo".to_string()),
    ];
    for (status, request) in requests {
        let mut client = Client::connect(plb.web());
        client.send(&request);
        assert_eq!(client.response().status(), status, "{request}");
    }
    assert_eq!(get(plb.web(), "/").status(), 200);
    let expected = "listener web: refused 2 malformed, 1 method, 1 target_too_long, 1 head_too_large, \
                    2 body_too_large, 1 unsupported, 1 slow_head";
    assert!(summary(&plb).contains(expected), "{}", summary(&plb));
}

/// Aladdin's password is "open sesame", Cassim's is his name.
const USERS: &str = "# who knows the word\n\
    Aladdin:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n\
    Cassim:$6$rounds=1000$abc$yfvxxyTyNsDD0ZeBQqm56d1UQBZFZUr1syNJCCkXLjNftOreor.KFz6FScbtxuefCR7uOq88zmwtfy/5CAapl1\n";
/// RFC 7617 section 2.
const ALADDIN: &str = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
const CASSIM: &str = "Authorization: Basic Q2Fzc2ltOkNhc3NpbQ==\r\n";

/// A cave that needs a password, with a path before it that does not.
fn cave(settings: &str, auth: &str, origin: &Origin) -> (Plb, TempDir) {
    let directory = TempDir::new().expect("there is room");
    let file = directory.path().join("users");
    fs::write(&file, USERS).expect("there is room");
    let line = format!(
        "routes:\n      - match: {{ path: /outside }}\n        pool: web\n      - pool: web\n        \
         basic_auth: {{ realm: \"The cave\", file: \"{}\"{auth} }}",
        file.display()
    );
    (Plb::start(&with_line(settings, &line, &[origin.address()])), directory)
}

fn asking(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_route_with_a_password_lets_in_who_has_it_and_keeps_it_from_the_backend() {
    let (origin, lines) = (Origin::named("treasure"), Lines::new());
    let settings = format!("access_log: {}\naccess_log_format: combined", lines.path().display());
    let (plb, _users) = cave(&settings, "", &origin);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/outside").text(), "treasure");
    for wrong in ["", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2Ft\r\n", "Authorization: Bearer x\r\n"] {
        client.send(asking(wrong));
        let refused = client.response();
        let challenge = refused.field("WWW-Authenticate");
        assert_eq!((refused.status(), challenge), (401, Some("Basic realm=\"The cave\", charset=\"UTF-8\"")));
    }
    client.send(asking(&format!("{ALADDIN}{ALADDIN}")));
    assert_eq!(client.response().status(), 401, "two are none");
    assert_eq!(origin.requests(), 1);
    for right in [ALADDIN, CASSIM, ALADDIN] {
        client.send(asking(right));
        assert_eq!(client.response().text(), "treasure");
    }
    origin.seen(|seen| assert!(seen.requests.iter().all(|request| request.field("Authorization").is_none())));
    assert!(summary(&plb).contains("listener web: refused 4 unauthorized"), "{}", summary(&plb));
    let lines = lines.wait_for(8);
    assert!(lines[6].contains(" - Cassim [") && lines[7].contains(" - Aladdin ["), "{lines:?}");
    assert!(lines[0].contains(" - - ["), "{lines:?}");
}

#[test]
fn a_password_is_forwarded_by_setting() {
    let origin = Origin::named("treasure");
    let (plb, _users) = cave("", ", forward: true", &origin);
    let mut client = Client::connect(plb.web());
    client.send(asking(ALADDIN));
    assert_eq!(client.response().text(), "treasure");
    let forwarded = origin.seen(|seen| seen.requests[0].field("Authorization").map(str::to_string));
    assert_eq!(forwarded.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
}

#[test]
fn a_storm_of_wrong_passwords_stops_neither_the_loop_nor_who_is_in() {
    let origin = Origin::named("treasure");
    let (plb, _users) = cave("", "", &origin);
    let mut inside = Client::connect(plb.web());
    inside.send(asking(ALADDIN));
    assert_eq!(inside.response().text(), "treasure");
    let mut storm = Client::connect(plb.web());
    let (mut busy, mut wrong) = (0, 0);
    for number in 0_u32.. {
        let other = STANDARD.encode(format!("Aladdin:{number}"));
        storm.send(asking(&format!("Authorization: Basic {other}\r\n")));
        let refused = storm.response();
        match refused.status() {
            401 => wrong += 1,
            429 => {
                assert_eq!(refused.field("Retry-After"), Some("1"));
                busy += 1;
            }
            other => panic!("{other}"),
        }
        if busy == 100 {
            break;
        }
        assert!(wrong < 10_000, "all of them are verified");
    }
    inside.send(asking(ALADDIN));
    assert_eq!(inside.response().text(), "treasure", "who is in is not verified again");
    assert_eq!(get(plb.web(), "/outside").text(), "treasure");
    let told = summary(&plb);
    assert!(told.contains(&format!("{wrong} unauthorized, 100 verifications")), "{told}");
}

#[test]
fn a_rate_limit_of_a_route_holds_for_what_takes_it() {
    let origin = Origin::named("only");
    let line = "routes:\n      - match: { path: /dear }\n        pool: web\n        \
                rate_limit: { requests: 1, period: 1h }\n      - match: { path: /denied }\n        deny: true";
    let plb = Plb::start(&with_line("", line, &[origin.address()]));
    let mut client = Client::connect(plb.web());
    assert_eq!([client.get("/dear").status(), client.get("/dear").status()], [200, 429]);
    assert_eq!([client.get("/").status(), client.get("/").status()], [200, 200]);
    assert_eq!(client.get("/denied").status(), 403);
    assert!(summary(&plb).contains("listener web: refused 1 denied, 1 rate"), "{}", summary(&plb));
}
