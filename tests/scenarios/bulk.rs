//! Proves that long transfers arrive byte for byte, whether they go through kernel pipes or are copied, and that whoever
//! stalls in one holds nothing.

use crate::harness::client::Client;
use crate::harness::{Gate, Message, Origin, Plb, alone, noise, poll_until};
use crate::limits::limit_descriptors;
use nix::sys::signal::Signal;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// The length of most transfers.
const LENGTH: usize = 64 * MIB;

/// Where the system has splice(2), and the build uses it.
const SPLICES: bool = cfg!(all(target_os = "linux", not(mio_unsupported_force_poll_poll)));

/// What is transferred.
fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| noise(7, LENGTH))
}

/// What stands before `name` in a new summary.
fn counted(plb: &Plb, name: &str) -> u64 {
    let length = plb.log_length();
    plb.signal(Signal::SIGUSR1);
    plb.wait_for_line(&format!("a summary with {name:?}"), |lines| {
        let mut parts = lines[length..].iter().flat_map(|line| line.split([',', ':']));
        parts.find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok())
    })
}

/// Nearly all of so many bytes, or none of them, went through kernel pipes.
fn assert_spliced(plb: &Plb, bytes: usize, pipes: usize) {
    let spliced = counted(plb, "bytes spliced") as usize;
    let expected = if SPLICES && pipes > 0 { bytes - bytes / 8..=bytes } else { 0..=0 };
    assert!(expected.contains(&spliced), "{spliced} of {bytes} bytes were spliced");
    assert_eq!(counted(plb, "kernel pipes in use"), 0);
}

/// The content in the framing that the target of the request names.
fn answer(request: &Message) -> Vec<u8> {
    match request.target() {
        "/length" => [format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes(), content()].concat(),
        "/chunks" => [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &*in_chunks()].concat(),
        _ => [b"HTTP/1.0 200 OK\r\n\r\n", content()].concat(),
    }
}

/// A huge chunk, one that is as long as a buffer, and the rest.
fn in_chunks() -> Vec<u8> {
    let (huge, rest) = content().split_at(40 * MIB);
    let (small, rest) = rest.split_at(16 * 1024);
    let chunks =
        [huge, small, rest].map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    [chunks.concat().as_slice(), b"0\r\n\r\n"].concat()
}

/// Sends on a thread of its own, while the other end may be answering.
fn send_beside(client: &Client, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut sender = client.sender();
    std::thread::spawn(move || sender.write_all(&bytes).expect("the other end takes it"))
}

fn bodies_arrive_whole(pipes: usize) {
    let origin = Origin::raw(|connection| {
        while let Some(request) = connection.request() {
            let same = request.method() == "GET" || request.body == content();
            let sent = connection.send(if same { answer(&request) } else { b"HTTP/1.1 500 No\r\n\r\n".to_vec() });
            if sent.is_err() || request.target() == "/end" {
                return;
            }
        }
    });
    let plb = Plb::http(&format!("kernel_pipes: {pipes}"), &[origin.address()]);
    for target in ["/length", "/chunks", "/end"] {
        let mut client = Client::connect(plb.web());
        assert!(client.get(target).body == content(), "another body by {target}");
    }
    assert_spliced(&plb, 3 * LENGTH, pipes);
    for (target, framing) in
        [("/length", format!("Content-Length: {LENGTH}")), ("/chunks", "Transfer-Encoding: chunked".into())]
    {
        let mut client = Client::connect(plb.web());
        let head = format!("PUT {target} HTTP/1.1\r\nHost: plb.test\r\n{framing}\r\n\r\n");
        let body = if target == "/length" { content().to_vec() } else { in_chunks() };
        let sending = send_beside(&client, [head.into_bytes(), body].concat());
        let response = client.response();
        assert_eq!(response.status(), 200, "another body was received by {target}");
        assert!(response.body == content(), "another body by {target}");
        sending.join().expect("all of it is sent");
    }
    assert_spliced(&plb, 7 * LENGTH, pipes);
    plb.stop_unmarked();
}

#[test]
fn bodies_arrive_whole_through_the_kernel() {
    let _alone = alone();
    bodies_arrive_whole(16);
}

#[test]
fn bodies_arrive_whole_without_kernel_pipes() {
    let _alone = alone();
    bodies_arrive_whole(0);
}

