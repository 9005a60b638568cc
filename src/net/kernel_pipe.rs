//! `KernelPipes`: the pipes through which splice(2) passes bytes from socket to socket without a copy.
//!
//! ```text
//! free ──take_off──▶ Flight ──land──▶ free          Flight ──discard──▶ closed
//! ```
//! A pipe is in use only while bytes are in it. An empty one never leaves this file, and one with bytes in it is a
//! [`Flight`], which goes to its sink or is closed: no session can meet the bytes of another one.
//!
//! Whatever the system refuses here is no failure of a session, which copies its bytes instead.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

/// Whether the system can do this at all. mio's poll(2) build hears of a socket again only after a call of mio's own.
pub const SPLICES: bool = cfg!(all(target_os = "linux", not(mio_unsupported_force_poll_poll)));

/// The size of a pipe, where the system allows it (pipe(7): 1 MiB by default, for a user's first 64 of them).
const PIPE_BYTES: usize = 1024 * 1024;

/// Lends pipes up to a limit.
pub struct KernelPipes {
    free: Vec<KernelPipe>,
    in_use: usize,
    in_use_max: usize,
}

/// A pipe with nothing in it.
struct KernelPipe {
    inlet: OwnedFd,
    outlet: OwnedFd,
}

/// Bytes on their way, and the pipe that they are in.
pub struct Flight {
    pipe: KernelPipe,
    bytes: usize,
}

/// What became of bytes that were to take off.
pub enum TakeOff {
    /// They did.
    Flight(Flight),
    /// There are none, and there will be none.
    Ended,
    /// The source has none, or failed.
    Failed(Errno),
    /// There is no pipe, or no way into one.
    Unable,
}

impl KernelPipes {
    /// A lender of at most so many pipes at once; of none where the system has no splice(2).
    pub fn new(in_use_max: u32) -> KernelPipes {
        let in_use_max = if SPLICES { in_use_max as usize } else { 0 };
        KernelPipes { free: Vec::with_capacity(in_use_max), in_use: 0, in_use_max }
    }

    /// Whether there ever is one to be lent.
    pub fn is_possible(&self) -> bool {
        self.in_use_max > 0
    }

    /// The most bytes of a flight. The fewer the more are under way: where the system is short of memory for sockets, a
    /// sink takes less than it has room for, and what is left in flight to those that stall is memory, too.
    pub fn flight_bytes_max(&self) -> usize {
        PIPE_BYTES / (1 + self.in_use)
    }

    /// How many are in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Closes those that nobody uses, for the sake of their descriptors; whether there were some.
    pub fn close_free(&mut self) -> bool {
        let some = !self.free.is_empty();
        self.free.clear();
        some
    }

    /// Takes up to `bytes_max` bytes, more than none, from a socket that does not block.
    pub fn take_off(&mut self, source: impl AsFd, bytes_max: usize) -> TakeOff {
        if self.in_use >= self.in_use_max {
            return TakeOff::Unable;
        }
        let Some(pipe) = self.free.pop().or_else(|| KernelPipe::open().ok()) else { return TakeOff::Unable };
        match splice(source, &pipe.inlet, bytes_max) {
            Ok(0) => self.keep(pipe, TakeOff::Ended),
            Ok(bytes) => {
                self.in_use += 1;
                TakeOff::Flight(Flight { pipe, bytes })
            }
            // What may not be spliced (a filter of system calls) can be read; it is not tried again.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                self.in_use_max = 0;
                self.keep(pipe, TakeOff::Unable)
            }
            Err(Errno::EINVAL | Errno::ENOMEM) => self.keep(pipe, TakeOff::Unable),
            Err(errno) => self.keep(pipe, TakeOff::Failed(errno)),
        }
    }

    /// Gives a socket what it takes; the rest stays in flight. What a socket that failed did not take is gone.
    pub fn land(&mut self, mut flight: Flight, sink: impl AsFd) -> (Result<usize, Errno>, Option<Flight>) {
        match splice(&flight.pipe.outlet, sink, flight.bytes) {
            Ok(bytes) => {
                flight.bytes -= bytes;
                if flight.bytes > 0 {
                    return (Ok(bytes), Some(flight));
                }
                self.in_use -= 1;
                (self.keep(flight.pipe, Ok(bytes)), None)
            }
            Err(Errno::EAGAIN) => (Err(Errno::EAGAIN), Some(flight)),
            Err(errno) => {
                self.discard(flight);
                (Err(errno), None)
            }
        }
    }

    /// Closes the pipe of a flight that has nowhere to go.
    pub fn discard(&mut self, flight: Flight) {
        drop(flight);
        self.in_use -= 1;
    }

    fn keep<T>(&mut self, pipe: KernelPipe, outcome: T) -> T {
        debug_assert_eq!(nix::unistd::read(&pipe.outlet, &mut [0]), Err(Errno::EAGAIN), "bytes were left in a pipe");
        self.free.push(pipe);
        outcome
    }
}

