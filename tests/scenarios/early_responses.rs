//! Proves that an answer that comes while the client still sends is delivered whole, that no reset destroys it, and that
//! nothing of the half request is ever taken for another one.

use crate::harness::client::{Client, get};
use crate::harness::{Connection, Gate, Origin, PATIENCE, Plb, noise, ok};
use std::io::Write;
use std::thread::JoinHandle;

/// Nothing is added to a request, so that its bytes can be compared.
const PLAIN: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\nserver_retry: 1\n";

const SIZED: &str = "PUT /up HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 5000000\r\n\r\n";
const CHUNKED: &str = "PUT /up HTTP/1.1\r\nHost: plb.test\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends five megabytes beside the test, the last of them when the gate opens, and then what looks like a request;
/// whoever has closed may refuse the rest.
fn send_on(client: &Client, head: &str, gate: &Gate) -> JoinHandle<()> {
    let (mut sender, gate) = (client.sender(), gate.clone());
    let mut bytes = head.as_bytes().to_vec();
    for piece in noise(3, 5_000_000).chunks(50_000) {
        match head == CHUNKED {
            true => bytes.extend_from_slice(&[b"c350\r\n", piece, b"\r\n"].concat()),
            false => bytes.extend_from_slice(piece),
        }
    }
    bytes.extend_from_slice(if head == CHUNKED { b"0\r\n\r\n" } else { b"" });
    bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: plb.test\r\n\r\n");
    std::thread::spawn(move || {
        let (first, last) = bytes.split_at(bytes.len() - 10_000);
        drop(sender.write_all(first));
        gate.pass();
        drop(sender.write_all(last));
    })
}

/// Answers plain requests, and uploads as soon as their head is here; then it goes on as `then` says.
fn hasty(answer: Vec<u8>, then: fn(&mut Connection)) -> Origin {
    Origin::raw(move |connection| {
        while let Some(head) = connection.request_head() {
            if head.method() == "PUT" {
                drop(connection.send(&answer));
                return then(connection);
            }
            drop(connection.request_body(head));
            drop(connection.send(ok("plain")));
        }
    })
}

/// The answer is whole and followed by an orderly end, whichever way the upload is framed, and whether the client's
/// connection has served before.
fn is_delivered(length: usize, then: fn(&mut Connection)) {
    let page = noise(4, length);
    let head = format!("HTTP/1.1 403 No\r\nDate: x\r\nContent-Length: {}\r\n\r\n", page.len());
    let origin = hasty([head.as_bytes(), &page].concat(), then);
    let plb = Plb::http(PLAIN, &[origin.address()]);
    for (upload, is_later) in [(SIZED, false), (SIZED, true), (CHUNKED, false), (CHUNKED, true)] {
        let mut client = Client::connect(plb.web());
        if is_later {
            assert_eq!(client.get("/").text(), "plain");
        }
        let gate = Gate::default();
        let sending = send_on(&client, upload, &gate);
        let answer = client.response_to("PUT").expect("no reset destroys the answer");
        assert_eq!((answer.status(), answer.body == page), (403, true), "it is whole");
        gate.open();
        // Who reads on to the end learns that nothing follows.
        client.closed();
        sending.join().expect("the sender ends");
    }
    origin.wait_for("no connection with half a request is kept", |seen| seen.over() == seen.connections.len());
    let whole =
        origin.seen(|seen| seen.requests.iter().map(|request| request.target().to_string()).collect::<Vec<_>>());
    assert!(whole.iter().all(|target| target == "/"), "half a request, or what followed it, became one: {whole:?}");
    assert_eq!(get(plb.web(), "/").text(), "plain");
    plb.stop_unmarked();
}

#[test]
fn an_answer_of_a_backend_that_reads_no_more_of_the_request_is_delivered() {
    is_delivered(300_000, |connection| drop(connection.until_end()));
}

#[test]
fn an_answer_of_a_backend_that_closes_on_unread_bytes_is_delivered() {
    // Bytes that it has not read make its close a reset, which takes away what has not left yet.
    is_delivered(1_000, |_| {});
}

#[test]
fn an_answer_of_a_backend_that_ends_its_sending_is_delivered() {
    is_delivered(300_000, |connection| {
        connection.half_close();
        drop(connection.until_end());
    });
}

