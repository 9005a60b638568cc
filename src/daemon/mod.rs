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
// Where the crate knows the processor, and the processor the names of the calls.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub mod system_calls;

/// Who says where connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The system: no socket is bound any more.
    System,
    /// The configuration: sockets are bound to an address, and never to a port.
    Configuration,
}

/// Those who watch over the process, held from the start to the end.
#[derive(Debug, Default)]
pub struct Supervision {
    /// The parent, until it knows.
    pub readiness: Option<daemonize::Readiness>,
    /// The service manager.
    pub notify: notify::Notify,
    /// Emptied when this is dropped.
    pub pid_file: Option<pid_file::PidFile>,
}
