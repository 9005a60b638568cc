//! Phases of a session, and the one function that gives each its deadline.
//!
//! ```text
//! Greeting ──header──▶ Waiting
//! Waiting ──request──▶ Acquire ──reused──▶ Relay ──exchange over──▶ Waiting …
//!            └▶ Queued ─▶┘└────started──▶ Connecting ──▶ Relay
//! any ──the last answer is in the pipe──▶ Linger ──▶ Closed        any ──▶ Closed
//! ```
//! Only a trusted proxy that has to say whom it forwards for begins with `Greeting`. A TLS handshake before it has its
//! place here when it comes.

use std::time::Duration;

use crate::base::pipe::Pipe;
use crate::base::time::Time;
use crate::config::{self, ClientTimeouts, ServerTimeouts};
use crate::protocol::{Farewell, Protocol, Received, Stage, Wait};

use super::Session;
use super::record::CloseReason;

/// How long a client may go on sending after its last answer before it is cut off.
pub const LINGER: Duration = Duration::from_secs(5);

/// The same for a client whose request was answered whole: as long as another request may be under way.
pub const LINGER_BRIEFLY: Duration = Duration::from_secs(1);

/// How long a daemon that stops waits for the request of a client that has just connected or was promised to be kept:
/// under load it comes at once, and its answer tells the client to go.
pub const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its client is not known yet: a trusted proxy is to send the header of the PROXY protocol.
    Greeting,
    /// No backend: the client is to speak, or to take the rest of an answer.
    Waiting,
    /// A backend is wanted, and those that would do may take no more.
    Queued,
    /// A backend was chosen; a connection to it is to be had.
    Acquire,
    /// The connection is being established.
    Connecting,
    /// Both sides are connected.
    Relay,
    /// The last answer is leaving; then the client is taken leave of.
    Linger(Farewell),
    /// It is over.
    Closed(CloseReason),
}

/// Who let a deadline pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The proxy did not say whom it forwards for.
    Greeting,
    /// The client did not send what it owes: its head or its body.
    Request,
    /// The client did not send another request.
    NextRequest,
    /// The client does not take what it is sent.
    ClientSink,
    /// No backend had room.
    Queue,
    /// The backend does not connect, take, or answer.
    Backend,
    /// Nobody spoke in a tunnel.
    Tunnel,
    /// The client does not end after its last answer.
    Linger,
}

/// What the deadline is computed from.
pub(super) struct Facts<'a> {
    pub(super) stage: Stage,
    pub(super) phase: Phase,
    pub(super) since: Time,
    pub(super) wait: Wait,
    pub(super) pace: Option<Time>,
    pub(super) request: &'a Pipe,
    pub(super) response: &'a Pipe,
    pub(super) client: &'a ClientTimeouts,
    pub(super) server: &'a ServerTimeouts,
}

/// A moment and whose fault it is when it passes.
pub(super) type Deadline = (Time, Stall);

impl Session {
    /// The earliest deadline that applies, and what its passing would mean.
    pub(super) fn stall(&self, config: &config::Config, stage: Stage) -> Deadline {
        let listener = &config.listeners[usize::from(self.listener)];
        Facts {
            stage,
            phase: self.phase,
            since: self.since,
            wait: self.protocol.waits_for(),
            pace: self.pace,
            request: &self.request,
            response: &self.response,
            client: &listener.timeouts,
            server: &config.pools[usize::from(self.attempt.selection.pool)].timeouts,
        }
        .deadline()
    }
}

