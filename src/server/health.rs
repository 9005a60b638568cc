//! The server's part in health: probes of backends that are down, and the log of what changed.

use std::time::Duration;

use super::{Alarm, Server};
use crate::balance::{BackendId, Failure, State, Transition};
use crate::base::arena::Id;
use crate::net::probe::{PROBES_MAX, Probe};
use crate::net::token::Source;
use crate::protocol::Stage;

/// When a probe is tried again for which there was no room.
const CROWDED: Duration = Duration::from_millis(100);

impl Server {
    /// Probes a backend that is down.
    pub(super) fn revive(&mut self, backend: BackendId) {
        if self.core.stage == Stage::Draining {
            return;
        }
        if self.probes.len() >= PROBES_MAX {
            self.wheel.insert(self.core.now + CROWDED, Alarm::Revive(backend));
        } else if self.core.pools.begin_trial(backend, self.core.now) {
            self.probe(backend, 0);
        }
    }

    fn probe(&mut self, backend: BackendId, step: u8) {
        let pool = &self.core.config.pools[backend.pool()];
        let probe = match Probe::start(backend, step, &self.driver.addresses, pool) {
            Ok(probe) => probe,
            Err(failure) => {
                let (_, _, alternatives) = self.driver.addresses.get(backend, step);
                return match alternatives {
                    0 => self.end_trial(backend, Err(failure)),
                    _ => self.probe(backend, step + 1),
                };
            }
        };
        let timeout = self.core.config.pools[backend.pool()].timeouts.header_server_write;
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

    /// Acts on what the events of this turn said of probes.
    pub(super) fn conclude_probes(&mut self) {
        for (id, result) in std::mem::take(&mut self.settled) {
            self.conclude(id, result);
        }
    }

    pub(super) fn time_out_probe(&mut self, id: Id<Probe>) {
        if let Some(probe) = self.probes.get_mut(id) {
            probe.timer = None;
            self.conclude(id, Err(Failure::TimedOut));
        }
    }

    fn conclude(&mut self, id: Id<Probe>, result: Result<(), Failure>) {
        let Some(probe) = self.probes.remove(id) else { return };
        if let Some(timer) = probe.timer {
            self.wheel.remove(timer);
        }
        match (result, probe.next_step(&self.driver.addresses)) {
            (Err(failure), Some(step)) if failure != Failure::Local => return self.probe(probe.backend(), step),
            (Ok(()), _) => probe.proved(&mut self.driver.addresses),
            (Err(_), _) => {}
        }
        self.end_trial(probe.backend(), result);
    }

    fn end_trial(&mut self, backend: BackendId, result: Result<(), Failure>) {
        self.core.pools.end_trial(backend, result, self.core.now);
        if result == Err(Failure::Local) {
            // It said nothing of the backend, and so made no transition.
            self.revive_later(backend);
        }
    }

    fn revive_later(&mut self, backend: BackendId) {
        let pause = self.core.config.pools[backend.pool()].timeout_cleanup;
        self.wheel.insert(self.core.now + pause, Alarm::Revive(backend));
    }

    /// Logs what changed in this turn, and arranges for the probes that follow.
    pub(super) fn report(&mut self) {
        while let Some((backend, failure)) = self.core.pools.next_failure() {
            log::debug!("backend {}: {failure}", self.backend_name(backend));
        }
        let (mut changed, mut fallen) = (false, Vec::new());
        while let Some(transition) = self.core.pools.next_transition() {
            let Transition { backend, from, to, .. } = transition;
            changed |= from == State::Up || to == State::Up;
            let name = self.backend_name(backend);
            match (from, to) {
                (_, State::Up) => log::info!("backend {name}: {transition}"),
                (State::Up, _) => {
                    log::warn!("backend {name}: {transition}");
                    fallen.push(backend.pool());
                }
                _ => log::debug!("backend {name}: {transition}"),
            }
            if to == State::Down {
                self.drop_idle(backend);
                self.revive_later(backend);
            }
        }
        fallen.dedup();
        for pool in fallen.into_iter().filter(|&pool| self.core.pools.is_down(pool)) {
            log::error!("pool {}: no backend is up", self.core.config.pools[pool].name);
        }
        if changed {
            self.supervision.notify.send(&self.status());
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
