//! Proves that TCP passes through as it is: who speaks first, half-closes, resets, and bulk in both directions.

use crate::harness::client::Client;
use crate::harness::{Origin, Plb, checksum, noise, poll_until};
use socket2::SockRef;
use std::io::{ErrorKind, Write};
use std::sync::mpsc;
use std::time::Duration;

const BULK: usize = 20 << 20;

#[test]
fn a_server_may_speak_first() {
    let origin = Origin::raw(|connection| {
        drop(connection.send("220 ready\r\n"));
        let line = connection.some().unwrap_or_default();
        drop(connection.send([b"250 ".as_slice(), &line].concat()));
    });
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.exactly(11), b"220 ready\r\n");
    client.send("EHLO\r\n");
    assert_eq!(client.until_end().expect("an orderly end"), b"250 EHLO\r\n");
}

#[test]
fn a_client_that_ends_its_sending_reads_a_long_answer_whole() {
    let origin = Origin::raw(|connection| {
        let question = connection.until_end().unwrap_or_default();
        if question == b"question" {
            drop(connection.send(noise(3, 8 << 20)));
        }
    });
    let plb = Plb::tcp("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("question");
    client.half_close();
    let answer = client.until_end().expect("an orderly end");
    assert_eq!((answer.len(), checksum(&answer)), (8 << 20, checksum(&noise(3, 8 << 20))));
    plb.stop_unmarked();
}

#[test]
fn a_server_that_ends_its_sending_still_receives() {
    let (told, tell) = mpsc::channel();
    let origin = Origin::raw(move |connection| {
        drop(connection.send("bye"));
        connection.half_close();
        told.send(connection.until_end().map(|bytes| checksum(&bytes)).ok()).expect("the test listens");
    });
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.until_end().expect("an orderly end"), b"bye");
    client.send(noise(4, 8 << 20));
    client.half_close();
    assert_eq!(tell.recv().expect("the script tells"), Some(checksum(&noise(4, 8 << 20))));
}

#[test]
fn a_reset_of_the_server_resets_the_client() {
    let origin = Origin::raw(|connection| {
        drop(connection.some());
        connection.reset();
    });
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("x");
    assert_eq!(client.until_end().expect_err("no orderly end").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_of_the_client_resets_the_server_and_marks_nobody() {
    let (told, tell) = mpsc::channel();
    let origin = Origin::raw(move |connection| {
        told.send(connection.until_end().map_err(|error| error.kind())).expect("the test listens");
    });
    let plb = Plb::tcp("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.send("x");
    origin.wait_for("the byte", |seen| seen.bytes() == 1);
    client.reset();
    assert_eq!(tell.recv().expect("the script tells"), Err(ErrorKind::ConnectionReset));
    plb.stop_unmarked();
}

#[test]
fn bulk_in_both_directions_at_once_arrives_unchanged() {
    let (told, tell) = mpsc::channel();
    let origin = Origin::raw(move |connection| {
        let mut sender = connection.sender();
        let sending = std::thread::spawn(move || {
            sender.write_all(&noise(5, BULK)).expect("the client reads");
            sender.shutdown(std::net::Shutdown::Write).expect("the connection stands");
        });
        let received = connection.until_end().map(|bytes| checksum(&bytes)).ok();
        sending.join().expect("it was sent");
        told.send(received).expect("the test listens");
    });
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let mut sender = client.sender();
    let sending = std::thread::spawn(move || {
        sender.write_all(&noise(6, BULK)).expect("the origin reads");
        sender.shutdown(std::net::Shutdown::Write).expect("the connection stands");
    });
    let received = client.until_end().expect("an orderly end");
    sending.join().expect("it was sent");
    assert_eq!((received.len(), checksum(&received)), (BULK, checksum(&noise(5, BULK))));
    assert_eq!(tell.recv().expect("the script tells"), Some(checksum(&noise(6, BULK))));
}

#[test]
fn a_client_that_goes_on_sending_after_the_server_has_closed_is_not_kept() {
    let origin = Origin::raw(|connection| drop(connection.send("bye")));
    let plb = Plb::tcp("server_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    assert_eq!(client.until_end().expect("an orderly end"), b"bye");
    let idle = plb.descriptors().len() - 2;
    let sent = (0..1000).take_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        client.try_send("x").is_ok()
    });
    assert!(sent.count() < 1000, "nobody takes what it sends, and nobody says so");
    poll_until("plb lets go of both", || plb.descriptors().len() == idle);
    plb.stop_unmarked();
}

#[test]
fn bytes_behind_an_urgent_one_are_not_forgotten() {
    let origin = Origin::echo();
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    for round in 0..50 {
        client.send("before");
        SockRef::from(&client.sender()).send_out_of_band(b"!").expect("the other end takes it");
        client.send("behind");
        let echoed = client.exactly(12);
        assert_eq!(echoed, b"beforebehind", "round {round}");
    }
    SockRef::from(&client.sender()).send_out_of_band(b"!").expect("the other end takes it");
    let before = plb.processor_time();
    assert!(!client.has_news(Duration::from_millis(500)), "an urgent byte is not passed on");
    let spent = plb.processor_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of processor time for a byte that nobody reads");
}
