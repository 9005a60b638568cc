//! Proves that each exchange has one line in the access log, that says what happened, and that no peer can break it.

use crate::harness::client::{Client, get};
use crate::harness::lines::Lines;
use crate::harness::{Origin, Plb, Reservation, configuration, ok};
use std::net::{SocketAddr, UdpSocket};

fn logging(lines: &Lines, protocol: &str, format: &str, settings: &str, backends: &[SocketAddr]) -> Plb {
    let path = lines.path().display();
    let settings = format!("access_log: {path}\naccess_log_format: {format}\n{settings}");
    Plb::start(&configuration(protocol, &settings, backends))
}

/// The fields of a line: those before the request, the request, and those behind it.
fn fields(line: &str) -> (Vec<&str>, &str, Vec<&str>) {
    let [before, request, behind] = line.split('"').collect::<Vec<_>>()[..] else { panic!("{line}") };
    (before.split_whitespace().collect(), request, behind.split_whitespace().collect())
}

/// The line without what differs from run to run: the date, the port, and the times.
fn told(line: &str) -> String {
    let (before, request, behind) = fields(line);
    assert_eq!((before[0].len(), &before[0][10..11], &before[0][23..]), (24, "T", "Z"), "{line}");
    assert!(before[1].starts_with("127.0.0.1:"), "{line}");
    for time in &behind[3..7] {
        assert!(*time == "-" || time.parse::<u64>().is_ok_and(|millis| millis < 20_000), "{line}");
    }
    let [status, received, sent, .., attempts, end] = behind[..] else { panic!("{line}") };
    let reached: String = behind[3..7].iter().map(|time| if *time == "-" { '-' } else { 't' }).collect();
    format!("{} {} {request} {status} {received} {sent} {reached} {attempts} {end}", before[2], before[3])
}

#[test]
fn a_get_and_a_post_have_a_line_each_with_the_bytes_of_both_directions() {
    let (origin, lines) = (Origin::http(|_| ok("hello")), Lines::new());
    let plb = logging(&lines, "http", "plb", "", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let get = "GET /a?b HTTP/1.1\r\nHost: plb.test\r\n\r\n";
    let post = "POST /form HTTP/1.1\r\nHost: plb.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for request in [get, post] {
        client.send(request);
        assert_eq!(client.response().status(), 200);
    }
    let lines = lines.wait_for(2);
    assert_eq!(told(&lines[0]), "web web/b1 GET /a?b HTTP/1.1 200 37 80 tttt 1 done");
    assert_eq!(told(&lines[1]), "web web/b1 POST /form HTTP/1.1 200 80 80 tttt 1 done");
    plb.stop_unmarked();
}

