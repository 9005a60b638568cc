//! What the kernel refuses from now on (Linux): every system call that is not of the loop, the logs or the stop, by
//! seccomp.
//!
//! It holds for the calling thread and whatever that starts, and cannot be taken back. A new call belongs in `CALLS`;
//! `strace -f -e status=failed` shows one that is missing as EPERM.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process;

use nix::libc::*;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::Source;

/// The calls that are allowed with any arguments. Allowing the descriptors' ones costs nothing: there is no way to a
/// descriptor that was not opened before.
#[rustfmt::skip]
const CALLS: &[c_long] = &[
    // Bytes.
    SYS_read, SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_write, SYS_writev, SYS_sendto, SYS_sendmsg, SYS_splice, SYS_tee,
    // Sockets, pipes and the poll.
    SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockopt, SYS_setsockopt, SYS_getsockname,
    SYS_getpeername, SYS_socketpair, SYS_pipe2, SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_pwait2, SYS_ppoll,
    // Any descriptor, files that are open included.
    SYS_close, SYS_dup, SYS_dup3, SYS_fcntl, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek, SYS_ftruncate, SYS_fsync,
    SYS_fdatasync,
    // Memory.
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_getrandom,
    // Time, threads, signals, the end.
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_gettimeofday, SYS_nanosleep, SYS_futex,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_getpid, SYS_gettid, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_exit, SYS_exit_group,
];

/// The older forms that x86-64 alone still has.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[c_long] = &[SYS_epoll_wait, SYS_poll, SYS_dup2, SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[c_long] = &[];

/// Forbids every system call that is neither in `CALLS` or its like nor needed for the source of connections: EPERM, and not
/// the end of the process, so that a call that was forgotten there (or that a newer C library makes) is an error of one
/// session and not of everybody's. What it would be good for to an intruder is refused either way.
///
/// # Errors
/// Why there is no filter.
pub fn filter_calls(source: Source) -> Result<String, String> {
    let filter = filter(source).map_err(|error| format!("no seccomp: {error}"))?;
    apply_filter(&filter).map_err(|error| format!("no seccomp: {error}"))?;
    Ok("seccomp".to_string())
}

fn filter(source: Source) -> Result<BpfProgram, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let is = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    // An empty list is any arguments. Those that are looked at are kept off the calls of every exchange: the kernel
    // remembers the others and does not run the filter for them.
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        CALLS.iter().chain(OLD_CALLS).map(|&call| (call, Vec::new())).collect();
    if source == Source::Configuration {
        rules.insert(SYS_bind, Vec::new());
    }
    rules.insert(SYS_socket, vec![is(0, Eq, AF_INET as u64)?, is(0, Eq, AF_INET6 as u64)?]);
    rules.insert(SYS_ioctl, vec![is(1, Eq, u64::from(FIONBIO as u32))?]);
    rules.insert(SYS_mmap, vec![is(2, MaskedEq(PROT_EXEC as u64), 0)?]);
    rules.insert(SYS_mprotect, vec![is(2, MaskedEq(PROT_EXEC as u64), 0)?]);
    // What abort(3) does: a signal to oneself.
    rules.insert(SYS_tgkill, vec![is(0, Eq, u64::from(process::id()))?]);
    let refuse = SeccompAction::Errno(EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
}
