//! Descriptors: the limit is raised at the start, and what the configuration may need is summed up against it.
//!
//! ```text
//! clients + their backend connections + idle backend connections + kernel pipes x 2 + probes + listeners + reserve <= limit
//! ```

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Standard streams, the log, the poll, the signals' pipes, and some to spare.
const RESERVE: u64 = 32;

/// What the descriptors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit of the process.
    pub limit: u64,
    /// What it needs when everything is in use.
    pub needed: u64,
    /// The idle backend connections that the limit leaves room for.
    pub idle_max: u32,
    /// The kernel pipes that it leaves room for.
    pub kernel_pipes: u32,
}

/// The limit does not allow what the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// The limit of the process.
    pub limit: u64,
    /// What it needs without any idle connection and kernel pipe.
    pub needed: u64,
    /// The clients that the limit allows.
    pub clients_max: u64,
}

/// Raises the soft limit of open descriptors to the hard one, and tells the outcome.
pub fn raise_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 256 };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

/// Fits the configuration, with so many probes at once, into the limit: idle connections and kernel
/// pipes yield first, and these take no more than half of what is left.
///
/// # Errors
/// Not even without them does `max_clients` fit.
pub fn plan_descriptors(config: &Config, probes_max: usize, limit: u64) -> Result<Descriptors, TooFew> {
    let backends: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let listeners: usize = config.listeners.iter().map(|listener| listener.listen.len()).sum();
    let fixed = RESERVE + listeners as u64 + backends.min(probes_max) as u64;
    let needed = fixed + 2 * u64::from(config.max_clients);
    let Some(left) = limit.checked_sub(needed) else {
        return Err(TooFew { limit, needed, clients_max: limit.saturating_sub(fixed) / 2 });
    };
    let kernel_pipes = u64::from(config.kernel_pipes).min(left / 4);
    let idle_max = u64::from(config.idle_max).min(left - 2 * kernel_pipes);
    let needed = needed + idle_max + 2 * kernel_pipes;
    Ok(Descriptors { limit, needed, idle_max: idle_max as u32, kernel_pipes: kernel_pipes as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ProtocolName, quick_start};

    fn config(max_clients: u32, idle_max: u32, kernel_pipes: u32) -> Config {
        let backends = ["127.0.0.1:2".to_string()];
        let config = quick_start(ProtocolName::Tcp, "127.0.0.1:1", &backends).expect("it is right");
        Config { max_clients, idle_max, kernel_pipes, ..config }
    }

    #[test]
    fn idle_connections_and_kernel_pipes_yield_before_clients_do() {
        let fixed = RESERVE + 2;
        let config = config(100, 50, 16);
        let planned = |limit| plan_descriptors(&config, 64, limit);
        let fits = |limit| planned(limit).map(|plan| (plan.needed, plan.idle_max, plan.kernel_pipes)).ok();
        assert_eq!(fits(1000), Some((fixed + 282, 50, 16)));
        assert_eq!(fits(fixed + 240), Some((fixed + 240, 20, 10)));
        assert_eq!(fits(fixed + 201), Some((fixed + 201, 1, 0)));
        let refused = planned(fixed + 150).expect_err("it does not fit");
        assert_eq!((refused.needed, refused.clients_max), (fixed + 200, 75));
    }
}
