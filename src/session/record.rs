//! What the log and the counters need to know of sessions.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// In good order.
    Finished,
    /// A timeout that costs nobody an answer: an idle client, or one that lingered.
    Idle,
    /// The client vanished.
    ClientGone,
    /// The client stalled, or the tunnel was silent.
    TimedOut,
    /// What the client got, or what the backend got, is not whole.
    Aborted,
    /// The daemon stops, or a bug was met.
    Killed,
}

impl CloseReason {
    /// Whether the peers are to see a reset, and not an end that looks clean.
    pub fn is_abrupt(self) -> bool {
        match self {
            CloseReason::Finished | CloseReason::Idle => false,
            CloseReason::ClientGone | CloseReason::TimedOut | CloseReason::Aborted | CloseReason::Killed => true,
        }
    }
}

/// What sessions did, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges that a backend served to their end.
    pub exchanges: u64,
    /// Attempts at a backend that failed and were made up for with another attempt.
    pub retries: u64,
    /// Answers in the stead of a backend: errors that a client saw.
    pub apologies: u64,
    /// Sessions that ended abruptly.
    pub aborted: u64,
    /// Attempts that failed for want of descriptors, ports or memory.
    pub exhausted: u64,
    /// Bytes from clients to backends.
    pub request_bytes: u64,
    /// Bytes to clients.
    pub response_bytes: u64,
    /// How many of both went from socket to socket within the kernel.
    pub spliced_bytes: u64,
}
