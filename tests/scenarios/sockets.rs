//! Proves where connections to backends come from, and that sockets have the options that are set: those of plb are
//! looked at in plb.

use crate::harness::client::{Client, get};
use crate::harness::{Origin, Plb, configuration, ok, poll_until};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::Socket;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What can be said of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    nodelay: bool,
    /// Idle time, interval, probes.
    keep_alive: Option<(u64, u64, u32)>,
    user_timeout: Option<Duration>,
}

const DEFAULT: Options = Options { nodelay: true, keep_alive: None, user_timeout: None };

/// The options of plb's connection with this end, as soon as there is one.
fn options(plb: &Plb, is_it: impl Fn(&Socket) -> bool) -> Options {
    let pid = Pid::from_raw(plb.pid().as_raw()).expect("it is no group");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let mut found = None;
    poll_until("the connection", || {
        let copies = plb.descriptors().into_iter();
        let copies = copies.filter_map(|number| pidfd_getfd(&process, number as i32, PidfdGetfdFlags::empty()).ok());
        found = copies.map(Socket::from).find(|socket| socket.peer_addr().is_ok() && is_it(socket));
        found.is_some()
    });
    let socket = found.expect("it was awaited");
    let is_kept = socket.keepalive().expect("a socket tells");
    let seconds = |duration: std::io::Result<Duration>| duration.expect("a TCP socket tells").as_secs();
    let keep_alive = is_kept.then(|| {
        let (idle, interval) = (seconds(socket.tcp_keepalive_time()), seconds(socket.tcp_keepalive_interval()));
        (idle, interval, socket.tcp_keepalive_retries().expect("a TCP socket tells"))
    });
    Options {
        nodelay: socket.tcp_nodelay().expect("a TCP socket tells"),
        keep_alive,
        user_timeout: socket.tcp_user_timeout().expect("a TCP socket tells").filter(|timeout| !timeout.is_zero()),
    }
}

/// The options of the client's connection, and of the backend's behind it once that has seen two segments.
fn both(settings: &str, listener: &str, pool: &str) -> [Options; 2] {
    let origin = Origin::echo();
    let yaml = configuration("tcp", settings, &[origin.address()]);
    let yaml = yaml.replace("    pool: web\n", &format!("    pool: web\n{listener}"));
    let plb = Plb::start(&yaml.replace("    backends:\n", &format!("{pool}    backends:\n")));
    let mut client = Client::connect(plb.web());
    for _ in 0..2 {
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
    }
    let ends_at =
        |end: std::io::Result<socket2::SockAddr>, address| end.ok().and_then(|end| end.as_socket()) == address;
    [
        options(&plb, |socket| ends_at(socket.local_addr(), Some(plb.web()))),
        options(&plb, |socket| ends_at(socket.peer_addr(), Some(origin.address()))),
    ]
}

#[test]
fn by_default_no_segment_waits_and_nothing_else_is_set() {
    assert_eq!(both("", "", ""), [DEFAULT, DEFAULT]);
}

#[test]
fn the_options_reach_both_sides_from_the_top_and_each_alone_from_below() {
    let all = || Options { nodelay: false, keep_alive: Some((77, 10, 6)), user_timeout: Some(Duration::from_secs(90)) };
    let top = "tcp_nodelay: false\ntcp_keep_alive: 77s\ntcp_user_timeout: 90s";
    assert_eq!(both(top, "", ""), [all(), all()]);
    let below: String = top.lines().map(|line| format!("    {line}\n")).collect();
    assert_eq!(both("", &below, ""), [all(), DEFAULT]);
    assert_eq!(both("", "", &below), [DEFAULT, all()]);
    let none = "    tcp_nodelay: true\n    tcp_keep_alive: none\n    tcp_user_timeout: none\n";
    assert_eq!(both(top, none, ""), [DEFAULT, all()]);
}

/// Where all connections to an origin came from.
fn came_from(origin: &Origin) -> Vec<IpAddr> {
    let ends = origin.seen(|seen| seen.connections.iter().filter_map(|seen| seen.from).collect::<Vec<_>>());
    let mut addresses: Vec<IpAddr> = ends.iter().map(SocketAddr::ip).collect();
    addresses.dedup();
    addresses
}

fn with_source(source: &str, settings: &str, backends: &[SocketAddr]) -> Plb {
    let yaml = configuration("http", settings, backends);
    Plb::start(&yaml.replace("    backends:\n", &format!("    source: {source}\n    backends:\n")))
}

fn named_at(host: &str) -> Origin {
    Origin::raw_at(host.parse().expect("an address"), |connection| {
        while connection.request().is_some() && connection.send(ok("served")).is_ok() {}
    })
}

#[test]
fn connections_and_probes_come_from_the_source() {
    let mut origin = named_at("127.0.0.1");
    let plb = with_source("127.0.0.2", "server_retry: 1\ntimeout_cleanup: 50ms", &[origin.address()]);
    assert_eq!(get(plb.web(), "/").text(), "served");
    origin.stop();
    assert_eq!(get(plb.web(), "/").status(), 503);
    plb.wait_for_log("backend web/b1: down");
    origin.revive();
    plb.wait_for_log("backend web/b1: up");
    assert_eq!(get(plb.web(), "/").text(), "served");
    assert!(origin.connections() >= 3);
    assert_eq!(came_from(&origin), [IpAddr::from([127, 0, 0, 2])]);
}

#[test]
fn a_backend_of_another_family_than_the_source_is_served_from_anywhere() {
    let (four, six) = (named_at("127.0.0.1"), named_at("::1"));
    let localhost: IpAddr = Ipv6Addr::LOCALHOST.into();
    for source in ["127.0.0.3", "[\"::1\", 127.0.0.3]"] {
        let seen = four.connections();
        let plb = with_source(source, "", &[four.address(), six.address()]);
        (0..4).for_each(|_| assert_eq!(get(plb.web(), "/").text(), "served"));
        assert_eq!((came_from(&four), came_from(&six)), (vec![IpAddr::from([127, 0, 0, 3])], vec![localhost]));
        assert!(four.connections() > seen);
    }
}

#[test]
fn a_source_that_is_no_address_of_this_host_ends_the_start_and_is_named() {
    for source in ["192.0.2.1", "\"2001:db8::1\""] {
        let yaml = configuration("http", "", &[SocketAddr::from(([127, 0, 0, 1], 9))]);
        let with_source = yaml.replace("    backends:\n", &format!("    source: {source}\n    backends:\n"));
        let mut plb = Plb::launch(&with_source);
        plb.wait_for_log(&format!("pool web: no connection can come from {}: ", source.trim_matches('"')));
        assert_eq!(plb.wait_exit().code(), Some(1));
    }
}
