//! What an administrator may ask of a server that runs: to stop, and to tell how it is.

use std::io;
use std::time::Duration;

use super::{Alarm, Server, enqueue};
use crate::base::arena::Id;
use crate::daemon::daemonize::Readiness;
use crate::daemon::signals::Request;
use crate::net::driver::Pair;
use crate::protocol::Stage;
use crate::session::record::CloseReason;

/// How long a connection that has begun to be established may take until it is in the backlog.
const HANDSHAKE: Duration = Duration::from_millis(100);

impl Server {
    /// Acts on the signals of this turn.
    pub(super) fn obey(&mut self) {
        for position in std::mem::take(&mut self.asked) {
            match self.signals.take(position) {
                Some((Request::Stop, times)) => (0..times).for_each(|_| self.stop()),
                Some((Request::Summary, _)) => self.summarize(),
                Some((Request::Reload, _)) => log::info!("SIGHUP: the configuration cannot be reloaded yet; ignored"),
                None => {}
            }
        }
        self.close_listeners();
    }

    /// Whether it was told to stop and nobody is left.
    pub(super) fn is_over(&self) -> bool {
        self.core.stage == Stage::Draining && self.pairs.is_empty() && self.listeners.iter().all(Option::is_none)
    }

    /// Tells whoever waits that plb serves; from now on a daemon has no terminal.
    pub(super) fn tell_ready(&mut self) -> io::Result<()> {
        self.supervision.readiness.take().map_or(Ok(()), Readiness::announce)?;
        self.supervision.notify.ready(&format!("READY=1\n{}", self.status()));
        self.feed_watchdog();
        Ok(())
    }

    /// Tells the service manager that the loop turns, as often as it asks for it.
    pub(super) fn feed_watchdog(&mut self) {
        if let Some(pause) = self.supervision.notify.alive() {
            self.wheel.insert(self.core.now + pause, Alarm::Watchdog);
        }
    }

    /// Stops gracefully; at once when it is asked again.
    fn stop(&mut self) {
        if self.core.stage == Stage::Draining {
            log::info!("asked to stop again");
            return self.cut_off();
        }
        let timeout = self.core.config.timeout_shutdown;
        log::info!("stopping: {} clients have up to {timeout:?} to finish", self.pairs.len());
        self.core.stage = Stage::Draining;
        self.supervision.notify.send(&format!("STOPPING=1\n{}", self.status()));
        self.wheel.insert(self.core.now + timeout, Alarm::Shutdown);
        // Closing a listener resets what waits in its backlog, and who is about to come there: that is served first.
        self.listeners.iter_mut().flatten().for_each(|listener| listener.turn_away());
        self.last_call = self.core.now + HANDSHAKE;
        self.wheel.insert(self.last_call, Alarm::LastCall);
        // Idle clients have an earlier deadline now.
        for id in self.pair_ids() {
            enqueue(&mut self.pairs, &mut self.runnable, id);
        }
    }

    /// The backlogs are looked into once more, and then for as long as they are not empty.
    pub(super) fn look_again(&mut self) {
        for listener in self.listeners.iter_mut().flatten() {
            listener.mark();
            listener.resume();
        }
    }

    /// Closes the listeners whose backlogs are empty, once it stops.
    fn close_listeners(&mut self) {
        if self.core.stage != Stage::Draining || self.core.now < self.last_call {
            return;
        }
        for place in &mut self.listeners {
            if let Some(mut listener) = place.take_if(|listener| listener.is_empty()) {
                listener.deregister(&self.driver.registry);
            }
        }
    }

    /// Ends all sessions now.
    pub(super) fn cut_off(&mut self) {
        if !self.pairs.is_empty() {
            log::warn!("clients cut off: {}", self.pairs.len());
        }
        for listener in self.listeners.iter_mut().filter_map(Option::take) {
            drop(listener);
        }
        for id in self.pair_ids() {
            if let Some(pair) = self.pairs.get_mut(id) {
                pair.session.close(CloseReason::Killed, &mut self.core.context());
                enqueue(&mut self.pairs, &mut self.runnable, id);
            }
        }
    }

    fn pair_ids(&self) -> Vec<Id<Pair>> {
        self.pairs.iter().map(|(id, _)| id).collect()
    }

    /// Logs how the pools and the counters stand.
    fn summarize(&self) {
        let (core, stats, counters) = (&self.core, &self.stats, &self.core.counters);
        log::info!(
            "summary: {} clients, {} idle backend connections, {} of {} buffers lent, {} kernel pipes in use, \
             {} log lines lost",
            self.pairs.len(),
            self.driver.idle.len(),
            self.driver.buffers.lent(),
            self.driver.buffers.lent_max(),
            self.driver.kernel_pipes.in_use(),
            self.logs.lost(),
        );
        log::info!(
            "summary: {} accepted, {} exchanges, {} retries, {} errors answered, {} aborted, {} out of resources, \
             {} pauses, {} stale events, {} panics, {} bytes up, {} bytes down, {} bytes spliced",
            stats.accepted,
            counters.exchanges,
            counters.retries,
            counters.apologies,
            counters.aborted,
            counters.exhausted,
            stats.pauses,
            stats.stale,
            stats.panics,
            counters.request_bytes,
            counters.response_bytes,
            counters.spliced_bytes,
        );
        for (listener, refusals) in core.config.listeners.iter().zip(core.refusals()) {
            log::info!("summary: listener {}: refused {}", listener.name, refusals.summary());
        }
        for (position, pool) in core.config.pools.iter().enumerate() {
            log::info!("summary: pool {}: {} clients wait", pool.name, core.pools.waiting(position));
        }
        for backend in core.pools.ids() {
            let counters = core.pools.counters(backend);
            log::info!(
                "summary: backend {}: {:?}, {} connections, {} idle, {} picked, {} successes, {} failures, {:?}",
                self.backend_name(backend),
                core.pools.health(backend),
                core.pools.load(backend),
                self.driver.idle.backend_len(backend),
                counters.picked,
                counters.successes,
                counters.failures,
                core.pools.administration(backend),
            );
        }
    }
}
