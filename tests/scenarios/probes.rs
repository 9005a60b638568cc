//! Proves what probes say, byte by byte, and that they judge a backend by what it answers and by nothing else.

use crate::harness::client::{bodies, get};
use crate::harness::{Connection, Gate, Origin, Plb, Reservation, configuration, noise, ok, poll_until};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

/// A pool whose probes are as `check` says, and soon decide.
fn checked(check: &str, backends: &[SocketAddr]) -> Plb {
    let section =
        format!("    health: {{ {check}, interval: 1s, fast_interval: 50ms, rise: 1, fall: 2 }}\n    backends:\n");
    Plb::start(&configuration("http", "", backends).replace("    backends:\n", &section))
}

/// One that serves nobody until a probe has found it good.
fn proven(check: &str, backends: &[SocketAddr]) -> Plb {
    checked(&format!("{check}, initial: down"), backends)
}

/// The first of an origin's connections, as soon as it is over.
fn first_probe(origin: &Origin) -> String {
    origin.wait_for("the end of a probe", |seen| seen.connections.first().is_some_and(|probe| probe.over));
    origin.seen(|seen| String::from_utf8_lossy(&seen.received[0]).into_owned())
}

/// Waits until the backend is down for this reason.
fn falls(plb: &Plb, name: &str, reason: &str) {
    let line = plb.wait_for_log(&format!("backend web/{name}: down "));
    assert!(line.contains(&format!("failed probes: {reason} (")), "{line}");
}

/// Reads until the end, which is a reset.
fn is_reset(connection: &mut Connection) -> bool {
    connection.until_end().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_backend_serves_as_long_as_its_page_has_a_good_status() {
    let status = Arc::new(AtomicU16::new(503));
    let origin = Origin::http({
        let status = Arc::clone(&status);
        move |request| match request.target() {
            "/health?deep=1" => {
                let status = status.load(Ordering::Relaxed);
                format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n").into_bytes()
            }
            _ => ok("page"),
        }
    });
    let plb = checked("type: http, path: \"/health?deep=1\", host: a.example", &[origin.address()]);
    falls(&plb, "b1", "status 503");
    assert_eq!(get(plb.web(), "/").status(), 503);
    status.store(204, Ordering::Relaxed);
    plb.wait_for_log("backend web/b1: up after 1 probe");
    assert_eq!(bodies(plb.web(), 2), ["page"; 2]);
    let request = "GET /health?deep=1 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: plb\r\nConnection: close\r\n\r\n";
    assert_eq!(first_probe(&origin), request);
}

#[test]
fn an_http_probe_calls_the_backend_by_its_address_unless_it_is_told_a_name() {
    let (named, old) = (Origin::named("one"), Origin::named("one"));
    let plb = proven("type: http", &[named.address()]);
    plb.wait_for_log("backend web/b1: up");
    let host = named.address();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: plb\r\nConnection: close\r\n\r\n");
    assert_eq!(first_probe(&named), request);
    let plb = proven("type: http, method: HEAD, path: /check.txt, version: 1.0", &[old.address()]);
    plb.wait_for_log("backend web/b1: up");
    assert_eq!(first_probe(&old), "HEAD /check.txt HTTP/1.0\r\nUser-Agent: plb\r\n\r\n");
}

#[test]
fn the_statuses_that_are_good_are_those_of_the_list() {
    let answering =
        |status: u16| Origin::http(move |_| format!("HTTP/1.0 {status} So\r\nServer: x\r\n\r\n").into_bytes());
    let origins = [200, 404, 503, 302].map(answering);
    let plb = checked("type: http, status: [200, 500-599]", &origins.each_ref().map(Origin::address));
    falls(&plb, "b2", "status 404");
    falls(&plb, "b4", "status 302");
    for origin in &origins {
        origin.wait_for("more probes", |seen| seen.connections.len() >= 5);
    }
    let log = plb.stop();
    assert!(!log.contains("b1: down") && !log.contains("b3: down"), "{log}");
}

#[test]
fn a_text_in_the_body_is_found_over_the_borders_of_chunks_and_of_segments() {
    let gate = Gate::default();
    let chunked = {
        let gate = gate.clone();
        move |parts: [&'static str; 2]| {
            let gate = gate.clone();
            Origin::raw(move |connection| {
                if connection.request().is_none() {
                    return;
                }
                let [first, second] = parts.map(|part| format!("{:x}\r\n{part}\r\n", part.len()));
                drop(connection.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{first}")));
                gate.pass();
                drop(connection.send(format!("{second}0\r\n\r\n")));
                drop(connection.until_end());
            })
        }
    };
    let (good, bad) = (chunked(["it is al", "ive"]), chunked(["it is de", "ad"]));
    let plb = checked("type: http, body: is alive", &[good.address(), bad.address()]);
    good.wait_for("a probe", |seen| !seen.requests.is_empty());
    gate.open();
    falls(&plb, "b2", "unexpected answer");
    good.wait_for("more probes", |seen| seen.connections.len() >= 4);
    assert!(!plb.stop().contains("b1: down"));
}

#[test]
fn each_way_to_answer_badly_has_its_reason() {
    let after_request = |answer: &'static str| {
        Origin::raw(move |connection| {
            if connection.request().is_some() {
                drop(connection.send(answer));
            }
        })
    };
    let refusing = Reservation::new();
    let resetting = Origin::raw(|connection| {
        drop(connection.request());
        connection.reset();
    });
    let endless = Origin::raw(|connection| {
        drop(connection.request());
        drop(connection.send("HTTP/1.1 200 OK\r\n\r\n"));
        while connection.send(noise(1, 100_000)).is_ok() {}
    });
    let promising = Origin::raw(|connection| {
        drop(connection.request());
        while connection.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000)).is_ok() {}
    });
    // It does not care for the request, so that what it says is followed by a reset.
    let hasty = Origin::raw(|connection| {
        drop(connection.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
        connection.reset();
    });
    let good = Origin::http(|_| ok("I am alive"));
    let (garbage, cut, silent) = (after_request("SSH-2.0-x\r\n"), after_request("HTTP/1.1 200"), Origin::silent());
    let backends = [
        (refusing.address(), "connection refused"),
        (resetting.address(), "connection reset"),
        (garbage.address(), "malformed response"),
        (cut.address(), "connection closed without a response"),
        (silent.address(), "timed out"),
        (endless.address(), "unexpected answer"),
        (promising.address(), "unexpected answer"),
        (hasty.address(), "status 503"),
        (good.address(), ""),
    ];
    let plb = checked("type: http, body: alive", &backends.map(|(address, _)| address));
    for (index, (_, reason)) in backends.iter().enumerate().filter(|(_, (_, reason))| !reason.is_empty()) {
        falls(&plb, &format!("b{}", index + 1), reason);
    }
    assert_eq!(bodies(plb.web(), 5), ["I am alive"; 5]);
    assert!(!plb.stop().contains("b9: down"));
}

