//! What makes a process a daemon: descriptors, limits, privileges, the sandbox and signals.

pub mod descriptors;
pub mod limits;
pub mod privileges;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod signals;
