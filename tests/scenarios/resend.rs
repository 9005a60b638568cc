//! Proves with origins that count what is sent a second time: an idempotent request whose connection died without an
//! answer, once, on a fresh connection; and of all others nothing of which a byte was sent.

use crate::harness::client::{Client, get};
use crate::harness::{Connection, Gate, Origin, Plb, locked, ok};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Nothing is added to a request, so that its bytes can be compared.
const PLAIN: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\nmethods: any\n\
                     timeout_idle: 1h\n";

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: plb.test\r\n\r\n";

/// Answers each request but those that a connection is `fatal` to, which end it.
fn mortal(fatal: fn(usize, &str) -> bool, end: fn(&mut Connection)) -> Origin {
    Origin::raw(move |connection| {
        while let Some(request) = connection.request() {
            if fatal(connection.number, request.target()) {
                return end(connection);
            }
            let answer = if request.method() == "HEAD" { ok("") } else { ok("served") };
            if connection.send(answer).is_err() {
                return;
            }
        }
    })
}

fn targets(origin: &Origin) -> Vec<String> {
    origin.seen(|seen| seen.requests.iter().map(|request| request.target().to_string()).collect())
}

const ENDS: [fn(&mut Connection); 2] = [|_| {}, |connection| connection.reset()];

/// An origin whose connections die of each request to `/x..` when it comes for the first time, and plb in front of it.
struct Trial {
    origin: Origin,
    plb: Plb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Yes,
    No,
}

impl Trial {
    fn new(end: fn(&mut Connection)) -> Trial {
        let died_of = Mutex::new(BTreeSet::new());
        let origin = Origin::raw(move |connection| {
            while let Some(request) = connection.request() {
                if request.target().starts_with("/x") && locked(&died_of).insert(request.target().to_owned()) {
                    return end(connection);
                }
                let answer = if request.method() == "HEAD" { ok("") } else { ok("served") };
                drop(connection.send(answer));
            }
        });
        let plb = Plb::http(&format!("{PLAIN}server_retry: 1"), &[origin.address()]);
        Trial { origin, plb }
    }

    /// Sends this request on a connection that dies of it: how often the origin received just these bytes, and whether
    /// the client was answered. Nobody makes an answer up.
    fn send(&self, request: &str) -> (usize, Answered) {
        let mut client = Client::connect(self.plb.web());
        client.send(FIRST);
        assert_eq!(client.response().text(), "served");
        client.send(request);
        let method = request.split(' ').next().unwrap_or_default();
        let answered = match client.response_to(method) {
            Ok(response) => {
                assert_eq!(response.status(), 200, "it is the origin's, or there is none");
                Answered::Yes
            }
            Err(_) => {
                client.closed();
                Answered::No
            }
        };
        drop(client);
        assert_eq!(get(self.plb.web(), "/after").text(), "served", "nobody is worse off");
        let received = self.origin.seen(|seen| seen.received.concat());
        let received = String::from_utf8_lossy(&received);
        let line = request.lines().next().unwrap_or_default();
        assert_eq!(received.matches(line).count(), received.matches(request).count(), "{method}: other bytes");
        (received.matches(line).count(), answered)
    }
}

#[test]
fn an_idempotent_request_is_sent_again_as_it_was_and_only_on_a_fresh_connection() {
    for end in ENDS {
        let trial = Trial::new(end);
        for (number, method) in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].into_iter().enumerate() {
            let before = trial.origin.connections();
            let body = if method == "PUT" { "Content-Length: 4\r\n\r\nbody" } else { "\r\n" };
            let sent = trial.send(&format!("{method} /x{number} HTTP/1.1\r\nHost: plb.test\r\n{body}"));
            assert_eq!(sent, (2, Answered::Yes), "{method}");
            // The one that dies is there from the request before, but for the first time.
            assert_eq!(trial.origin.connections() - before, if number == 0 { 2 } else { 1 }, "{method}");
        }
        trial.plb.stop_unmarked();
    }
}

#[test]
fn a_request_that_is_not_idempotent_is_never_sent_twice_and_no_answer_is_made_up() {
    const BODIES: [&str; 3] =
        ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "\r\n"];
    for end in ENDS {
        let trial = Trial::new(end);
        for (number, method) in ["POST", "PATCH", "LOCK", "BREW", "get"].into_iter().enumerate() {
            for (kind, body) in BODIES.iter().enumerate() {
                let request = format!("{method} /x{number}{kind} HTTP/1.1\r\nHost: plb.test\r\n{body}");
                assert_eq!(trial.send(&request), (1, Answered::No), "{request}");
            }
        }
        trial.plb.stop_unmarked();
    }
}

