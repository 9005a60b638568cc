//! Proves that the PROXY header of a trusted proxy, and nobody else's, tells who the client is, and that backends are told
//! so before anything else.

use crate::harness::client::{Client, get};
use crate::harness::lines::Lines;
use crate::harness::{Connection, Gate, Origin, Plb, Reservation, configuration, noise, ok, poll_until};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 8443\r\n";
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: plb.test\r\n\r\n";

/// A header of version 2.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// The same as [`V1`], and a vector that nobody knows.
fn v2() -> Vec<u8> {
    block(0x21, 0x11, b"\xc0\0\x02\x07\xc6\x33\x64\x09\x12\x67\x20\xfb\xe7\0\x03abc")
}

fn six() -> Vec<u8> {
    let addresses = ["2001:db8::7", "2001:db8::9"].map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets());
    block(0x21, 0x21, &[&addresses.concat()[..], b"\x12\x67\x20\xfb"].concat())
}

fn local() -> Vec<u8> {
    block(0x20, 0, b"")
}

/// An HTTP listener that takes headers from this host.
fn receiving(accept: &str, settings: &str, backends: &[SocketAddr]) -> Plb {
    let settings = format!("accept_proxy: {accept}\ntrusted_proxies: 127.0.0.1\nx_forwarded_port: true\n{settings}");
    Plb::http(&settings, backends)
}

/// What the origin was told of the client and its port.
fn told(origin: &Origin) -> (String, String) {
    origin.seen(|seen| {
        let request = seen.requests.last().expect("there was a request");
        let field = |name| request.field(name).expect("it is told").to_string();
        (field("x-forwarded-for"), field("x-forwarded-port"))
    })
}

fn pair(client: &str, port: impl ToString) -> (String, String) {
    (client.to_string(), port.to_string())
}

