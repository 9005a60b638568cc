//! Proves with origins that count: which failures and which statuses another backend is asked after and how often, that
//! what cannot be sent twice never is, and that a pool without failover stays with its first choice.

use std::io::Read as _;
use std::net::SocketAddr;

use crate::harness::client::{Client, get};
use crate::harness::plb::written;
use crate::harness::{Gate, Message, Origin, Plb, Reservation, ok};

/// Nothing is added to a request, so that its bytes can be compared.
const PLAIN: &str = "x_forwarded_for: false\nx_forwarded_proto: false\nx_forwarded_host: false\nserver_retry: 100\n";

/// Answers every request with this status and this body.
fn with_status(status: u16, body: &'static str) -> Origin {
    Origin::http(move |_| format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// Takes each request and resets.
fn resetting() -> Origin {
    Origin::raw(|connection| {
        drop(connection.request());
        connection.reset();
    })
}

/// Says this to each request, and then no more.
fn saying(text: &'static str) -> Origin {
    Origin::raw(move |connection| {
        drop(connection.request());
        drop(connection.send(text));
    })
}

fn plb<const N: usize>(settings: &str, origins: [&Origin; N]) -> Plb {
    Plb::http(&format!("{PLAIN}{settings}"), &origins.map(Origin::address))
}

fn send(address: SocketAddr, request: &str) -> Message {
    let mut client = Client::connect(address);
    client.send(request);
    client.response_to(request.split(' ').next().unwrap_or_default()).expect("an answer")
}

fn post(address: SocketAddr) -> Message {
    send(address, "POST /buy HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 3\r\n\r\none")
}

fn asked<const N: usize>(origins: [&Origin; N]) -> [usize; N] {
    origins.map(Origin::requests)
}

#[test]
fn a_status_of_the_list_is_not_forwarded_while_another_backend_may_have_a_better_one() {
    let (bad, good) = (with_status(503, "no"), Origin::named("good"));
    let plb = plb("retry_on: [503]\nbalance: round_robin", [&bad, &good]);
    let put = "PUT /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 4\r\n\r\nbody";
    for _ in 0..2 {
        assert_eq!((get(plb.web(), "/").text(), send(plb.web(), put).text()), ("good".into(), "good".into()));
    }
    assert_eq!(good.requests(), 4);
    assert!(bad.requests() > 0);
    for origin in [&bad, &good] {
        let received = String::from_utf8_lossy(&origin.seen(|seen| seen.received.concat())).into_owned();
        let puts = origin.seen(|seen| seen.requests.iter().filter(|request| request.method() == "PUT").count());
        assert_eq!(received.matches(put).count(), puts, "as it was sent: {received}");
    }
    plb.stop_unmarked();
}

#[test]
fn where_everybody_answers_so_the_last_answer_is_forwarded_as_it_is() {
    let origins = [with_status(503, "one"), with_status(503, "two"), with_status(503, "three")];
    let [one, two, three] = &origins;
    let plb = plb("retry_on: [503]", [one, two, three]);
    let response = get(plb.web(), "/");
    assert_eq!(response.status(), 503);
    assert!(["one", "two", "three"].contains(&response.text().as_str()), "{response:?}");
    assert_eq!(asked([one, two, three]), [1, 1, 1], "each once");
    plb.stop_unmarked();
}

#[test]
fn no_more_attempts_are_made_than_are_allowed() {
    let origins = [with_status(503, "one"), with_status(503, "two"), with_status(503, "three")];
    for retries in 0..=2 {
        let before = origins.iter().map(Origin::requests).sum::<usize>();
        let [one, two, three] = &origins;
        let plb = plb(&format!("retry_on: [connect, 503]\nretries: {retries}"), [one, two, three]);
        assert_eq!(get(plb.web(), "/").status(), 503);
        assert_eq!(origins.iter().map(Origin::requests).sum::<usize>() - before, 1 + retries);
        plb.stop_unmarked();
    }
    let (refusing, good) = (Reservation::new(), Origin::named("good"));
    let settings = format!("{PLAIN}retries: 0");
    let plb = Plb::http(&settings, &[refusing.address(), refusing.address(), good.address()]);
    let statuses = (0..3).map(|_| get(plb.web(), "/").status()).collect::<Vec<_>>();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    assert_eq!(good.requests(), 1);
}

#[test]
fn what_nobody_answered_goes_out_once_more_and_what_was_answered_as_often_as_allowed() {
    let origins = [with_status(503, "one"), resetting(), with_status(503, "three"), resetting(), Origin::named("five")];
    let plb = plb("retry_on: [no_response, 503]", origins.each_ref());
    assert_eq!(get(plb.web(), "/").status(), 502);
    assert_eq!(asked(origins.each_ref()), [1, 1, 1, 1, 0], "the second reset was the end of it");
}

#[test]
fn nobody_waits_in_line_for_a_better_answer() {
    let gate = Gate::default();
    let full = Origin::http({
        let gate = gate.clone();
        move |_| {
            gate.pass();
            ok("slow")
        }
    });
    let bad = with_status(503, "bad");
    let plb = plb("retry_on: [503]\nmax_connections: 1\ntimeout_queue: 1h", [&full, &bad]);
    let mut first = Client::connect(plb.web());
    first.ask("/");
    full.wait_for("it is busy", |seen| seen.requests.len() == 1);
    assert_eq!(get(plb.web(), "/").text(), "bad", "at once");
    gate.open();
    assert_eq!(first.response().text(), "slow");
    plb.stop_unmarked();
}

#[test]
fn a_status_that_is_not_in_the_list_is_forwarded() {
    let (one, two) = (with_status(500, "one"), with_status(500, "two"));
    let plb = plb("retry_on: [connect, 502, 503]", [&one, &two]);
    assert_eq!(get(plb.web(), "/").status(), 500);
    assert_eq!(one.requests() + two.requests(), 1);
    plb.stop_unmarked();
}

#[test]
fn nothing_that_is_not_idempotent_or_not_wholly_kept_is_repeated_for_a_status() {
    let (one, two) = (with_status(503, "one"), with_status(503, "two"));
    let plb = plb("retry_on: [connect, no_response, timeout, malformed, 503]", [&one, &two]);
    let response = post(plb.web());
    assert_eq!((response.status(), response.text().len()), (503, 3), "{response:?}");
    assert_eq!(one.requests() + two.requests(), 1);
    let long = format!("PUT /x HTTP/1.1\r\nHost: plb.test\r\nContent-Length: 40000\r\n\r\n{}", "y".repeat(40_000));
    assert_eq!(send(plb.web(), &long).status(), 503);
    assert_eq!(one.requests() + two.requests(), 2);
    plb.stop_unmarked();
}

#[test]
fn nothing_is_repeated_once_the_client_was_told_something() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
    const ENDS: [(&str, u16); 2] = [("HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\nno", 503), ("nonsense\r\n\r\n", 502)];
    for (end, status) in ENDS {
        for is_told_before in [true, false] {
            let gate = Gate::default();
            let origin = || {
                let gate = gate.clone();
                Origin::raw(move |connection| {
                    drop(connection.request());
                    if is_told_before {
                        drop(connection.send(HINT));
                        gate.pass();
                        drop(connection.send(end));
                    } else {
                        drop(connection.send([HINT, end].concat()));
                    }
                })
            };
            let (one, two) = (origin(), origin());
            let plb = plb("retry_on: [503, malformed]", [&one, &two]);
            let mut client = Client::connect(plb.web());
            client.ask("/");
            assert_eq!(client.response_head().expect("a head").status(), 103);
            gate.open();
            assert_eq!(client.response().status(), status, "{is_told_before}");
            assert_eq!(one.requests() + two.requests(), 1, "{status} {is_told_before}");
            plb.stop_unmarked();
        }
    }
}

#[test]
fn a_malformed_answer_is_replaced_only_where_the_list_says_so() {
    let texts = ["SSH-2.0 what?\r\n", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"];
    for text in texts {
        let (bad, good) = (saying(text), Origin::named("good"));
        let listed = plb("retry_on: [malformed]", [&bad, &good]);
        for _ in 0..2 {
            assert_eq!(get(listed.web(), "/").text(), "good", "{text:?}");
            let status = post(listed.web()).status();
            assert!([200, 502].contains(&status), "{status}");
        }
        let posts =
            |origin: &Origin| origin.seen(|seen| seen.requests.iter().filter(|one| one.method() == "POST").count());
        assert_eq!(posts(&bad) + posts(&good), 2, "{text:?}: each once");
        listed.stop_unmarked();
        let (bad, worse) = (saying(text), saying(text));
        let unlisted = plb("", [&bad, &worse]);
        assert_eq!(get(unlisted.web(), "/").status(), 502, "{text:?}");
        assert_eq!(bad.requests() + worse.requests(), 1, "{text:?}");
        unlisted.stop_unmarked();
    }
}

#[test]
fn each_mishap_that_is_left_out_is_the_end_of_a_request() {
    let (refusing, good) = (Reservation::new(), Origin::named("good"));
    let without_connect = Plb::http(&format!("{PLAIN}retry_on: [no_response]"), &[refusing.address(), good.address()]);
    let mut statuses = [(); 2].map(|()| get(without_connect.web(), "/").status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let dying = resetting();
    let without_response = plb("retry_on: [connect, timeout]", [&dying, &good]);
    let mut statuses = [(); 2].map(|()| get(without_response.web(), "/").status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    let silent = Origin::silent();
    let without_timeout = plb("retry_on: [connect]\ntimeout_header_server_read: 200ms", [&silent, &good]);
    let mut statuses = [(); 2].map(|()| get(without_timeout.web(), "/").status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    assert_eq!((dying.requests(), silent.requests(), good.requests()), (1, 1, 3));
}

#[test]
fn an_idle_connection_that_its_backend_closed_is_no_attempt_that_failed() {
    let origin = Origin::raw(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == "/x" && connection.number == 0 {
                return;
            }
            drop(connection.send(ok("served")));
        }
    });
    let plb = plb("retries: 0\nretry_on: []\nfailover: false", [&origin, &origin]);
    let mut client = Client::connect(plb.web());
    for target in ["/", "/", "/x"] {
        assert_eq!(client.get(target).text(), "served");
    }
    plb.stop_unmarked();
}

#[test]
fn without_failover_nobody_else_is_asked() {
    let (mut one, two) = (Origin::named("one"), Origin::named("two"));
    let yaml = format!(
        "server_retry: 2\ntimeout_cleanup: 1h\ncore_dumps: true\nlisteners:\n  - {{ name: web, listen: \"127.0.0.1:0\", pool: web }}\n\
         pools:\n  web:\n    failover: false\n    affinity: {{ type: source }}\n    backends: [\"{}\", \"{}\"]\n",
        one.address(),
        two.address()
    );
    let plb = Plb::start(&yaml);
    let from = |last: u8| Client::connect_from([127, 0, 0, last], plb.web()).get("/");
    let served: Vec<String> = [1, 2].map(|last| from(last).text()).into();
    assert_eq!(served, ["one", "two"]);
    one.stop();
    for _ in 0..4 {
        assert_eq!(from(1).status(), 503, "its own backend alone, up or down");
        assert_eq!(from(2).text(), "two");
    }
    plb.wait_for_log("down after 2 failures");
    assert_eq!(from(1).status(), 503);
    assert_eq!(from(3).text(), "two", "whoever is new goes to who is up");
    assert_eq!(two.requests(), 6);
}

#[test]
fn a_status_that_counts_as_a_failure_takes_a_backend_out_and_is_forwarded_all_the_same() {
    let (bad, good) = (with_status(500, "bad"), Origin::named("good"));
    let settings = "x_forwarded_for: false\nserver_retry: 3\ntimeout_cleanup: 1h\nfailure_statuses: [500, 502-504]";
    let plb = Plb::http(settings, &[bad.address(), good.address()]);
    let statuses: Vec<u16> = (0..8).map(|_| get(plb.web(), "/").status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3, "{statuses:?}");
    let line = plb.wait_for_log("backend web/b1: down after 3 failures: ");
    assert!(line.contains("status 500"), "{line}");
    let (bad, good) = (with_status(501, "bad"), Origin::named("good"));
    let plb = Plb::http(settings, &[bad.address(), good.address()]);
    let statuses: Vec<u16> = (0..8).map(|_| get(plb.web(), "/").status()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 501).count(), 4, "{statuses:?}");
    plb.stop_unmarked();
}

#[test]
fn an_answer_that_was_replaced_counts_as_the_failure_that_it_is() {
    let (bad, good) = (with_status(503, "bad"), Origin::named("good"));
    let settings = "server_retry: 2\ntimeout_cleanup: 1h\nfailure_statuses: [503]\nretry_on: [503]";
    let plb = Plb::http(settings, &[bad.address(), good.address()]);
    for _ in 0..6 {
        assert_eq!(get(plb.web(), "/").text(), "good");
    }
    plb.wait_for_log("backend web/b1: down after 2 failures: ");
    assert_eq!(asked([&bad, &good]), [2, 6]);
}

#[test]
fn the_access_log_tells_how_many_were_asked() {
    let (bad, good) = (saying("nonsense\r\n\r\n"), Origin::named("good"));
    let (directory, _) = written("");
    let file = directory.path().join("access.log");
    let settings = format!("retry_on: [malformed]\naccess_log: {}\naccess_log_format: json", file.display());
    let plb = plb(&settings, [&bad, &good]);
    assert_eq!(get(plb.web(), "/").text(), "good");
    plb.stop_unmarked();
    let mut text = String::new();
    std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)).expect("it was written");
    assert_eq!(text.matches("\"attempts\":2").count(), 1, "{text}");
    assert_eq!(text.matches("\"end\":\"done\",\"cause\":null,\"fault\":null").count(), 1, "{text}");
}
