//! `Core`: what the sessions act upon besides themselves, and the moment of the turn.

use std::time::{Duration, SystemTime};

use crate::balance::Pools;
use crate::base::time::Time;
use crate::config::Config;
use crate::protocol::Stage;
use crate::session::Context;
use crate::session::record::{Counters, Records};

/// What the sessions act upon.
pub(super) struct Core {
    pub(super) now: Time,
    pub(super) config: Config,
    pub(super) pools: Pools,
    pub(super) scratch: Vec<u8>,
    pub(super) counters: Counters,
    pub(super) records: Records,
    pub(super) stage: Stage,
    date: String,
    date_second: u64,
}

impl Core {
    /// At the start.
    pub(super) fn new(config: Config) -> Core {
        Core {
            now: Time::START,
            pools: Pools::new(&config.pools, Time::START),
            records: Records::new(config.access_log.as_ref().map(|_| config.access_log_format)),
            config,
            scratch: Vec::new(),
            counters: Counters::default(),
            stage: Stage::Serving,
            date: httpdate::fmt_http_date(SystemTime::now()),
            date_second: 0,
        }
    }

    /// A turn begins.
    pub(super) fn tick(&mut self, elapsed: Duration) {
        self.now = Time::START + elapsed;
        if self.date_second != elapsed.as_secs() {
            self.date_second = elapsed.as_secs();
            self.date = httpdate::fmt_http_date(SystemTime::now());
        }
    }

    /// What a session acts upon.
    pub(super) fn context(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            date: &self.date,
            stage: self.stage,
            pools: &mut self.pools,
            config: &self.config,
            scratch: &mut self.scratch,
            counters: &mut self.counters,
            records: &mut self.records,
        }
    }
}
