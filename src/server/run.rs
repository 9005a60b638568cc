//! The server's part in running sessions: who runs, who is called to run, and when each one's timer fires.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Alarm, Server, enqueue};
use crate::balance::{Call, Outcome, Seeker};
use crate::base::arena::Id;
use crate::net::driver::{Pair, Verdict};
use crate::session::record::CloseReason;

impl Server {
    /// Runs the sessions that are queued at this moment, each within its budget.
    pub(super) fn run(&mut self) {
        for _ in 0..self.runnable.len() {
            let Some(id) = self.runnable.pop_front() else { break };
            let Some(pair) = self.pairs.get_mut(id) else { continue };
            pair.queued = false;
            let (driver, core) = (&mut self.driver, &mut self.core);
            core.who = Seeker(id.to_bits());
            // A bug in one session is that session's end, and nobody else's.
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
            self.core.who = who;
            let refused = match self.pairs.get_mut(id) {
                Some(pair) => pair.session.called(number, lease, &mut self.core.context()),
                None => lease,
            };
            if let Some(lease) = refused {
                self.core.pools.release(lease, Outcome::Neutral, self.core.now);
            }
            enqueue(&mut self.pairs, &mut self.runnable, id);
        }
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
