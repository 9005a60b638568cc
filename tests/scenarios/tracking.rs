//! Proves that the quick start tracks clients by their addresses, and what a client that was moved finds when its
//! backend is back.

use crate::harness::client::{Client, bodies};
use crate::harness::plb::PROGRAM;
use crate::harness::{Origin, Plb, configuration};
use std::net::SocketAddr;
use std::process::Command;

/// A quick start with these arguments, serving; and where.
fn quick(options: &[&str], backends: &[String]) -> (Plb, SocketAddr) {
    let plb = Plb::run(Command::new(PROGRAM).args(options).arg("127.0.0.1:0").args(backends));
    plb.wait_for_log("plb: serving");
    let address = plb.address("quick");
    (plb, address)
}

/// Whoever connects is told the name.
fn greeter(name: &'static str) -> Origin {
    Origin::raw(move |connection| drop(connection.send(name)))
}

fn at(origins: &[&Origin]) -> Vec<String> {
    origins.iter().map(|origin| origin.address().to_string()).collect()
}

/// Who answers a TCP client of the loopback network that has this last byte.
fn greeted(plb: SocketAddr, client: u8) -> String {
    String::from_utf8(Client::connect_from([127, 0, 0, client], plb).exactly(1)).expect("a name")
}

/// Who answers a request of such a client.
fn asked(plb: SocketAddr, client: u8) -> String {
    Client::connect_from([127, 0, 0, client], plb).get("/").text()
}

#[test]
fn the_quick_start_leads_each_address_back_in_both_protocols() {
    let (one, two) = (greeter("1"), greeter("2"));
    let (_plb, address) = quick(&["--tcp"], &at(&[&one, &two]));
    let visits = [1, 2, 1, 1, 2, 3, 2, 1, 3];
    assert_eq!(visits.map(|client| greeted(address, client)).concat(), "121121211");

    let (one, two) = (Origin::named("1"), Origin::named("2"));
    let (_plb, address) = quick(&[], &at(&[&one, &two]));
    assert_eq!(visits.map(|client| asked(address, client)).concat(), "121121211");
    // One connection is one client, too.
    let mut client = Client::connect_from([127, 0, 0, 2], address);
    assert_eq!([0; 3].map(|_| client.get("/").text()).concat(), "222");
}

#[test]
fn without_tracking_everything_is_balanced_and_weighted() {
    let (one, two) = (Origin::named("1"), Origin::named("2"));
    let mut backends = at(&[&one, &two]);
    backends[1] += ",tier=0,weight=2";
    let (_plb, address) = quick(&["--no-tracking"], &backends);
    drop(bodies(address, 6));
    assert_eq!((one.requests(), two.requests()), (2, 4));
}

#[test]
fn as_many_clients_are_tracked_as_the_command_line_says() {
    let (one, two) = (greeter("1"), greeter("2"));
    let (_plb, address) = quick(&["--tcp", "--clients", "2"], &at(&[&one, &two]));
    let visits = [1, 2, 1, 2, 3, 2, 1];
    let served = visits.map(|client| greeted(address, client)).concat();
    assert_eq!(served, "1212122", "3 pushed 1 out, who did not come for longest");
}

#[test]
fn a_client_of_both_families_is_one_client() {
    let (one, two) = (greeter("1"), greeter("2"));
    let yaml = configuration("tcp", "", &[one.address(), two.address()]);
    let yaml = yaml.replace("    backends:\n", "    affinity: { type: source }\n    backends:\n");
    let both = "\"[::]:0\"\n    v6_only: false";
    let Some(plb) = has_ipv6().then(|| Plb::start(&yaml.replace("\"127.0.0.1:0\"", both))) else { return };
    let port = plb.web().port();
    // What comes to it by IPv4 has a mapped address.
    let visit = |client| greeted(SocketAddr::from(([127, 0, 0, 1], port)), client);
    assert_eq!([1, 2, 1, 2, 2, 1].map(visit).concat(), "121221");
    let of_ipv6 = || Client::connect(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))).exactly(1);
    assert_eq!([of_ipv6(), of_ipv6()], [b"1", b"1"], "somebody else, whose turn it was");
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn a_client_that_was_moved_stays_or_returns_as_it_is_set() {
    for (failback, after) in [("stay", "222"), ("return", "111")] {
        let (mut one, two) = (greeter("1"), greeter("2"));
        let settings = "server_retry: 1\ntimeout_cleanup: 100ms";
        let yaml = configuration("tcp", settings, &[one.address(), two.address()]);
        let affinity = format!("    affinity: {{ type: source, failback: {failback} }}\n    backends:\n");
        let plb = Plb::start(&yaml.replace("    backends:\n", &affinity));
        let visit = |client| greeted(plb.web(), client);
        assert_eq!([1, 2].map(visit).concat(), "12");
        one.stop();
        assert_eq!([1, 1].map(visit).concat(), "22", "it is moved");
        plb.wait_for_log("backend web/b1: down");
        one.revive();
        plb.wait_for_log("backend web/b1: up");
        assert_eq!([1, 1, 1].map(visit).concat(), after, "{failback}");
        assert_eq!(visit(2), "2");
    }
}
