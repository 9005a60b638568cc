//! A plain blocking client: bytes out, bytes or responses in, every wait bounded.

use super::message::{Inlet, Message};
use super::{PATIENCE, ok};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One connection to plb (or straight to an origin).
pub struct Client {
    stream: TcpStream,
    inlet: Inlet<TcpStream>,
}

impl Client {
    /// Connects; a wait longer than [`PATIENCE`] is an error from then on.
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect_timeout(&address, PATIENCE).expect("somebody listens"))
    }

    /// The same from another address of the loopback network (Linux: all of 127.0.0.0/8 is there).
    pub fn connect_from(source: [u8; 4], address: SocketAddr) -> Client {
        Client::try_connect_from(source, address).expect("somebody listens")
    }

    /// The same, where a reset may come before the connection is looked at.
    pub fn try_connect_from(source: [u8; 4], address: SocketAddr) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("it is an address of this host");
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok(Client::over(socket.into()))
    }

    /// The same over a connection that stands.
    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a TCP socket takes it");
        let inlet = Inlet::new(stream.try_clone().expect("descriptors are left"));
        Client { stream, inlet }
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other end takes it");
    }

    /// Sends all of it, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a GET for `target` and keeps the connection.
    pub fn ask(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: plb.test\r\n\r\n"));
    }

    /// A GET and its response.
    pub fn get(&mut self, target: &str) -> Message {
        self.ask(target);
        self.response()
    }

    /// The whole next response to anything but HEAD.
    pub fn response(&mut self) -> Message {
        self.response_to("GET").expect("a whole response")
    }

    /// The whole next response to a request with `method`.
    pub fn response_to(&mut self, method: &str) -> io::Result<Message> {
        let mut message = self.response_head()?;
        let framing = message.response_framing(method);
        self.inlet.body(&mut message, framing)?;
        Ok(message)
    }

    /// The head of the next response.
    pub fn response_head(&mut self) -> io::Result<Message> {
        self.inlet.head()?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Exactly so many bytes.
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.inlet.exactly(length).expect("so many bytes come")
    }

    /// Everything until the orderly end; an error when it is not orderly.
    pub fn until_end(&mut self) -> io::Result<Vec<u8>> {
        self.inlet.until_end()
    }

    /// Asserts that the other end closes without another byte.
    pub fn closed(&mut self) {
        match self.until_end() {
            Ok(rest) => assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest)),
            Err(error) => panic!("not an orderly end: {error}"),
        }
    }

    /// Whether a byte or an end comes within `wait`; nothing is lost.
    pub fn has_news(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).expect("a socket takes a timeout");
        let news = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        match news {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Ends our sending.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket takes it");
    }

    /// A second handle for another thread to send with.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("descriptors are left")
    }
}

/// One GET on a connection of its own.
pub fn get(address: SocketAddr, target: &str) -> Message {
    Client::connect(address).get(target)
}

/// `count` GETs, each on a connection of its own: the bodies.
pub fn bodies(address: SocketAddr, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let response = get(address, "/");
            assert_eq!(response.status(), 200, "{response:?}");
            response.text()
        })
        .collect()
}

/// A response that says who sent it.
pub fn greeting(name: &str) -> Vec<u8> {
    ok(name)
}
