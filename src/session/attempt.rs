//! Attempts: which backend is asked, what its failure means, and when another one is asked instead.
//!
//! A request is sent again only where nothing is risked by it; whoever is not to blame is not blamed.

use super::phase::Phase;
use super::{Context, Part, Session};
use crate::balance::{Ask, Failure, Key, Lease, Outcome as Report, Picked, Seeker, Ticket};
use crate::protocol::{Farewell, Protocol, Resend, Reuse, Selection, Step, Trouble};

/// The attempt at one backend.
pub(super) struct Attempt {
    pub(super) lease: Option<Lease>,
    /// Its place in the queue of the pool, while it has to wait for a backend.
    pub(super) ticket: Option<Ticket>,
    /// Why a backend is asked for: what the client is told where there is none.
    pub(super) trouble: Trouble,
    pub(super) selection: Selection,
    pub(super) origin: Origin,
    pub(super) address: u8,
    pub(super) alternatives: u8,
    /// Whether a byte of the response came.
    pub(super) heard: bool,
    /// Whether the backend earned its success.
    pub(super) answered: bool,
    /// Whether the request was sent once before.
    pub(super) resent: bool,
}

/// Where the backend's connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Fresh,
    Idle,
}

impl Session {
    /// The connection to the backend failed, or the backend let a deadline pass.
    pub(super) fn backend_lost(&mut self, failure: Failure, context: &mut Context) {
        let attempt = &mut self.attempt;
        if self.phase == Phase::Connecting && attempt.alternatives > 0 {
            attempt.address += 1;
            self.parting = Some(Part::Discard);
            self.phase = Phase::Acquire;
            self.since = context.now;
            return;
        }
        let step = self.retry_or_apologize(failure, context);
        self.follow(step, context);
    }

    /// A request was judged: the first attempt at a backend.
    pub(super) fn connect(&mut self, selection: Selection, context: &mut Context) -> Step {
        self.tried.clear();
        self.last_resort = None;
        self.attempt = Attempt { selection, ..Attempt::none() };
        self.pick(Trouble::NoBackend, context)
    }

    /// Gives the backend up. Where nothing is risked by it, another attempt is made.
    pub(super) fn retry_or_apologize(&mut self, failure: Failure, context: &mut Context) -> Step {
        let Some(backend) = self.attempt.lease.as_ref().map(Lease::backend) else { return Step::Abort };
        let died_idle = self.attempt.origin == Origin::Idle && !self.attempt.heard && failure != Failure::TimedOut;
        let unblamed = died_idle || self.attempt.answered || failure == Failure::Local;
        self.release(if unblamed { Report::Neutral } else { Report::Failure(failure) }, context);
        if self.phase != Phase::Acquire {
            self.parting = Some(Part::Discard);
        }
        let untouched = self.request.sent() == 0;
        let repeatable = self.protocol.resend() == Resend::Safe && self.request.can_rewind() && !self.attempt.resent;
        if failure == Failure::Local || self.attempt.heard || !(untouched || repeatable) {
            if died_idle {
                // Its own keep-alive race would have ended the client's connection just so.
                // What it was answered before, and what it sends meanwhile, must not be lost to a reset.
                self.conclude(Trouble::Backend(failure).into());
                return Step::Finish(Farewell::Linger);
            }
            return self.apologize(Trouble::Backend(failure), context);
        }
        if !untouched {
            self.request.rewind();
            self.attempt.resent = true;
        }
        // Who is led back to it asks it once more: an idle connection that was closed is no reason to move.
        let stays = died_idle && self.attempt.selection.key != Key::None;
        if !stays {
            self.tried.push(backend);
            self.last_resort = died_idle.then_some(backend).or(self.last_resort);
        }
        self.attempt.selection.reuse = Reuse::Fresh;
        self.restart(context);
        self.pick(Trouble::Backend(failure), context)
    }

    fn restart(&mut self, context: &mut Context) {
        self.response.discard(self.response.pending().len());
        self.response.renew_source();
        self.response.touch(context.now);
        self.request.renew_sink();
        self.protocol.restart();
    }

    /// Asks the pool for a backend that was not tried yet.
    fn pick(&mut self, otherwise: Trouble, context: &mut Context) -> Step {
        self.attempt.trouble = otherwise;
        match self.choose(None, context) {
            Picked::Queued(ticket) => {
                self.attempt.ticket = Some(ticket);
                self.phase = Phase::Queued;
                self.since = context.now;
                Step::Continue
            }
            other => self.take_up(other, context),
        }
    }

    /// It is the turn of the client that waits with the ticket of this number: it gets this lease, or asks again. What it
    /// does not want, because it does not wait any more, is given back.
    pub fn called(&mut self, number: u64, lease: Option<Lease>, context: &mut Context) -> Option<Lease> {
        if self.attempt.ticket.as_ref().map(Ticket::number) != Some(number) {
            return lease;
        }
        let picked = lease.map_or_else(|| self.choose(Some(number), context), Picked::Lease);
        self.attempt.ticket = None;
        let step = match picked {
            Picked::Queued(ticket) => {
                self.attempt.ticket = Some(ticket);
                return None;
            }
            other => self.take_up(other, context),
        };
        self.follow(step, context);
        None
    }