#[test]
fn a_body_that_grows_too_long_gets_413_and_its_backend_never_a_whole_request() {
    let origin = Origin::http(|_| ok("plain"));
    let plb = Plb::http(&format!("{PLAIN}body_max: 100KiB"), &[origin.address()]);
    let mut over = 0;
    for (upload, is_later) in [(SIZED, false), (SIZED, true), (CHUNKED, false), (CHUNKED, true)] {
        let mut client = Client::connect(plb.web());
        if is_later {
            assert_eq!(client.get("/").text(), "plain");
        }
        let before = origin.seen(|seen| seen.bytes());
        let gate = Gate::default();
        let sending = send_on(&client, upload, &gate);
        let answer = client.response_to("PUT").expect("no reset destroys the answer");
        gate.open();
        assert_eq!((answer.status(), answer.field("connection")), (413, Some("close")));
        client.closed();
        sending.join().expect("the sender ends");
        // What is counted later would be taken for bytes of the next one.
        over += usize::from(upload == CHUNKED);
        origin.wait_for("the end of the upload", |seen| seen.over() == over);
        let received = origin.seen(|seen| seen.bytes()) - before;
        assert!(received <= 103_000, "{received} bytes of it were forwarded");
        assert!(upload == CHUNKED || received == 0, "it said that it is too long");
    }
    assert_eq!(origin.requests(), 2, "the plain ones");
    plb.stop_unmarked();
}

#[test]
fn a_client_that_is_refused_while_it_waits_for_100_need_not_send_its_body() {
    let origin = Origin::raw(|connection| {
        while let Some(head) = connection.request_head() {
            let status = if head.field("expect").is_some() { "417 No" } else { "200 OK" };
            drop(connection.send(format!("HTTP/1.1 {status}\r\nDate: x\r\nContent-Length: 2\r\n\r\nno")));
        }
    });
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let asked = "POST /e HTTP/1.1\r\nHost: plb.test\r\nExpect: 100-continue\r\nContent-Length: 41\r\n\r\n";
    let mut client = Client::connect(plb.web());
    client.send(asked);
    assert_eq!(client.response().status(), 417);
    // Nobody can know whether this is the body after all, so it is nothing.
    client.send("GET /smuggled HTTP/1.1\r\nHost: plb.test\r\n\r\n");
    client.closed();
    assert_eq!(String::from_utf8_lossy(&origin.received_since(0)), asked);
    plb.stop_unmarked();
}

#[test]
fn a_request_that_is_completed_during_its_answer_leaves_both_connections_in_step() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            while let Some(head) = connection.request_head() {
                drop(connection.send("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 8\r\n\r\nhalf"));
                gate.pass();
                if connection.request_body(head).is_none() || connection.send("done").is_err() {
                    return;
                }
            }
        }
    });
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let mut sent = Vec::new();
    for number in 0..3 {
        let request = format!("POST /{number} HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 11\r\n\r\n");
        client.send(&request);
        assert_eq!(client.response_head().expect("the answer begins").status(), 200);
        assert_eq!(client.exactly(4), b"half");
        client.send("all of it\r\n");
        gate.open();
        assert_eq!(client.exactly(4), b"done");
        sent.extend_from_slice(format!("{request}all of it\r\n").as_bytes());
    }
    assert_eq!(origin.connections(), 1, "it serves again");
    client.half_close();
    client.closed();
    drop(client);
    plb.stop_unmarked();
    assert_eq!(origin.received_since(0), sent);
}

#[test]
fn who_takes_an_early_answer_late_gets_all_of_it() {
    let page = noise(5, 8_000_000);
    let head = format!("HTTP/1.1 413 Too Much\r\nDate: x\r\nContent-Length: {}\r\n\r\n", page.len());
    let origin = hasty([head.as_bytes(), &page].concat(), |connection| drop(connection.until_end()));
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let gate = Gate::default();
    let sending = send_on(&client, SIZED, &gate);
    // The answer has filled all buffers on the way before it begins to read.
    origin.wait_for("the request", |seen| seen.bytes() > 0);
    assert!(client.has_news(PATIENCE), "the answer begins");
    let answer = client.response_to("PUT").expect("no reset destroys the answer");
    assert!(answer.body == page, "it is whole");
    gate.open();
    client.closed();
    sending.join().expect("the sender ends");
    plb.stop_unmarked();
}

#[test]
fn a_client_that_reads_nothing_before_it_has_sent_everything_gets_its_answer() {
    let origin = hasty(ok("early"), |connection| drop(connection.until_end()));
    let plb = Plb::http(&format!("{PLAIN}body_max: 20MiB"), &[origin.address()]);
    for (length, status) in [(19_000_000, 200), (21_000_000, 413)] {
        let mut client = Client::connect(plb.web());
        client.send(SIZED.replace("5000000", &length.to_string()));
        assert!(client.has_news(PATIENCE), "the answer does not wait");
        // More than all the buffers on the way hold: it has to be taken, although nobody wants it.
        client.send(noise(6, length));
        let answer = client.response_to("PUT").expect("no reset destroys the answer");
        assert_eq!(answer.status(), status);
        client.half_close();
        client.closed();
    }
    plb.stop_unmarked();
}