/// A mail server that answers what it is asked, line by line, and counts what it was not asked in time.
fn mail_server(banner: &'static [&'static str], disorder: &Arc<AtomicUsize>) -> Origin {
    let disorder = Arc::clone(disorder);
    Origin::raw(move |connection| {
        for part in banner {
            drop(connection.send(part));
        }
        for (asked, reply) in
            [("EHLO mx.example\r\n", "250-mail.example\r\n250-PIPELINING\r\n250 HELP\r\n"), ("QUIT\r\n", "221 Bye\r\n")]
        {
            match connection.some() {
                Ok(line) if line == asked.as_bytes() => drop(connection.send(reply)),
                Ok(line) if line.is_empty() => return,
                _ => {
                    disorder.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
        if connection.until_end().is_ok_and(|rest| rest.is_empty()) {
            return;
        }
        disorder.fetch_add(1, Ordering::Relaxed);
    })
}

#[test]
fn a_mail_server_is_greeted_line_by_line_and_left_in_order() {
    let disorder = Arc::default();
    let good = mail_server(&["220-mail.example\r\n22", "0-x\r\n220 ", "ESMTP\r\n"], &disorder);
    let busy = mail_server(&["421 too many connections\r\n"], &disorder);
    let other = mail_server(&["+OK POP3 here\r\n"], &disorder);
    let plb = proven("type: smtp, helo: mx.example", &[good.address(), busy.address(), other.address()]);
    plb.wait_for_log("backend web/b1: up after 1 probe");
    assert_eq!(first_probe(&good), "EHLO mx.example\r\nQUIT\r\n");
    assert_eq!((first_probe(&busy), first_probe(&other)), (String::new(), String::new()));
    let log = plb.stop();
    assert!(!log.contains("b2: up") && !log.contains("b3: up"), "{log}");
    assert_eq!(disorder.load(Ordering::Relaxed), 0);
}

#[test]
fn a_mail_server_that_will_not_serve_says_so_with_its_code() {
    let disorder = Arc::default();
    let busy = mail_server(&["421-too many connections\r\n421 later\r\n"], &disorder);
    let refusing = Origin::raw(|connection| {
        drop(connection.send("220 mail.example\r\n"));
        drop(connection.some());
        drop(connection.send("554 5.7.1 no\r\n"));
        drop(connection.until_end());
    });
    let plb = checked("type: smtp", &[busy.address(), refusing.address()]);
    falls(&plb, "b1", "status 421");
    falls(&plb, "b2", "status 554");
    assert_eq!(first_probe(&refusing), "EHLO localhost\r\n");
}

#[test]
fn a_text_that_is_sent_gets_the_answer_that_is_expected_or_the_backend_is_down() {
    let answering = |answer: &'static str| {
        Origin::raw(move |connection| {
            while let Ok(line) = connection.some() {
                if line.is_empty() || connection.send(answer).is_err() {
                    return;
                }
            }
        })
    };
    let (good, loading) = (answering("+PONG\r\n"), answering("-LOADING\r\n"));
    let plb = checked("type: exchange, send: \"PING\\r\\n\", expect: +PONG", &[good.address(), loading.address()]);
    falls(&plb, "b2", "unexpected answer");
    assert_eq!(first_probe(&good), "PING\r\n");
    assert!(!plb.stop().contains("b1: down"));
}

#[test]
fn a_banner_is_waited_for_where_nothing_is_to_be_sent() {
    let greeting = |banner: &'static str| {
        Origin::raw(move |connection| {
            drop(connection.send(banner));
            drop(connection.until_end());
        })
    };
    let (good, bad) = (greeting("SSH-2.0-x\r\n"), greeting("SSH-1.5-x\r\n"));
    let plb = proven("type: exchange, expect: SSH-2.0", &[good.address(), bad.address()]);
    plb.wait_for_log("backend web/b1: up after 1 probe");
    bad.wait_for("the end of a probe", |seen| seen.over() > 0);
    assert_eq!((first_probe(&good), first_probe(&bad)), (String::new(), String::new()));
    assert!(!plb.stop().contains("b2: up"));
}

#[test]
fn a_probe_leaves_with_a_reset_so_that_the_system_need_not_remember_it() {
    for check in ["type: http", "type: tcp", "type: exchange, expect: HTTP"] {
        let resets = Arc::new(AtomicUsize::new(0));
        let origin = Origin::raw({
            let resets = Arc::clone(&resets);
            move |connection| {
                drop(connection.send(ok("early")));
                resets.fetch_add(usize::from(is_reset(connection)), Ordering::Relaxed);
            }
        });
        let plb = proven(check, &[origin.address()]);
        plb.wait_for_log("backend web/b1: up after 1 probe");
        poll_until("a reset", || resets.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_backend_that_closes_at_once_can_be_connected_to_and_no_more() {
    let closing = || Origin::raw(|_| ());
    let (one, other) = (closing(), closing());
    let plb = proven("type: tcp", &[one.address()]);
    plb.wait_for_log("backend web/b1: up after 1 probe");
    let plb = checked("type: smtp", &[other.address()]);
    falls(&plb, "b1", "connection closed without a response");
}

#[test]
fn the_page_of_another_port_or_host_speaks_for_the_backend() {
    let (backend, page) = (Origin::named("backend"), Origin::http(|_| ok("alive")));
    let port = page.address().port();
    let plb = proven(&format!("type: http, body: alive, port: {port}"), &[backend.address()]);
    plb.wait_for_log("backend web/b1: up");
    assert!(first_probe(&page).contains(&format!("Host: 127.0.0.1:{port}\r\n")), "{}", first_probe(&page));
    assert_eq!((bodies(plb.web(), 1), backend.requests()), (vec!["backend".to_string()], 1));
    let nobody = Reservation::new();
    let elsewhere = format!("type: http, body: alive, port: {port}, address: localhost");
    let before = page.requests();
    let plb = proven(&elsewhere, &[nobody.address()]);
    plb.wait_for_log("backend web/b1: up");
    let host =
        page.seen(|seen| seen.requests[before..].last().map(|request| request.field("host").map(str::to_string)));
    assert_eq!(host, Some(Some(format!("localhost:{port}"))));
}

#[test]
fn a_probe_that_goes_through_the_proxy_protocol_begins_with_its_header() {
    for (check, rest) in [("type: tcp", ""), ("type: http", "GET / HTTP/1.1\r\n"), ("type: exchange, expect: OK", "")] {
        for version in ["v1", "v2"] {
            let announced = Arc::new(AtomicUsize::new(0));
            let origin = Origin::raw({
                let announced = Arc::clone(&announced);
                move |connection| {
                    let stream = connection.sender();
                    let ends = [stream.peer_addr(), stream.local_addr()].map(|end| end.map_or(0, |end| end.port()));
                    let header = match version {
                        "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", ends[0], ends[1]).into_bytes(),
                        _ => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
                    };
                    let said = connection.some().unwrap_or_default();
                    if said.starts_with(&[&header, rest.as_bytes()].concat()) {
                        announced.fetch_add(1, Ordering::Relaxed);
                        drop(connection.send("HTTP/1.1 200 OK\r\n\r\n"));
                        drop(connection.until_end());
                    }
                }
            });
            let plb = proven(&format!("{check}, send_proxy: {version}"), &[origin.address()]);
            plb.wait_for_log("backend web/b1: up after 1 probe");
            poll_until("a header", || announced.load(Ordering::Relaxed) > 0);
        }
    }
}