    /// Turns to the backend that it was given, if it was.
    fn take_up(&mut self, picked: Picked, context: &mut Context) -> Step {
        let lease = match picked {
            Picked::Lease(lease) => lease,
            Picked::Full => return self.apologize(Trouble::Busy, context),
            Picked::Queued(_) | Picked::Nobody => return self.apologize(self.attempt.trouble, context),
        };
        context.counters.retries += u64::from(self.attempt.trouble != Trouble::NoBackend);
        self.record.iter_mut().for_each(|record| record.ask(lease.backend(), context.now));
        self.attempt = Attempt {
            lease: Some(lease),
            selection: self.attempt.selection,
            resent: self.attempt.resent,
            ..Attempt::none()
        };
        self.phase = Phase::Acquire;
        self.since = context.now;
        Step::Continue
    }

    /// A backend that dropped an idle connection may be about to stop, and then drops fresh ones too: it comes last.
    fn choose(&mut self, place: Option<u64>, context: &mut Context) -> Picked {
        let picked = context.pools.pick(&self.ask(place, context.who), context.now);
        let Some(last) = self.last_resort.take_if(|_| matches!(picked, Picked::Nobody)) else { return picked };
        self.tried.retain(|tried| *tried != last);
        context.pools.pick(&self.ask(place, context.who), context.now)
    }

    fn ask(&self, place: Option<u64>, who: Seeker) -> Ask<'_> {
        let Selection { pool, key, .. } = self.attempt.selection;
        Ask { pool: usize::from(pool), key, hash: None, tried: &self.tried, who, place }
    }

    pub(super) fn apologize(&mut self, trouble: Trouble, context: &mut Context) -> Step {
        context.counters.apologies += u64::from(trouble != Trouble::SlowClient);
        self.conclude(trouble.into());
        let (protocol, mut view) = self.view(context);
        protocol.apologize(&mut view, trouble)
    }

    pub(super) fn release(&mut self, report: Report, context: &mut Context) {
        if let Some(ticket) = self.attempt.ticket.take() {
            context.pools.leave(ticket);
        }
        if let Some(lease) = self.attempt.lease.take() {
            context.pools.release(lease, report, context.now);
        }
    }
}

impl Attempt {
    pub(super) fn none() -> Attempt {
        Attempt {
            lease: None,
            ticket: None,
            trouble: Trouble::NoBackend,
            selection: Selection { pool: 0, key: Key::None, reuse: Reuse::Fresh },
            origin: Origin::Fresh,
            address: 0,
            alternatives: 0,
            heard: false,
            answered: false,
            resent: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BackendId;
    use crate::base::buffers::Buffers;
    use crate::config::{ProtocolName, quick_start};
    use crate::session::record::CloseReason;
    use crate::session::{Core, Io, Outcome, Readiness, Side};

    /// The backends to which a GET is sent whose first connection is an idle one, and is dropped without an answer.
    fn backends_asked(backends: &[&str]) -> [BackendId; 2] {
        let backends: Vec<String> = backends.iter().map(|text| text.to_string()).collect();
        let config = quick_start(ProtocolName::Http, "127.0.0.1:1", &backends).expect("it is right");
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
        assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        session.room(Side::Client)[..get.len()].copy_from_slice(get);
        session.complete(Io::Read(Side::Client), Outcome::Bytes { count: get.len(), owes: false }, context);
        let first = session.next_io([Readiness::default(); 2]);
        session.complete(first, Outcome::Reused, context);
        let count = session.cleared(Side::Backend).len();
        session.complete(Io::Write(Side::Backend), Outcome::Bytes { count, owes: false }, context);
        session.complete(Io::Read(Side::Backend), Outcome::Failed(Failure::Reset), context);
        session.complete(Io::Part(Part::Discard), Outcome::Done, context);
        let second = session.next_io([Readiness::default(); 2]);
        let asked = [first, second].map(|io| match io {
            Io::Acquire { backend, reuse, .. } => (backend, reuse),
            other => panic!("{other:?}"),
        });
        session.close(CloseReason::Killed, context);
        assert_eq!(asked.map(|(_, reuse)| reuse), [Reuse::Idle, Reuse::Fresh]);
        asked.map(|(backend, _)| backend)
    }

    #[test]
    fn a_backend_that_dropped_an_idle_connection_is_asked_again_only_when_there_is_no_other() {
        for backends in [&["a:1", "b:1"][..], &["a:1,weight=9", "b:1"]] {
            let [first, second] = backends_asked(backends);
            assert_ne!(first, second, "{backends:?}");
        }
        let [first, second] = backends_asked(&["a:1"]);
        assert_eq!(first, second);
    }
}
