//! What a session acts upon besides itself, and what of it a protocol may see.

use super::record::Counters;
use crate::balance::Pools;
use crate::base::pipe::Pipe;
use crate::base::time::Time;
use crate::config;
use crate::protocol::{Stage, View};

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
}

/// The protocol's view of a session's parts.
pub(super) fn view<'a>(
    request: &'a mut Pipe,
    response: &'a mut Pipe,
    listener: u16,
    context: &'a mut Context,
) -> View<'a> {
    View {
        now: context.now,
        request,
        response,
        scratch: &mut *context.scratch,
        listener: &context.config.listeners[usize::from(listener)],
        date: context.date,
        stage: context.stage,
    }
}
