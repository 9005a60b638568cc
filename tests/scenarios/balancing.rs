//! Proves that each algorithm chooses the backends that it says it chooses.

use std::collections::BTreeSet;

use crate::harness::client::{Client, bodies};
use crate::harness::{Gate, Origin, Plb, configuration, ok};

const RETRY: &str = "server_retry: 1\ntimeout_cleanup: 100ms";

fn origins() -> [Origin; 3] {
    ["b1", "b2", "b3"].map(Origin::named)
}

fn addresses(origins: &[Origin]) -> Vec<std::net::SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// A plb in front of these, balanced so.
fn started(protocol: &str, balance: &str, origins: &[Origin], named: impl Fn(String) -> String) -> Plb {
    let settings = format!("{RETRY}\nbalance: {balance}");
    Plb::start(&named(configuration(protocol, &settings, &addresses(origins))))
}

/// Who answers on a connection of its own to a request with this key.
fn who(plb: &Plb, key: usize) -> String {
    ask(&mut Client::connect(plb.web()), key)
}

fn ask(client: &mut Client, key: usize) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nX-Key: {key}\r\n\r\n"));
    client.response().text()
}

fn each(plb: &Plb) -> Vec<String> {
    (0..60).map(|key| who(plb, key)).collect()
}

/// Says its name to whoever connects, and keeps the connection.
fn greeter(name: &'static str) -> Origin {
    Origin::raw(move |connection| {
        if connection.send(name).is_ok() {
            drop(connection.until_end());
        }
    })
}

#[test]
fn least_connections_keeps_away_from_a_backend_with_long_requests() {
    let gate = Gate::default();
    let passing = gate.clone();
    let slow = Origin::http(move |request| {
        if request.target() == "/slow" {
            passing.pass();
        }
        ok("b1")
    });
    let origins = [slow, Origin::named("b2")];
    let plb = started("http", "least_connections", &origins, |yaml| yaml);
    let mut waiting = Client::connect(plb.web());
    waiting.ask("/slow");
    assert_eq!(bodies(plb.web(), 6), ["b2"; 6]);
    gate.open();
    assert_eq!(waiting.response().text(), "b1");
    assert_eq!(bodies(plb.web(), 4), ["b1", "b2", "b1", "b2"], "those that are alike take turns");
    plb.stop_unmarked();
}

#[test]
fn least_connections_meets_the_weights_of_clients_that_stay() {
    let origins = ["b1", "b2"].map(greeter);
    let plb = started("tcp", "least_connections", &origins, |yaml| yaml.replace("name: b2", "name: b2, weight: 3"));
    let clients: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(plb.web());
            client.exactly(2);
            client
        })
        .collect();
    assert_eq!(origins.each_ref().map(Origin::connections), [2, 6]);
    drop(clients);
}

#[test]
fn random_spreads_over_all() {
    let origins = origins();
    let plb = started("http", "random", &origins, |yaml| yaml.replace("name: b3", "name: b3, weight: 2"));
    bodies(plb.web(), 400);
    let requests = origins.each_ref().map(Origin::requests);
    // Seven standard deviations.
    assert!((40..=160).contains(&requests[0]) && (40..=160).contains(&requests[1]), "{requests:?}");
    assert!((130..=270).contains(&requests[2]), "{requests:?}");
}

#[test]
fn first_uses_the_next_one_only_where_the_first_may_take_no_more() {
    let origins = ["b1", "b2"].map(greeter);
    let plb = started("tcp", "first", &origins, |yaml| yaml.replace("name: b1", "name: b1, max_connections: 2"));
    let connect = || {
        let mut client = Client::connect(plb.web());
        let name = String::from_utf8(client.exactly(2)).expect("a name");
        (client, name)
    };
    for _ in 0..5 {
        assert_eq!(connect().1, "b1");
        origins[0].wait_for("its end", |seen| seen.connections.iter().all(|connection| connection.over));
    }
    let held = [(); 3].map(|()| connect());
    assert_eq!(held.each_ref().map(|(_, name)| name.as_str()), ["b1", "b1", "b2"]);
}

#[test]
fn what_is_alike_goes_to_the_same_backend_over_connections_and_on_every_node() {
    let origins = origins();
    let balance = "{ type: hash, on: header, name: X-Key }";
    let plb = started("http", balance, &origins, |yaml| yaml);
    let before = each(&plb);
    assert_eq!(each(&plb), before);
    let mut client = Client::connect(plb.web());
    let kept: Vec<String> = (0..60).map(|key| ask(&mut client, key)).collect();
    assert_eq!(kept, before, "on one connection, too");
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "{before:?}");
    let turned = started("http", balance, &origins, |yaml| {
        let lines: Vec<&str> = yaml.lines().collect();
        let (head, backends) = lines.split_at(lines.len() - 3);
        [head, &[backends[2], backends[0], backends[1]]].concat().join("\n")
    });
    assert_eq!(each(&turned), before, "the order of the backends means nothing");
    let without: BTreeSet<String> = bodies(plb.web(), 60).into_iter().collect();
    assert_eq!(without.len(), 3, "where there is nothing to hash, they are drawn");
}

