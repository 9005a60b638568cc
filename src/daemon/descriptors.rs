//! Descriptors that plb was started with: all but the standard ones are closed, whatever they are.
//!
//! Must be called before plb opens anything of its own, because it cannot tell its own from those of others.

use std::fs;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::close;

/// The first descriptor that is not a standard one.
const FIRST: RawFd = 3;
/// Where the open ones cannot be listed, not more than this many are tried.
const TRIED_MAX: u64 = 1 << 20;

/// Closes every descriptor that was inherited, but standard input, output and error.
pub fn close_inherited() {
    for descriptor in listed().unwrap_or_else(every) {
        // What listed them is among them, and closed already.
        let _ = close(descriptor);
    }
}

/// Those that the kernel lists (Linux only: FreeBSD's /dev/fd shows three, whatever is open).
fn listed() -> Option<Vec<RawFd>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let names = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(numbers.filter(|&number| number >= FIRST).collect())
}

fn every() -> Vec<RawFd> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((TRIED_MAX, TRIED_MAX));
    (FIRST..soft.min(TRIED_MAX) as RawFd).collect()
}
