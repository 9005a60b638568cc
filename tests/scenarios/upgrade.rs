//! Proves that an upgrade becomes a tunnel when both peers agree to one that is allowed, and that all else stays HTTP.

use crate::harness::client::{Client, get};
use crate::harness::{Gate, Origin, PATIENCE, Plb, noise, ok};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use tungstenite::{Bytes, Error, Message, WebSocket};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: plb.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// A WebSocket server that sends every message back.
fn websocket_echo() -> Origin {
    Origin::raw(|connection| {
        let Ok(mut socket) = tungstenite::accept(connection.sender()) else { return };
        while let Ok(message) = socket.read() {
            if (message.is_binary() || message.is_text()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

fn websocket(plb: &Plb) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect_timeout(&plb.web(), PATIENCE).expect("plb listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    tungstenite::client("ws://plb.test/chat", stream).expect("both agree").0
}

/// Agrees to every upgrade and sends back what comes through the tunnel; answers all else with `http`.
fn agreeing() -> Origin {
    Origin::raw(|connection| {
        while let Some(request) = connection.request() {
            if request.field("upgrade").is_none() {
                drop(connection.send(ok("http")));
                continue;
            }
            drop(connection.send(AGREED));
            while let Some(bytes) = connection.some().ok().filter(|bytes| !bytes.is_empty()) {
                drop(connection.send(bytes));
            }
            return;
        }
    })
}

/// A client in a tunnel that works.
fn tunnelled(plb: &Plb) -> Client {
    let mut client = Client::connect(plb.web());
    client.send(ASK);
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    client.send("ping");
    assert_eq!(client.exactly(4), b"ping");
    client
}

/// Asserts that it is cut off with a reset: no answer of plb's own, and no end that looks clean.
fn cut(client: &mut Client) {
    let end = client.until_end().map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn websocket_messages_of_all_sizes_pings_and_the_closing_handshake_go_through() {
    let origin = websocket_echo();
    let plb = Plb::http("", &[origin.address()]);
    let mut socket = websocket(&plb);
    for length in [0, 1, 125, 126, 65_536, 1 << 20] {
        let message = Message::Binary(noise(length as u64, length).into());
        socket.send(message.clone()).expect("it is taken");
        assert!(socket.read().expect("an echo") == message, "{length} bytes came back otherwise");
    }
    socket.send(Message::Ping(Bytes::from_static(b"are you there"))).expect("it is taken");
    assert_eq!(socket.read().expect("a pong"), Message::Pong(Bytes::from_static(b"are you there")));
    socket.send(Message::text("still")).expect("it is taken");
    assert_eq!(socket.read().expect("an echo"), Message::text("still"));
    socket.close(None).expect("it is taken");
    assert!(socket.read().expect("the answer to the close").is_close());
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "the server closes first");
    drop(socket);
    origin.wait_for("the backend's side ends", |seen| seen.over() == 1);
    plb.stop_unmarked();
}

#[test]
fn many_tunnels_run_beside_requests() {
    let origin = websocket_echo();
    let http = Origin::named("http");
    let yaml = "listeners:\n  - { name: web, listen: \"127.0.0.1:0\", pool: sockets }\n  \
                - { name: http, listen: \"127.0.0.1:0\", pool: http }\n";
    let pools = format!(
        "pools: {{ sockets: {{ backends: [\"{}\"] }}, http: {{ backends: [\"{}\"] }} }}\n",
        origin.address(),
        http.address()
    );
    let plb = Plb::start(&(yaml.to_owned() + &pools));
    let mut sockets: Vec<_> = (0..20).map(|_| websocket(&plb)).collect();
    for round in 0..5 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(format!("{number} in {round}"))).expect("it is taken");
        }
        assert_eq!(get(plb.address("http"), "/").text(), "http");
        for (number, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.read().expect("an echo"), Message::text(format!("{number} in {round}")));
        }
    }
    drop(sockets);
    plb.stop_unmarked();
}

#[test]
fn a_tunnel_is_asked_for_and_agreed_to_in_words_of_plbs_own() {
    let origin = Origin::raw(|connection| {
        let Some(request) = connection.request() else { return };
        assert_eq!(request.all("connection"), ["upgrade"]);
        assert_eq!(request.all("upgrade"), ["WebSocket"]);
        assert_eq!(request.field("sec-websocket-key"), Some("x"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        drop(connection.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 101 Go\r\nconnection: Keep-Alive,UPGRADE\r\nKeep-Alive: 5\r\nX: y\r\nupgrade: websocket\r\n\r\nfirst",
        ));
        drop(connection.until_end());
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(
        "GET / HTTP/1.1\r\nHost: plb.test\r\nSec-WebSocket-Key: x\r\nUpgrade: WebSocket\r\n\
         Connection: Upgrade, Keep-Alive\r\nKeep-Alive: 1\r\n\r\n",
    );
    assert_eq!(client.response_head().expect("an interim answer").status(), 103);
    let head = client.response_head().expect("an answer");
    assert_eq!(head.start, "HTTP/1.1 101 Go");
    let fields: Vec<_> = head.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("X", "y"), ("Connection", "upgrade"), ("Upgrade", "websocket")]);
    assert_eq!(client.exactly(5), b"first");
}

#[test]
fn what_a_client_sends_ahead_waits_for_the_101_and_then_flows() {
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            if connection.request().is_some() {
                gate.pass();
                drop(connection.send(AGREED));
                let rest = connection.until_end().unwrap_or_default();
                drop(connection.send(rest));
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    // More than a buffer, and it looks like requests.
    let ahead = "GET /smuggled HTTP/1.1\r\nHost: plb.test\r\n\r\n".repeat(2_000);
    let sending = std::thread::spawn({
        let (mut sender, text) = (client.sender(), ASK.to_owned() + &ahead);
        move || {
            sender.write_all(text.as_bytes()).expect("it is taken in the end");
            sender.shutdown(Shutdown::Write).expect("the connection stands");
        }
    });
    origin.wait_for("the request", |seen| seen.requests.len() == 1);
    let head_bytes = origin.seen(|seen| seen.bytes());
    assert!(!client.has_news(Duration::from_millis(100)));
    assert_eq!(origin.seen(|seen| seen.bytes()), head_bytes, "nothing goes before the 101");
    gate.open();
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    let echoed = client.until_end().expect("the end comes through as well");
    assert!(echoed == ahead.as_bytes(), "{} of {} bytes came through", echoed.len(), ahead.len());
    sending.join().expect("the sender ends");
    assert_eq!(origin.requests(), 1);
    plb.stop_unmarked();
}

#[test]
fn a_declined_upgrade_stays_http_and_the_connection_goes_on() {
    let origin = Origin::http(|request| {
        let status = request.target().trim_start_matches('/');
        format!("HTTP/1.1 {status} x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno")
            .into()
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for status in [200, 403, 426, 503] {
        client.send(ASK.replace("/chat", &format!("/{status}")));
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (status, "no"));
        assert_eq!((response.field("upgrade"), response.field("connection")), (None, None));
        let second = client.get("/201");
        assert_eq!((second.status(), second.text().as_str()), (201, "no"));
    }
    assert_eq!(origin.connections(), 1, "the backend's connection goes on too");
}

#[test]
fn what_was_sent_ahead_of_a_declined_upgrade_is_judged_as_the_next_request() {
    let origin = Origin::http(|_| ok("no"));
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASK.to_owned() + "\u{1}\u{2} no HTTP\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.response().status(), 400);
    client.closed();
    assert_eq!(origin.requests(), 1);
    plb.stop_unmarked();
}

#[test]
fn a_101_that_nobody_asked_for_or_to_something_else_is_a_502() {
    let origin = Origin::raw(|connection| {
        while connection.request().is_some() {
            drop(connection.send(AGREED.replace("websocket", "echo")));
        }
    });
    let plb = Plb::http("upgrade: any\nserver_retry: 100", &[origin.address()]);
    for asked in ["", "Upgrade: websocket\r\nConnection: upgrade\r\n", "Upgrade: echo\r\n", "Connection: upgrade\r\n"] {
        let mut client = Client::connect(plb.web());
        client.send(format!("GET / HTTP/1.1\r\nHost: plb.test\r\n{asked}\r\n"));
        assert_eq!(client.response().status(), 502, "{asked:?}");
    }
    let mut client = Client::connect(plb.web());
    client.send("GET / HTTP/1.1\r\nHost: plb.test\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(client.response_head().expect("an answer").status(), 101, "it was asked for");
}

/// What a backend sees of an upgrade to this, with this setting.
fn forwarded(setting: &str, protocol: &str) -> Option<String> {
    let origin = Origin::named("http");
    let plb = Plb::http(&format!("upgrade: {setting}"), &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASK.replace("websocket", protocol));
    assert_eq!(client.response().text(), "http");
    assert_eq!(client.get("/").text(), "http");
    origin.seen(|seen| {
        let request = &seen.requests[0];
        assert_eq!(request.field("connection").is_some(), request.field("upgrade").is_some(), "{request:?}");
        request.field("upgrade").map(str::to_string)
    })
}

#[test]
fn the_setting_decides_which_upgrades_are_forwarded() {
    assert_eq!(forwarded("websocket", "websocket").as_deref(), Some("websocket"));
    assert_eq!(forwarded("any", "echo/1").as_deref(), Some("echo/1"));
    for (setting, protocol) in [
        ("none", "websocket"),
        ("websocket", "echo"),
        ("websocket", "h2c"),
        ("any", "h2c"),
        ("any", "H2C"),
        ("any", "websocket, h2c"),
        ("any", "TLS/1.2"),
        ("any", "websocket\r\nUpgrade: h2c"),
    ] {
        assert_eq!(forwarded(setting, protocol), None, "{protocol:?} with {setting}");
    }
}

#[test]
fn http_1_0_and_methods_but_get_do_not_upgrade_and_connect_is_refused() {
    let origin = Origin::http(|request| {
        assert_eq!((request.field("upgrade"), request.field("connection")), (None, None));
        ok("http")
    });
    let plb = Plb::http("upgrade: any", &[origin.address()]);
    for ask in [ASK.replace("HTTP/1.1", "HTTP/1.0"), ASK.replace("GET", "OPTIONS"), ASK.replace("GET", "POST")] {
        let mut client = Client::connect(plb.web());
        client.send(ask);
        assert_eq!(client.response().text(), "http");
    }
    let mut client = Client::connect(plb.web());
    client.send("CONNECT plb.test:80 HTTP/1.1\r\nHost: plb.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(client.response().status(), 501);
}

#[test]
fn the_connections_of_a_tunnel_are_never_used_again() {
    let origin = agreeing();
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.get("/").text(), "http");
    client.send(ASK);
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    assert_eq!(origin.connections(), 1, "an idle connection becomes a tunnel");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.exactly(18), b"GET / HTTP/1.1\r\n\r\n", "nothing is judged any more");
    client.half_close();
    client.closed();
    origin.wait_for("the backend's side ends", |seen| seen.over() == 1);
    assert_eq!(get(plb.web(), "/").text(), "http");
    assert_eq!(origin.connections(), 2);
    plb.stop_unmarked();
}

#[test]
fn an_end_travels_alone_and_the_other_direction_goes_on() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send(AGREED));
            connection.half_close();
            assert_eq!(connection.until_end().expect("an orderly end"), b"after the end");
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASK);
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    client.closed();
    client.send("after ");
    client.send("the end");
    client.half_close();
    origin.wait_for("the backend's side ends", |seen| seen.over() == 1);
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_breaks_off_in_a_tunnel_is_a_reset_for_the_client_and_not_blamed() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send(AGREED.to_owned() + "a part"));
            drop(connection.some());
            connection.reset();
        }
    });
    let plb = Plb::http("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(ASK);
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    assert_eq!(client.exactly(6), b"a part");
    client.send("go");
    cut(&mut client);
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_fails_before_the_101_is_made_up_for() {
    let failing = Origin::raw(|connection| drop(connection.request()));
    let good = agreeing();
    let plb = Plb::http("", &[failing.address(), good.address()]);
    for _ in 0..4 {
        drop(tunnelled(&plb));
    }
    assert!(failing.requests() > 0);
}

#[test]
fn a_silent_tunnel_is_cut_and_one_in_use_is_not() {
    let origin = agreeing();
    let settings = "timeout_tunnel: 1s\ntimeout_forward_server_read: 1ms\ntimeout_keep_alive: 1ms\nserver_retry: 1";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut client = tunnelled(&plb);
    for _ in 0..20 {
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
        assert!(!client.has_news(Duration::from_millis(60)), "it is in use");
    }
    cut(&mut client);
    origin.wait_for("the backend's side ends", |seen| seen.over() == 1);
    plb.stop_unmarked();
}

#[test]
fn a_stop_lets_tunnels_finish_and_opens_no_more() {
    let origin = agreeing();
    let mut plb = Plb::http("timeout_shutdown: 1h", &[origin.address()]);
    let mut client = tunnelled(&plb);
    let mut late = Client::connect(plb.web());
    assert_eq!(late.get("/").text(), "http");
    // Its next request is under way when the stop begins.
    late.send(&ASK[..10]);
    plb.signal(Signal::SIGTERM);
    plb.wait_for_log("stopping");
    late.send(&ASK[10..]);
    assert_eq!(late.response().text(), "http", "it was forwarded without its upgrade");
    late.closed();
    for _ in 0..5 {
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
    }
    client.half_close();
    client.closed();
    assert_eq!(plb.wait_exit().code(), Some(0));
    assert!(!plb.log().contains("cut off"), "{}", plb.log());
}

#[test]
fn a_tunnel_that_outlasts_a_stop_is_reset() {
    let origin = agreeing();
    let mut plb = Plb::http("timeout_shutdown: 200ms", &[origin.address()]);
    let mut client = tunnelled(&plb);
    plb.signal(Signal::SIGTERM);
    cut(&mut client);
    assert_eq!(plb.wait_exit().code(), Some(0));
    assert!(plb.log().contains("clients cut off: 1"), "{}", plb.log());
}