#[test]
fn a_backend_that_goes_down_moves_its_own_share_only_and_gets_it_back() {
    let mut origins = origins();
    let plb = started("http", "{ type: hash, on: header, name: X-Key }", &origins, |yaml| yaml);
    let before = each(&plb);
    origins[0].stop();
    who(&plb, before.iter().position(|name| name == "b1").expect("it has some of 60"));
    plb.wait_for_log("backend web/b1: down");
    let without = each(&plb);
    let moved = before.iter().zip(&without).filter(|(before, after)| before != after);
    let heirs: BTreeSet<_> = moved.inspect(|(before, _)| assert_eq!(*before, "b1")).map(|(_, after)| after).collect();
    assert_eq!(heirs.len(), 2, "its share is spread over the others");
    origins[0].revive();
    plb.wait_for_log("backend web/b1: up");
    // The first client finds out whether it serves.
    who(&plb, before.iter().position(|name| name == "b1").expect("it has some of 60"));
    assert_eq!(each(&plb), before);
}

#[test]
fn a_hash_keeps_tcp_clients_by_their_address_until_its_backend_has_more_than_its_bound() {
    let origins = ["b1", "b2"].map(greeter);
    let name = |client: &mut Client| String::from_utf8(client.exactly(2)).expect("a name");
    let plb = started("tcp", "hash", &origins, |yaml| yaml);
    let of = |last: u8| name(&mut Client::connect_from([127, 0, 0, last], plb.web()));
    let names: Vec<String> = (1..20).map(of).collect();
    assert_eq!((1..20).map(of).collect::<Vec<_>>(), names);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 2, "{names:?}");
    let plb = started("tcp", "{ type: hash, load_factor: 1.5 }", &origins, |yaml| yaml);
    let mut held = [(); 4].map(|()| Client::connect_from([127, 0, 0, 1], plb.web()));
    let names = held.each_mut().map(name);
    // With four, three are allowed: half of four and half as much again.
    assert!(names[0] == names[1] && names[1] == names[2] && names[2] != names[3], "{names:?}");
}

#[test]
fn a_hash_moves_nobody_because_an_idle_connection_was_closed() {
    // Each connection answers once, and closes on the second request.
    let once = |name: &'static str| {
        Origin::raw(move |connection| {
            if connection.request().is_some() {
                drop(connection.send(ok(name)));
                drop(connection.request());
            }
        })
    };
    let origins = ["b1", "b2"].map(once);
    let plb = started("http", "{ type: hash, on: header, name: X-Key }", &origins, |yaml| yaml);
    let mut client = Client::connect(plb.web());
    let names: BTreeSet<String> = (0..4).map(|_| ask(&mut client, 1)).collect();
    assert_eq!(names.len(), 1);
    plb.stop_unmarked();
}

#[test]
fn a_backend_without_weight_takes_nobody() {
    for balance in ["round_robin", "least_connections", "random", "hash", "first"] {
        let origins = ["b1", "b2"].map(Origin::named);
        let plb = started("http", balance, &origins, |yaml| yaml.replace("name: b1", "name: b1, weight: 0"));
        assert_eq!(bodies(plb.web(), 6), ["b2"; 6], "{balance}");
    }
}

#[test]
fn each_thing_that_is_hashed_decides_alone() {
    let things = [
        ("path", "/KEY?OTHER", ""),
        ("uri", "/KEY?x=KEY", "X-Other: OTHER\r\n"),
        ("cookie, name: sid", "/OTHER", "Cookie: a=OTHER; sid=KEY\r\n"),
        ("url_parameter, name: id", "/OTHER?a=OTHER&id=KEY", ""),
    ];
    for (on, target, field) in things {
        let origins = origins();
        let plb = started("http", &format!("{{ type: hash, on: {on} }}"), &origins, |yaml| yaml);
        let who = |key: usize, other: usize| {
            let text = |text: &str| text.replace("KEY", &format!("k{key}")).replace("OTHER", &format!("o{other}"));
            let mut client = Client::connect(plb.web());
            client.send(format!("GET {} HTTP/1.1\r\nHost: h\r\n{}\r\n", text(target), text(field)));
            client.response().text()
        };
        let homes: Vec<String> = (0..30).map(|key| who(key, 0)).collect();
        assert!(["b1", "b2", "b3"].iter().all(|name| homes.iter().any(|home| home == name)), "{on}: {homes:?}");
        for (key, home) in homes.iter().enumerate() {
            assert_eq!((1..4).map(|other| who(key, other)).collect::<Vec<_>>(), vec![home.clone(); 3], "{on} of {key}");
        }
    }
}

#[test]
fn a_backend_that_is_back_begins_with_a_small_part_of_its_share() {
    let mut origins = ["b1", "b2"].map(Origin::named);
    let settings = "server_retry: 1\ntimeout_cleanup: 50ms\nslow_start: 1h";
    let plb = Plb::start(&configuration("http", settings, &addresses(&origins)));
    let share = |plb: &Plb| bodies(plb.web(), 64).iter().filter(|name| *name == "b1").count();
    assert_eq!(share(&plb), 32, "at the start nobody is slow");
    origins[0].stop();
    assert_eq!(share(&plb), 0);
    origins[0].revive();
    plb.wait_for_log("web/b1: up");
    let slow = share(&plb);
    assert!((1..=8).contains(&slow), "{slow} of 64");
}
