//! Proves that `access` decides who may come in, by the client's address, and what becomes of who may not.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;

use crate::harness::client::Client;
use crate::harness::{Origin, Plb, ok, poll_until};
use crate::limits::summary;

/// 127.0.0.1 to 127.0.0.7 may come in, but for 127.0.0.2; nobody else may.
const RULES: &str = "rules: [{ deny: 127.0.0.2 }, { allow: [127.0.0.0/29, 192.0.2.0/24] }, { allow: 127.0.0.2 }], \
                     default: deny";
const FRIEND: [u8; 4] = [127, 0, 0, 1];
/// Denied by a rule, and by the default.
const OTHERS: [[u8; 4]; 2] = [[127, 0, 0, 2], [127, 0, 0, 8]];

/// A file with a listener `web` with these lines, and a pool of each of these names.
fn house(listener: &str, pools: &[(&str, SocketAddr)]) -> String {
    let mut text = String::from("core_dumps: true\nserver_retry: 1\nlisteners:\n  - name: web\n");
    for line in listener.lines() {
        writeln!(text, "    {}", line.trim()).expect("a string takes all");
    }
    text.push_str("pools:\n");
    for (name, address) in pools {
        writeln!(text, "  {name}: {{ backends: [\"{address}\"] }}").expect("a string takes all");
    }
    text
}

fn listener(protocol: &str, access: &str) -> String {
    format!("listen: 127.0.0.1:0\nprotocol: {protocol}\npool: web\naccess: {{ {access} }}")
}

/// What a client of this address is answered on this path.
fn answer(source: [u8; 4], plb: &Plb, path: &str) -> String {
    Client::connect_from(source, plb.web()).get(path).text()
}

/// A request.
const GET: &str = "GET / HTTP/1.1\r\nHost: plb.test\r\nConnection: close\r\n\r\n";

/// What a client of this address reads until the end, when it has said this.
fn end(source: [u8; 4], plb: &Plb, said: &str) -> Result<Vec<u8>, ErrorKind> {
    let mut client = Client::try_connect_from(source, plb.web()).map_err(|error| error.kind())?;
    if !said.is_empty() {
        drop(client.try_send(said)); // the end may have come before
    }
    client.until_end().map_err(|error| error.kind())
}

#[test]
fn the_first_rule_that_holds_the_client_decides_and_who_is_denied_sees_an_orderly_end() {
    for protocol in ["http", "tcp"] {
        let origin = Origin::named("in");
        let plb = Plb::start(&house(&listener(protocol, RULES), &[("web", origin.address())]));
        for _ in 0..3 {
            assert_eq!(answer(FRIEND, &plb, "/"), "in", "{protocol}");
            for other in OTHERS {
                assert_eq!(end(other, &plb, GET), Ok(Vec::new()), "{protocol}: {other:?}");
                assert_eq!(end(other, &plb, ""), Ok(Vec::new()), "{protocol}: {other:?}");
            }
        }
        // What a client has sent before it was taken from the backlog does not turn its end into a reset.
        plb.signal(Signal::SIGSTOP);
        let mut early = Client::connect_from(OTHERS[0], plb.web());
        early.send(GET);
        plb.signal(Signal::SIGCONT);
        assert_eq!(early.until_end().ok(), Some(Vec::new()));
        plb.wait_for_log("listener web: 127.0.0.2 is denied by access (so far 1 times)");
        assert!(summary(&plb).contains("listener web: refused 13 access"), "{}", summary(&plb));
        assert_eq!(origin.requests(), 3, "nobody else came through");
        plb.stop_unmarked();
    }
}

#[test]
fn who_is_rejected_sees_a_reset() {
    for protocol in ["http", "tcp"] {
        let origin = Origin::named("in");
        let access = format!("{RULES}, action: reject");
        let plb = Plb::start(&house(&listener(protocol, &access), &[("web", origin.address())]));
        assert_eq!(answer(FRIEND, &plb, "/"), "in", "{protocol}");
        for other in OTHERS {
            assert_eq!(end(other, &plb, ""), Err(ErrorKind::ConnectionReset), "{protocol}: {other:?}");
        }
        assert_eq!(origin.requests(), 1);
    }
}

#[test]
fn who_is_diverted_is_served_by_that_pool_whatever_the_routes_say_and_by_no_other_one() {
    let [welcome, mut tar] = [Origin::named("welcome"), Origin::named("tar")];
    let access = format!("{RULES}, action: {{ pool: tar }}");
    let routes = "routes: [{ match: { path: /a }, pool: web }, { match: { path: /b }, deny: true }, \
                  { match: { path: /c }, respond: { text: c } }]";
    let pools = [("web", welcome.address()), ("tar", tar.address())];
    let plb = Plb::start(&house(&format!("{}\n{routes}", listener("http", &access)), &pools));
    for (path, text) in [("/a", "welcome"), ("/c", "c"), ("/d", "welcome")] {
        assert_eq!(answer(FRIEND, &plb, path), text, "{path}");
    }
    for path in ["/a", "/b", "/c", "/d"] {
        for other in OTHERS {
            assert_eq!(answer(other, &plb, path), "tar", "{path}");
        }
    }
    plb.wait_for_log("listener web: 127.0.0.2 is denied by access (so far 1 times)");
    tar.stop();
    for _ in 0..3 {
        let mut other = Client::connect_from(OTHERS[0], plb.web());
        assert_eq!(other.get("/a").status(), 503, "it falls over to nobody");
    }
    assert_eq!(answer(FRIEND, &plb, "/a"), "welcome");
    assert_eq!(welcome.requests(), 3);
}

