//! What a session can do next: its pipes and its phase say what is wanted, readiness says what is possible.
//!
//! Nothing here changes a session.

use super::phase::Phase;
use super::{Io, Readiness, Session, Side};
use crate::base::pipe::Pipe;
use crate::protocol::Farewell;

impl Session {
    /// The next system call, given what is known of the two streams.
    pub fn next_io(&self, ready: [Readiness; 2]) -> Io {
        if let Some(part) = self.parting {
            return Io::Part(part);
        }
        match self.phase {
            Phase::Closed(_) => Io::Close,
            Phase::Acquire => match &self.attempt.lease {
                Some(lease) => Io::Acquire {
                    backend: lease.backend(),
                    reuse: self.attempt.selection.reuse,
                    address: self.attempt.address,
                },
                None => Io::Close,
            },
            // Whoever leaves meanwhile is to be noticed.
            Phase::Queued => self.next_up(ready).unwrap_or(Io::Wait),
            Phase::Linger(farewell) => self.next_farewell(farewell, ready[0]),
            Phase::Greeting | Phase::Waiting | Phase::Connecting | Phase::Relay => {
                let next = match self.moved_last {
                    Side::Client => self.next_down(ready).or_else(|| self.next_up(ready)),
                    Side::Backend => self.next_up(ready).or_else(|| self.next_down(ready)),
                };
                next.unwrap_or(Io::Wait)
            }
        }
    }

    fn next_up(&self, ready: [Readiness; 2]) -> Option<Io> {
        let [client, backend] = ready;
        let connecting = self.phase == Phase::Connecting;
        let connected = self.phase == Phase::Relay;
        let wanted = client.readable && self.request.wants_bytes() && !self.request.sink_broken();
        if (connecting || connected) && backend.writable {
            if self.request.has_cleared() {
                return Some(send(&self.request, Side::Backend));
            }
            // What the client has sent already leaves together with what is owed.
            if self.request.owes() && !wanted {
                return Some(Io::Flush(Side::Backend));
            }
        }
        if connecting && backend.settled && !self.request.has_cleared() {
            return Some(Io::FinishConnect);
        }
        if connected && self.request.wants_shutdown() {
            return Some(Io::Shutdown(Side::Backend));
        }
        if wanted { self.take(&self.request, Side::Client, backend) } else { None }
    }

    fn next_down(&self, ready: [Readiness; 2]) -> Option<Io> {
        let [client, backend] = ready;
        if client.writable {
            if self.response.has_cleared() {
                return Some(send(&self.response, Side::Client));
            }
            if self.response.owes() {
                return Some(Io::Flush(Side::Client));
            }
        }
        if self.response.wants_shutdown() {
            return Some(Io::Shutdown(Side::Client));
        }
        let connected = matches!(self.phase, Phase::Connecting | Phase::Relay);
        let wanted = connected && backend.readable && self.response.wants_bytes();
        if wanted { self.take(&self.response, Side::Backend, client) } else { None }
    }

    fn next_farewell(&self, farewell: Farewell, client: Readiness) -> Io {
        let unsent = self.response.has_cleared();
        let owes = self.response.owes();
        if client.writable && unsent {
            return send(&self.response, Side::Client);
        }
        if client.writable && owes {
            return Io::Flush(Side::Client);
        }
        let left = !unsent && !owes;
        if left && farewell != Farewell::Close && !self.response.is_shut() {
            return Io::Shutdown(Side::Client);
        }
        let may_send = !self.request.source_ended();
        if may_send && client.readable {
            // Unread bytes would turn the close into a reset that destroys the answer.
            return self.read(Side::Client);
        }
        if left && (farewell == Farewell::Close || !may_send) { Io::Close } else { Io::Wait }
    }