#[test]
fn pipelined_requests_have_a_line_each_in_their_order() {
    let (origin, lines) = (Origin::named("one"), Lines::new());
    let plb = logging(&lines, "http", "plb", "", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let request = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send((0..5).map(request).collect::<String>());
    (0..5).for_each(|_| assert_eq!(client.response().status(), 200));
    for (number, line) in lines.wait_for(5).iter().enumerate() {
        let (_, line, behind) = fields(line);
        assert_eq!(line, format!("GET /{number} HTTP/1.1"));
        assert_eq!(behind[1], request(number).len().to_string());
    }
}

#[test]
fn a_refused_request_has_a_line_that_no_byte_of_it_can_break() {
    let (origin, lines) = (Origin::named("one"), Lines::new());
    let plb = logging(&lines, "http", "plb", "", &[origin.address()]);
    let hostile = b"GET /\"\\\x1b[2J\r\x00\xff HTTP/1.1 200\nX: y\r\n\r\n";
    let mut client = Client::connect(plb.web());
    client.send(hostile);
    assert_eq!(client.response().status(), 400);
    client.closed();
    let line = lines.line();
    let expected = "web - GET /\\x22\\x5c\\x1b[2J\\x0d\\x00\\xff HTTP/1.1 200 400 ";
    assert!(told(&line).starts_with(expected), "{line}");
    assert!(told(&line).ends_with(" ---t 0 refused:malformed"), "{line}");
    // Who says nothing has no line.
    Client::connect(plb.web()).half_close();
    assert_eq!(get(plb.web(), "/").status(), 200);
    assert_eq!(lines.wait_for(2).len(), 2);
    let mut text = String::new();
    (0..2_000).for_each(|_| text.push('x'));
    assert_eq!(get(plb.web(), &format!("/{text}")).status(), 200);
    let last = lines.wait_for(3).pop().expect("there are three");
    assert!(fields(&last).1.ends_with("xx...") && fields(&last).1.len() == 1_027, "{last}");
}

#[test]
fn a_failover_and_the_lack_of_any_backend_can_be_read_off_the_line() {
    let (refusing, good, lines) = (Reservation::new(), Origin::named("good"), Lines::new());
    let settings = "server_retry: 1000000";
    let plb = logging(&lines, "http", "plb", settings, &[refusing.address(), good.address()]);
    (0..2).for_each(|_| assert_eq!(get(plb.web(), "/").status(), 200));
    let mut lines = lines.wait_for(2);
    lines.sort_by_key(|line| told(line).contains(" 1 done"));
    assert!(told(&lines[0]).starts_with("web web/b2 GET / HTTP/1.1 200 "), "{lines:?}");
    assert!(told(&lines[0]).ends_with(" tttt 2 done"), "{lines:?}");
    let lines = Lines::new();
    let plb = logging(&lines, "http", "plb", settings, &[refusing.address()]);
    assert_eq!(get(plb.web(), "/").status(), 503);
    assert!(told(&lines.line()).starts_with("web web/b1 GET / HTTP/1.1 503 "));
    assert!(told(&lines.line()).ends_with(" t--t 1 backend_failed"));
}

#[test]
fn whoever_is_too_slow_is_named() {
    let (silent, lines) = (Origin::silent(), Lines::new());
    let settings = "timeout_header_server_read: 200ms\ntimeout_header_client_read: 200ms";
    let plb = logging(&lines, "http", "plb", settings, &[silent.address()]);
    assert_eq!(get(plb.web(), "/").status(), 504);
    assert!(told(&lines.line()).ends_with(" tt-t 1 backend_timeout"), "{}", lines.line());
    let mut client = Client::connect(plb.web());
    client.send("GET /late HTTP/1.1\r\nHo");
    assert_eq!(client.response().status(), 408);
    let line = lines.wait_for(2).pop().expect("there are two");
    assert!(told(&line).starts_with("web - GET /late HTTP/1.1 408 22 "), "{line}");
    assert!(told(&line).ends_with(" ---t 0 client_timeout:slow_head"), "{line}");
    let mut client = Client::connect(plb.web());
    client.ask("/gone");
    silent.wait_for("the request comes", |seen| seen.requests.len() == 2);
    client.reset();
    let line = lines.wait_for(3).pop().expect("there are three");
    assert!(told(&line).ends_with(" tt-t 1 client_gone"), "{line}");
}

#[test]
fn a_tcp_session_has_one_line() {
    let (echo, lines) = (Origin::echo(), Lines::new());
    let plb = logging(&lines, "tcp", "plb", "", &[echo.address()]);
    let mut client = Client::connect(plb.web());
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    client.send("again");
    assert_eq!(client.exactly(5), b"again");
    client.half_close();
    client.closed();
    assert_eq!(told(&lines.line()), "web web/b1 - - 10 10 tttt 1 done");
    let mut client = Client::connect(plb.web());
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    plb.signal(nix::sys::signal::Signal::SIGTERM);
    plb.wait_for_log("stopping");
    plb.signal(nix::sys::signal::Signal::SIGTERM);
    let line = lines.wait_for(2).pop().expect("there are two");
    assert_eq!(told(&line), "web web/b1 - - 5 5 tttt 1 killed");
}

#[test]
fn a_tunnel_has_one_line_with_all_that_went_through_it() {
    let origin = Origin::raw(|connection| {
        if connection.request().is_some() {
            drop(connection.send("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"));
            drop(connection.until_end().and_then(|bytes| connection.send(bytes.repeat(2))));
        }
    });
    let lines = Lines::new();
    let plb = logging(&lines, "http", "plb", "timeout_tunnel: 500ms", &[origin.address()]);
    let ask = "GET /chat HTTP/1.1\r\nHost: plb.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = Client::connect(plb.web());
    client.send(ask.to_owned() + "hello");
    client.half_close();
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    assert_eq!(client.until_end().expect("an orderly end"), b"hellohello");
    let wanted = format!("web web/b1 GET /chat HTTP/1.1 101 {} {} tttt 1 done", ask.len() + 5, 60 + 10);
    assert_eq!(told(&lines.line()), wanted);
    let mut client = Client::connect(plb.web());
    client.send(ask);
    assert_eq!(client.response_head().expect("an answer").status(), 101);
    assert!(client.until_end().is_err(), "a silent tunnel is cut");
    let line = lines.wait_for(2).pop().expect("there are two");
    assert_eq!(told(&line), format!("web web/b1 GET /chat HTTP/1.1 101 {} 60 tttt 1 idle", ask.len()));
}

#[test]
fn the_combined_format_is_that_of_web_servers() {
    let (origin, lines) = (Origin::http(|_| ok("hello")), Lines::new());
    let plb = logging(&lines, "http", "combined", "", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send(
        "GET /a HTTP/1.1\r\nHost: a\r\nreferer: http://b/\r\nUser-Agent: x \"y\"\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.response().text(), "hello");
    assert_eq!(client.response_to("HEAD").expect("an answer").status(), 200);
    let lines = lines.wait_for(2);
    let (start, rest) = lines[0].split_once(']').expect("a date");
    assert!(start.starts_with("127.0.0.1 - - [") && start.ends_with(" +0000"), "{start}");
    assert_eq!(rest, " \"GET /a HTTP/1.1\" 200 5 \"http://b/\" \"x \\x22y\\x22\"");
    assert!(lines[1].ends_with("] \"HEAD / HTTP/1.1\" 200 - \"-\" \"-\""), "{}", lines[1]);
}

#[test]
fn the_json_format_is_an_object_a_line() {
    let (origin, lines) = (Origin::http(|_| ok("hello")), Lines::new());
    let plb = logging(&lines, "http", "json", "", &[origin.address()]);
    assert_eq!(get(plb.web(), "/a").status(), 200);
    let mut client = Client::connect(plb.web());
    client.send(b"\x16\x03\x01\"\\\xff\n");
    assert_eq!(client.response().status(), 400);
    let lines: Vec<serde_yaml::Value> =
        lines.wait_for(2).iter().map(|line| serde_yaml::from_str(line).expect("JSON is YAML")).collect();
    assert_eq!(lines[0]["backend"].as_str(), Some("web/b1"));
    assert_eq!(lines[0]["request"].as_str(), Some("GET /a HTTP/1.1"));
    assert_eq!((lines[0]["status"].as_u64(), lines[0]["attempts"].as_u64()), (Some(200), Some(1)));
    assert_eq!(lines[0]["end"].as_str(), Some("done"));
    assert!(lines[1]["backend"].is_null() && lines[1]["first_byte_ms"].is_null());
    assert_eq!(lines[1]["request"].as_str(), Some("\u{16}\u{3}\u{1}\"\\\u{ff}"));
}

#[test]
fn a_syslog_server_gets_each_line_in_a_datagram() {
    let (server, origin) = (UdpSocket::bind("127.0.0.1:0").expect("a port is free"), Origin::named("one"));
    server.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a socket takes it");
    let next = || {
        let mut room = [0; 9000];
        let count = server.recv(&mut room).expect("a datagram comes");
        String::from_utf8(room[..count].to_vec()).expect("it is ASCII")
    };
    let address = server.local_addr().expect("it is bound");
    let settings = format!("access_log: udp://{address}\nlog_file: udp://localhost:{}", address.port());
    let plb = Plb::launch(&configuration("http", &settings, &[origin.address()]));
    let listening = std::iter::repeat_with(next).find(|line| line.contains("listening on ")).expect("it never ends");
    let (head, web) = listening.split_once("listener web: listening on ").expect("it was found");
    assert!(head.starts_with("<30>1 20") && head.ends_with(&format!(" plb {} - - ", plb.pid())), "{head}");
    std::iter::repeat_with(next).find(|line| line.ends_with(" - - plb: serving")).expect("it never ends");
    assert_eq!(get(web.parse().expect("an address"), "/").status(), 200);
    let line = next();
    let (head, line) = line.split_once(" - - ").expect("a header of RFC 5424");
    assert!(head.starts_with("<30>1 20") && !line.contains('\n'), "{head} {line}");
    assert!(told(line).ends_with(" tttt 1 done"), "{line}");
}

#[test]
fn the_rule_that_was_broken_stands_in_the_log_whoever_broke_it() {
    let origin = Origin::raw(|connection| {
        let Some(head) = connection.request_head() else { return };
        let answer = match head.target() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "/body" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            _ => "",
        };
        connection.send(answer).expect("plb reads");
        drop(connection.until_end());
    });
    let lines = Lines::new();
    let plb = logging(&lines, "http", "json", "", &[origin.address()]);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (number, (request, fault)) in [
        ("GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_string(), "an escaped NUL in the path"),
        (format!("{post}+1\r\na\r\n"), "a chunk without size"),
        ("GET /head HTTP/1.1\r\nHost: a\r\n\r\n".to_string(), "two Content-Length fields"),
        ("GET /body HTTP/1.1\r\nHost: a\r\n\r\n".to_string(), "a chunk longer than its size"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(plb.web());
        client.send(request);
        drop(client.until_end());
        let line = &lines.wait_for(number + 1)[number];
        assert!(line.contains(&format!(",\"fault\":\"{fault}\",")), "{line}");
    }
    assert_eq!(get(plb.web(), "/head").status(), 502);
}
