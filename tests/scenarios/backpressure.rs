//! Proves that a side that does not read costs no memory and nobody else's time.

use crate::harness::client::{Client, bodies};
use crate::harness::{Gate, Origin, Plb, ok};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The length of the bodies that nobody reads.
const BODY: u64 = 200 << 20;

/// What was sent once it is no longer growing, while others are served.
fn settled(sent: &AtomicU64, plb: &Plb) -> u64 {
    loop {
        let before = sent.load(Ordering::SeqCst);
        bodies(plb.web(), 100);
        if before > 0 && sent.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[test]
fn a_response_that_is_not_read_is_not_gathered() {
    let sent = Arc::new(AtomicU64::new(0));
    let origin = Origin::raw({
        let sent = Arc::clone(&sent);
        move |connection| {
            while let Some(request) = connection.request() {
                if request.target() != "/large" {
                    drop(connection.send(ok("small")));
                    continue;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
                let mut ready = connection.send(head);
                while ready.is_ok() && sent.fetch_add(1 << 16, Ordering::SeqCst) < BODY {
                    ready = connection.send([0; 1 << 16]);
                }
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    bodies(plb.web(), 20);
    let before = plb.resident_bytes();
    let mut stalled: Vec<Client> = (0..3).map(|_| Client::connect(plb.web())).collect();
    stalled[0].ask("/large");
    stalled[0].response_head().expect("the response starts");
    let sent = settled(&sent, &plb);
    let grown = plb.resident_bytes().saturating_sub(before);
    assert!(sent < BODY / 2, "{sent} bytes were taken from the origin for a client that does not read");
    assert!(grown < 8 << 20, "plb grew by {grown} bytes");
    assert_eq!(stalled[0].exactly(20 << 20).len(), 20 << 20, "it goes on when the client does");
}

#[test]
fn a_request_that_the_origin_does_not_read_is_not_gathered() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            while let Some(request) = connection.request_head() {
                if request.method() == "POST" {
                    return gate.pass();
                }
                drop(connection.send(ok("small")));
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    bodies(plb.web(), 20);
    let before = plb.resident_bytes();
    let mut client = Client::connect(plb.web());
    client.send(format!("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: {BODY}\r\n\r\n"));
    let sent = Arc::new(AtomicU64::new(0));
    let sending = std::thread::spawn({
        let (sent, mut sender) = (Arc::clone(&sent), client.sender());
        move || while sender.write_all(&[0; 1 << 16]).is_ok() && sent.fetch_add(1 << 16, Ordering::SeqCst) < BODY {}
    });
    let sent = settled(&sent, &plb);
    let grown = plb.resident_bytes().saturating_sub(before);
    assert!(sent < BODY / 2, "{sent} bytes were taken from the client for an origin that does not read");
    assert!(grown < 8 << 20, "plb grew by {grown} bytes");
    gate.open(); // the origin closes, so that the sender fails
    client.half_close();
    sending.join().expect("the sender ends");
}