    /// Takes bytes from a side: past the buffer, when they are many and the sink may take them, or into it.
    fn take(&self, pipe: &Pipe, source: Side, sink: Readiness) -> Option<Io> {
        match self.phase == Phase::Relay && pipe.wants_flight() {
            true if !sink.writable && pipe.is_full() => None,
            // Whatever comes instead of bytes may have to be answered, and that takes a buffer.
            true if sink.writable && self.has_buffers() => Some(Io::Fill(source)),
            _ => Some(self.read(source)),
        }
    }

    fn read(&self, side: Side) -> Io {
        if self.has_buffers() { Io::Read(side) } else { Io::Borrow }
    }

    pub(super) fn is_just_in_time(&self, client: Readiness) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Waiting) && client.readable && self.request.is_empty()
    }

    pub(super) fn is_spoken_to(&self, backend: Readiness) -> bool {
        self.phase == Phase::Relay && backend.readable && self.response.wants_bytes() && !self.response.is_full()
    }
}

/// What is in flight leaves first.
fn send(pipe: &Pipe, sink: Side) -> Io {
    if pipe.in_flight() > 0 { Io::Drain(sink) } else { Io::Write(sink) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffers::Buffers;
    use crate::config::{ProtocolName, quick_start};
    use crate::protocol::Stage;
    use crate::session::record::CloseReason;
    use crate::session::{Context, Core, Outcome};

    /// Lets `examine` have a session whose both sides take nothing, without buffers, at its deadline.
    fn at_the_deadline_of_a_full_session(examine: impl FnOnce(Session, [Readiness; 2], &mut Context)) {
        let config = quick_start(ProtocolName::Tcp, "127.0.0.1:1", &["a:1".to_string()]).expect("it is right");
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
        let mut ready = [Readiness { readable: true, writable: true, settled: true }; 2];
        let mut full = 0;
        loop {
            let io = session.next_io(ready);
            let outcome = match io {
                Io::Borrow => {
                    assert!(session.borrow(&mut Buffers::new(u64::MAX)), "there are buffers");
                    Outcome::Done
                }
                Io::Acquire { .. } => Outcome::Started { alternatives: 0 },
                Io::Read(side) => Outcome::Bytes { count: session.room(side).len(), owes: false },
                Io::Write(side) => Outcome::Bytes { count: session.cleared(side).len(), owes: false },
                Io::Fill(source) => {
                    full += 1;
                    ready[source.other() as usize].writable = false;
                    Outcome::Full
                }
                Io::Wait => break,
                _ => Outcome::Done,
            };
            session.complete(io, outcome, context);
        }
        assert_eq!(full, 2, "both directions were to go past the buffers");
        let given_back = session.take_idle_buffers();
        assert!(given_back.iter().all(Option::is_some), "nothing is in them");
        assert_eq!(session.next_io(ready), Io::Wait, "nothing is wanted meanwhile");
        context.now = session.deadline(context.config, Stage::Serving);
        examine(session, ready, context);
    }

    #[test]
    fn a_session_whose_both_sides_take_nothing_ends_at_its_deadline() {
        at_the_deadline_of_a_full_session(|mut session, ready, context| {
            assert!(session.borrow(&mut Buffers::new(u64::MAX)), "there are buffers");
            session.timed_out(ready, context);
            assert_eq!(session.next_io(ready), Io::Close);
        });
    }

    #[test]
    fn nobody_is_blamed_who_has_room_while_we_have_no_buffer() {
        for buffers in [0, u64::MAX] {
            at_the_deadline_of_a_full_session(|mut session, mut ready, context| {
                ready.iter_mut().for_each(|side| side.writable = true);
                let lent = buffers > 0 && session.borrow(&mut Buffers::new(buffers));
                // Each side has its own.
                (0..2).for_each(|_| session.timed_out(ready, context));
                assert_eq!(session.next_io(ready) == Io::Close, !lent);
                let backend = context.pools.ids().next().expect("there is one");
                assert_eq!(context.pools.counters(backend).failures, 0);
                if lent {
                    assert!(session.deadline(context.config, Stage::Serving) > context.now, "it goes on");
                    session.close(CloseReason::Killed, context);
                }
            });
        }
    }
}
