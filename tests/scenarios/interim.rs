//! Proves that interim responses go to clients of HTTP/1.1, as many as there are, and to nobody else; and that a client
//! that waits for one before it sends its body is served whether or not it comes.

use crate::harness::client::Client;
use crate::harness::{Connection, Origin, Plb, alone, ok, poll_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Nothing is added to a request, so that its bytes can be compared.
const PLAIN: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\n";

const FINAL: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nfinal";
const ASKED: &str = "GET / HTTP/1.1\r\nHost: plb.test\r\n\r\n";

/// So many interim responses, of each kind.
fn interim(count: usize) -> String {
    let kinds = ["100 Continue", "102 Processing", "103 Early Hints", "199 Whatever"];
    (0..count)
        .map(|n| format!("HTTP/1.1 {}\r\nLink: </{n}>\r\nX-Number: {n}\r\n\r\n", kinds[n % kinds.len()]))
        .collect()
}

/// Says this for each request, in pieces of so many bytes, each of them a segment.
fn saying(text: String, piece: usize) -> Origin {
    Origin::raw(move |connection: &mut Connection| {
        while connection.request().is_some() {
            if text.as_bytes().chunks(piece).any(|bytes| connection.send(bytes).is_err()) {
                return;
            }
        }
    })
}

#[test]
fn any_number_of_them_reaches_a_client_unchanged_and_in_order() {
    // 5000 of them are more than all the buffers of plb hold.
    for (count, piece) in [(1, 1), (4, 1), (40, 7), (5_000, usize::MAX), (5_000, 1_000)] {
        let all = interim(count) + FINAL;
        let origin = saying(all.clone(), piece);
        let plb = Plb::http(PLAIN, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        for _ in 0..2 {
            client.send(ASKED);
            assert!(client.exactly(all.len()) == all.as_bytes(), "{count} in pieces of {piece}");
        }
        assert_eq!(origin.connections(), 1, "the backend's connection goes on too");
        drop(client);
        plb.stop_unmarked();
        assert_eq!(origin.received_since(0), ASKED.repeat(2).as_bytes());
    }
}

#[test]
fn many_that_grow_on_their_way_all_arrive() {
    // What one read of plb's takes in becomes more than a buffer holds.
    let origin = saying("HTTP/1.1 103 x\r\n\r\n".repeat(5_000) + FINAL, usize::MAX);
    let plb = Plb::http(&format!("{PLAIN}via: true"), &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASKED);
    let wanted = "HTTP/1.1 103 x\r\nVia: 1.1 plb\r\n\r\n".repeat(5_000);
    assert!(client.exactly(wanted.len()) == wanted.as_bytes());
    assert_eq!(client.response().text(), "final");
    plb.stop_unmarked();
}

#[test]
fn a_client_that_takes_them_late_gets_them_all() {
    let _alone = alone();
    let one = format!("HTTP/1.1 103 Early Hints\r\nX-Pad: {}\r\n\r\n", "p".repeat(6_000));
    let (text, sent) = (one.repeat(5_000) + FINAL, Arc::new(AtomicUsize::new(0)));
    let origin = Origin::raw({
        let (text, sent) = (text.clone(), Arc::clone(&sent));
        move |connection| {
            drop(connection.request());
            for piece in text.as_bytes().chunks(100_000) {
                drop(connection.send(piece));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            drop(connection.until_end());
        }
    });
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASKED);
    let (mut before, mut polls) = (0, 0);
    poll_until("all buffers on the way are full", || {
        let now = sent.load(Ordering::Relaxed);
        polls = if now == before { polls + 1 } else { 0 };
        before = now;
        now > 0 && polls > 20
    });
    assert!(before < text.len() / 100_000, "somebody holds 30 megabytes");
    assert!(client.exactly(text.len()) == text.as_bytes());
    plb.stop_unmarked();
}

#[test]
fn none_of_them_reaches_a_client_of_http_1_0() {
    for (count, piece) in [(1, 1), (40, 7), (5_000, usize::MAX)] {
        let origin = saying(interim(count) + FINAL, piece);
        let plb = Plb::http(PLAIN, &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.send("GET / HTTP/1.0\r\nHost: plb.test\r\nConnection: keep-alive\r\n\r\n");
        let wanted = FINAL.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&client.exactly(wanted.len())), wanted);
        client.send("GET / HTTP/1.0\r\nHost: plb.test\r\n\r\n");
        let wanted = FINAL.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&client.until_end().expect("an orderly end")), wanted);
        plb.stop_unmarked();
        assert_eq!(origin.received_since(0), ASKED.repeat(2).as_bytes());
    }
}

#[test]
fn they_come_before_the_answer_to_a_head_too() {
    let origin = saying(interim(3) + FINAL.trim_end_matches("final"), 11);
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        client.send(ASKED.replace("GET", "HEAD"));
        let wanted = interim(3) + FINAL.trim_end_matches("final");
        assert_eq!(String::from_utf8_lossy(&client.exactly(wanted.len())), wanted);
    }
    plb.stop_unmarked();
}