impl Facts<'_> {
    /// The earliest deadline that applies.
    pub(super) fn deadline(&self) -> Deadline {
        match self.phase {
            Phase::Greeting => {
                let timeout = self.client.proxy_header;
                let patience = if self.request.is_empty() { self.patience(timeout) } else { timeout };
                (self.since + patience, Stall::Greeting)
            }
            Phase::Waiting => self.waiting(),
            Phase::Queued => (self.since + self.server.queue, Stall::Queue),
            Phase::Acquire | Phase::Connecting => (self.since + self.server.header_server_write, Stall::Backend),
            Phase::Relay => match self.wait {
                Wait::Response { head_bytes, request } => self.response(head_bytes, request),
                Wait::Body { head_bytes, .. } => self.body(head_bytes),
                Wait::Tunnel | Wait::RequestHead | Wait::NextRequest => self.tunnel(),
            },
            // An answer that was cut must not look whole, and a slow client is not cut off sooner than during the answer.
            Phase::Linger(_) if self.response.has_unsent() => self.client_sink(),
            Phase::Linger(Farewell::LingerBriefly) => (self.since + LINGER_BRIEFLY, Stall::Linger),
            Phase::Linger(_) => (self.since + LINGER, Stall::Linger),
            Phase::Closed(_) => (self.since, Stall::Linger),
        }
    }

    fn waiting(&self) -> Deadline {
        if self.response.has_unsent() {
            return self.client_sink();
        }
        let silent = self.request.is_empty();
        match self.wait {
            Wait::NextRequest => (self.since + self.patience(self.client.keep_alive), Stall::NextRequest),
            // It has said nothing yet, and so loses nothing.
            _ if silent => (self.since + self.patience(self.client.header_client_read), Stall::Request),
            _ => (self.since + self.client.header_client_read, Stall::Request),
        }
    }

    /// How long a client that has nothing under way is waited for.
    fn patience(&self, timeout: Duration) -> Duration {
        match self.stage {
            Stage::Serving => timeout,
            Stage::Draining => timeout.min(DRAIN_GRACE),
        }
    }

    fn response(&self, head_bytes: u32, request: Received) -> Deadline {
        if self.request.sent() < u64::from(head_bytes) {
            return (self.since + self.server.header_server_write, Stall::Backend);
        }
        let request_side = match (self.request.awaits_sink(), request) {
            (true, _) => self.backend_sink(),
            (false, Received::Part) => {
                let silent = self.request.moved() + self.client.forward_client_read;
                (self.pace.map_or(silent, |due| silent.min(due)), Stall::Request)
            }
            (false, Received::Withheld | Received::Whole) => {
                (self.request.moved() + self.server.header_server_read, Stall::Backend)
            }
        };
        if self.response.awaits_sink() { earlier(request_side, self.client_sink()) } else { request_side }
    }

    fn body(&self, head_bytes: u32) -> Deadline {
        let response_side = if !self.response.awaits_sink() {
            // One that answers early is not silent while it takes the rest of the request.
            let silent = self.response.moved().max(self.request.moved());
            (silent + self.server.forward_server_read, Stall::Backend)
        } else if self.response.sent() < u64::from(head_bytes) {
            (self.since + self.client.header_client_write, Stall::ClientSink)
        } else {
            self.client_sink()
        };
        // A client that stops sending after an early answer has begun is not waited for: the answer ends the exchange.
        if self.request.awaits_sink() { earlier(response_side, self.backend_sink()) } else { response_side }
    }

    fn tunnel(&self) -> Deadline {
        let silent = self.request.moved().max(self.response.moved());
        let mut deadline = (silent + self.client.tunnel, Stall::Tunnel);
        if self.request.awaits_sink() {
            deadline = earlier(deadline, self.backend_sink());
        }
        if self.response.awaits_sink() {
            deadline = earlier(deadline, self.client_sink());
        }
        deadline
    }

    fn client_sink(&self) -> Deadline {
        (self.response.moved() + self.client.forward_client_write, Stall::ClientSink)
    }

    fn backend_sink(&self) -> Deadline {
        (self.request.moved() + self.server.forward_server_write, Stall::Backend)
    }
}

