//! Scripted origins: servers on threads that do exactly what a test says and remember what they saw.
//!
//! The port of an origin stays reserved while it is stopped, so that it can come back and nobody else takes it.

use super::client::greeting;
use super::message::{Inlet, Message};
use super::{PATIENCE, locked};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What an origin saw since it was made (a revival does not forget).
#[derive(Default)]
pub struct Seen {
    /// The whole requests, in the order of their arrival.
    pub requests: Vec<Message>,
    /// The connections, in the order of their arrival.
    pub connections: Vec<ConnectionSeen>,
    /// The first bytes received on each of them, at most [`RECEIVED_BYTES_MAX`].
    pub received: Vec<Vec<u8>>,
}

/// So many bytes of a connection are kept.
const RECEIVED_BYTES_MAX: usize = 65_536;

/// What became of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSeen {
    /// Bytes received on it.
    pub bytes: u64,
    /// The script has finished.
    pub over: bool,
    /// Where it came from.
    pub from: Option<SocketAddr>,
}

impl Seen {
    /// Bytes received on all connections.
    pub fn bytes(&self) -> u64 {
        self.connections.iter().map(|connection| connection.bytes).sum()
    }

    /// Connections whose script has finished.
    pub fn over(&self) -> usize {
        self.connections.iter().filter(|connection| connection.over).count()
    }
}

#[derive(Default)]
struct State {
    seen: Seen,
    open: Vec<(usize, TcpStream)>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut locked(&self.state));
        self.changed.notify_all();
        result
    }
}

type Script = Arc<dyn Fn(&mut Connection) + Send + Sync>;

