//! The transfer of one message's body: how far it has come, and what of it may pass.

use super::body::{ChunkStep, Chunked};
use super::head::{Body, Refusal};
use crate::base::pipe::{Pipe, UNLIMITED};

/// How far a message has come.
#[derive(Default)]
pub(super) enum Transfer {
    /// Its head is waited for.
    #[default]
    Head,
    /// Its body is what the pipe has credit for.
    Sized,
    /// Its body comes in chunks.
    Chunked(Chunked),
    /// Its body lasts until its source ends.
    UntilClose,
    /// All of it is in the pipe or gone.
    Done,
}

/// What becomes of the framing of a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// It is forwarded.
    #[default]
    Forward,
    /// It is taken off: the client speaks HTTP/1.0.
    Strip,
}

/// What a transfer needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Bytes that have not arrived.
    Waiting,
    /// Nothing: it is over.
    Done,
    /// It cannot go on: the source ended too early.
    Cut,
    /// It cannot go on: what came is refused.
    Refused(Refusal),
}

impl Transfer {
    /// The transfer of a body whose head has just been cleared.
    pub(super) fn start(body: Body, pipe: &mut Pipe, chunked: impl FnOnce() -> Chunked) -> Transfer {
        match body {
            Body::None => Transfer::Done,
            Body::Length(length) => {
                pipe.grant(length);
                Transfer::Sized
            }
            Body::Chunked => Transfer::Chunked(chunked()),
            Body::UntilClose => {
                pipe.grant(UNLIMITED);
                Transfer::UntilClose
            }
        }
    }

    /// Judges what has arrived of a body.
    pub(super) fn go_on(&mut self, pipe: &mut Pipe, framing: Framing) -> Progress {
        let progress = match self {
            Transfer::Head => Progress::Waiting,
            Transfer::Done => Progress::Done,
            Transfer::UntilClose if pipe.source_ended() => Progress::Done,
            Transfer::UntilClose => Progress::Waiting,
            Transfer::Sized if pipe.credit() == 0 => Progress::Done,
            Transfer::Sized if pipe.source_ended() => Progress::Cut,
            Transfer::Sized => Progress::Waiting,
            Transfer::Chunked(chunked) => go_on_chunked(chunked, pipe, framing),
        };
        if progress == Progress::Done {
            *self = Transfer::Done;
        }
        progress
    }
}

fn go_on_chunked(chunked: &mut Chunked, pipe: &mut Pipe, framing: Framing) -> Progress {
    loop {
        if pipe.credit() > 0 {
            return if pipe.source_ended() { Progress::Cut } else { Progress::Waiting };
        }
        match chunked.next(pipe.pending()) {
            Ok(ChunkStep::Pass(count)) if framing == Framing::Forward => pipe.pass(count),
            Ok(ChunkStep::Pass(count) | ChunkStep::Drop(count)) => pipe.discard(count),
            Ok(ChunkStep::Data(count)) => pipe.grant(count),
            Ok(ChunkStep::NeedMore) if pipe.source_ended() => return Progress::Cut,
            Ok(ChunkStep::NeedMore) => {
                pipe.want_more();
                return Progress::Waiting;
            }
            Ok(ChunkStep::Done) => return Progress::Done,
            Err(refusal) => return Progress::Refused(refusal),
        }
    }
}
