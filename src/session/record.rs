//! What the logs and the counters need to know of sessions: why they end, what they did, and a record of each exchange.
//!
//! A record is filled only when there is an access log. It ends with its exchange, wherever that ends: when the last
//! byte has left for the client, or when nothing more can.

use std::net::SocketAddr;

use super::phase::Phase;
use super::{Context, Session, Side};
use crate::balance::{BackendId, Failure};
use crate::base::time::Time;
use crate::config::AccessFormat;
use crate::protocol::transcript::{Author, Transcript};
use crate::protocol::{AnyProtocol, Protocol, Trouble, Wait};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// In good order.
    Finished,
    /// A timeout that costs nobody an answer: an idle client, or one that lingered.
    Idle,
    /// The client vanished.
    ClientGone,
    /// A trusted proxy did not say whom it forwards for, for this reason.
    Unannounced(&'static str),
    /// The client stalled, or the tunnel was silent.
    TimedOut,
    /// What the client got, or what the backend got, is not whole.
    Aborted,
    /// The backend that served it went down, and its pool closes what runs on such a one.
    BackendDown,
    /// The daemon stops, or a bug was met.
    Killed,
}

impl CloseReason {
    /// Whether the peers are to see a reset, and not an end that looks clean.
    pub fn is_abrupt(self) -> bool {
        match self {
            CloseReason::Finished | CloseReason::Idle => false,
            CloseReason::ClientGone
            | CloseReason::Unannounced(_)
            | CloseReason::TimedOut
            | CloseReason::Aborted
            | CloseReason::BackendDown
            | CloseReason::Killed => true,
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

/// How many records are kept to be used again: as many as may end in one turn.
const SPARE_MAX: usize = 512;

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client got the whole answer; TCP: in good order.
    Done,
    /// plb refused the request.
    Refused,
    /// The client vanished.
    ClientGone,
    /// The client did not send its request, or did not take its answer.
    ClientTimeout,
    /// No backend was up, or none was left to be asked.
    NoBackend,
    /// All backends were full, and the queue or the wait in it was too long.
    Busy,
    /// A backend failed.
    BackendFailed,
    /// A backend did not answer in time.
    BackendTimeout,
    /// A backend went down while it served, and its pool does not wait for what becomes of that.
    BackendDown,
    /// plb had no descriptor, port or memory for it.
    Exhausted,
    /// The answer broke off.
    Aborted,
    /// Nobody spoke in a tunnel.
    Idle,
    /// plb stopped, or met a bug.
    Killed,
}

impl End {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Refused => "refused",
            End::ClientGone => "client_gone",
            End::ClientTimeout => "client_timeout",
            End::NoBackend => "no_backend",
            End::Busy => "busy",
            End::BackendFailed => "backend_failed",
            End::BackendTimeout => "backend_timeout",
            End::BackendDown => "backend_down",
            End::Exhausted => "exhausted",
            End::Aborted => "aborted",
            End::Idle => "idle",
            End::Killed => "killed",
        }
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> End {
        match reason {
            CloseReason::Finished | CloseReason::Idle => End::Done,
            CloseReason::ClientGone => End::ClientGone,
            CloseReason::Unannounced(_) => End::Refused,
            CloseReason::TimedOut => End::ClientTimeout,
            CloseReason::Aborted => End::Aborted,
            CloseReason::BackendDown => End::BackendDown,
            CloseReason::Killed => End::Killed,
        }
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        match trouble {
            Trouble::NoBackend | Trouble::Deserted { .. } => End::NoBackend,
            Trouble::Busy => End::Busy,
            Trouble::SlowClient => End::ClientTimeout,
            Trouble::Backend(Failure::TimedOut) => End::BackendTimeout,
            Trouble::Backend(Failure::Local) => End::Exhausted,
            Trouble::Backend(_) => End::BackendFailed,
        }
    }
}

/// What the access log tells of one exchange.
#[derive(Debug)]
pub struct Record {
    /// The listener, by its position.
    pub listener: u16,
    /// Who asked.
    pub client: SocketAddr,
    /// The first byte of the request (a pipelined one: the end of the exchange before); TCP: the client came.
    pub began: Time,
    /// A backend was asked for the first time.
    pub asked: Option<Time>,
    /// The connection stood to the backend that was asked last.
    pub connected: Option<Time>,
    /// That backend's first byte came.
    pub heard: Option<Time>,
    /// All was over.
    pub ended: Time,
    /// The backend that was asked last.
    pub backend: Option<BackendId>,
    /// How many were asked.
    pub attempts: u32,
    /// Bytes of the request that came from the client.
    pub received: u64,
    /// Bytes that left for the client.
    pub sent: u64,
    /// Why it ended; `None` while it has not.
    pub end: Option<End>,
    /// What was said.
    pub transcript: Transcript,
}

impl Record {
    /// A record of an exchange that begins.
    pub fn new(listener: u16, client: SocketAddr, began: Time, transcript: Transcript) -> Record {
        Record {
            listener,
            client,
            began,
            asked: None,
            connected: None,
            heard: None,
            ended: began,
            backend: None,
            attempts: 0,
            received: 0,
            sent: 0,
            end: None,
            transcript,
        }
    }

