//! Protocols: what do these bytes mean?
//!
//! A protocol judges the pending bytes of the two pipes of a session, moves their marks, and says what the session is
//! to do next. It knows no socket, no backend and no clock.

pub mod http;
pub mod probe;
pub mod proxy_header;
pub mod refusal;
pub mod tcp;
pub mod transcript;
mod tunnel;

use std::net::IpAddr;

use crate::balance::{BackendId, Failure, Key, Outcome};
use crate::base::pipe::Pipe;
use crate::base::time::Time;
use crate::config;
use transcript::Transcript;

/// What a protocol may see and move.
pub struct View<'a> {
    /// The moment of this turn.
    pub now: Time,
    /// Client to backend.
    pub request: &'a mut Pipe,
    /// Backend to client.
    pub response: &'a mut Pipe,
    /// An empty buffer for composing a head, the same one every time.
    pub scratch: &'a mut Vec<u8>,
    /// The client's address.
    pub client: IpAddr,
    /// The port that it came to.
    pub port: u16,
    /// The listener's settings.
    pub listener: &'a config::Listener,
    /// What the listener's HTTP sessions share.
    pub site: &'a mut http::site::Site,
    /// All pools, as configured.
    pub pools: &'a [config::Pool],
    /// The pool that serves this client and no other one, whatever the rules say: it is not welcome.
    pub diverted: Option<u16>,
    /// Who serves this exchange.
    pub backend: Option<BackendId>,
    /// Whether somebody else could.
    pub alternative: Alternative,
    /// The text of a `Date` field (RFC 9110 section 5.6.7).
    pub date: &'a str,
    /// Whether the daemon is about to stop.
    pub stage: Stage,
    /// What is said, when somebody wants to know.
    pub transcript: Option<&'a mut Transcript>,
}

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It serves.
    Serving,
    /// It finishes what it has begun, and then stops.
    Draining,
}

/// Whether a response could be refused for its status, because another backend may be asked for a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// It is to be tried.
    Possible,
    /// This response is what the client gets.
    None,
}

/// What the session is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until bytes move.
    Continue,
    /// Ask the pool for a backend.
    Connect(Selection),
    /// The backend answered.
    Answered {
        /// What that says about it.
        outcome: Outcome,
        /// What this client will be known by from now on, where the answer tells it.
        learned: Key,
    },
    /// The exchange is over, and so is the lease. `advance` is called again.
    Recycle {
        /// What becomes of the backend's connection.
        parting: Parting,
    },
    /// The backend failed this exchange. With [`Failure::Status`], which takes an [`Alternative`]: its response is still
    /// there, and is to be forwarded when nobody else can be asked.
    Fail(Failure),
    /// Nothing follows what is cleared for the client: close when it has left.
    Finish(Farewell),
    /// Close now; whoever still listens sees a reset, for what it got is not whole.
    Abort,
}

/// What the pool is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The position of the pool.
    pub pool: u16,
    /// What leads the client back to a backend.
    pub key: Key,
    /// The hash of what the pool is balanced by.
    pub hash: Option<u64>,
    /// Whether an idle connection will do.
    pub reuse: Reuse,
}

/// Which connection to the backend an exchange may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// An idle one, or else a new one.
    Idle,
    /// A new one: what is sent there could not be sent again.
    Fresh,
}

/// What becomes of a backend's connection when the session parts from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parting {
    /// It may serve another exchange.
    Keep,
    /// It is closed.
    #[default]
    Drop,
}

/// How a session takes leave of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The client has sent all that it meant to: close.
    Close,
    /// The client sent a whole request and may have sent another one since: like [`Farewell::Linger`], but for no longer
    /// than such a request is under way, for the client's place is wanted by others.
    LingerBriefly,
    /// It may still be sending: shut our side down, read and discard for a while, so that no reset destroys the last
    /// answer (RFC 9112 section 9.6).
    Linger,
}

