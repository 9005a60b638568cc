//! What a session acts upon besides itself, who owns that, and what of it a protocol may see.

use std::time::Duration;

use super::Session;
use super::door::Door;
use super::record::{Counters, Records};
use crate::balance::{Keys, Lease, Pools, Seeker};
use crate::base::rng::Rng;
use crate::base::time::Time;
use crate::config::{self, Config, Listener};
use crate::protocol::http::auth::Budget;
use crate::protocol::http::site::Site;
use crate::protocol::refusal::{Cause, Refusals};
use crate::protocol::{AnyProtocol, Protocol, Stage, Step, View};

/// What a session acts upon besides itself.
pub struct Context<'a> {
    /// The moment of this turn.
    pub now: Time,
    /// The text of a `Date` field.
    pub date: &'a str,
    /// What the daemon is doing.
    pub stage: Stage,
    /// What the session is called by when it is its turn in a queue.
    pub who: Seeker,
    /// Who can serve.
    pub pools: &'a mut Pools,
    /// The settings of listeners and pools.
    pub config: &'a config::Config,
    /// What the HTTP sessions of each listener share.
    pub sites: &'a mut [Site],
    /// A buffer for composing heads.
    pub scratch: &'a mut Vec<u8>,
    /// Who may come in.
    pub door: &'a mut Door,
    /// What is counted.
    pub counters: &'a mut Counters,
    /// What the access log is told.
    pub records: &'a mut Records,
}

/// Owns what sessions act upon besides themselves.
pub struct Core {
    /// The moment of this turn.
    pub now: Time,
    /// The settings of listeners and pools.
    pub config: Config,
    /// Who can serve.
    pub pools: Pools,
    /// Who may come in.
    pub door: Door,
    /// What is counted.
    pub counters: Counters,
    /// What the access log is told.
    pub records: Records,
    /// What the daemon is doing.
    pub stage: Stage,
    /// What the session that runs is called by when it is its turn in a queue.
    pub who: Seeker,
    sites: Vec<Site>,
    scratch: Vec<u8>,
    date: String,
    date_second: u64,
}

impl Core {
    /// At the start, when the text of a `Date` field is `date`.
    pub fn new(config: Config, date: String) -> Core {
        // Listeners may share a pool, and so have to know a client by the same key.
        let keys = Keys::default();
        Core {
            now: Time::START,
            pools: Pools::new(&config.pools, Time::START),
            door: Door::new(&config.listeners, Time::START),
            records: Records::new(config.access_log.as_ref().map(|_| config.access_log_format)),
            sites: config.listeners.iter().map(|listener| Site::new(listener).with(keys.clone())).collect(),
            config,
            scratch: Vec::new(),
            counters: Counters::default(),
            stage: Stage::Serving,
            who: Seeker::default(),
            date,
            date_second: 0,
        }
    }

    /// How many listeners verify passwords.
    pub fn verifiers(&self) -> u32 {
        let verifies = |listener: &&Listener| listener.routes.iter().any(|route| route.auth.is_some());
        self.config.listeners.iter().filter(verifies).count() as u32
    }

    /// [`crate::base::password::reference()`] takes so long here: all listeners share the time for verifications.
    pub fn budget(&mut self, reference: Duration) {
        let count = self.verifiers();
        self.sites.iter_mut().for_each(|site| site.budget(Budget::new(count, reference)));
    }

    /// Whatever sessions choose by chance follows from this number.
    pub fn seed(&mut self, seed: u64) {
        let mut rng = Rng::new(seed);
        self.sites.iter_mut().for_each(|site| site.seed(rng.next_u64()));
        self.pools.seed(rng.next_u64());
    }

    /// A turn begins, so long after the start; `date` is asked for once a second.
    pub fn tick(&mut self, elapsed: Duration, date: impl FnOnce() -> String) {
        self.now = Time::START + elapsed;
        if self.date_second != elapsed.as_secs() {
            self.date_second = elapsed.as_secs();
            self.date = date();
        }
    }

    /// Counts a refusal of this listener, and tells how many there were for the same cause.
    pub fn refuse(&mut self, listener: u16, cause: Cause) -> u64 {
        self.sites[usize::from(listener)].refusals.count(cause)
    }

    /// What each listener refused.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusals> {
        self.sites.iter().map(|site| &site.refusals)
    }

    /// What a session acts upon.
    pub fn context(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            date: &self.date,
            stage: self.stage,
            who: self.who,
            pools: &mut self.pools,
            config: &self.config,
            sites: &mut self.sites,
            scratch: &mut self.scratch,
            door: &mut self.door,
            counters: &mut self.counters,
            records: &mut self.records,
        }
    }
}

impl Session {
    /// The protocol judges what is pending.
    pub(super) fn judge(&mut self, context: &mut Context) -> Step {
        self.keep_record(context);
        let (protocol, mut view) = self.view(context);
        protocol.advance(&mut view)
    }

    /// The protocol, and what it may see and move.
    pub(super) fn view<'a>(&'a mut self, context: &'a mut Context) -> (&'a mut AnyProtocol, View<'a>) {
        let listener = usize::from(self.listener);
        let alternative = self.alternative();
        let view = View {
            now: context.now,
            request: &mut self.request,
            response: &mut self.response,
            scratch: &mut *context.scratch,
            client: self.client.ip(),
            port: self.port,
            listener: &context.config.listeners[listener],
            site: &mut context.sites[listener],
            pools: &context.config.pools,
            diverted: self.entry.diverted,
            backend: self.attempt.lease.as_ref().map(Lease::backend),
            alternative,
            date: context.date,
            stage: context.stage,
            transcript: self.record.as_mut().map(|record| &mut record.transcript),
        };
        (&mut self.protocol, view)
    }
}
