//! The process: the background, descriptors, limits, privileges, the sandbox, signals, and those who watch over it.

pub mod daemonize;
pub mod descriptors;
pub mod limits;
pub mod notify;
pub mod pid_file;
pub mod privileges;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod signals;
pub mod supervision;