/// A server with a script for each connection.
pub struct Origin {
    reservation: Reservation,
    shared: Arc<Shared>,
    script: Script,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Runs `script` on a thread for each connection; the connection is closed when it returns.
    pub fn raw(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Origin {
        Origin::raw_at(Ipv4Addr::LOCALHOST.into(), script)
    }

    /// The same on another address of this host.
    pub fn raw_at(host: IpAddr, script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Origin {
        let mut origin = Origin {
            reservation: Reservation::at(host),
            shared: Arc::default(),
            script: Arc::new(script),
            acceptor: None,
        };
        origin.revive();
        origin
    }

    /// Answers each request with the bytes that `answer` returns and keeps the connection.
    pub fn http(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::raw(move |connection| {
            while let Some(request) = connection.request() {
                if connection.send(answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers each request with 200 and its name.
    pub fn named(name: &'static str) -> Origin {
        Origin::http(move |_| greeting(name))
    }

    /// Accepts, reads and never says anything.
    pub fn silent() -> Origin {
        Origin::raw(|connection| while connection.request().is_some() {})
    }

    /// Sends back what comes, until it ends.
    pub fn echo() -> Origin {
        Origin::raw(|connection| {
            while let Ok(bytes) = connection.some() {
                if bytes.is_empty() || connection.send(bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.reservation.address()
    }

    /// Closes the listener and every connection; from now on connects are refused.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        let open = self.shared.change(|state| {
            state.stopping = true;
            std::mem::take(&mut state.open)
        });
        drop(TcpStream::connect(self.address())); // wakes the acceptor
        acceptor.join().expect("the acceptor does not panic");
        for (_, stream) in open {
            drop(stream.shutdown(Shutdown::Both)); // may be closed already
        }
    }

    /// Listens again on the same port.
    pub fn revive(&mut self) {
        assert!(self.acceptor.is_none(), "it listens already");
        self.shared.change(|state| state.stopping = false);
        let listener = TcpListener::bind(self.address()).expect("the port is reserved for us");
        let (shared, script) = (Arc::clone(&self.shared), Arc::clone(&self.script));
        self.acceptor = Some(std::thread::spawn(move || accept(&listener, &shared, &script)));
    }

    /// A look at what it saw.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&locked(&self.shared.state).seen)
    }

    /// What was received on the connections from this one on, one after the other, as soon as their scripts are over.
    pub fn received_since(&self, connection: usize) -> Vec<u8> {
        self.wait_for("the end of all connections", |seen| seen.over() == seen.connections.len());
        self.seen(|seen| seen.received[connection..].concat())
    }

    /// The number of whole requests.
    pub fn requests(&self) -> usize {
        self.seen(|seen| seen.requests.len())
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.seen(|seen| seen.connections.len())
    }

    /// Waits until what it saw is as wanted.
    pub fn wait_for(&self, what: &str, mut reached: impl FnMut(&Seen) -> bool) {
        let state = locked(&self.shared.state);
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !reached(&state.seen));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "never came: {what}; connections {:?}", state.seen.connections);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, script: &Script) {
    while let Ok((stream, from)) = listener.accept() {
        let kept = stream.try_clone().expect("descriptors are left");
        let number = shared.change(|state| {
            if state.stopping {
                return None;
            }
            let number = state.seen.connections.len();
            state.seen.connections.push(ConnectionSeen { from: Some(from), ..ConnectionSeen::default() });
            state.seen.received.push(Vec::new());
            state.open.push((number, kept));
            Some(number)
        });
        let Some(number) = number else { return };
        let (shared, script) = (Arc::clone(shared), Arc::clone(script));
        std::thread::spawn(move || serve(stream, number, shared, &script));
    }
}

fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>, script: &Script) {
    stream.set_nodelay(true).expect("a TCP socket takes it");
    let counted = Counted { stream: stream.try_clone().expect("descriptors are left"), number, shared: shared.clone() };
    let mut connection = Connection { number, stream, inlet: Inlet::new(counted), shared };
    script(&mut connection);
    let Connection { stream, inlet, shared, .. } = connection;
    shared.change(|state| state.open.retain(|(other, _)| *other != number));
    drop((stream, inlet)); // closed before it is said to be over
    shared.change(|state| state.seen.connections[number].over = true);
}

/// One connection, in the hands of its script.
pub struct Connection {
    /// Its place in the order of arrival, from 0.
    pub number: usize,
    stream: TcpStream,
    inlet: Inlet<Counted>,
    shared: Arc<Shared>,
}

impl Connection {
    /// The next whole request, remembered; `None` when none comes.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.request_head()?;
        self.request_body(head)
    }

    /// The next head; the script has to ask for its body.
    pub fn request_head(&mut self) -> Option<Message> {
        self.inlet.head().ok().flatten()
    }

    /// The body of `request`, which is remembered when it is whole.
    pub fn request_body(&mut self, mut request: Message) -> Option<Message> {
        let framing = request.request_framing();
        self.inlet.body(&mut request, framing).ok()?;
        self.shared.change(|state| state.seen.requests.push(request.clone()));
        Some(request)
    }

    /// The next line, without its CRLF; `None` when none comes.
    pub fn line(&mut self) -> Option<String> {
        self.inlet.line().ok()
    }

    /// Some bytes; none at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        self.inlet.some()
    }

    /// Everything until the end.
    pub fn until_end(&mut self) -> io::Result<Vec<u8>> {
        self.inlet.until_end()
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Ends our sending; the connection stays open for reading.
    pub fn half_close(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write)); // the other end may be gone
    }

    /// The close at the end of the script becomes a reset.
    pub fn reset(&mut self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket takes it");
    }

    /// A second handle for another thread to send with.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("descriptors are left")
    }
}

struct Counted {
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(bytes)?;
        self.shared.change(|state| {
            state.seen.connections[self.number].bytes += count as u64;
            let received = &mut state.seen.received[self.number];
            let room = RECEIVED_BYTES_MAX - received.len();
            received.extend_from_slice(&bytes[..count.min(room)]);
        });
        Ok(count)
    }
}

/// A port of ours on which nobody listens: connects are refused.
pub struct Reservation(Socket);

impl Reservation {
    /// The kernel chooses the port.
    pub fn new() -> Reservation {
        Reservation::at(Ipv4Addr::LOCALHOST.into())
    }

    fn at(host: IpAddr) -> Reservation {
        let address = SocketAddr::new(host, 0);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("descriptors are left");
        // With this on both, a listener may take the port beside us, and nobody else is given it.
        socket.set_reuse_address(true).expect("a socket takes it");
        socket.bind(&address.into()).expect("a port is free");
        Reservation(socket)
    }

    /// The address that refuses.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound")
    }
}

/// A listener whose queue is full: connects get no answer at all (Linux drops their SYN).
pub struct BlackHole {
    listener: Socket,
    _queued: Vec<Socket>,
}

impl BlackHole {
    /// Fills a queue of the smallest size.
    pub fn new() -> BlackHole {
        let Reservation(listener) = Reservation::new();
        listener.listen(0).expect("it is bound");
        let address = listener.local_addr().expect("it is bound");
        let queued = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
            socket.set_nonblocking(true).expect("a socket takes it");
            drop(socket.connect(&address)); // in progress, or never answered
            socket
        });
        BlackHole { _queued: queued.collect(), listener }
    }

    /// The address that never answers.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound")
    }
}