fn is_reset(client: &mut Client) -> bool {
    client.until_end().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn the_announced_client_is_the_client_for_backends_and_in_the_log() {
    for accept in ["any", "v1", "v2"] {
        let (origin, lines) = (Origin::named("one"), Lines::new());
        let plb = receiving(accept, &format!("access_log: {}", lines.path().display()), &[origin.address()]);
        let headers = [("v1", V1.to_vec(), "192.0.2.7"), ("v2", v2(), "192.0.2.7"), ("v2", six(), "2001:db8::7")];
        let mut count = 0;
        for (version, header, address) in headers {
            let mut client = Client::connect(plb.web());
            client.send([&header, REQUEST].concat());
            if accept != "any" && accept != version {
                assert!(is_reset(&mut client), "{version} is not taken where {accept} is");
                continue;
            }
            assert_eq!(client.response().text(), "one");
            assert_eq!(told(&origin), pair(address, 8443));
            // The header is said once, the connection goes on.
            assert_eq!(client.get("/b").text(), "one");
            assert_eq!(told(&origin), pair(address, 8443));
            count += 2;
            let log = lines.wait_for(count);
            let client = if address.contains(':') { format!("[{address}]:4711 ") } else { format!("{address}:4711 ") };
            assert!(log[count - 2..].iter().all(|line| line.contains(&client)), "{log:?}");
        }
        let log = plb.stop();
        assert_eq!(log.contains("no PROXY header from 127.0.0.1:"), accept != "any", "{log}");
    }
}

#[test]
fn a_header_may_come_byte_by_byte_with_requests_right_behind_it() {
    let origin = Origin::named("one");
    let plb = receiving("any", "", &[origin.address()]);
    for header in [V1.to_vec(), v2(), six()] {
        let all = [&header, REQUEST, REQUEST].concat();
        let mut client = Client::connect(plb.web());
        all.iter().for_each(|byte| client.send([*byte]));
        for splits in 0..=header.len() + 1 {
            assert_eq!(client.response().text(), "one");
            assert_eq!(client.response().text(), "one");
            client = Client::connect(plb.web());
            client.send(&all[..splits]);
            client.send(&all[splits..]);
        }
    }
    assert!(origin.seen(|seen| seen.requests.iter().all(|request| request.target() == "/a")));
    plb.stop_unmarked();
}

#[test]
fn a_header_of_somebody_who_is_not_trusted_is_no_header() {
    let origin = Origin::named("one");
    let settings = "accept_proxy: any\ntrusted_proxies: 192.0.2.1";
    let plb = Plb::http(settings, &[origin.address()]);
    for header in [V1.to_vec(), v2(), local()] {
        let mut client = Client::connect(plb.web());
        client.send([&header, REQUEST].concat());
        assert_eq!(client.response().status(), 400, "{}", header.escape_ascii());
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(get(plb.web(), "/").text(), "one");
    assert!(told_for(&origin).starts_with("127.0.0.1"));
    // It is ordinary bytes to a protocol that is not looked into.
    let echo = Origin::echo();
    let plb = Plb::tcp(settings, &[echo.address()]);
    let mut client = Client::connect(plb.web());
    client.send(V1);
    assert_eq!(client.exactly(V1.len()), V1);
}

fn told_for(origin: &Origin) -> String {
    origin.seen(|seen| seen.requests.last().expect("there was one").field("x-forwarded-for").unwrap_or("").to_string())
}

#[test]
fn whatever_else_a_trusted_proxy_sends_is_reset_at_once_and_reaches_nobody() {
    let origin = Origin::named("one");
    let plb = receiving("any", "timeout_proxy_header: 1h\nlog_level: debug", &[origin.address()]);
    let zeroed = [&v2()[..28], b"\x03\0\x04\0\0\0\0"].concat();
    let cut = block(0x21, 0x11, b"\xc0\0\x02\x07\xc6\x33\x64\x09\x12\x67\x20\xfb\xe7\0\x09abc");
    let malformed: [&[u8]; 9] = [
        b"G",
        REQUEST,
        b"PROXY TCP4 192.0.2.7 198.51.100.9 04711 8443\r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.9 4711 8443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 8443\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.9 4711 8443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11",
        &[&zeroed[..14], b"\0\x13", &zeroed[16..]].concat(),
        &cut,
    ];
    for bytes in malformed {
        let mut client = Client::connect(plb.web());
        // It may be reset while it sends.
        drop(client.try_send(bytes));
        assert!(is_reset(&mut client), "{}", bytes.escape_ascii());
    }
    let mut cut_off = Client::connect(plb.web());
    cut_off.send(&V1[..20]);
    cut_off.half_close();
    assert!(is_reset(&mut cut_off));
    assert_eq!(origin.connections(), 0);
    plb.signal(Signal::SIGUSR1);
    plb.wait_for_log("refused 10 proxy_header");
    let log = plb.stop();
    // For the first, the second, the fourth and the eighth time.
    assert_eq!(log.matches("no PROXY header from 127.0.0.1:").count(), 4, "{log}");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_header_that_drips_has_no_more_time_than_one_that_does_not_come() {
    let origin = Origin::named("one");
    let plb = receiving("any", "timeout_proxy_header: 400ms", &[origin.address()]);
    let mut silent = Client::connect(plb.web());
    let mut dripping = Client::connect(plb.web());
    let sent = V1
        .iter()
        .take_while(|byte| dripping.try_send([**byte]).is_ok() && !dripping.has_news(Duration::from_millis(50)));
    assert!(sent.count() < V1.len() - 2, "it was waited for");
    assert!(is_reset(&mut silent));
    plb.wait_for_log("it did not come in time (so far 2 times)");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_connection_of_the_proxys_own_is_the_proxys_and_may_end_without_a_word() {
    let (origin, lines) = (Origin::named("one"), Lines::new());
    let settings = format!("access_log: {}\nlog_level: debug", lines.path().display());
    let plb = receiving("any", &settings, &[origin.address()]);
    let length = plb.log_length();
    for header in [&b""[..], &local(), b"PROXY UNKNOWN\r\n", V1, &block(0x21, 0, b"")] {
        let mut check = Client::connect(plb.web());
        check.send(header);
        check.half_close();
        check.closed();
    }
    for header in [local(), b"PROXY UNKNOWN\r\n".to_vec(), block(0x21, 0x31, &[b'/'; 216]), block(0x20, 0x11, b"?")] {
        let mut client = Client::connect(plb.web());
        client.send([&header, REQUEST].concat());
        assert_eq!(client.response().text(), "one");
        assert_eq!(told(&origin), pair("127.0.0.1", plb.web().port()));
    }
    assert_eq!(lines.wait_for(4).len(), 4, "nothing was said of the others");
    assert_eq!(plb.log_length(), length, "{}", plb.log());
}

#[test]
fn chains_of_forwarders_begin_with_the_announced_client() {
    let origin = Origin::named("one");
    let settings = "accept_proxy: any\ntrusted_proxies: [127.0.0.1, 192.0.2.0/24]";
    let plb = Plb::http(settings, &[origin.address()]);
    for (announced, chain) in [("192.0.2.7", "203.0.113.5, 192.0.2.7"), ("198.51.100.1", "198.51.100.1")] {
        let mut client = Client::connect(plb.web());
        client.send(format!("PROXY TCP4 {announced} 198.51.100.9 1 2\r\n"));
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n");
        assert_eq!(client.response().text(), "one");
        assert_eq!(told_for(&origin), chain, "only a trusted proxy's word is taken");
    }
}

#[test]
fn rules_and_limits_are_about_the_announced_client() {
    let origin = Origin::named("one");
    let yaml = format!(
        "accept_proxy: any\ntrusted_proxies: 127.0.0.1\n\
         listeners:\n  - name: web\n    listen: \"127.0.0.1:0\"\n    pool: web\n\
         \x20   rate_limit: {{ requests: 1, period: 1h }}\n    routes:\n\
         \x20     - {{ match: {{ client: 198.51.100.0/24 }}, deny: true }}\n\
         pools: {{ web: {{ backends: [\"{}\"] }} }}\n",
        origin.address()
    );
    let plb = Plb::start(&yaml);
    let statuses = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "198.51.100.7"].map(|announced| {
        let mut client = Client::connect(plb.web());
        client.send(format!("PROXY TCP4 {announced} 198.51.100.9 1 2\r\n"));
        client.get("/").status()
    });
    assert_eq!(statuses, [200, 200, 429, 403]);
}

#[test]
fn access_and_the_limit_of_connections_are_about_the_announced_client() {
    for protocol in ["http", "tcp"] {
        let origin = Origin::named("one");
        let yaml = format!(
            "accept_proxy: any\ntrusted_proxies: 127.0.0.1\nmax_clients_per_address: 1\nlisteners:\n\
             \x20 - name: web\n    listen: \"127.0.0.1:0\"\n    protocol: {protocol}\n    pool: web\n\
             \x20   access: {{ default: allow, rules: [{{ deny: [198.51.100.0/24, 2001:db8::/32] }}] }}\n\
             \x20 - name: strict\n    listen: \"127.0.0.1:0\"\n    protocol: {protocol}\n    pool: web\n\
             \x20   access: {{ default: deny, rules: [{{ allow: 192.0.2.0/24 }}], action: reject }}\n\
             pools: {{ web: {{ backends: [\"{}\"] }} }}\n",
            origin.address()
        );
        let plb = Plb::start(&yaml);
        let come = |listener, header: &[u8]| {
            let mut client = Client::connect(plb.address(listener));
            client.send([header, REQUEST].concat());
            client
        };
        for (announced, listener) in [("198.51.100.7", "web"), ("2001:db8::7", "web")] {
            let family = if announced.contains(':') { "TCP6" } else { "TCP4" };
            let header = format!("PROXY {family} {announced} {announced} 1 2\r\n");
            come(listener, header.as_bytes()).closed();
        }
        // The proxy itself is one of those who are not allowed, but not when it speaks for others.
        assert!(is_reset(&mut come("strict", &local())));
        let mut first = come("strict", V1);
        assert_eq!(first.response().text(), "one");
        assert!(is_reset(&mut come("strict", V1)), "one connection a client");
        assert_eq!(come("strict", b"PROXY TCP4 192.0.2.8 192.0.2.9 1 2\r\n").response().text(), "one");
        assert_eq!(come("web", V1).response().text(), "one", "each listener counts for itself");
        first.half_close();
        first.closed();
        poll_until("its place is free", || come("strict", V1).response_to("GET").is_ok());
        assert!(!plb.stop().contains("no PROXY header"));
    }
}

#[test]
fn tcp_clients_are_led_back_by_the_announced_address_and_their_first_bytes_go_through() {
    let origins = [Origin::echo(), Origin::echo()];
    let yaml = format!(
        "accept_proxy: v2\ntrusted_proxies: 127.0.0.1\n\
         listeners: [{{ name: web, listen: \"127.0.0.1:0\", protocol: tcp, pool: web }}]\n\
         pools: {{ web: {{ affinity: {{ type: source }}, backends: [\"{}\", \"{}\"] }} }}\n",
        origins[0].address(),
        origins[1].address()
    );
    let plb = Plb::start(&yaml);
    let ask = |last: u8| {
        let mut client = Client::connect(plb.web());
        let body = noise(u64::from(last), 20_000);
        client.send([block(0x21, 0x11, &[&[192, 0, 2, last, 1, 2, 3, 4][..], &[0, 1, 0, 2]].concat()), body].concat());
        client.half_close();
        assert_eq!(client.until_end().expect("an orderly end"), noise(u64::from(last), 20_000));
        [origins[0].connections(), origins[1].connections()]
    };
    (0..2).for_each(|count| assert!(ask(1).contains(&(count + 1)), "one client, one backend"));
    assert!(ask(1).contains(&3), "one client, one backend");
    let mut both = ask(2);
    both.sort_unstable();
    assert_eq!(both, [1, 3], "another client is another one");
}

/// Serves requests behind a line of version 1, and behind nothing else.
fn behind_line(connection: &mut Connection) {
    if connection.line().is_none_or(|line| !line.starts_with("PROXY ")) {
        return connection.reset();
    }
    while connection.request().is_some() {
        drop(connection.send(ok("one")));
    }
}

/// The first bytes on each connection to an origin.
fn received(origin: &Origin) -> Vec<Vec<u8>> {
    origin.seen(|seen| seen.received.clone())
}

#[test]
fn a_backend_is_told_of_the_client_before_anything_else_and_in_the_same_breath() {
    for version in ["v1", "v2"] {
        let gate = Gate::default();
        let (opened, length) = (gate.clone(), if version == "v1" { 0 } else { 28 });
        let origin = Origin::raw(move |connection| {
            // All that came at once.
            let first = connection.some().unwrap_or_default();
            assert!(first.ends_with(b"\r\n\r\n") && first.len() > length, "{}", first.escape_ascii());
            opened.pass();
            drop(connection.send(ok("one")));
        });
        let plb = Plb::http(&format!("send_proxy: {version}\nserver_retry: 1"), &[origin.address()]);
        let mut client = Client::connect(plb.web());
        let own = client.sender().local_addr().expect("it is connected");
        client.ask("/");
        origin.wait_for("a connection with a request", |seen| seen.bytes() > 0);
        gate.open();
        assert_eq!(client.response().text(), "one");
        let header = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), plb.web().port()).into_bytes(),
            _ => {
                let ports = [own.port().to_be_bytes(), plb.web().port().to_be_bytes()].concat();
                block(0x21, 0x11, &[&[127, 0, 0, 1, 127, 0, 0, 1][..], &ports].concat())
            }
        };
        let first = received(&origin).remove(0);
        assert!(first.starts_with(&[&header, &b"GET / HTTP/1.1\r\n"[..]].concat()), "{}", first.escape_ascii());
        plb.stop_unmarked();
    }
}

