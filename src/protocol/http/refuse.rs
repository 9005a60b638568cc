//! What plb answers itself: how it refuses, each refusal counted by its cause, and how a long answer goes on.

use super::exchange::Exchange;
use super::fields;
use super::head::{KeepClient, Method, Refusal};
use super::reply::{Answer, Status};
use super::transfer::Transfer;
use super::{Http, Rest, State};
use crate::balance::Outcome;
use crate::config::{Emergency, Mishap};
use crate::protocol::refusal::Cause;
use crate::protocol::{Alternative, Farewell, Parting, Stage, Step, View};

impl Http {
    /// A rule of HTTP was broken.
    pub(super) fn blame(&mut self, view: &mut View, refusal: Refusal) -> Step {
        tell(view, refusal);
        self.refuse_or_abort(view, refusal.status)
    }

    pub(super) fn refuse_or_abort(&mut self, view: &mut View, status: Status) -> Step {
        match (self.state, &self.exchange.response) {
            (State::Exchange, Transfer::Head) | (State::First | State::Next, _) => self.refuse(view, status),
            _ => {
                self.note_status(view, status);
                Step::Abort
            }
        }
    }

    /// Takes note of what this status refuses; a failure of a backend is none.
    fn note_status(&self, view: &mut View, status: Status) {
        let cause = match status {
            Status::BadRequest => Cause::Malformed,
            Status::MethodNotAllowed => Cause::Method,
            Status::TargetTooLong => Cause::TargetTooLong,
            Status::HeadTooLarge => Cause::HeadTooLarge,
            Status::ContentTooLarge => Cause::BodyTooLarge,
            Status::ExpectationFailed | Status::NotImplemented | Status::VersionNotSupported => Cause::Unsupported,
            Status::RequestTimeout if self.state == State::Exchange => Cause::SlowBody,
            Status::RequestTimeout => Cause::SlowHead,
            _ => return,
        };
        note(view, cause);
    }

    /// Answers that the request is not served. The connection goes on only where it is certain where the next request
    /// begins.
    pub(super) fn refuse(&mut self, view: &mut View, status: Status) -> Step {
        self.note_status(view, status);
        let in_exchange = self.state == State::Exchange;
        let connection = if status.code() >= 500 { self.prospect(view) } else { KeepClient::Close };
        if !in_exchange {
            // Nothing is known of it, but whoever asks for a head is not to take a body for the next answer.
            let asks_for_head = view.request.pending().trim_ascii_start().starts_with(b"HEAD ");
            let method = if asks_for_head { Method::Head } else { Method::Get };
            self.exchange = Exchange { method, ..Exchange::default() };
        }
        let mut answer = Answer::of(status);
        if status == Status::MethodNotAllowed {
            fields::write_field(&mut answer.fields, "Allow", view.listener.http.methods.listed().as_bytes());
        }
        self.reply(view, answer, connection)
    }

    /// Answers with what the pool has for the case that nobody of it lives.
    pub(super) fn help_out(&mut self, view: &mut View, pool: u16) -> Step {
        let Some(Emergency::Respond(own)) = &view.pools[usize::from(pool)].emergency else { return Step::Abort };
        let mut answer = Answer { status: own.status, fields: Vec::new(), document: own.document.clone() };
        own.fields.iter().for_each(|(name, value)| fields::write_field(&mut answer.fields, name, value.as_bytes()));
        let connection = self.prospect(view);
        self.reply(view, answer, connection)
    }

    /// What becomes of the client's connection after an answer in the stead of a backend.
    fn prospect(&self, view: &View) -> KeepClient {
        let is_whole = self.state == State::Exchange && matches!(self.exchange.request, Transfer::Done);
        if is_whole && view.stage == Stage::Serving { self.exchange.keep_client } else { KeepClient::Close }
    }

    /// Puts as much of the answer's content into the pipe as there is room for.
    pub(super) fn go_on_replying(&mut self, view: &mut View, connection: KeepClient) -> Step {
        if connection == KeepClient::Close {
            // Many a client sends all it has before it reads: that has no use any more, and must not hold it up.
            view.request.discard(view.request.pending().len());
        }
        let body = self.rest.body.as_deref().unwrap_or_default();
        let rest = &body[self.rest.position..];
        let count = rest.len().min(view.response.emit_room());
        if view.response.emit(&rest[..count]).is_err() {
            return Step::Abort;
        }
        self.rest.position += count;
        if count < rest.len() {
            return Step::Continue;
        }
        self.rest = Rest::default();
        match connection {
            KeepClient::Close => self.leave(Farewell::Linger),
            KeepClient::Keep => {
                self.state = State::Idle;
                Step::Recycle { parting: Parting::Drop }
            }
        }
    }
}

/// What the status of an answer says about its backend. `None`: it is not wanted, and another backend may be asked.
pub(super) fn verdict(view: &View, status: u16) -> Option<Outcome> {
    let Some(backend) = view.backend else { return Some(Outcome::Neutral) };
    let pool = &view.pools[backend.pool()];
    // An interim response may be on its way to the client.
    let may_go_on = view.alternative == Alternative::Possible && view.response.is_drained();
    let is_unwanted = may_go_on && pool.retry_on.contains(&Mishap::Status(status));
    (!is_unwanted).then(|| Outcome::of_status(status, pool))
}

/// Tells the access log which rule was broken.
pub(super) fn tell(view: &mut View, refusal: Refusal) {
    view.transcript.iter_mut().for_each(|transcript| transcript.fault = Some(refusal.why));
}

/// Counts a refusal, and tells the access log of it.
pub(super) fn note(view: &mut View, cause: Cause) {
    view.site.refusals.count(cause);
    view.transcript.iter_mut().for_each(|transcript| transcript.cause = Some(cause));
}
