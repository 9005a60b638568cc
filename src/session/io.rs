//! The language between a session and whoever makes its system calls: sides, readiness, calls and outcomes.

use crate::balance::{BackendId, Failure};
use crate::protocol::Reuse;

/// An end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever connected to us.
    Client = 0,
    /// Whom we connected to.
    Backend = 1,
}

impl Side {
    /// The one at the other end.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Backend,
            Side::Backend => Side::Client,
        }
    }
}

/// What is known of a stream: set by events, cleared by the calls that blocked. It lives on the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read may give something.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// An event came since the connection was asked for, so that its outcome is known.
    pub settled: bool,
}

/// The next system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Lend the session its two buffers.
    Borrow,
    /// Get a connection to this backend.
    Acquire {
        /// Which one.
        backend: BackendId,
        /// Whether an idle connection will do.
        reuse: Reuse,
        /// Which of the backend's addresses, counted from the one that worked last.
        address: u8,
    },
    /// Ask how connecting ended.
    FinishConnect,
    /// Read from this side into the room of its pipe.
    Read(Side),
    /// Write what is cleared for this side.
    Write(Side),
    /// Let bytes of this side take off, past the buffer, when the other side takes some.
    Fill(Side),
    /// Let what is in flight to this side land.
    Drain(Side),
    /// Send what the stream to this side still owes.
    Flush(Side),
    /// Shut down our sending to this side.
    Shutdown(Side),
    /// Part from the backend's connection.
    Part(Part),
    /// Nothing can be done until something happens.
    Wait,
    /// Close both sides.
    Close,
}

/// Where the backend's connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It has served; the next exchange with this backend may use it.
    Park(BackendId),
    /// It is of no use any more.
    Discard,
}

/// What became of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// An idle connection was found.
    Reused,
    /// A connection was asked for; this many further addresses could be tried.
    Started {
        /// Addresses of the same backend behind this one.
        alternatives: u8,
    },
    /// No connection could even be asked for at this address; the backend has another one.
    NextAddress,
    /// Bytes were moved.
    Bytes {
        /// How many.
        count: usize,
        /// Whether the stream took bytes that it has yet to send.
        owes: bool,
    },
    /// The source ended.
    Ended,
    /// It would block, or there was no buffer to lend.
    Blocked,
    /// Nothing was taken from the source, for the sink would block.
    Full,
    /// Bytes cannot go past the buffer here and now.
    Unable,
    /// It failed.
    Failed(Failure),
}
