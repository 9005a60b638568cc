//! Proves that a stop under load loses nothing: whoever could connect is answered whole, whoever comes later is refused.

use crate::harness::client::Client;
use crate::harness::{Origin, PATIENCE, Plb, noise, ok};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

/// The clients at once: more than are served at once, so that some are in the backlog at every moment.
const CLIENTS: usize = 40;
const SETTINGS: &str = "max_clients: 16\nbacklog: 400\ntimeout_shutdown: 15s";

/// Connects, unless nobody listens any more.
fn arrive(address: SocketAddr) -> Option<Client> {
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => Some(Client::over(stream)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            None
        }
    }
}

/// Clients that come again and again, until nobody listens; each visit has to go well. How many visits there were.
fn load(address: SocketAddr, visit: fn(Client)) -> Vec<JoinHandle<usize>> {
    let repeat = move || std::iter::from_fn(|| arrive(address)).map(visit).count();
    (0..CLIENTS).map(|_| std::thread::spawn(repeat)).collect()
}

/// Stops plb once the load is under way, and expects everybody to be content.
fn stop_amid(mut plb: Plb, origin: &Origin, clients: Vec<JoinHandle<usize>>) {
    origin.wait_for("the load", |seen| seen.bytes() > 1 << 20);
    plb.signal(Signal::SIGTERM);
    assert_eq!(plb.wait_exit().code(), Some(0));
    let visits: usize = clients.into_iter().map(|client| client.join().expect("a client lost its answer")).sum();
    let log = plb.log();
    assert!(visits > CLIENTS, "{visits} visits");
    assert!(!log.contains("cut off") && !log.contains("down after"), "{log}");
}

#[test]
fn http_clients_that_could_connect_are_answered_whole() {
    let origin = Origin::http(|request| ok(&request.target().repeat(100)));
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    let clients = load(plb.web(), |mut client| {
        for number in 0..10 {
            let target = format!("/{number}{}", "x".repeat(500));
            let response = client.get(&target);
            assert_eq!((response.status(), response.text()), (200, target.repeat(100)));
            if response.field("connection") == Some("close") {
                return client.closed();
            }
        }
    });
    stop_amid(plb, &origin, clients);
}

#[test]
fn http_clients_that_ask_once_are_answered_whole() {
    let origin = Origin::http(|request| ok(&request.target().repeat(100)));
    let plb = Plb::http(SETTINGS, &[origin.address()]);
    let clients = load(plb.web(), |mut client| {
        let target = format!("/{}", "x".repeat(1000));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: plb.test\r\nConnection: close\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, target.repeat(100)));
        client.closed();
    });
    stop_amid(plb, &origin, clients);
}

#[test]
fn tcp_clients_that_could_connect_are_served_whole() {
    let origin = Origin::echo();
    let plb = Plb::tcp(SETTINGS, &[origin.address()]);
    let clients = load(plb.web(), |mut client| {
        let bytes = noise(7, 30_000);
        client.send(&bytes);
        client.half_close();
        assert!(client.until_end().expect("an orderly end") == bytes, "not what was sent");
    });
    stop_amid(plb, &origin, clients);
}
