//! What an `io::Error` of a socket means: whose failure it is.

use std::io;

use nix::errno::Errno;

use crate::balance::Failure;

/// Reads an error of `connect`, `accept`, `recv` or `send`.
pub fn failure_of(error: &io::Error) -> Failure {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ECONNREFUSED => Failure::Refused,
        Errno::ETIMEDOUT => Failure::TimedOut,
        Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED | Errno::ENOTCONN => Failure::Reset,
        // Descriptors, ports, memory: Linux says EAGAIN (routing cache) or EADDRNOTAVAIL when no port is left.
        Errno::EMFILE
        | Errno::ENFILE
        | Errno::ENOBUFS
        | Errno::ENOMEM
        | Errno::EADDRNOTAVAIL
        | Errno::EADDRINUSE
        | Errno::EAGAIN => Failure::Local,
        _ => Failure::Unreachable,
    }
}

/// Whether it was for a descriptor that a call failed: one that we close makes up for it.
pub fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_raw(error.raw_os_error().unwrap_or(0)), Errno::EMFILE | Errno::ENFILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_ours_is_never_the_backends_failure() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EADDRNOTAVAIL] {
            assert_eq!(failure_of(&io::Error::from(errno)), Failure::Local, "{errno}");
        }
        assert_eq!(failure_of(&io::Error::from(Errno::ECONNREFUSED)), Failure::Refused);
        assert_eq!(failure_of(&io::Error::from(Errno::EHOSTUNREACH)), Failure::Unreachable);
        assert_eq!(failure_of(&io::Error::from(Errno::EPIPE)), Failure::Reset);
    }
}
