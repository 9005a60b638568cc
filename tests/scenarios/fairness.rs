//! Proves that nobody's greed and nobody's silence costs others their turn or their place.

use crate::harness::client::{Client, get};
use crate::harness::{Origin, Plb, ok, poll_until};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_flood_of_tiny_requests_on_one_connection_leaves_others_their_turn() {
    let origin = Origin::named("only");
    let plb = Plb::http("", &[origin.address()]);
    let client = Client::connect(plb.web());
    let answers = Arc::new(AtomicU64::new(0));
    let asking = std::thread::spawn({
        let mut asks = client.sender();
        let requests = b"GET / HTTP/1.1\r\nHost: plb.test\r\n\r\n".repeat(400);
        move || while asks.write_all(&requests).is_ok() {}
    });
    let taking = std::thread::spawn({
        let (mut takes, answers) = (client.sender(), Arc::clone(&answers));
        move || {
            while takes.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {
                answers.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for goal in [50, 100] {
        for _ in 0..100 {
            assert_eq!(get(plb.web(), "/").text(), "only");
        }
        poll_until("the flood goes on as well", || answers.load(Ordering::SeqCst) >= goal);
    }
    client.sender().shutdown(Shutdown::Both).expect("the connection stands");
    asking.join().expect("it does not panic");
    taking.join().expect("it does not panic");
    drop(client);
    plb.stop_unmarked();
}

#[test]
fn clients_that_stall_hold_one_place_each_and_no_other() {
    let origin = Origin::http(|request| match request.target() {
        "/large" => ok(&"x".repeat(20 << 20)),
        _ => ok("only"),
    });
    let timeouts = "timeout_header_client_read: 1h\ntimeout_forward_client_read: 1h\ntimeout_forward_client_write: 1h";
    let plb = Plb::http(&format!("max_clients: 5\n{timeouts}"), &[origin.address()]);
    let mut stalled: Vec<Client> = (0..4).map(|_| Client::connect(plb.web())).collect();
    stalled[1].send("GET / HT");
    stalled[2].send("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 5\r\n\r\nhe");
    stalled[3].ask("/large");
    stalled[3].response_head().expect("the response starts");
    for _ in 0..50 {
        assert_eq!(get(plb.web(), "/").text(), "only", "the fifth place is for everybody in turn");
    }
    stalled[2].send("llo");
    assert_eq!(stalled[2].response_to("POST").expect("an answer").text(), "only");
    stalled[1].send("TP/1.1\r\nHost: plb.test\r\n\r\n");
    assert_eq!(stalled[1].response().text(), "only");
    drop(stalled);
    plb.stop_unmarked();
}
