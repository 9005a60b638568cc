//! Attempts: which backend is asked, what its failure means, and when another one is asked instead.
//!
//! A request is sent again only where nothing is risked by it; whoever is not to blame is not blamed.

use super::phase::Phase;
use super::record::CloseReason;
use super::{Context, Part, Session};
use crate::balance::{Ask, BackendId, Failure, Key, Lease, Outcome as Report, Picked, Seeker, Ticket};
use crate::config::{self, Emergency, Mishap};
use crate::protocol::{Alternative, Farewell, Protocol, Received, Resend, Reuse, Selection, Step, Trouble, Wait};

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
    /// Whether the request was sent once before without an answer.
    pub(super) resent: bool,
    /// How many further attempts may be made at backends of the pool.
    pub(super) retries: u32,
    /// Whether its answer is forwarded whatever it is, for nobody else can be asked.
    pub(super) is_final: bool,
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

    /// Who serves it, if anybody does.
    pub fn backend(&self) -> Option<BackendId> {
        self.attempt.lease.as_ref().map(Lease::backend)
    }

    /// The backend went down, and nobody is to be served by it any longer. What another one can still be asked is.
    pub fn backend_fell(&mut self, context: &mut Context) {
        let is_elsewhere = self.protocol.resend() == Resend::Safe || self.request.sent() == 0;
        match is_elsewhere && !self.attempt.heard {
            true => {
                // Its other addresses are no more alive.
                self.attempt.alternatives = 0;
                self.backend_lost(Failure::Reset, context);
            }
            false => self.close(CloseReason::BackendDown, context),
        }
    }

    /// A request was judged: the first attempt at a backend.
    pub(super) fn connect(&mut self, selection: Selection, context: &mut Context) -> Step {
        self.tried.clear();
        self.last_resort = None;
        self.attempt = Attempt { selection, ..Attempt::none() };
        self.turn_to(selection.pool, context);
        let picked = self.choose(None, context);
        self.take_up(picked, context)
    }

    /// Gives the backend up. Where nothing is risked by it, another attempt is made.
    pub(super) fn retry_or_apologize(&mut self, failure: Failure, context: &mut Context) -> Step {
        let Some(backend) = self.attempt.lease.as_ref().map(Lease::backend) else { return Step::Abort };
        if let Failure::Status(status) = failure {
            return self.replace_answer(status, backend, context);
        }
        let pool = self.pool(context);
        let mishap = self.mishap(failure);
        let died_idle = self.attempt.origin == Origin::Idle && !self.attempt.heard && failure != Failure::TimedOut;
        let is_wanted = died_idle || pool.retry_on.contains(&mishap);
        let repeats = is_wanted && failure != Failure::Local && self.is_repeatable(mishap);
        let is_shared = failure == Failure::TimedOut && self.protocol.waits_for().received() == Received::Withheld;
        let unblamed = died_idle || is_shared || self.attempt.answered || failure == Failure::Local;
        self.release(if unblamed { Report::Neutral } else { Report::Failure(failure) }, context);
        if self.phase != Phase::Acquire {
            self.parting = Some(Part::Discard);
        }
        if !repeats {
            if died_idle {
                // Its own keep-alive race would have ended the client's connection just so.
                // What it was answered before, and what it sends meanwhile, must not be lost to a reset.
                self.conclude(Trouble::Backend(failure).into());
                return Step::Finish(Farewell::Linger);
            }
            return self.apologize(Trouble::Backend(failure), context);
        }
        if self.request.sent() > 0 {
            self.request.rewind();
            self.attempt.resent = true;
        }
        if died_idle && !pool.failover && self.attempt.selection.key == Key::None {
            self.attempt.selection.key = Key::Backend(backend.backend() as u16);
        }
        // Who is led back to it asks it once more: an idle connection that was closed is no reason to move.
        let Selection { key, hash, .. } = self.attempt.selection;
        let stays = died_idle && (key != Key::None || hash.is_some());
        if !stays {
            self.tried.push(backend);
            self.last_resort = died_idle.then_some(backend).or(self.last_resort);
        }
        self.attempt.selection.reuse = Reuse::Fresh;
        self.restart(context);
        self.attempt.trouble = Trouble::Backend(failure);
        let picked = if died_idle || self.spend_retry() { self.choose(None, context) } else { Picked::Nobody };
        self.take_up(picked, context)
    }

    /// Whether another backend may be asked in place of forwarding what this one answers.
    pub(super) fn alternative(&self) -> Alternative {
        let is_open = !self.attempt.is_final && self.attempt.heard && self.is_repeatable(Mishap::Status(0));
        if is_open { Alternative::Possible } else { Alternative::None }
    }

    /// Whether the request is still to be kept, for the response's head may lead to another attempt.
    pub(super) fn awaits_verdict(&self, context: &Context) -> bool {
        let is_head = matches!(self.protocol.waits_for(), Wait::Response { .. });
        is_head && self.pool(context).retry_on.iter().any(|mishap| mishap.is_in_response())
    }

    /// Another backend is asked in place of forwarding an answer with this status; where there is none, the answer stands.
    fn replace_answer(&mut self, status: u16, backend: BackendId, context: &mut Context) -> Step {
        self.tried.push(backend);
        let picked = if self.spend_retry() { self.choose(None, context) } else { Picked::Nobody };
        let Picked::Lease(lease) = picked else {
            if let Picked::Queued(ticket) = picked {
                // What is there is better than what might come.
                context.pools.leave(ticket);
            }
            self.attempt.is_final = true;
            return self.judge(context);
        };
        self.release(Report::of_status(status, self.pool(context)), context);
        self.parting = Some(Part::Discard);
        self.request.rewind();
        self.attempt.selection.reuse = Reuse::Fresh;
        self.restart(context);
        self.attempt.trouble = Trouble::Backend(Failure::Status(status));
        self.take_up(Picked::Lease(lease), context)
    }

    /// Waits for a backend that may take no more; whoever waits already keeps its place.
    fn wait_in_line(&mut self, ticket: Ticket, context: &Context) -> Step {
        self.attempt.ticket = Some(ticket);
        if self.phase != Phase::Queued {
            self.phase = Phase::Queued;
            self.since = context.now;
        }
        Step::Continue
    }

    fn mishap(&self, failure: Failure) -> Mishap {
        match failure {
            _ if self.attempt.heard => Mishap::Malformed,
            _ if self.request.sent() == 0 => Mishap::Connect,
            Failure::TimedOut => Mishap::Timeout,
            _ => Mishap::NoResponse,
        }
    }

    /// Whether nothing is risked by sending the request again: no byte of it has left; or it is idempotent, all of it is
    /// kept, and the client was told nothing. What was not answered is sent again once: it may be what backends die of.
    fn is_repeatable(&self, mishap: Mishap) -> bool {
        let is_kept = self.protocol.resend() == Resend::Safe && self.request.can_rewind();
        let is_untold = self.response.sent() == 0 && self.response.is_drained();
        match mishap {
            Mishap::Connect => true,
            Mishap::Status(_) => is_kept && is_untold,
            _ => is_kept && is_untold && !self.attempt.resent,
        }
    }

    fn spend_retry(&mut self) -> bool {
        let left = self.attempt.retries.checked_sub(1);
        self.attempt.retries = left.unwrap_or(0);
        left.is_some()
    }

    /// From now on the backends of this pool are asked.
    fn turn_to(&mut self, pool: u16, context: &Context) {
        self.attempt.selection.pool = pool;
        let pool = self.pool(context);
        self.attempt.retries = if pool.failover { pool.retries } else { 0 };
    }

    fn pool<'c>(&self, context: &Context<'c>) -> &'c config::Pool {
        &context.config.pools[usize::from(self.attempt.selection.pool)]
    }

    fn restart(&mut self, context: &mut Context) {
        self.response.discard(self.response.pending().len());
        self.response.renew_source();
        self.response.touch(context.now);
        self.request.renew_sink();
        self.protocol.restart();
    }

    /// It is the turn of the client that waits with the ticket of this number: it gets this lease, or asks again. What it
    /// does not want, because it does not wait any more, is given back.
    pub fn called(&mut self, number: u64, lease: Option<Lease>, context: &mut Context) -> Option<Lease> {
        if self.attempt.ticket.as_ref().map(Ticket::number) != Some(number) {
            return lease;
        }
        let picked = lease.map_or_else(|| self.choose(Some(number), context), Picked::Lease);
        self.attempt.ticket = None;
        let step = self.take_up(picked, context);
        self.follow(step, context);
        None
    }

    /// Turns to the backend that it was given; when nobody is left, to whoever is there for emergencies.
    fn take_up(&mut self, mut picked: Picked, context: &mut Context) -> Step {
        let lease = loop {
            match picked {
                Picked::Lease(lease) => break lease,
                Picked::Queued(ticket) => return self.wait_in_line(ticket, context),
                Picked::Full => return self.apologize(Trouble::Busy, context),
                Picked::Nobody => {}
            }
            let (pool, index) = (self.pool(context), self.attempt.selection.pool);
            let is_emergency = pool.failover || context.pools.is_deserted(usize::from(index));
            // Who is not welcome gets to nobody else.
            match pool.emergency.as_ref().filter(|_| is_emergency && self.entry.diverted.is_none()) {
                None => return self.apologize(self.attempt.trouble, context),
                Some(Emergency::Respond(_)) => return self.apologize(Trouble::Deserted { pool: index }, context),
                Some(Emergency::Pool(next)) => {
                    // Nobody is bound to who only helps out.
                    self.attempt.selection.key = Key::None;
                    self.turn_to(*next as u16, context);
                    picked = self.choose(None, context);
                }
            }
        };
        context.counters.retries += u64::from(self.attempt.trouble != Trouble::NoBackend);
        self.record.iter_mut().for_each(|record| record.ask(lease.backend(), context.now));
        self.attempt = Attempt {
            lease: Some(lease),
            selection: self.attempt.selection,
            resent: self.attempt.resent,
            retries: self.attempt.retries,
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
        let Selection { pool, key, hash, .. } = self.attempt.selection;
        Ask { pool: usize::from(pool), key, hash, tried: &self.tried, who, place }
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
            selection: Selection { pool: 0, key: Key::None, hash: None, reuse: Reuse::Fresh },
            origin: Origin::Fresh,
            address: 0,
            alternatives: 0,
            heard: false,
            answered: false,
            resent: false,
            retries: 0,
            is_final: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffers::Buffers;
    use crate::config::{ProtocolName, quick_start};
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

    /// A client that sends this to plb.
    fn client_that_says(text: &str, context: &mut Context) -> Session {
        let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("it is an address"), context);
        assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
        say(&mut session, text, context);
        session
    }

    fn say(session: &mut Session, text: &str, context: &mut Context) {
        session.room(Side::Client)[..text.len()].copy_from_slice(text.as_bytes());
        session.complete(Io::Read(Side::Client), Outcome::Bytes { count: text.len(), owes: false }, context);
    }

    #[test]
    fn whoever_is_refused_while_it_waits_for_a_backend_does_not_wait_any_longer() {
        let config = quick_start(ProtocolName::Http, "127.0.0.1:1", &["a:1,max=1".to_string()]).expect("it is right");
        let mut core = Core::new(config, String::new());
        let context = &mut core.context();
        let mut first = client_that_says("GET / HTTP/1.1\r\nHost: a\r\n\r\n", context);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut second = client_that_says(head, context);
        assert_eq!((second.phase(), context.pools.waiting(0)), (Phase::Queued, 1));
        say(&mut second, "no size\r\n", context);
        assert!(matches!(second.phase(), Phase::Linger(_)), "{:?}", second.phase());
        assert_eq!(context.pools.waiting(0), 0);
        first.close(CloseReason::Killed, context);
        assert!(context.pools.next_call().is_none(), "nobody waits");
        second.close(CloseReason::Killed, context);
    }
}
