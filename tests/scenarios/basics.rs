//! Proves that HTTP messages arrive as they were meant: framing, persistence, order, versions, forwarded fields.

use crate::harness::client::{Client, get};
use crate::harness::{Gate, Message, Origin, Plb, configuration, noise, ok};

/// Says what it received.
fn mirror() -> Origin {
    Origin::http(|request| {
        if request.method() == "HEAD" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec();
        }
        ok(&format!("{} {} {}", request.method(), request.target(), request.text()))
    })
}

fn only_request(origin: &Origin) -> Message {
    assert_eq!(origin.requests(), 1);
    origin.seen(|seen| seen.requests[0].clone())
}

#[test]
fn get_head_and_post_with_both_framings_share_a_connection() {
    let origin = mirror();
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/path?query=1").text(), "GET /path?query=1 ");
    client.send("HEAD /h HTTP/1.1\r\nHost: plb.test\r\n\r\n");
    let head = client.response_to("HEAD").expect("a head");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("1234")));
    client.send("POST /p HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().text(), "POST /p hello");
    client
        .send("POST /c HTTP/1.1\r\nHost: plb.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "POST /c hello world");
    plb.stop_unmarked();
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let origin = Origin::http(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 777\r\n\r\n".to_vec(),
        _ => ok("body"),
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..3 {
        assert_eq!(client.get("/204").status(), 204);
        let not_modified = client.get("/304");
        assert_eq!((not_modified.status(), not_modified.field("etag")), (304, Some("\"x\"")));
        assert_eq!(client.get("/200").text(), "body");
    }
}

#[test]
fn a_client_that_expects_100_is_told_to_continue_by_the_origin() {
    let origin = Origin::raw(|connection| {
        let Some(head) = connection.request_head() else { return };
        if head.field("expect").is_none() || connection.send("HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return;
        }
        let Some(request) = connection.request_body(head) else { return };
        drop(connection.send(ok(&request.text())));
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send("data");
    assert_eq!(client.response().text(), "data");
}

#[test]
fn interim_responses_go_to_1_1_clients_and_not_to_1_0_clients() {
    let origin = Origin::http(|_| [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(), ok("final")].concat());
    let plb = Plb::http("", &[origin.address()]);
    let mut modern = Client::connect(plb.web());
    let hints = modern.get("/");
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a>")));
    assert_eq!(modern.response().text(), "final");
    let mut old = Client::connect(plb.web());
    old.send("GET / HTTP/1.0\r\nHost: plb.test\r\n\r\n");
    let only = old.response();
    assert_eq!((only.status(), only.text().as_str()), (200, "final"));
    old.closed();
}

#[test]
fn a_chunked_response_to_a_1_0_client_is_plain_and_ends_with_the_connection() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nSum: 7\r\n\r\n".to_vec()
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("GET / HTTP/1.0\r\nHost: plb.test\r\n\r\n");
    let head = client.response_head().expect("a head");
    assert_eq!((head.field("transfer-encoding"), head.field("content-length")), (None, None));
    assert_eq!(client.until_end().expect("an orderly end"), b"abcdefg");
}

#[test]
fn chunks_and_trailers_pass_in_both_directions() {
    let origin = Origin::http(|request| {
        let sum = request.trailers.first().map_or("none", |(_, value)| value);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        format!("{head}{:x}\r\n{}\r\n0\r\nX-Sum: {sum}\r\n\r\n", request.body.len(), request.text()).into_bytes()
    });
    let plb = Plb::http("trailers: forward", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        client.send("4\r\nwxyz\r\n0\r\nX-Sum: four\r\n\r\n");
        let response = client.response();
        assert_eq!(response.text(), "wxyz");
        assert_eq!(response.trailers, [("X-Sum".to_string(), "four".to_string())]);
    }
}

#[test]
fn a_response_that_ends_with_the_connection_is_whole_and_a_cut_one_is_not_passed_off_as_whole() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\n\r\nno length"));
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    assert_eq!(get(plb.web(), "/whole").text(), "no length");
    let cut = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"));
        }
    });
    let plb = Plb::http("", &[cut.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    assert!(client.response_to("GET").is_err(), "a cut response is not a whole one");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let origin = mirror();
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let requests: String = (0..40).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: plb.test\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..40 {
        assert_eq!(client.response().text(), format!("GET /{n} "));
    }
}

#[test]
fn a_connection_close_is_honoured_from_either_side() {
    let origin = Origin::http(|request| match request.target() {
        "/origin-closes" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_vec(),
        _ => ok("kept"),
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/origin-closes").text(), "ok");
    assert_eq!(client.get("/").text(), "kept", "the origin's close is not the client's");
    client.send("GET / HTTP/1.1\r\nHost: plb.test\r\nConnection: close\r\n\r\n");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.field("connection")), ("kept", Some("close")));
    client.closed();
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_client_that_ended_its_sending_still_gets_its_answer() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            if connection.request().is_some() {
                gate.pass();
                drop(connection.send(ok("late")));
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    client.half_close();
    origin.wait_for("the request", |seen| seen.requests.len() == 1);
    gate.open();
    assert_eq!(client.response().text(), "late");
    client.closed();
}

#[test]
fn an_ipv6_listener_serves() {
    let origin = mirror();
    let yaml = configuration("http", "", &[origin.address()]).replace("127.0.0.1:0", "[::1]:0");
    let plb = Plb::start(&yaml);
    assert!(plb.web().is_ipv6());
    assert_eq!(get(plb.web(), "/six").text(), "GET /six ");
    assert_eq!(only_request(&origin).field("x-forwarded-for"), Some("::1"));
}

#[test]
fn the_origin_is_told_the_truth_about_the_client_and_no_forgery() {
    let origin = mirror();
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(
        "GET / HTTP/1.1\r\nHost: shop.test:81\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\
         X-FORWARDED-PROTO: https\r\nX-Forwarded-Host: forged.test\r\nX-Other: kept\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let request = only_request(&origin);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop.test:81"]);
    assert_eq!(request.all("host"), ["shop.test:81"]);
    assert_eq!(request.all("x-other"), ["kept"]);
    assert!(request.all("via").is_empty(), "no Via unless it was asked for");
}

#[test]
fn fields_of_one_connection_do_not_cross_to_the_next() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\n\r\nok"
            .to_vec()
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(
        "GET / HTTP/1.1\r\nHost: plb.test\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\n\
         Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nX-End: 1\r\n\r\n",
    );
    let response = client.response();
    let request = only_request(&origin);
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert!(request.all(name).is_empty(), "{name} crossed: {request:?}");
    }
    assert_eq!(request.field("x-end"), Some("1"));
    assert!(response.all("x-hop").is_empty() && response.all("keep-alive").is_empty(), "{response:?}");
    assert_eq!(response.field("x-end"), Some("2"));
}

