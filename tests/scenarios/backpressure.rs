//! Proves that a side that does not read costs no memory and nobody else's time.

use crate::harness::client::{Client, bodies};
use crate::harness::{Gate, Origin, PATIENCE, Plb, alone, ok, poll_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The length of the bodies that nobody reads.
const BODY: u64 = 200 << 20;

/// What was sent once it is no longer growing, while others are served.
fn settled(sent: &AtomicU64, plb: &Plb) -> u64 {
    loop {
        let before = sent.load(Ordering::SeqCst);
        bodies(plb.web(), 100);
        if before > 0 && sent.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[test]
fn a_response_that_is_not_read_is_not_gathered() {
    let _alone = alone();
    let sent = Arc::new(AtomicU64::new(0));
    let origin = Origin::raw({
        let sent = Arc::clone(&sent);
        move |connection| {
            while let Some(request) = connection.request() {
                if request.target() != "/large" {
                    drop(connection.send(ok("small")));
                    continue;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
                let mut ready = connection.send(head);
                while ready.is_ok() && sent.fetch_add(1 << 16, Ordering::SeqCst) < BODY {
                    ready = connection.send([0; 1 << 16]);
                }
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    bodies(plb.web(), 20);
    let before = plb.resident_bytes();
    let mut stalled: Vec<Client> = (0..3).map(|_| Client::connect(plb.web())).collect();
    stalled[0].ask("/large");
    stalled[0].response_head().expect("the response starts");
    let sent = settled(&sent, &plb);
    let grown = plb.resident_bytes().saturating_sub(before);
    assert!(sent < BODY / 2, "{sent} bytes were taken from the origin for a client that does not read");
    assert!(grown < 8 << 20, "plb grew by {grown} bytes");
    assert_eq!(stalled[0].exactly(20 << 20).len(), 20 << 20, "it goes on when the client does");
}

#[test]
fn a_request_that_the_origin_does_not_read_is_not_gathered() {
    let _alone = alone();
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            while let Some(request) = connection.request_head() {
                if request.method() == "POST" {
                    return gate.pass();
                }
                drop(connection.send(ok("small")));
            }
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    bodies(plb.web(), 20);
    let before = plb.resident_bytes();
    let mut client = Client::connect(plb.web());
    client.send(format!("POST / HTTP/1.1\r\nHost: plb.test\r\nContent-Length: {BODY}\r\n\r\n"));
    let sent = Arc::new(AtomicU64::new(0));
    let sending = std::thread::spawn({
        let (sent, mut sender) = (Arc::clone(&sent), client.sender());
        move || while sender.write_all(&[0; 1 << 16]).is_ok() && sent.fetch_add(1 << 16, Ordering::SeqCst) < BODY {}
    });
    let sent = settled(&sent, &plb);
    let grown = plb.resident_bytes().saturating_sub(before);
    assert!(sent < BODY / 2, "{sent} bytes were taken from the client for an origin that does not read");
    assert!(grown < 8 << 20, "plb grew by {grown} bytes");
    gate.open(); // the origin closes, so that the sender fails
    client.half_close();
    sending.join().expect("the sender ends");
}

/// The readers that do not read.
const READERS: usize = 500;
/// The length of what they ask for.
const DOWNLOAD: usize = 50 << 20;
/// What one of them may cost beyond its socket buffers: where its bytes are copied, less than two buffers.
const READER_BYTES_MAX: u64 =
    if cfg!(all(target_os = "linux", not(mio_unsupported_force_poll_poll))) { 20 << 10 } else { 32 << 10 };

/// Asks for the download, and takes only what the kernel takes for it, which is little.
fn reader(address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket.set_recv_buffer_size(4 << 10).expect("a socket takes it");
    // Linux gives plb's end the more room to send the longer the segments are, which on loopback is 64 KiB.
    socket.set_tcp_mss(1_400).expect("a TCP socket takes it");
    socket.connect(&address.into()).expect("plb listens");
    let mut client = Client::over(socket.into());
    client.ask("/large");
    client
}

#[test]
fn five_hundred_readers_that_do_not_read_cost_little_and_end_by_the_timeout() {
    let _alone = alone();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is such a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard one it may be set");
    let sent = Arc::new(AtomicU64::new(0));
    let origin = Origin::raw({
        let sent = Arc::clone(&sent);
        move |connection| {
            // Left alone, it grows to megabytes for each of them.
            SockRef::from(&connection.sender()).set_send_buffer_size(256 << 10).expect("a socket takes it");
            while let Some(request) = connection.request() {
                if request.target() != "/large" {
                    drop(connection.send(ok("small")));
                    continue;
                }
                drop(connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD}\r\n\r\n")));
                for _ in 0..DOWNLOAD >> 14 {
                    if connection.send([0; 1 << 14]).is_err() {
                        return;
                    }
                    sent.fetch_add(1 << 14, Ordering::SeqCst);
                }
            }
        }
    });
    let plb = Plb::http(
        "timeout_forward_client_write: 5s\nserver_retry: 1\nbacklog: 1000\ncore_dumps: true",
        &[origin.address()],
    );
    bodies(plb.web(), 20);
    let before = plb.proportional_bytes();
    let mut readers: Vec<Client> = (0..READERS).map(|_| reader(plb.web())).collect();
    for reader in &mut readers {
        assert!(reader.has_news(PATIENCE), "the response starts");
    }
    settled(&sent, &plb);
    let mut grown = 0;
    poll_until("each reader costs little", || {
        grown = plb.proportional_bytes().saturating_sub(before);
        assert_eq!(
            origin.seen(|seen| seen.over()),
            0,
            "it was {} for each until some were cut off",
            grown / READERS as u64
        );
        grown < READERS as u64 * READER_BYTES_MAX
    });
    origin.wait_for("all are cut off", |seen| seen.over() >= READERS);
    assert_eq!(bodies(plb.web(), 20).len(), 20);
    drop(readers);
    plb.stop_unmarked();
}
