//! What makes a process a daemon: the background, limits, signals, and those who watch over it.

pub mod daemonize;
pub mod limits;
pub mod notify;
pub mod pid_file;
pub mod signals;
pub mod supervision;
