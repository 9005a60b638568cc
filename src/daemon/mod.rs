//! What makes a process a daemon: descriptors, limits, privileges, the sandbox and signals.

pub mod descriptors;
pub mod limits;
pub mod privileges;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod signals;
// Where the crate knows the processor, and the processor the names of the calls.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub mod system_calls;
