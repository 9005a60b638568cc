//! The greeting: a trusted proxy says whom it forwards for before it sends anything else, and backends are told so.
//!
//! Nothing behind the header of the PROXY protocol is judged before the header is whole, and who sends anything else is
//! reset. Whether there is one is never guessed: the settings say so, and it is taken from trusted proxies only.

use std::net::SocketAddr;

use super::door::Admission;
use super::phase::Phase;
use super::record::CloseReason;
use super::{Context, Session};
use crate::balance::BackendId;
use crate::config::Listener;
use crate::protocol::proxy_header::{self, Parsed};
use crate::protocol::{AnyProtocol, Farewell, Stage};

/// What a session does first whose client, or its proxy, is this peer.
pub(super) fn first_phase(listener: &Listener, peer: SocketAddr) -> Phase {
    let greets = listener.accept_proxy.is_some() && listener.http.forwarding.trusted_proxies.contains(peer.ip());
    if greets { Phase::Greeting } else { Phase::Waiting }
}

impl Context<'_> {
    /// Whether the first thing that this backend is sent on a connection is who the client is.
    pub(super) fn announces(&self, backend: BackendId) -> bool {
        self.config.pools[backend.pool()].send_proxy.is_some()
    }
}

impl Session {
    /// Who the client is, and where it connected to, as far as its proxy has said so.
    pub fn ends(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.client, self.destination.as_deref().copied())
    }

    /// The proxy has said more, or all that it will: whether the client is known now.
    pub(super) fn meets_client(&mut self, context: &mut Context) -> bool {
        let listener = &context.config.listeners[usize::from(self.listener)];
        let Some(versions) = listener.accept_proxy else { return true };
        let here = self.request.pending();
        match proxy_header::parse(here, versions) {
            Parsed::Header { bytes, addresses } => {
                self.request.discard(bytes);
                if let Some((source, destination)) = addresses {
                    self.client = source;
                    self.port = destination.port();
                    self.destination = Some(Box::new(destination));
                    self.protocol = AnyProtocol::new(listener.protocol, source.ip());
                }
                self.phase = Phase::Waiting;
                self.since = context.now;
                return self.comes_in(context);
            }
            Parsed::Malformed(why) => self.close(CloseReason::Unannounced(why), context),
            Parsed::Incomplete if !self.request.source_ended() => {}
            // It looked whether somebody listens.
            Parsed::Incomplete if here.is_empty() => self.close(CloseReason::Finished, context),
            Parsed::Incomplete => self.close(CloseReason::Unannounced("it is cut off"), context),
        }
        false
    }

    /// The client is known now: whether it may come in.
    fn comes_in(&mut self, context: &mut Context) -> bool {
        match context.admit(self.listener, self.client.ip()) {
            Admission::Enter(entry) => {
                self.entry = entry;
                return true;
            }
            Admission::Close => self.finish(Farewell::Close, context),
            Admission::Reset => self.close(CloseReason::Aborted, context),
        }
        false
    }

    /// The header did not come in time.
    pub(super) fn misses_client(&mut self, context: &mut Context) {
        // Who has said nothing when the daemon stops loses nothing.
        let reason = match context.stage {
            Stage::Draining if self.request.is_empty() => CloseReason::Idle,
            Stage::Serving | Stage::Draining => CloseReason::Unannounced("it did not come in time"),
        };
        self.close(reason, context);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::Failure;
    use crate::base::buffers::Buffers;
    use crate::base::time::Time;
    use crate::config;
    use crate::session::{Core, Io, Outcome, Part, Readiness, Side};

    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 8443\r\n";
    const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

    fn core(listener: &str, pool: &str) -> Core {
        let text = format!(
            "listeners: [{{ name: l, listen: 1.2.3.4:80, pool: p, {listener} }}]\n\
             pools: {{ p: {{ backends: [a:1, b:1], {pool} }} }}"
        );
        Core::new(config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}")), String::new())
    }

    /// A session of 10.0.0.2, which has buffers.
    fn session(context: &mut Context) -> Session {
        let mut session = Session::new(0, 80, "10.0.0.2:99".parse().expect("it is an address"), context);
        assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
        session
    }

    fn say(session: &mut Session, bytes: &[u8], context: &mut Context) {
        if matches!(session.phase(), Phase::Greeting | Phase::Waiting) {
            let readable = Readiness { readable: true, ..Readiness::default() };
            assert_eq!(session.next_io([readable, Readiness::default()]), Io::Read(Side::Client));
        }
        session.room(Side::Client)[..bytes.len()].copy_from_slice(bytes);
        session.complete(Io::Read(Side::Client), Outcome::Bytes { count: bytes.len(), owes: false }, context);
    }

    const TAKES: &str = "accept_proxy: any, trusted_proxies: [10.0.0.0/8, 192.0.2.0/24]";

    #[test]
    fn a_header_is_read_through_every_split_and_nothing_happens_before_it_is_whole() {
        for protocol in ["http", "tcp"] {
            let mut core = core(&format!("{TAKES}, protocol: {protocol}"), "");
            let context = &mut core.context();
            let all = [HEADER, POST].concat();
            for split in 1..=all.len() {
                let mut session = session(context);
                let pieces =
                    if split == all.len() { all.chunks(1).collect() } else { vec![&all[..split], &all[split..]] };
                let mut come = 0;
                for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
                    say(&mut session, piece, context);
                    come += piece.len();
                    let greets = come < HEADER.len();
                    assert_eq!(session.phase() == Phase::Greeting, greets, "{split}: {come}");
                    assert_eq!(session.client().to_string(), if greets { "10.0.0.2:99" } else { "192.0.2.7:4711" });
                }
                let io = session.next_io([Readiness::default(); 2]);
                assert!(matches!(io, Io::Acquire { .. }), "{split}: {io:?}");
                assert_eq!((session.port, session.request.sent()), (8443, 0));
                let leaves = session.cleared(Side::Backend);
                let starts: &[u8] = b"POST /a HTTP/1.1\r\n";
                assert!(leaves.starts_with(starts) && leaves.ends_with(b"hello"), "{}", leaves.escape_ascii());
                session.close(CloseReason::Killed, context);
            }
        }
    }

    #[test]
    fn the_deadline_is_that_of_the_connection_until_the_header_is_whole_and_then_the_heads() {
        let mut core = core(&format!("{TAKES}, timeout_proxy_header: 2s, timeout_header_client_read: 9s"), "");
        let context = &mut core.context();
        let deadline = |session: &Session, context: &Context| session.deadline(context.config, context.stage);
        let mut session = session(context);
        for (passed, byte) in HEADER.iter().enumerate() {
            assert_eq!(deadline(&session, context), Time::START + Duration::from_secs(2));
            context.now = Time::START + Duration::from_millis(passed as u64);
            say(&mut session, &[*byte], context);
        }
        assert_eq!(deadline(&session, context), context.now + Duration::from_secs(9));
        session.close(CloseReason::Killed, context);
    }

    #[test]
    fn a_proxy_that_says_nothing_is_reset_and_when_the_daemon_stops_let_go() {
        for (stage, said, reason) in [
            (Stage::Serving, &b""[..], CloseReason::Unannounced("it did not come in time")),
            (Stage::Serving, b"PROXY", CloseReason::Unannounced("it did not come in time")),
            (Stage::Draining, b"PROXY", CloseReason::Unannounced("it did not come in time")),
            (Stage::Draining, b"", CloseReason::Idle),
        ] {
            let mut core = core(TAKES, "");
            core.stage = stage;
            let context = &mut core.context();
            let mut session = session(context);
            if !said.is_empty() {
                say(&mut session, said, context);
            }
            context.now = session.deadline(context.config, stage);
            session.timed_out([Readiness::default(); 2], context);
            assert_eq!((session.close_reason(), session.next_io([Readiness::default(); 2])), (reason, Io::Close));
        }
    }

    #[test]
    fn a_header_that_left_alone_is_no_part_of_the_request_which_may_go_elsewhere() {
        let mut core = core("protocol: http", "send_proxy: v1, server_retry: 9");
        let context = &mut core.context();
        let mut session = session(context);
        say(&mut session, POST, context);
        let mut asked = Vec::new();
        for _ in 0..2 {
            let io = session.next_io([Readiness::default(); 2]);
            let Io::Acquire { backend, .. } = io else { panic!("{io:?}") };
            asked.push(backend);
            session.complete(io, Outcome::Started { alternatives: 0 }, context);
            let writable = [Readiness::default(), Readiness { writable: true, ..Readiness::default() }];
            assert_eq!(session.next_io(writable), Io::Write(Side::Backend));
            session.complete(Io::Write(Side::Backend), Outcome::Bytes { count: 0, owes: true }, context);
            assert_eq!((session.phase(), session.request.sent()), (Phase::Relay, 0));
            session.complete(Io::Read(Side::Backend), Outcome::Failed(Failure::Reset), context);
            if asked.len() == 1 {
                session.complete(Io::Part(Part::Discard), Outcome::Done, context);
            }
        }
        assert_ne!(asked[0], asked[1]);
        session.close(CloseReason::Killed, context);
    }

    #[test]
    fn a_header_leaves_with_what_a_tcp_client_has_sent_and_otherwise_alone_at_once() {
        let mut core = core("protocol: tcp", "send_proxy: v2");
        let context = &mut core.context();
        for has_sent in [true, false] {
            let mut session = session(context);
            let io = session.next_io([Readiness::default(); 2]);
            session.complete(io, Outcome::Started { alternatives: 0 }, context);
            let writable = Readiness { writable: true, ..Readiness::default() };
            let mut ready = [Readiness { readable: true, ..writable }, writable];
            assert_eq!(session.next_io(ready), Io::Read(Side::Client));
            if has_sent {
                say(&mut session, b"hello", context);
                assert_eq!(session.next_io(ready), Io::Write(Side::Backend));
                session.complete(Io::Write(Side::Backend), Outcome::Bytes { count: 5, owes: false }, context);
            } else {
                session.complete(Io::Read(Side::Client), Outcome::Blocked, context);
                ready[0].readable = false;
                assert_eq!(session.next_io(ready), Io::Flush(Side::Backend));
                session.complete(Io::Flush(Side::Backend), Outcome::Blocked, context);
                assert_eq!(session.phase(), Phase::Connecting);
                session.complete(Io::Flush(Side::Backend), Outcome::Done, context);
            }
            assert_eq!(session.phase(), Phase::Relay);
            assert_eq!(session.next_io([Readiness { readable: false, ..ready[0] }, writable]), Io::Wait);
            session.close(CloseReason::Killed, context);
        }
    }
}