impl Flight {
    /// How many bytes are on their way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl KernelPipe {
    #[cfg(target_os = "linux")]
    fn open() -> Result<KernelPipe, Errno> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let (outlet, inlet) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A user's pipes may have reached their limit (pipe(7)): then a smaller one has to do.
        let _ = fcntl(&inlet, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32));
        Ok(KernelPipe { inlet, outlet })
    }

    #[cfg(not(target_os = "linux"))]
    fn open() -> Result<KernelPipe, Errno> {
        Err(Errno::ENOSYS)
    }
}

#[cfg(target_os = "linux")]
fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> Result<usize, Errno> {
    use nix::fcntl::SpliceFFlags;
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        match nix::fcntl::splice(&from, None, &to, None, bytes, flags) {
            Err(Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn splice(_from: impl AsFd, _to: impl AsFd, _bytes: usize) -> Result<usize, Errno> {
    Err(Errno::ENOSYS)
}

#[cfg(all(test, target_os = "linux", not(mio_unsupported_force_poll_poll)))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A socket that does not block, and its other end.
    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("descriptors are left");
        ours.set_nonblocking(true).expect("a socket takes it");
        (ours, theirs)
    }

    fn take_off(pipes: &mut KernelPipes, text: &str) -> Flight {
        let (ours, mut theirs) = pair();
        theirs.write_all(text.as_bytes()).expect("it is short");
        match pipes.take_off(&ours, 100) {
            TakeOff::Flight(flight) => flight,
            _ => panic!("{text} did not take off"),
        }
    }

    /// What arrives of a flight.
    fn land(pipes: &mut KernelPipes, flight: Flight) -> String {
        let (ours, mut theirs) = pair();
        let bytes = flight.bytes();
        let (landed, left) = pipes.land(flight, &ours);
        assert_eq!((landed, left.is_none()), (Ok(bytes), true));
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).expect("it ends");
        text
    }

    #[test]
    fn nobody_gets_what_was_left_in_a_pipe() {
        let mut pipes = KernelPipes::new(2);
        let one = take_off(&mut pipes, "one");
        assert_eq!(land(&mut pipes, one), "one");
        let secret = take_off(&mut pipes, "secret");
        pipes.discard(secret);
        let broken = take_off(&mut pipes, "broken");
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(matches!(pipes.land(broken, &ours), (Err(Errno::EPIPE), None)));
        assert_eq!((pipes.in_use(), pipes.free.len()), (0, 0), "they were closed");
        let other = take_off(&mut pipes, "other");
        assert_eq!(land(&mut pipes, other), "other");
    }

    #[test]
    fn a_pipe_is_used_again_once_it_is_empty_and_no_more_of_them_than_allowed() {
        let mut pipes = KernelPipes::new(1);
        let (ours, theirs) = pair();
        assert!(matches!(pipes.take_off(&ours, 1), TakeOff::Failed(Errno::EAGAIN)));
        drop(theirs);
        assert!(matches!(pipes.take_off(&ours, 1), TakeOff::Ended));
        assert_eq!((pipes.in_use(), pipes.free.len()), (0, 1));
        let flight = take_off(&mut pipes, "the only one");
        assert_eq!((pipes.in_use(), pipes.free.len()), (1, 0));
        assert!(matches!(pipes.take_off(&ours, 1), TakeOff::Unable));
        land(&mut pipes, flight);
        assert!(pipes.close_free() && !pipes.close_free());
        assert!(matches!(KernelPipes::new(0).take_off(&ours, 1), TakeOff::Unable));
    }
}