fn a_session_is_passed_on_both_ways(pipes: usize) {
    let (told, tell) = mpsc::channel();
    let origin = Origin::raw(move |connection| {
        let mut sender = connection.sender();
        let sending = std::thread::spawn(move || {
            sender.write_all(content()).expect("the client reads");
            sender.shutdown(Shutdown::Write).expect("the connection stands");
        });
        let same = connection.until_end().is_ok_and(|bytes| bytes == content());
        sending.join().expect("it was sent");
        told.send(same).expect("the test listens");
    });
    let plb = Plb::tcp(&format!("kernel_pipes: {pipes}"), &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let sending = send_beside(&client, content().to_vec());
    let mut received = client.exactly(LENGTH);
    sending.join().expect("the origin reads");
    client.half_close();
    received.extend(client.until_end().expect("an orderly end"));
    assert!(received == content(), "{} other bytes", received.len());
    assert!(tell.recv().expect("the script tells"), "the origin got other bytes");
    assert_spliced(&plb, 2 * LENGTH, pipes);
}

#[test]
fn a_tcp_session_is_passed_on_both_ways_through_the_kernel() {
    let _alone = alone();
    a_session_is_passed_on_both_ways(16);
}

#[test]
fn a_tcp_session_is_passed_on_both_ways_without_kernel_pipes() {
    let _alone = alone();
    a_session_is_passed_on_both_ways(0);
}

/// Sends the content with a length, the first half before the gate and the rest behind it.
fn in_halves(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::raw(move |connection| {
        while connection.request().is_some() {
            let (first, second) = content().split_at(LENGTH / 2);
            let sent = connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            if sent.and_then(|()| connection.send(first)).is_err() {
                return;
            }
            gate.pass();
            if connection.send(second).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_lack_of_descriptors_in_the_middle_costs_nobody_anything() {
    let _alone = alone();
    let gate = Gate::default();
    let origin = Origin::raw({
        let gate = gate.clone();
        move |connection| {
            while let Some(request) = connection.request() {
                drop(connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")));
                if request.target() == "/waits" {
                    gate.pass();
                }
                drop(connection.send(content()));
            }
        }
    });
    let plb = Plb::http("core_dumps: true", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/waits");
    client.response_head().expect("the response starts");
    let open = plb.descriptors();
    let limit = (0..).find(|number| !open.contains(number)).expect("not all numbers are used");
    limit_descriptors(&plb, limit);
    gate.open();
    assert!(client.exactly(LENGTH) == content(), "other bytes");
    assert_spliced(&plb, LENGTH, 0);
    assert_eq!((counted(&plb, "out of resources"), counted(&plb, "aborted")), (0, 0));
    plb.stop_unmarked();
}

#[test]
fn a_client_that_stalls_in_the_middle_and_goes_on_gets_the_rest() {
    let _alone = alone();
    let gate = Gate::default();
    gate.open();
    let origin = in_halves(&gate);
    let plb = Plb::http("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    client.response_head().expect("the response starts");
    let mut received = client.exactly(5 * MIB);
    let mut before = 0;
    poll_until("nothing moves any more", || {
        let now = counted(&plb, "bytes down");
        std::mem::replace(&mut before, now) == now && now > received.len() as u64
    });
    assert!(before < LENGTH as u64, "it was gathered somewhere");
    if SPLICES {
        assert_eq!(counted(&plb, "of 4096 buffers lent"), 0, "who stalls holds no buffer");
        assert_eq!(counted(&plb, "kernel pipes in use"), 0, "nor a pipe");
    }
    received.extend(client.exactly(LENGTH - received.len()));
    assert!(received == content(), "other bytes");
    assert_eq!(client.get("/").status(), 200, "the connection is as good as before");
    plb.stop_unmarked();
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let _alone = alone();
    let gate = Gate::default();
    gate.open();
    let origin = in_halves(&gate);
    let plb = Plb::http("timeout_forward_client_write: 1s\nserver_retry: 1", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    client.response_head().expect("the response starts");
    let mut received = Vec::with_capacity(LENGTH);
    while received.len() < LENGTH {
        received.extend(client.exactly(2 * MIB));
        std::thread::sleep(Duration::from_millis(80)); // this is what makes it slow; nothing is waited for
    }
    assert!(received == content(), "other bytes");
    plb.stop_unmarked();
}

#[test]
fn a_backend_that_breaks_off_in_the_middle_ends_no_body_that_looks_whole() {
    let _alone = alone();
    for head in ["HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", ""] {
        let gate = Gate::default();
        let origin = Origin::raw({
            let gate = gate.clone();
            move |connection| {
                drop(connection.some());
                drop(connection.send(head).and_then(|()| connection.send(&content()[..20 * MIB])));
                gate.pass();
                connection.reset();
            }
        });
        let protocol = if head.is_empty() { Plb::tcp } else { Plb::http };
        let plb = protocol("", &[origin.address()]);
        let mut client = Client::connect(plb.web());
        client.ask("/");
        if !head.is_empty() {
            client.response_head().expect("the response starts");
        }
        assert!(client.exactly(20 * MIB) == content()[..20 * MIB], "other bytes");
        gate.open();
        let end = client.until_end().expect_err("no orderly end");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{head:?}");
        assert_spliced(&plb, 20 * MIB, 16);
    }
}

#[test]
fn a_client_that_breaks_off_in_the_middle_leaves_nothing_behind() {
    let _alone = alone();
    let gate = Gate::default();
    gate.open();
    let origin = in_halves(&gate);
    let plb = Plb::http("", &[origin.address()]);
    for _ in 0..20 {
        let mut client = Client::connect(plb.web());
        client.ask("/");
        client.response_head().expect("the response starts");
        client.exactly(MIB);
        client.reset();
    }
    poll_until("all are gone", || counted(&plb, "clients") == 0);
    assert_eq!(counted(&plb, "kernel pipes in use"), 0);
    let mut client = Client::connect(plb.web());
    assert!(client.get("/").body == content(), "bytes of another client");
    plb.stop_unmarked();
}

#[test]
fn an_urgent_byte_in_the_middle_stops_nothing() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let origin = Origin::raw(move |connection| {
        told.send(connection.until_end().is_ok_and(|bytes| bytes == content())).expect("the test listens");
    });
    let plb = Plb::tcp("", &[origin.address()]);
    let mut client = Client::connect(plb.web());
    let (first, second) = content().split_at(LENGTH / 2);
    client.send(first);
    // Only one: another one behind it would make it an ordinary byte.
    SockRef::from(&client.sender()).send_out_of_band(b"!").expect("the other end takes it");
    client.send(second);
    client.half_close();
    assert!(tell.recv_timeout(crate::harness::PATIENCE).expect("the script tells"), "the origin got other bytes");
}

/// A reader that stalls once the response has begun, and for which the kernel gathers little.
fn stalled(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket.set_recv_buffer_size(16 * 1024).expect("a socket takes it");
    socket.connect(&address.into()).expect("somebody listens");
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: plb.test\r\n\r\n").expect("it is taken");
    stream.read_exact(&mut [0; 12]).expect("the response starts");
    stream
}

#[test]
fn many_stalled_readers_hold_neither_memory_nor_pipes() {
    let _alone = alone();
    const READERS: usize = 100;
    let origin = Origin::raw(|connection| {
        while connection.request().is_some() {
            let small = SockRef::from(&connection.sender()).set_send_buffer_size(64 * 1024);
            small.expect("a socket takes it");
            drop(connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")));
            drop(connection.send(content()));
        }
    });
    let plb = Plb::http("", &[origin.address()]);
    drop(stalled(plb.web()));
    poll_until("it is gone", || counted(&plb, "clients") == 0);
    let before = plb.resident_bytes();
    let readers: Vec<TcpStream> = (0..READERS).map(|_| stalled(plb.web())).collect();
    let mut last = 0;
    poll_until("nothing moves any more", || {
        let now = counted(&plb, "bytes down");
        std::mem::replace(&mut last, now) == now
    });
    assert_eq!(counted(&plb, "clients"), READERS as u64);
    // A sink may still take what was in flight to it.
    poll_until("hardly a pipe, hardly a buffer and at most 20 KiB for each", || {
        let (pipes, buffers) = (counted(&plb, "kernel pipes in use"), counted(&plb, "of 4096 buffers lent"));
        let each = plb.resident_bytes().saturating_sub(before) / READERS as u64;
        each <= 20 * 1024 && (!SPLICES || pipes <= 16 && buffers <= 2)
    });
    drop(readers);
    plb.stop_unmarked();
}

#[test]
fn clients_that_wait_for_buffers_keep_none_from_each_other() {
    let _alone = alone();
    let gate = Gate::default();
    gate.open();
    let origin = in_halves(&gate);
    // Four buffers, of which three hold what the first three clients do not take: the fourth finds no pair.
    let settings = "kernel_pipes: 0\nbuffer_memory: 64KiB\ntimeout_forward_client_write: 1h\n\
        timeout_forward_server_read: 1h\ntimeout_header_server_read: 1h\ntimeout_header_client_read: 1h";
    let plb = Plb::http(settings, &[origin.address()]);
    let mut clients: Vec<Client> = Vec::new();
    for held in 1..=3 {
        clients.push(Client::connect(plb.web()));
        clients[held - 1].ask("/");
        clients[held - 1].response_head().expect("the response starts");
        poll_until("it is given what it does not take", || counted(&plb, "of 4 buffers lent") == held as u64);
    }
    clients.push(Client::connect(plb.web()));
    clients[3].ask("/");
    poll_until("it is in", || counted(&plb, "clients") == 4);
    std::thread::scope(|scope| {
        for client in &mut clients[..3] {
            scope.spawn(|| assert!(client.exactly(LENGTH) == content(), "other bytes"));
        }
    });
    assert!(clients[3].response().body == content(), "other bytes");
    plb.stop_unmarked();
}
