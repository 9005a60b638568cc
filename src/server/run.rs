//! The server's part in running sessions: who runs, who is called to run, and when each one's timer fires.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Alarm, Server, enqueue};
use crate::balance::{Call, Outcome, Seeker};
use crate::base::arena::Id;
use crate::net::driver::{Pair, Verdict};
use crate::session::record::CloseReason;
use crate::session::{Context, Session};

impl Server {
    /// Runs the sessions that are queued at this moment, each within its budget.
    pub(super) fn run(&mut self) {
        for _ in 0..self.runnable.len() {
            let Some(id) = self.runnable.pop_front() else { break };
            let Some(pair) = self.pairs.get_mut(id) else { continue };
            pair.queued = false;
            let (driver, core) = (&mut self.driver, &mut self.core);
            core.who = Seeker(id.to_bits());
            // As in `act`.
            let verdict = catch_unwind(AssertUnwindSafe(|| driver.run(id, pair, &mut core.context())));
            self.note_lack(id, verdict.as_ref().ok().copied());
            match verdict {
                Ok(Verdict::Over) => self.finished.push(id),
                Ok(Verdict::Waits | Verdict::Lacks) => self.file(id),
                Ok(Verdict::GoesOn) => {
                    self.file(id);
                    enqueue(&mut self.pairs, &mut self.runnable, id);
                }
                Ok(Verdict::Starves) => {
                    self.starve(id);
                    self.file(id);
                }
                Err(_) => self.bury(id),
            }
        }
        self.feed();
    }

    /// Passes on to those who waited for a backend what they waited for. They run in the next turn.
    pub(super) fn call_up(&mut self) {
        while let Some(Call { who, number, lease }) = self.core.pools.next_call() {
            let id = Id::from_bits(who.0);
            let refused = match self.pairs.get(id) {
                Some(_) => self.act(id, |session, context| session.called(number, lease, context)).flatten(),
                None => lease,
            };
            if let Some(lease) = refused {
                self.core.pools.release(lease, Outcome::Neutral, self.core.now);
            }
        }
    }

    /// Lets a session take note of something; it runs after that. A bug in one session is that session's end, and nobody
    /// else's.
    pub(super) fn act<T>(&mut self, id: Id<Pair>, note: impl FnOnce(&mut Session, &mut Context) -> T) -> Option<T> {
        let pair = self.pairs.get_mut(id)?;
        let core = &mut self.core;
        // It may have to wait for a backend.
        core.who = Seeker(id.to_bits());
        let noted = catch_unwind(AssertUnwindSafe(|| note(&mut pair.session, &mut core.context())));
        if noted.is_err() {
            self.bury(id);
        }
        enqueue(&mut self.pairs, &mut self.runnable, id);
        noted.ok()
    }

    /// Files a session's timer where its deadline is earlier than the one that is filed. A later one may wait.
    pub(super) fn file(&mut self, id: Id<Pair>) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        let deadline = pair.session.deadline(&self.core.config, self.core.stage);
        match pair.timer {
            Some(_) if deadline >= pair.filed => return,
            Some(timer) => drop(self.wheel.remove(timer)),
            None => {}
        }
        pair.timer = Some(self.wheel.insert(deadline, Alarm::Session(id)));
        pair.filed = deadline;
    }

    pub(super) fn starve(&mut self, id: Id<Pair>) {
        if let Some(pair) = self.pairs.get_mut(id).filter(|pair| !pair.starved) {
            pair.starved = true;
            self.starving.push_back(id);
            self.driver.hungry = self.starving.len();
        }
    }

    /// Lends what buffers there are to those who have waited longest.
    pub(super) fn feed(&mut self) {
        while let Some(&id) = self.starving.front() {
            if let Some(pair) = self.pairs.get_mut(id) {
                if !pair.session.borrow(&mut self.driver.buffers) {
                    break;
                }
                pair.starved = false;
            }
            self.starving.pop_front();
            enqueue(&mut self.pairs, &mut self.runnable, id);
        }
        self.driver.hungry = self.starving.len();
    }

    /// Ends a session in which a bug was met.
    pub(super) fn bury(&mut self, id: Id<Pair>) {
        let Some(pair) = self.pairs.get_mut(id) else { return };
        self.stats.panics += 1;
        log::error!("a bug ended the session of {}", pair.session.client());
        pair.session.close(CloseReason::Killed, &mut self.core.context());
        self.finished.push(id);
    }
}