#[test]
fn an_idempotent_request_that_is_not_kept_whole_is_sent_once() {
    for end in ENDS {
        let trial = Trial::new(end);
        let body = "y".repeat(40_000);
        let request = format!("PUT /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 40000\r\n\r\n{body}");
        assert_eq!(trial.send(&request), (1, Answered::No));
        trial.plb.stop_unmarked();
    }
}

#[test]
fn a_second_idle_connection_is_no_fresh_one() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            while let Some(request) = connection.request() {
                match request.target() {
                    "/together" => gate.pass(),
                    "/x" if connection.number < 3 => return,
                    _ => {}
                }
                drop(connection.send(ok("served")));
            }
        }
    });
    let plb = Plb::http(PLAIN, &[origin.address()]);
    let address = plb.web();
    let together: Vec<_> = (0..3).map(|_| std::thread::spawn(move || get(address, "/together").status())).collect();
    origin.wait_for("three at once", |seen| seen.requests.len() == 3);
    gate.open();
    for client in together {
        assert_eq!(client.join().expect("served"), 200);
    }
    assert_eq!(get(address, "/x").text(), "served");
    assert_eq!(targets(&origin)[3..], ["/x", "/x"], "one idle connection is tried, and then a fresh one");
    assert_eq!(origin.connections(), 4);
    plb.stop_unmarked();
}

#[test]
fn a_request_that_kills_every_connection_is_sent_twice_at_most() {
    for end in ENDS {
        let origin = mortal(|_, target| target == "/x", end);
        let plb = Plb::http(&format!("{PLAIN}server_retry: 100"), &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.send(FIRST);
        assert_eq!(client.response().text(), "served");
        client.send("GET /x HTTP/1.1\r\nHost: plb.test\r\n\r\n");
        assert_eq!(client.response().status(), 502);
        assert_eq!(targets(&origin), ["/first", "/x", "/x"]);
        // On a fresh connection to begin with, it is asked of whoever was not asked yet.
        assert_eq!(get(plb.web(), "/x").status(), 502);
        assert_eq!(targets(&origin).len(), 4);
    }
}

#[test]
fn of_three_backends_that_die_two_are_asked() {
    let origins = [ENDS[0], ENDS[1], ENDS[0]].map(|end| mortal(|_, target| target == "/x", end));
    let [one, two, three] = origins.each_ref().map(Origin::address);
    let plb = Plb::http(&format!("{PLAIN}server_retry: 100"), &[one, two, three]);
    let asked = || origins.iter().map(Origin::requests).sum::<usize>();
    assert_eq!(get(plb.web(), "/x").status(), 502);
    assert_eq!(asked(), 2, "once, and once more");
    let mut client = Client::connect(plb.web());
    client.send("POST /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response().status(), 502);
    assert_eq!(asked(), 3);
}

#[test]
fn a_request_of_which_a_part_was_sent_is_not_begun_again() {
    for method in ["POST", "PATCH"] {
        let dying = || {
            Origin::raw(|connection| {
                drop(connection.request_head());
                connection.reset();
            })
        };
        let origins = [dying(), dying()];
        let plb = Plb::http(&format!("{PLAIN}server_retry: 100"), &[origins[0].address(), origins[1].address()]);
        let mut client = Client::connect(plb.web());
        client.send(format!("{method} /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 100000\r\n\r\nsome"));
        let status = client.response().status();
        assert_eq!(status, 502, "{method}");
        client.closed();
        assert_eq!(origins.iter().map(Origin::connections).sum::<usize>(), 1, "{method}");
    }
}

#[test]
fn a_request_whose_answer_had_begun_is_not_sent_again() {
    for begun in ["H", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n"] {
        let dying = || {
            Origin::raw(move |connection| {
                drop(connection.request());
                drop(connection.send(begun));
            })
        };
        let origins = [dying(), dying()];
        let plb = Plb::http(&format!("{PLAIN}server_retry: 100"), &[origins[0].address(), origins[1].address()]);
        assert_eq!(get(plb.web(), "/x").status(), 502, "{begun:?}");
        assert_eq!(origins.iter().map(Origin::requests).sum::<usize>(), 1, "{begun:?}");
    }
}
