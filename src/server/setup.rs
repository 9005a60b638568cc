//! What a server does once, before it serves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Instant;

use super::http_date;
use crate::base::buffers::{BUFFER_BYTES, Buffers};
use crate::base::password::reference;
use crate::config::Config;
use crate::daemon::limits::Descriptors;
use crate::net::listener::Listener;
use crate::session::Core;

/// What sessions act upon. Passwords are verified within a turn: how long that takes here has to be known.
pub(super) fn core_of(config: Config) -> Core {
    let mut core = Core::new(config, http_date());
    core.seed(RandomState::new().hash_one(()));
    if core.verifiers() > 0 {
        let times = std::array::from_fn::<_, 3, _>(|_| {
            let begin = Instant::now();
            reference();
            begin.elapsed()
        });
        core.budget(times.into_iter().min().unwrap_or_default());
    }
    core
}

/// Tells what it serves with.
pub(super) fn announce(config: &Config, listeners: &[Listener], descriptors: &Descriptors, buffers: &Buffers) {
    log::info!("plb {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id());
    for listener in listeners {
        let name = &config.listeners[usize::from(listener.position())].name;
        log::info!("listener {name}: listening on {}", listener.address());
    }
    let Descriptors { limit, needed, .. } = descriptors;
    let memory = buffers.lent_max() * BUFFER_BYTES / 1024;
    log::info!("at most {} clients, {needed} of {limit} descriptors, {memory} KiB of buffers", config.max_clients);
}