#[test]
fn who_is_diverted_from_a_tcp_listener_never_gets_to_its_pool() {
    let [welcome, mut tar] = [Origin::named("welcome"), Origin::named("tar")];
    let access = format!("{RULES}, action: {{ pool: tar }}");
    let pools = [("web", welcome.address()), ("tar", tar.address())];
    let plb = Plb::start(&house(&listener("tcp", &access), &pools));
    assert_eq!(answer(FRIEND, &plb, "/"), "welcome");
    assert_eq!(answer(OTHERS[0], &plb, "/"), "tar");
    tar.stop();
    for _ in 0..3 {
        let seen = end(OTHERS[1], &plb, GET).unwrap_or_default();
        assert!(seen.is_empty(), "it falls over to nobody");
    }
    assert_eq!(welcome.connections(), 1);
}

#[test]
fn networks_may_come_from_a_file() {
    let origin = Origin::named("in");
    let directory = tempfile::tempdir().expect("there is room for a file");
    let list = directory.path().join("blocked.txt");
    std::fs::write(&list, "# bad\n127.0.0.2\n\n127.0.0.8/29 # and these\n").expect("there is room for a file");
    let access = format!("rules: [deny: {{ file: \"{}\" }}], default: allow", list.display());
    let plb = Plb::start(&house(&listener("http", &access), &[("web", origin.address())]));
    assert_eq!(answer(FRIEND, &plb, "/"), "in");
    for other in OTHERS {
        assert_eq!(end(other, &plb, GET), Ok(Vec::new()), "{other:?}");
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_met_by_the_rules_for_ipv4() {
    let origin = Origin::http(|request| ok(request.field("X-Forwarded-For").unwrap_or_default()));
    let listener = format!("listen: \"[::]:0\"\nv6_only: false\npool: web\naccess: {{ {RULES} }}");
    let plb = Plb::start(&house(&listener, &[("web", origin.address())]));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, plb.web().port()));
    let mut friend = Client::connect_from(FRIEND, address);
    assert_eq!(friend.get("/").text(), "127.0.0.1");
    for other in OTHERS {
        let mut other = Client::connect_from(other, address);
        drop(other.try_send("GET / HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
        assert_eq!(other.until_end().ok(), Some(Vec::new()));
    }
    plb.wait_for_log("127.0.0.2 is denied by access");
    assert_eq!(origin.requests(), 1);
}

/// A client that a proxy brings: the connection is the proxy's, from 127.0.0.1.
fn brought(source: &str, plb: &Plb) -> Client {
    let mut client = Client::connect(plb.web());
    client.send(format!("PROXY TCP4 {source} 192.0.2.99 4711 80\r\nGET / HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
    client
}

#[test]
fn a_client_that_a_proxy_brings_is_judged_by_its_own_address_and_counted_under_it() {
    let [origin, tar] = [Origin::named("in"), Origin::named("tar")];
    let rules = "rules: [{ deny: [192.0.2.2, 127.0.0.1] }, { allow: 192.0.2.0/29 }], default: deny";
    let takes = "accept_proxy: any\ntrusted_proxies: [127.0.0.1]\nmax_clients_per_address: 1";
    let pools = [("web", origin.address()), ("tar", tar.address())];
    for protocol in ["http", "tcp"] {
        let start = |action: &str| {
            let access = format!("{rules}, action: {action}");
            Plb::start(&house(&format!("{}\n{takes}", listener(protocol, &access)), &pools))
        };
        let [closing, rejecting, diverting] = ["close", "reject", "{ pool: tar }"].map(start);
        let mut first = brought("192.0.2.1", &closing);
        assert_eq!(first.response().text(), "in", "{protocol}: the proxy itself may not come in, but nobody asks that");
        assert!(brought("192.0.2.1", &closing).until_end().is_err(), "{protocol}: one connection of this client");
        assert_eq!(brought("192.0.2.3", &closing).response().text(), "in", "{protocol}: another client");
        drop(first);
        poll_until("the first one's place is free", || {
            brought("192.0.2.1", &closing).response_to("GET").is_ok_and(|response| response.text() == "in")
        });
        for source in ["192.0.2.2", "192.0.2.8"] {
            assert_eq!(brought(source, &closing).until_end().ok(), Some(Vec::new()), "{protocol}: {source}");
            assert!(brought(source, &rejecting).until_end().is_err(), "{protocol}: {source}");
            assert_eq!(brought(source, &diverting).response().text(), "tar", "{protocol}: {source}");
        }
        closing.wait_for_log("listener web: 192.0.2.2 is denied by access (so far 1 times)");
        assert!(summary(&closing).contains(" 2 access"), "{}", summary(&closing));
    }
}

#[test]
fn who_is_diverted_gets_no_emergency_and_who_is_welcome_does() {
    let [last, mut nobody] = [Origin::named("last"), Origin::named("never")];
    nobody.stop();
    let pools = [("web", nobody.address()), ("tar", nobody.address()), ("help", last.address())];
    let access = format!("{RULES}, action: {{ pool: tar }}");
    for protocol in ["http", "tcp"] {
        let text = house(&listener(protocol, &access), &pools);
        let helped = |text: String, name: &str| {
            text.replace(&format!("  {name}: {{ "), &format!("  {name}: {{ emergency: help, "))
        };
        let plb = Plb::start(&helped(helped(text, "web"), "tar"));
        let before = last.requests();
        for _ in 0..3 {
            assert_eq!(answer(FRIEND, &plb, "/"), "last", "{protocol}");
            let seen = end(OTHERS[0], &plb, GET).unwrap_or_default();
            let seen = String::from_utf8_lossy(&seen);
            assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 503 "), "{protocol}: {seen}");
        }
        assert_eq!(last.requests() - before, 3, "{protocol}");
    }
}