#[test]
fn via_is_added_in_both_directions_when_it_is_asked_for() {
    let origin = mirror();
    let plb = Plb::http("via: true", &[origin.address()]);
    let response = get(plb.web(), "/");
    assert!(response.field("via").is_some_and(|via| via.starts_with("1.1 ")), "{response:?}");
    let request = only_request(&origin);
    assert!(request.field("via").is_some_and(|via| via.starts_with("1.1 ")), "{request:?}");
}

#[test]
fn a_client_that_gives_its_body_up_after_an_early_answer_gets_the_answer_whole() {
    let answer = noise(9, 5 << 20);
    let body = answer.clone();
    let origin = Origin::raw(move |connection| {
        connection.request_head();
        let head = format!("HTTP/1.1 413 Too Much\r\nContent-Length: {}\r\n\r\n", body.len());
        drop(connection.send([head.as_bytes(), &body].concat()));
        drop(connection.until_end());
    });
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 1000000\r\n\r\nsome");
    assert_eq!(client.response_head().expect("the answer starts").status(), 413);
    client.half_close();
    assert!(client.until_end().expect("an orderly end") == answer, "it is whole");
    plb.stop_unmarked();
}

#[test]
fn more_requests_sent_ahead_than_fit_are_all_answered() {
    let origin = Origin::named("only");
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("GET / HTTP/1.1\r\nHost: plb.test\r\n\r\n".repeat(2000));
    for number in 0..2000 {
        assert_eq!(client.response().text(), "only", "{number}");
    }
}