#[test]
fn interim_responses_without_end_gain_no_time_for_a_backend() {
    let origin = Origin::raw(|connection| {
        drop(connection.request());
        while connection.send(interim(1)).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let plb = Plb::http(&format!("{PLAIN}timeout_header_server_read: 400ms\nserver_retry: 1"), &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    let (mut count, mut status) = (0, 100);
    while (100..200).contains(&status) {
        status = client.response().status();
        count += 1;
    }
    assert_eq!(status, 504);
    assert!((2..2_000).contains(&count), "after {count}");
    plb.wait_for_log("down after 1 failure");
    assert_eq!(origin.requests(), 1, "it had answered, so it is not asked again");
}

#[test]
fn a_backend_that_breaks_off_after_an_interim_response_is_not_asked_again() {
    let closing = Origin::raw(|connection| {
        drop(connection.request());
        drop(connection.send(interim(2) + "HTTP/1.1 20"));
    });
    let plb = Plb::http(PLAIN, &[closing.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASKED);
    assert_eq!(client.exactly(interim(2).len()), interim(2).as_bytes());
    assert_eq!(client.response().status(), 502);
    assert_eq!(closing.received_since(0), ASKED.as_bytes());
}

/// A request that waits for 100, and its body.
const EXPECTS: &str = "POST /e HTTP/1.1\r\nHost: plb.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
const EXPECTS_CHUNKED: &str =
    "POST /c HTTP/1.1\r\nHost: plb.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Answers with the body of the request, and with this before it has read that.
fn expecting(go_on: Option<&'static str>) -> Origin {
    Origin::raw(move |connection| {
        while let Some(head) = connection.request_head() {
            drop(connection.send(go_on.unwrap_or_default()));
            let Some(request) = connection.request_body(head) else { return };
            drop(connection.send(ok(&request.text())));
        }
    })
}

#[test]
fn a_client_that_waits_for_100_gets_the_one_of_its_backend_before_it_has_sent_a_byte_of_its_body() {
    const GO_ON: &str = "HTTP/1.1 100 Go on\r\nX-Own: yes\r\n\r\n";
    let origin = expecting(Some(GO_ON));
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for (head, body) in [(EXPECTS, "data"), (EXPECTS_CHUNKED, "4\r\ndata\r\n0\r\n\r\n"), (EXPECTS, "more")] {
        client.send(head);
        assert_eq!(client.exactly(GO_ON.len()), GO_ON.as_bytes());
        client.send(body);
        assert_eq!(client.response().text().len(), 4);
    }
    drop(client);
    plb.stop_unmarked();
    let wanted = [EXPECTS, "data", EXPECTS_CHUNKED, "4\r\ndata\r\n0\r\n\r\n", EXPECTS, "more"].concat();
    assert_eq!(String::from_utf8_lossy(&origin.received_since(0)), wanted);
}

#[test]
fn a_client_that_tires_of_waiting_for_100_is_served_all_the_same() {
    let origin = expecting(None);
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for (head, body) in [(EXPECTS, "data"), (EXPECTS_CHUNKED, "4\r\ndata\r\n0\r\n\r\n")] {
        let before = origin.seen(|seen| seen.bytes());
        client.send(head);
        origin.wait_for("the head", |seen| seen.bytes() == before + head.len() as u64);
        assert!(!client.has_news(Duration::from_millis(50)), "plb makes no 100 of its own");
        client.send(body);
        assert_eq!(client.response().text(), "data");
    }
    drop(client);
    plb.stop_unmarked();
    let wanted = [EXPECTS, "data", EXPECTS_CHUNKED, "4\r\ndata\r\n0\r\n\r\n"].concat();
    assert_eq!(String::from_utf8_lossy(&origin.received_since(0)), wanted);
}

#[test]
fn a_client_that_does_not_wait_for_its_100_gets_it_before_the_answer() {
    let origin = expecting(Some("HTTP/1.1 100 Continue\r\n\r\n"));
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(EXPECTS.to_owned() + "data" + ASKED);
    assert_eq!(client.response().status(), 100);
    assert_eq!(client.response().text(), "data");
    assert_eq!(client.response().status(), 100, "it belongs to the second request");
    assert_eq!(client.response().text(), "");
    plb.stop_unmarked();
}

#[test]
fn an_expectation_of_http_1_0_or_without_a_body_is_not_forwarded_and_another_one_is_refused() {
    let origin = expecting(None);
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(EXPECTS.replace("Content-Length: 4", "Content-Length: 0"));
    assert_eq!(client.response().status(), 200);
    client.send(EXPECTS.replace("HTTP/1.1", "HTTP/1.0") + "data");
    assert_eq!(client.response().text(), "data");
    client.closed();
    let mut client = Client::connect(plb.web());
    client.send(EXPECTS.replace("100-continue", "200-ok"));
    assert_eq!(client.response().status(), 417);
    client.closed();
    plb.stop_unmarked();
    let bare = "POST /e HTTP/1.1\r\nHost: plb.test\r\nContent-Length: ";
    assert_eq!(String::from_utf8_lossy(&origin.received_since(0)), format!("{bare}0\r\n\r\n{bare}4\r\n\r\ndata"));
}
