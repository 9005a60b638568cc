//! Proves that bytes that arrive on an idle connection to a backend close it, reach nobody, and are no failure.

use crate::harness::client::{Client, get};
use crate::harness::{Gate, Origin, Plb, ok};

/// What nobody asked for.
const STRAY: &[&str] = &[
    "H",
    "\r\n",
    "\0",
    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
    "HTTP/1.1 200 OK\r\nContent-Le",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 6\r\n\r\nforged",
    "0\r\n\r\n",
];

/// How a request ends, so that its connection is idle.
const ENDS: &[(&str, &str)] = &[
    ("GET", "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 6\r\n\r\nserved"),
    ("GET", "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nserved\r\n0\r\n\r\n"),
    ("HEAD", "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 6\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"),
    ("GET", "HTTP/1.1 304 Not Modified\r\nDate: x\r\nContent-Length: 6\r\n\r\n"),
];

/// Its first connection answers with this, says more when the gate opens, and reads on; later ones serve.
fn chatty(answer: &'static str, stray: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::raw(move |connection| {
        while connection.request().is_some() {
            if connection.number > 0 {
                drop(connection.send(ok("honest")));
                continue;
            }
            drop(connection.send(answer));
            gate.pass();
            drop(connection.send(stray));
        }
    })
}

#[test]
fn stray_bytes_close_the_connection_whoever_used_it_and_whatever_they_are() {
    for (number, stray) in STRAY.iter().enumerate() {
        let (method, answer) = ENDS[number % ENDS.len()];
        reaches_nobody(method, answer, stray);
    }
    for (method, answer) in ENDS {
        reaches_nobody(method, answer, STRAY[3]);
    }
}

fn reaches_nobody(method: &str, answer: &'static str, stray: &'static str) {
    let gate = Gate::default();
    let origin = chatty(answer, stray, &gate);
    let plb = Plb::http("server_retry: 1\ntimeout_idle: 1h", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(format!("{method} / HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
    assert_eq!(client.exactly(answer.len()), answer.as_bytes());
    gate.open();
    origin.wait_for("plb closes the connection", |seen| seen.over() == 1);
    assert_eq!(client.get("/mine").text(), "honest", "{stray:?} after {answer:?}");
    assert_eq!(get(plb.web(), "/other").text(), "honest", "{stray:?} after {answer:?}");
    let first = origin.seen(|seen| seen.requests.len() - seen.connections.len());
    assert_eq!((origin.connections(), first), (2, 1), "the first connection got one request, the second one two");
    drop(client);
    plb.stop_unmarked();
}

#[test]
fn stray_bytes_on_one_connection_leave_the_others_alone() {
    let gates = [Gate::default(), Gate::default()];
    let origin = Origin::raw({
        let [all_are_here, may_stray] = gates.clone();
        move |connection| {
            while let Some(request) = connection.request() {
                if request.target() == "/together" {
                    all_are_here.pass();
                }
                drop(connection.send(ok(request.target())));
                if request.target() == "/together" && connection.number == 1 {
                    may_stray.pass();
                    drop(connection.send(STRAY[3]));
                }
            }
        }
    });
    let plb = Plb::http("server_retry: 1\ntimeout_idle: 1h", &[origin.address()]);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(plb.web())).collect();
    clients.iter_mut().for_each(|client| client.ask("/together"));
    origin.wait_for("three at once", |seen| seen.requests.len() == 3);
    gates[0].open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "/together"));
    gates[1].open();
    origin.wait_for("plb closes one connection", |seen| seen.over() == 1);
    for target in ["/1", "/2", "/3"] {
        clients.iter_mut().for_each(|client| client.ask(target));
        clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), target));
    }
    assert!(origin.connections() <= 4, "two were kept, and served again");
    drop(clients);
    plb.stop_unmarked();
}