/// Whom an exchange waits for, as far as only the protocol knows it. The pipes tell the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The client's request head, some of which may be here.
    RequestHead,
    /// The first byte of the client's next request.
    NextRequest,
    /// The backend's answer to a request whose head is that many bytes long.
    Response {
        /// The length of the request head as it is sent.
        head_bytes: u32,
        /// Whether all of the request was received.
        request: Received,
    },
    /// The rest of a response whose head is that many bytes long.
    Body {
        /// The length of the response head as it is sent.
        head_bytes: u32,
        /// Whether all of the request was received.
        request: Received,
    },
    /// Bytes of either side, in any order.
    Tunnel,
}

impl Wait {
    /// How much of the current request has come; of one that has not begun, or never ends, a part.
    pub fn received(self) -> Received {
        match self {
            Wait::Response { request, .. } | Wait::Body { request, .. } => request,
            Wait::RequestHead | Wait::NextRequest | Wait::Tunnel => Received::Part,
        }
    }
}

/// How much of a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// More is to come.
    Part,
    /// The rest comes when the backend has asked for it, or not: whoever waits here for too long is not known.
    Withheld,
    /// All of it is here.
    Whole,
}

/// Why the session needs an answer of our own for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No backend lives, or none that could be reached.
    NoBackend,
    /// All backends that would do are full, and so is the queue, or the wait in it was too long.
    Busy,
    /// The backend failed.
    Backend(Failure),
    /// Nobody of a pool lives that has a response for that case.
    Deserted {
        /// The position of the pool.
        pool: u16,
    },
    /// The client was too slow with its request.
    SlowClient,
}

/// Whether a request may be sent a second time (RFC 9110 section 9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// It is idempotent.
    Safe,
    /// A second one could do something twice.
    Unsafe,
}

/// A protocol: a pure machine over the two pipes of a session.
pub trait Protocol {
    /// Judges what is pending and says what follows. Called again until it says [`Step::Continue`].
    fn advance(&mut self, view: &mut View) -> Step;

    /// Whom the exchange waits for.
    fn waits_for(&self) -> Wait;

    /// Answers the client in the backend's stead, where the protocol has words for it and none was said yet.
    fn apologize(&mut self, view: &mut View, trouble: Trouble) -> Step;

    /// The backend is to get the request again: what was understood of a response is forgotten.
    fn restart(&mut self);

    /// Whether the current request may be sent a second time.
    fn resend(&self) -> Resend;
}

/// The protocols, one of which every session speaks.
///
/// No variant is boxed: an allocation a client costs more than the room that a TCP session does not use, and lies
/// between the buffers when these are to go back to the system.
#[expect(clippy::large_enum_variant, reason = "see above")]
pub enum AnyProtocol {
    /// Bytes.
    Tcp(tcp::Tcp),
    /// HTTP/1.1 and HTTP/1.0.
    Http(http::Http),
}

impl AnyProtocol {
    /// The protocol of a listener.
    pub fn new(name: config::ProtocolName, client: IpAddr) -> AnyProtocol {
        match name {
            config::ProtocolName::Tcp => AnyProtocol::Tcp(tcp::Tcp::new()),
            config::ProtocolName::Http => AnyProtocol::Http(http::Http::new(client)),
        }
    }
}

impl Protocol for AnyProtocol {
    fn advance(&mut self, view: &mut View) -> Step {
        match self {
            AnyProtocol::Tcp(tcp) => tcp.advance(view),
            AnyProtocol::Http(http) => http.advance(view),
        }
    }

    fn waits_for(&self) -> Wait {
        match self {
            AnyProtocol::Tcp(tcp) => tcp.waits_for(),
            AnyProtocol::Http(http) => http.waits_for(),
        }
    }

    fn apologize(&mut self, view: &mut View, trouble: Trouble) -> Step {
        match self {
            AnyProtocol::Tcp(tcp) => tcp.apologize(view, trouble),
            AnyProtocol::Http(http) => http.apologize(view, trouble),
        }
    }

    fn restart(&mut self) {
        match self {
            AnyProtocol::Tcp(tcp) => tcp.restart(),
            AnyProtocol::Http(http) => http.restart(),
        }
    }

    fn resend(&self) -> Resend {
        match self {
            AnyProtocol::Tcp(tcp) => tcp.resend(),
            AnyProtocol::Http(http) => http.resend(),
        }
    }
}
