//! What makes a process a daemon: limits and signals.

pub mod limits;
pub mod signals;
