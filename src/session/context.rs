//! What a session acts upon besides itself, and what of it a protocol may see.

use super::Session;
use super::record::{Counters, Records};
use crate::balance::Pools;
use crate::base::time::Time;
use crate::config;
use crate::protocol::{AnyProtocol, Protocol, Stage, Step, View};

/// What a session acts upon besides itself.
pub struct Context<'a> {
    /// The moment of this turn.
    pub now: Time,
    /// The text of a `Date` field.
    pub date: &'a str,
    /// What the daemon is doing.
    pub stage: Stage,
    /// Who can serve.
    pub pools: &'a mut Pools,
    /// The settings of listeners and pools.
    pub config: &'a config::Config,
    /// A buffer for composing heads.
    pub scratch: &'a mut Vec<u8>,
    /// What is counted.
    pub counters: &'a mut Counters,
    /// What the access log is told.
    pub records: &'a mut Records,
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
        let view = View {
            now: context.now,
            request: &mut self.request,
            response: &mut self.response,
            scratch: &mut *context.scratch,
            listener: &context.config.listeners[usize::from(self.listener)],
            date: context.date,
            stage: context.stage,
            transcript: self.record.as_mut().map(|record| &mut record.transcript),
        };
        (&mut self.protocol, view)
    }
}