    /// A backend is asked.
    pub(super) fn ask(&mut self, backend: BackendId, now: Time) {
        self.asked.get_or_insert(now);
        (self.backend, self.connected, self.heard) = (Some(backend), None, None);
        self.attempts += 1;
        self.transcript.fault = None;
    }

    /// Bytes came from a side.
    pub(super) fn receive(&mut self, side: Side, count: usize, now: Time) {
        match side {
            Side::Client => self.received += count as u64,
            Side::Backend => drop(self.heard.get_or_insert(now)),
        }
    }
}

/// The records of exchanges that ended, on their way to the log, and those that can be used again.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they move between sessions and here as they are")]
pub struct Records {
    /// `None` when there is no access log, and no record.
    format: Option<AccessFormat>,
    finished: Vec<Box<Record>>,
    spare: Vec<Box<Record>>,
}

impl Records {
    /// Records for an access log of this format; none without one.
    pub fn new(format: Option<AccessFormat>) -> Records {
        Records { format, ..Records::default() }
    }

    /// Shows all records of exchanges that ended, in that order, to `write`; they are used again.
    pub fn drain(&mut self, mut write: impl FnMut(&Record)) {
        for record in self.finished.drain(..) {
            write(&record);
            if self.spare.len() < SPARE_MAX {
                self.spare.push(record);
            }
        }
    }

    fn begin(&mut self, listener: u16, client: SocketAddr, now: Time) -> Option<Box<Record>> {
        let format = self.format?;
        let Some(mut record) = self.spare.pop() else {
            return Some(Box::new(Record::new(listener, client, now, Transcript::new(format))));
        };
        let mut transcript = std::mem::replace(&mut record.transcript, Transcript::new(format));
        transcript.renew();
        *record = Record::new(listener, client, now, transcript);
        Some(record)
    }
}

impl Session {
    /// Hands in the record of an exchange that is over, and begins the next one with its first byte.
    pub(super) fn keep_record(&mut self, context: &mut Context) {
        if context.records.format.is_none() {
            return;
        }
        let is_over = self.record.as_ref().is_some_and(|record| record.end.is_some());
        // A long answer of plb's own comes in parts.
        let is_replying = self.phase == Phase::Waiting && matches!(self.protocol.waits_for(), Wait::Body { .. });
        if is_over && !self.response.has_cleared() && !is_replying {
            self.file_record(context);
        }
        if self.record.is_some() || self.phase != Phase::Waiting {
            return;
        }
        let begins = match self.protocol.waits_for() {
            Wait::Tunnel => true,
            Wait::RequestHead | Wait::NextRequest => !self.request.pending().is_empty(),
            Wait::Response { .. } | Wait::Body { .. } => false,
        };
        if begins {
            self.response.begin();
            self.record = context.records.begin(self.listener, self.client, context.now);
            let here = self.request.pending().len();
            self.record.iter_mut().for_each(|record| record.received = here as u64);
        }
    }

    /// The exchange is over for this reason, unless there was one before.
    pub(super) fn conclude(&mut self, end: End) {
        let Some(record) = &mut self.record else { return };
        // An answer may be whole and not reach the client.
        if matches!(record.end, None | Some(End::Done)) {
            record.end = Some(end);
        }
        if record.transcript.request_line().is_empty() {
            record.transcript.ask(self.request.pending());
        }
    }

    /// The exchange comes to its end, and nobody is to blame for it.
    pub(super) fn conclude_well(&mut self) {
        let Some(Record { transcript, .. }) = self.record.as_deref() else { return };
        self.conclude(match transcript.author {
            Author::Plb if transcript.cause.is_some() => End::Refused,
            Author::Nobody if !matches!(self.protocol, AnyProtocol::Tcp(_)) => End::ClientGone,
            Author::Plb | Author::Backend | Author::Nobody => End::Done,
        });
    }

    /// Hands in the record, whatever is still to be sent.
    pub(super) fn file_record(&mut self, context: &mut Context) {
        let Some(mut record) = self.record.take() else { return };
        record.ended = context.now;
        record.sent = self.response.sent();
        if self.phase == Phase::Waiting {
            // What is pending is of the next request.
            record.received = record.received.saturating_sub(self.request.pending().len() as u64);
        }
        context.records.finished.push(record);
    }
}
