//! The server's part in health: probes of backends, and what follows when one comes up or goes down.
//!
//! ```text
//! wheel --due--> line --room--> in flight --result--> wheel
//! ```
//! A backend that is probed is in one of these places, and in one only.

use std::collections::BTreeSet;

use super::{Alarm, Server};
use crate::balance::{BackendId, Failure, State, Transition};
use crate::base::arena::Id;
use crate::config::OnDown;
use crate::net::probe::{PROBES_MAX, Probe};
use crate::net::token::Source;
use crate::protocol::Stage;

impl Server {
    /// Files when each backend is probed first.
    pub(super) fn arrange_probes(&mut self) {
        for backend in self.core.pools.ids().collect::<Vec<_>>() {
            self.arrange_probe(backend);
        }
    }

    /// Files when a backend is probed next, if it is. One that nobody wants to know of drops out here; whoever changes
    /// that, other than by an outage, comes here again.
    fn arrange_probe(&mut self, backend: BackendId) {
        if let Some(due) = self.core.pools.next_probe(backend) {
            self.wheel.insert(due, Alarm::ProbeDue(backend));
        }
    }

    /// Whether a probe waits for nothing but the next turn.
    pub(super) fn has_probes_to_start(&self) -> bool {
        !self.probes_due.is_empty() && self.probes.len() < PROBES_MAX
    }

    /// Starts probes that are due, for as many as there is room. A daemon that stops starts none.
    pub(super) fn start_probes(&mut self) {
        if self.core.stage == Stage::Draining {
            self.probes_due.clear();
        }
        // Those that fail at once leave their room to others, but take their time.
        for _ in 0..PROBES_MAX {
            if self.probes.len() >= PROBES_MAX {
                return;
            }
            let Some(backend) = self.probes_due.pop_front() else { return };
            if self.core.pools.begin_trial(backend, self.core.now) {
                self.probe(backend, 0);
            }
        }
    }

    fn probe(&mut self, backend: BackendId, step: u8) {
        let pool = &self.core.config.pools[backend.pool()];
        let probe = match Probe::start(backend, step, &self.driver.addresses, pool) {
            Ok(probe) => probe,
            Err(failure) => {
                let (_, _, alternatives) = self.driver.addresses.get_probed(backend, step, pool.health.as_ref());
                return match alternatives {
                    0 => self.end_trial(backend, Err(failure)),
                    _ => self.probe(backend, step + 1),
                };
            }
        };
        let timeout = pool.health.as_ref().map_or(pool.timeouts.header_server_write, |health| health.timeout);
        let id = self.probes.insert(probe);
        let timer = self.wheel.insert(self.core.now + timeout, Alarm::Probe(id));
        let registered = self.probes.get_mut(id).map(|probe| {
            probe.timer = Some(timer);
            probe.register(&self.driver.registry, Source::Probe(id).into())
        });
        if !matches!(registered, Some(Ok(()))) {
            self.conclude(id, Err(Failure::Local));
        }
    }

    /// Lets the probes go on that events came for in this turn.
    pub(super) fn conclude_probes(&mut self) {
        for id in std::mem::take(&mut self.stirred) {
            if let Some(result) = self.probes.get_mut(id).and_then(Probe::advance) {
                self.conclude(id, result);
            }
        }
    }

    pub(super) fn time_out_probe(&mut self, id: Id<Probe>) {
        if let Some(probe) = self.probes.get_mut(id) {
            probe.timer = None;
            let failure = probe.timed_out();
            self.conclude(id, Err(failure));
        }
    }

    fn conclude(&mut self, id: Id<Probe>, result: Result<(), Failure>) {
        let Some(probe) = self.probes.remove(id) else { return };
        if let Some(timer) = probe.timer {
            self.wheel.remove(timer);
        }
        match (result, probe.next_step()) {
            (Err(failure), Some(step)) if failure != Failure::Local => return self.probe(probe.backend(), step),
            (Ok(()), _) => probe.proved(&mut self.driver.addresses),
            (Err(_), _) => {}
        }
        self.end_trial(probe.backend(), result);
    }

    fn end_trial(&mut self, backend: BackendId, result: Result<(), Failure>) {
        self.core.pools.end_trial(backend, result, self.core.now);
        self.arrange_probe(backend);
    }

    /// Logs what changed in this turn, and does what follows.
    pub(super) fn report(&mut self) {
        self.report_refusals();
        while let Some((backend, failure)) = self.core.pools.next_failure() {
            log::debug!("backend {}: {failure}", self.backend_name(backend));
        }
        let (mut changed, mut fallen) = (false, BTreeSet::new());
        while let Some(transition) = self.core.pools.next_transition() {
            let Transition { backend, from, to, .. } = transition;
            changed |= from == State::Up || to == State::Up;
            let name = self.backend_name(backend);
            match (from, to) {
                (_, State::Up) => log::info!("backend {name}: {transition}"),
                (State::Up, _) => {
                    log::warn!("backend {name}: {transition}");
                    fallen.insert(backend.pool());
                    if self.core.config.pools[backend.pool()].health.is_none() {
                        // The others are in the wheel, in the line or in flight already.
                        self.arrange_probe(backend);
                    }
                }
                _ => log::debug!("backend {name}: {transition}"),
            }
            if to == State::Down {
                self.drop_idle(backend);
            }
        }
        for &pool in fallen.iter().filter(|&&pool| self.core.pools.is_down(pool)) {
            log::error!("pool {}: no backend is up", self.core.config.pools[pool].name);
        }
        if fallen.iter().any(|&pool| self.core.config.pools[pool].on_down == OnDown::Close) {
            self.close_fallen();
        }
        if changed {
            self.supervision.notify.send(&self.status());
        }
    }

    /// Ends what runs on backends that are down where the pool says so.
    fn close_fallen(&mut self) {
        let (config, pools) = (&self.core.config, &self.core.pools);
        let is_fallen =
            |id: BackendId| config.pools[id.pool()].on_down == OnDown::Close && pools.health(id) != State::Up;
        let lost = self.pairs.iter().filter(|(_, pair)| pair.session.backend().is_some_and(is_fallen));
        for id in lost.map(|(id, _)| id).collect::<Vec<_>>() {
            self.act(id, |session, context| session.backend_fell(context));
        }
    }

    /// How plb is, for the service manager.
    pub(super) fn status(&self) -> String {
        let pools = &self.core.pools;
        let (all, up) = (pools.ids().count(), pools.ids().filter(|&id| pools.health(id) == State::Up).count());
        format!("STATUS={up} of {all} backends up, {} clients", self.pairs.len())
    }

    /// `pool/backend`, as the log names it.
    pub(super) fn backend_name(&self, backend: BackendId) -> String {
        let pool = &self.core.config.pools[backend.pool()];
        format!("{}/{}", pool.name, pool.backends[backend.backend()].name)
    }
}
