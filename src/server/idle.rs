//! The server's part in idle connections to backends: when one ceases to be kept.

use super::{Alarm, Server};
use crate::balance::BackendId;
use crate::base::time::Time;
use crate::net::stream::{Owner, Stream};

impl Server {
    /// What comes on an idle connection, be it bytes or an end, makes it useless; the backend is not to blame.
    pub(super) fn drop_disturbed(&mut self) {
        for id in self.disturbed.drain(..) {
            if let Some(Owner::Idle(slot)) = self.driver.streams.get(id).map(Stream::owner) {
                self.driver.idle.remove(slot);
                self.driver.retire(id);
            }
        }
    }

    /// Connections that were kept for too long are not kept any longer.
    pub(super) fn expire_idle(&mut self, backend: BackendId) {
        let timeout = self.core.config.pools[backend.pool()].timeouts.idle;
        // A connection that was parked this long ago, or longer.
        let before = Time::from_micros(self.core.now.as_micros().saturating_sub(timeout.as_micros() as u64));
        while let Some(id) = self.driver.idle.expire(backend, before) {
            self.driver.retire(id);
        }
        match self.driver.idle.oldest(backend) {
            Some(oldest) => drop(self.wheel.insert(oldest + timeout, Alarm::Idle(backend))),
            None => self.driver.idle.unwatch(backend),
        }
    }

    /// Connections to a backend that is down are not kept.
    pub(super) fn drop_idle(&mut self, backend: BackendId) {
        while let Some(id) = self.driver.idle.take(backend) {
            self.driver.retire(id);
        }
    }
}