fn earlier(one: Deadline, other: Deadline) -> Deadline {
    if other.0 < one.0 { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Failure;
    use crate::base::buffers::Buffers;
    use crate::session::record::CloseReason;
    use crate::session::{Core, Io, Outcome, Part, Readiness, Side};

    const ROUTED: &str = "
listeners:
  - { name: l, listen: 127.0.0.1:80, pool: p, routes: [{ match: { path: /q }, pool: q }] }
pools:
  p: { timeout_header_server_write: 1s, backends: [a:1] }
  q: { timeout_header_server_write: 7s, backends: [a:1, a:2] }
";

    #[test]
    fn the_backends_of_a_route_have_the_time_of_their_own_pool_in_every_attempt() {
        let config = config::parse("f", ROUTED).unwrap_or_else(|errors| panic!("{errors:?}"));
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        for (path, seconds, attempts) in [("/", 1, 1), ("/q", 7, 2)] {
            let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
            assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
            let get = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            session.room(Side::Client)[..get.len()].copy_from_slice(get.as_bytes());
            session.complete(Io::Read(Side::Client), Outcome::Bytes { count: get.len(), owes: false }, context);
            for attempt in 0..attempts {
                let acquire = session.next_io([Readiness::default(); 2]);
                assert!(matches!(acquire, Io::Acquire { .. }), "{path}, attempt {attempt}: {acquire:?}");
                let deadline = context.now + Duration::from_secs(seconds);
                assert_eq!(session.deadline(context.config, Stage::Serving), deadline, "{path}, attempt {attempt}");
                session.complete(acquire, Outcome::Started { alternatives: 0 }, context);
                assert_eq!(session.deadline(context.config, Stage::Serving), deadline, "{path}, attempt {attempt}");
                session.complete(Io::FinishConnect, Outcome::Failed(Failure::Refused), context);
                session.complete(Io::Part(Part::Discard), Outcome::Done, context);
            }
            session.close(CloseReason::Killed, context);
        }
    }

    #[test]
    fn a_client_may_send_all_it_has_while_a_long_last_answer_leaves() {
        let text = "listeners: [{ name: l, listen: 1.2.3.4:80, routes: [{ respond: { file: f } }] }]\n\
                    pools: { p: { backends: [a:1] } }";
        let config = config::parse_with("f", text, &|_, _| Ok(vec![b'a'; 100_000])).expect("it is right");
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
        assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        session.room(Side::Client)[..post.len()].copy_from_slice(post);
        session.complete(Io::Read(Side::Client), Outcome::Bytes { count: post.len(), owes: false }, context);
        let mut left = 1_000_000;
        while left > 0 {
            // It takes nothing of its answer meanwhile.
            let readable = Readiness { readable: true, ..Readiness::default() };
            let io = session.next_io([readable, Readiness::default()]);
            assert_eq!(io, Io::Read(Side::Client), "{left} bytes are left");
            let count = session.room(Side::Client).len().min(left);
            session.complete(io, Outcome::Bytes { count, owes: false }, context);
            left -= count;
        }
        let mut taken = 0;
        let writable = Readiness { writable: true, ..Readiness::default() };
        while session.next_io([writable, Readiness::default()]) == Io::Write(Side::Client) {
            let count = session.cleared(Side::Client).len();
            taken += count;
            session.complete(Io::Write(Side::Client), Outcome::Bytes { count, owes: false }, context);
        }
        assert!((100_000..100_400).contains(&taken), "{taken}");
        session.close(CloseReason::Finished, context);
    }

    #[test]
    fn whether_a_head_fits_that_repeats_its_path_does_not_depend_on_how_much_came_along() {
        let text = "listeners: [{ name: l, listen: 1.2.3.4:80, routes: \
                    [{ pool: p, request_headers: { set: { X-Original: '{path}' } } }] }]\n\
                    pools: { p: { backends: [a:1] } }";
        let config = config::parse("f", text).expect("it is right");
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        for body in [0, 20_000] {
            let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
            assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
            let path = "a".repeat(6_000);
            let mut post = format!("POST /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n").into_bytes();
            post.resize(post.len() + body, b'x');
            let count = post.len().min(session.room(Side::Client).len());
            session.room(Side::Client)[..count].copy_from_slice(&post[..count]);
            session.complete(Io::Read(Side::Client), Outcome::Bytes { count, owes: false }, context);
            let io = session.next_io([Readiness::default(); 2]);
            assert!(matches!(io, Io::Acquire { .. }), "{io:?} with {body} bytes of body");
            session.close(CloseReason::Killed, context);
        }
    }
}
