//! TCP: any protocol, not looked into.
//!
//! A tunnel from the first moment, so that a backend may speak first.

use super::{Farewell, Protocol, Resend, Reuse, Selection, Step, Trouble, View, Wait, tunnel};
use crate::balance::{Failure, Key, Outcome};
use crate::base::stable_hash::address_hash;
use crate::config::Affinity;
use crate::config::affinity::{Mark, Table};

const ANSWERED: Step = Step::Answered { outcome: Outcome::Success, learned: Key::None };

/// The machine of a TCP session.
pub struct Tcp {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A client came.
    Start,
    /// A backend was asked for; it has not sent a byte.
    Silent,
    /// The backend was judged, by its first byte or by its orderly end.
    Judged,
}

impl Tcp {
    /// A session that begins.
    #[expect(clippy::new_without_default, reason = "a machine begins, it has no default")]
    pub fn new() -> Tcp {
        Tcp { state: State::Start }
    }

    /// What the backend's silence until its end says about it.
    fn judge_silent_end(&mut self, view: &View) -> Option<Step> {
        self.state = State::Judged;
        match (view.request.source_ended(), view.request.sent()) {
            // The client ended first: the backend only followed, unless something was still to be sent to it.
            (true, 0) if view.request.is_drained() => None,
            (true, 0) => Some(Step::Fail(Failure::Ended)),
            (true, _) => Some(ANSWERED),
            (false, _) => Some(Step::Fail(Failure::Ended)),
        }
    }
}

/// What the client is known by to the pool: all that is known is its address.
fn key(view: &View, pool: u16) -> Key {
    match view.pools.get(usize::from(pool)).and_then(|pool| pool.affinity.as_ref()) {
        Some(Affinity::Table(Table { mark: Mark::Source { prefix_v4, prefix_v6 }, .. })) => {
            view.site.keys.of_network(view.client, *prefix_v4, *prefix_v6)
        }
        _ => Key::None,
    }
}

/// The hash of its address, where its pool is balanced by that.
fn hash(view: &View, pool: u16) -> Option<u64> {
    view.pools.get(usize::from(pool))?.balance.hash_on().map(|_| address_hash(view.client))
}

impl Protocol for Tcp {
    fn advance(&mut self, view: &mut View) -> Step {
        if self.state == State::Start {
            self.state = State::Silent;
            view.request.begin();
            view.response.begin();
            tunnel::open(view);
            // A TCP listener has one; there are at most `POOLS_MAX`.
            let pool = view.diverted.unwrap_or(view.listener.pool.unwrap_or_default() as u16);
            return Step::Connect(Selection {
                pool,
                key: key(view, pool),
                hash: hash(view, pool),
                reuse: Reuse::Fresh,
            });
        }
        if self.state == State::Silent && (view.response.has_cleared() || view.response.sent() > 0) {
            self.state = State::Judged;
            return ANSWERED;
        }
        if self.state == State::Silent && view.response.source_ended() {
            if let Some(step) = self.judge_silent_end(view) {
                return step;
            }
        }
        tunnel::pass_ends(view)
    }

    fn waits_for(&self) -> Wait {
        Wait::Tunnel
    }

    fn apologize(&mut self, view: &mut View, _trouble: Trouble) -> Step {
        let silent = view.response.sent() == 0 && !view.response.has_cleared();
        // What was cut must not look whole to either side.
        if silent && view.request.sent() == 0 { Step::Finish(Farewell::Close) } else { Step::Abort }
    }

    fn restart(&mut self) {
        self.state = State::Silent;
    }

    fn resend(&self) -> Resend {
        Resend::Unsafe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffers::Buffers;
    use crate::base::pipe::Pipe;
    use crate::base::time::Time;
    use crate::config::{ProtocolName, quick_start};
    use crate::protocol::http::site::Site;
    use crate::protocol::{Alternative, Stage};

    /// Lets `examine` have a machine that has asked for a backend, and what it sees.
    fn try_out(examine: impl FnOnce(&mut Tcp, &mut View)) {
        let config = quick_start(ProtocolName::Tcp, "80", &["10.0.0.1:1".to_owned()]).expect("good");
        let [mut request, mut response] = [Pipe::new(Time::START), Pipe::new(Time::START)];
        let [one, other] = Buffers::new(u64::MAX).lend().expect("no limit");
        request.attach(one);
        response.attach(other);
        let mut view = View {
            now: Time::START,
            request: &mut request,
            response: &mut response,
            scratch: &mut Vec::new(),
            client: [192, 0, 2, 1].into(),
            port: 80,
            listener: &config.listeners[0],
            site: &mut Site::default(),
            pools: &config.pools,
            diverted: None,
            backend: None,
            alternative: Alternative::None,
            date: "",
            stage: Stage::Serving,
            transcript: None,
        };
        let mut tcp = Tcp::new();
        tcp.advance(&mut view);
        examine(&mut tcp, &mut view);
    }

    #[test]
    fn a_backend_that_ends_has_failed_where_it_was_still_to_be_sent_something() {
        for (bytes, step) in [(0, Step::Finish(Farewell::Close)), (5, Step::Fail(Failure::Ended))] {
            try_out(|tcp, view| {
                view.request.filled(bytes, Time::START);
                view.request.end_source();
                view.response.end_source();
                assert_eq!(tcp.advance(view), step, "{bytes} bytes");
            });
        }
    }

    #[test]
    fn a_client_that_got_a_part_sees_a_reset_when_the_backend_breaks_off() {
        try_out(|tcp, view| {
            let reset = Trouble::Backend(Failure::Reset);
            assert_eq!(tcp.apologize(view, reset), Step::Finish(Farewell::Close));
            view.response.filled(1, Time::START);
            assert_eq!(tcp.apologize(view, reset), Step::Abort);
            view.response.drained(1, Time::START);
            assert_eq!(tcp.apologize(view, reset), Step::Abort);
        });
    }
}