#[test]
fn no_connection_with_a_header_serves_a_second_request() {
    let origin = Origin::raw(behind_line);
    let plb = Plb::http("send_proxy: v1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    (0..3).for_each(|_| assert_eq!(client.get("/").text(), "one"));
    assert_eq!(get(plb.web(), "/").text(), "one");
    assert_eq!(origin.connections(), 4);
    origin.wait_for("the end of all of them", |seen| seen.over() == 4);
    assert!(received(&origin).iter().all(|bytes| bytes.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")));
    plb.stop_unmarked();
}

#[test]
fn a_request_that_is_sent_again_has_a_header_again() {
    let refusing = Reservation::new();
    let breaking = Origin::raw(|connection| {
        drop(connection.some());
        connection.reset();
    });
    let good = Origin::raw(behind_line);
    let plb =
        Plb::http("send_proxy: v1\nserver_retry: 1000000", &[refusing.address(), breaking.address(), good.address()]);
    for _ in 0..3 {
        assert_eq!(get(plb.web(), "/").text(), "one");
    }
    assert!(breaking.connections() > 0, "it was asked");
    for bytes in received(&breaking).into_iter().chain(received(&good)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!((text.matches("PROXY").count(), text.find("PROXY")), (1, Some(0)), "{text}");
        assert_eq!(text.lines().nth(1), Some("GET / HTTP/1.1"), "{text}");
    }
}

#[test]
fn a_server_that_speaks_first_is_told_at_once_while_its_client_says_nothing() {
    let origin = Origin::raw(|connection| {
        let line = connection.line().unwrap_or_default();
        drop(connection.send(format!("220 {line}\r\n")));
        let rest = connection.until_end().unwrap_or_default();
        drop(connection.send(rest));
    });
    let plb = Plb::tcp("send_proxy: v1\nserver_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let own = client.sender().local_addr().expect("it is connected");
    let line = format!("220 PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), plb.web().port());
    assert_eq!(client.exactly(line.len()), line.as_bytes());
    let bulk = noise(9, 3 << 20);
    let mut sender = client.sender();
    let sending = std::thread::spawn({
        let bulk = bulk.clone();
        move || {
            std::io::Write::write_all(&mut sender, &bulk).expect("the origin reads");
            sender.shutdown(std::net::Shutdown::Write).expect("the connection stands");
        }
    });
    assert!(client.until_end().expect("an orderly end") == bulk);
    sending.join().expect("it was sent");
    // Who leaves without a word leaves a backend that was told, and blames nobody.
    drop(Client::connect(plb.web()));
    origin.wait_for("its end", |seen| seen.over() == 2);
    plb.stop_unmarked();
}

#[test]
fn what_tcp_clients_send_comes_behind_the_header_and_is_all_that_counts() {
    let (echo, lines) = (Origin::echo(), Lines::new());
    let settings = format!("send_proxy: v2\naccess_log: {}", lines.path().display());
    let plb = Plb::tcp(&settings, &[echo.address()]);
    let mut client = Client::connect(plb.web());
    client.send("hello");
    let echoed = client.exactly(28 + 5);
    assert!(echoed.starts_with(SIGNATURE) && echoed.ends_with(b"hello"), "{}", echoed.escape_ascii());
    client.half_close();
    client.closed();
    let line = lines.line();
    assert!(line.contains("\" - 5 33 "), "{line}");
}

#[test]
fn a_chain_of_two_tells_the_server_behind_both_who_the_client_is() {
    for (version, protocol) in [("v1", "http"), ("v2", "http"), ("v1", "tcp"), ("v2", "tcp")] {
        let (origin, lines) = (Origin::raw(behind_line), Lines::new());
        let settings = format!(
            "accept_proxy: {version}\ntrusted_proxies: 127.0.0.1\nsend_proxy: v1\naccess_log: {}",
            lines.path().display()
        );
        let second = Plb::start(&configuration("http", &settings, &[origin.address()]));
        let settings = format!("accept_proxy: any\ntrusted_proxies: 127.0.0.1\nsend_proxy: {version}");
        let first = Plb::start(&configuration(protocol, &settings, &[second.web()]));
        for header in [V1.to_vec(), v2()] {
            let mut client = Client::connect(first.web());
            client.send([&header, REQUEST].concat());
            assert_eq!(client.response().text(), "one");
        }
        for bytes in received(&origin) {
            assert!(bytes.starts_with(V1), "{version} {protocol}: {}", bytes.escape_ascii());
        }
        assert!(lines.wait_for(2).iter().all(|line| line.contains(" 192.0.2.7:4711 ")));
        assert_eq!(origin.connections(), 2);
    }
}

#[test]
fn a_stop_waits_for_no_proxy_that_has_said_nothing() {
    let origin = Origin::named("one");
    let plb = receiving("any", "timeout_proxy_header: 1h\ntimeout_shutdown: 1h", &[origin.address()]);
    let mut silent = Client::connect(plb.web());
    let mut late = Client::connect(plb.web());
    late.send(&V1[..7]);
    poll_until("both are in", || {
        plb.signal(Signal::SIGUSR1);
        plb.log().contains("summary: 2 clients")
    });
    plb.signal(Signal::SIGTERM);
    plb.wait_for_log("stopping: 2 clients");
    late.send([&V1[7..], REQUEST].concat());
    assert_eq!(late.response().field("connection"), Some("close"));
    silent.closed();
    plb.stop();
}
