//! HTTP/1.1 and HTTP/1.0: the machine of one client connection and its exchanges.
//!
//! ```text
//! First ──head──▶ Exchange ──both messages over──▶ Idle ──first byte──▶ Next ──head──▶ Exchange …
//!    └──────────────────┼───────────── close ────────▶ Over
//!                       └───────────────101──────────▶ Tunnel
//! ```
//! What plb answers itself goes from any of these to `Idle` or `Over`, and by way of `Reply` when it is long.
//!
//! A head is judged, and what is forwarded is written anew from what was judged; a body is passed by credit, never
//! beyond its end. Bytes after the request stay pending until the exchange is over, so that nothing can be smuggled.

mod affinity;
pub mod asked;
pub mod auth;
pub mod body;
pub mod cookie;
mod exchange;
mod fields;
pub mod forwarding;
mod hash;
pub mod head;
mod limits;
mod location;
mod methods;
pub mod path;
pub mod rate;
mod refuse;
pub mod reply;
pub mod request;
pub mod response;
mod rewrite;
pub mod route;
pub mod site;
mod specimens;
pub mod target;
pub mod template;
mod transfer;
pub mod upgrade;

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use super::{
    Farewell, Parting, Protocol, Received, Resend, Reuse, Selection, Stage, Step, Trouble, View, Wait, tunnel,
};
use crate::balance::Failure;
use crate::base::buffers::BUFFER_BYTES;
use crate::config;
use body::Chunked;
use exchange::Exchange;
use head::{Body, ClientText, KeepClient, Method, Parsed, Scan, Scheme, Version};
use reply::{Answer, Content, Status, write_reply};
use request::{RequestHead, RequestRules, parse_request};
use response::{ResponseHead, ResponseRules, parse_response};
use site::{Course, Decision};
use transfer::{Framing, Progress, Transfer};

/// The machine of an HTTP client connection.
pub struct Http {
    state: State,
    scan: Scan,
    client: ClientText,
    exchange: Exchange,
    /// The requests that came on this connection.
    requests: u32,
    /// What is still to be put into the pipe of an answer of plb's own.
    rest: Rest,
}

/// The part of a document from a position to its end.
#[derive(Default)]
struct Rest {
    body: Option<Arc<[u8]>>,
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first request head is waited for.
    First,
    /// Between two exchanges.
    Idle,
    /// A further request head has begun.
    Next,
    /// A request was judged; its response is waited for or under way.
    Exchange,
    /// An answer of plb's own goes into the pipe as it gets room; then this becomes of the connection.
    Reply(KeepClient),
    /// Both peers have changed to another protocol, and nothing is judged any more.
    Tunnel,
    /// The last byte for the client is in the pipe.
    Over(Farewell),
}

impl Http {
    /// A client connection that begins.
    pub fn new(client: IpAddr) -> Http {
        let client = ClientText::new(client);
        let (exchange, rest) = (Exchange::default(), Rest::default());
        Http { state: State::First, scan: Scan::default(), client, exchange, requests: 0, rest }
    }

    /// Waits for a request head, and judges it when it is whole.
    fn begin(&mut self, view: &mut View) -> Step {
        if view.response.has_cleared() {
            return Step::Continue;
        }
        if view.request.pending().is_empty() {
            let ended = view.request.source_ended();
            return if ended { self.leave(Farewell::Close) } else { Step::Continue };
        }
        if self.state == State::Idle {
            self.state = State::Next;
        }
        let upgrade = match view.stage {
            Stage::Serving => view.listener.http.upgrade,
            // It could only be cut off.
            Stage::Draining => config::Upgrade::None,
        };
        let mut rules = RequestRules {
            listener: view.listener,
            site: view.site,
            pools: view.pools,
            diverted: view.diverted,
            client: view.client,
            client_text: &self.client,
            scheme: Scheme::Http,
            port: view.port,
            upgrade,
            now: view.now,
        };
        view.scratch.clear();
        match parse_request(view.request.pending(), &mut self.scan, &mut rules, view.scratch) {
            Parsed::Partial if view.request.source_ended() => self.leave(Farewell::Close),
            Parsed::Partial => Step::Continue,
            Parsed::Refused(refusal) => self.blame(view, refusal),
            Parsed::Head(head) => self.follow(view, head),
        }
    }

    /// A request was judged, and it was decided who answers it.
    fn follow(&mut self, view: &mut View, mut head: RequestHead) -> Step {
        self.requests = self.requests.saturating_add(1);
        if let Some(transcript) = &mut view.transcript {
            transcript.ask(&view.request.pending()[..head.bytes]);
            transcript.client = Some(head.client).filter(|client| *client != view.client.to_canonical());
            transcript.identity = head.identity;
        }
        match mem::take(&mut head.decision) {
            Decision::Forward(course) => self.accept(view, head, course),
            Decision::Answer(answer) => self.answer_self(view, &head, answer),
            Decision::Refuse(answer, cause) => {
                refuse::note(view, cause);
                self.answer_self(view, &head, answer)
            }
        }
    }

    /// A rule has plb answer.
    fn answer_self(&mut self, view: &mut View, head: &RequestHead, answer: Answer) -> Step {
        self.exchange = Exchange { method: head.method, version: head.version, ..Exchange::default() };
        // Where a body follows, it is not certain where the next request begins.
        let keep = head.persistent && head.body == Body::None && view.stage == Stage::Serving;
        if !keep || self.is_last(view) {
            return self.reply(view, answer, KeepClient::Close);
        }
        view.request.discard(head.bytes);
        self.reply(view, answer, KeepClient::Keep)
    }

    /// Whether no further request is taken on this connection.
    fn is_last(&self, view: &View) -> bool {
        view.listener.http.requests_max.is_some_and(|most| self.requests >= most)
    }

    /// A request was judged and written anew: it is forwarded.
    fn accept(&mut self, view: &mut View, head: RequestHead, course: Course) -> Step {
        let kept = match head.body {
            Body::None => true,
            Body::Length(length) => length.saturating_add(view.scratch.len() as u64) <= BUFFER_BYTES as u64,
            Body::Chunked | Body::UntilClose => false,
        };
        let reuse = match self.state {
            // What is sent on an idle connection that dies can be sent again only when it is idempotent and kept; a
            // client's first request cannot be given up as its own keep-alive race would be.
            State::First if !(kept && head.method.is_idempotent()) => Reuse::Fresh,
            _ => Reuse::Idle,
        };
        self.state = State::Exchange;
        let asked = if head.persistent { KeepClient::Keep } else { KeepClient::Close };
        self.exchange = Exchange {
            method: head.method,
            version: head.version,
            course,
            response_fields: head.response_fields,
            asked,
            keep_client: if self.is_last(view) { KeepClient::Close } else { asked },
            request_head_bytes: view.scratch.len() as u32,
            expecting: head.expects_continue,
            upgrade: head.upgrade,
            identity: head.identity.filter(|_| view.listener.http.forwarding.request_id_in_response).map(Box::new),
            ..Exchange::default()
        };
        view.request.keep();
        view.response.begin();
        if view.request.replace(head.bytes, view.scratch).is_err() {
            return self.refuse(view, Status::HeadTooLarge);
        }
        self.exchange.request = Transfer::start(head.body, view.request, || {
            let trailers = course.trailers(view.listener, |route| &route.request_edits);
            Chunked::of_request(course.body_bytes_max(view.listener), trailers)
        });
        Step::Connect(Selection { pool: course.pool, key: course.key, hash: course.hash, reuse })
    }

    fn exchange(&mut self, view: &mut View) -> Step {
        if self.exchange.expecting && self.body_has_begun(view) {
            self.meet_expectation(view);
        }
        let exchange = &mut self.exchange;
        match exchange.request.go_on(view.request, Framing::Forward) {
            Progress::Refused(refusal) => return self.blame(view, refusal),
            // A request body that ends too early is an incomplete message (RFC 9112 section 8); an answer that came
            // all the same is still delivered.
            Progress::Cut if matches!(exchange.response, Transfer::Head) => {
                return self.refuse_or_abort(view, Status::BadRequest);
            }
            Progress::Cut | Progress::Waiting | Progress::Done => {}
        }
        if matches!(exchange.response, Transfer::Head) {
            return self.response_head(view);
        }
        match exchange.response.go_on(view.response, exchange.framing) {
            Progress::Waiting => Step::Continue,
            Progress::Done => self.end_exchange(view),
            Progress::Cut => Step::Abort,
            Progress::Refused(refusal) => self.blame(view, refusal),
        }
    }

    fn body_has_begun(&self, view: &View) -> bool {
        let here = view.request.cleared().len() + view.request.pending().len() + view.request.in_flight();
        view.request.sent() + here as u64 > u64::from(self.exchange.request_head_bytes)
    }

    /// From now on it is the client that is waited for.
    fn meet_expectation(&mut self, view: &mut View) {
        self.exchange.expecting = false;
        view.request.touch(view.now);
    }

    fn response_head(&mut self, view: &mut View) -> Step {
        loop {
            if view.response.pending().is_empty() && !view.response.source_ended() {
                return Step::Continue;
            }
            let rules = ResponseRules {
                listener: view.listener,
                pools: view.pools,
                keys: &view.site.keys,
                course: self.exchange.course,
                added: &self.exchange.response_fields,
                backend: view.backend,
                request_method: self.exchange.method,
                client_version: self.exchange.version,
                keep_client: match view.stage {
                    Stage::Serving => self.exchange.keep_client,
                    Stage::Draining => KeepClient::Close,
                },
                upgrade: self.exchange.upgrade.as_ref(),
                identity: self.exchange.identity.as_deref(),
                date: view.date,
            };
            view.scratch.clear();
            match parse_response(view.response.pending(), &mut self.scan, &rules, view.scratch) {
                Parsed::Partial if view.response.source_ended() => return Step::Fail(Failure::Ended),
                Parsed::Partial => return Step::Continue,
                Parsed::Refused(refusal) => {
                    refuse::tell(view, refusal);
                    return Step::Fail(Failure::Malformed);
                }
                Parsed::Head(head) if head.interim => {
                    if let Some(step) = self.interim(view, head) {
                        return step;
                    }
                }
                Parsed::Head(head) => return self.answer(view, head),
            }
        }
    }

    /// Relays an interim response to a client that knows them (RFC 9110 section 15.2).
    fn interim(&mut self, view: &mut View, head: ResponseHead) -> Option<Step> {
        if self.exchange.expecting && head.status == 100 {
            self.meet_expectation(view);
        }
        if self.exchange.version == Version::Http10 {
            view.response.discard(head.bytes);
            return None;
        }
        match view.response.replace(head.bytes, view.scratch) {
            Ok(()) => {
                view.transcript.iter_mut().for_each(|transcript| transcript.interim(view.scratch));
                None
            }
            // The client does not take what it got so far: the rest waits, and this one is judged again.
            Err(_) if view.response.has_cleared() => Some(Step::Continue),
            // What was added takes more room than there is: that is not the backend's fault.
            Err(_) => Some(Step::Fail(Failure::Local)),
        }
    }

    /// The final response was judged and written anew: it is forwarded.
    fn answer(&mut self, view: &mut View, head: ResponseHead) -> Step {
        let Some(outcome) = refuse::verdict(view, head.status) else {
            return Step::Fail(Failure::Status(head.status));
        };
        if view.response.replace(head.bytes, view.scratch).is_err() {
            return if view.response.has_cleared() { Step::Continue } else { Step::Fail(Failure::Local) };
        }
        if let Some(transcript) = &mut view.transcript {
            transcript.answer(head.status, view.scratch);
        }
        if head.upgrade.is_some() {
            self.state = State::Tunnel;
            tunnel::open(view);
            return Step::Answered { outcome, learned: head.learned };
        }
        let exchange = &mut self.exchange;
        let trailers = exchange.course.trailers(view.listener, |route| &route.response_edits);
        exchange.response_head_bytes = view.response.cleared().len() as u32;
        exchange.keep_client = head.keep_client;
        exchange.backend = if head.persistent { Parting::Keep } else { Parting::Drop };
        let strip = head.body == Body::Chunked && exchange.version == Version::Http10;
        exchange.framing = if strip { Framing::Strip } else { Framing::Forward };
        exchange.response = Transfer::start(head.body, view.response, || Chunked::of_response(trailers));
        Step::Answered { outcome, learned: head.learned }
    }

    fn end_exchange(&mut self, view: &mut View) -> Step {
        let exchange = &self.exchange;
        let sent = view.request.is_drained() && !view.request.owes();
        let whole = matches!(exchange.request, Transfer::Done) && sent;
        let quiet = view.response.pending().is_empty() && !view.response.source_ended();
        let reusable = whole && quiet && !view.request.sink_broken();
        let last = exchange.asked == KeepClient::Close || view.request.source_ended();
        self.state = match exchange.keep_client {
            KeepClient::Keep if whole => State::Idle,
            KeepClient::Close if whole && last && view.request.pending().is_empty() => State::Over(Farewell::Close),
            // Unless it said that this request was its last one, more of them may be on their way.
            _ if whole => State::Over(Farewell::LingerBriefly),
            _ => State::Over(Farewell::Linger),
        };
        Step::Recycle { parting: if reusable { exchange.backend } else { Parting::Drop } }
    }

    /// Answers the client ourselves.
    fn reply(&mut self, view: &mut View, mut answer: Answer, connection: KeepClient) -> Step {
        if answer.document.is_none() {
            let mut pages = view.listener.http.error_pages.iter();
            answer.document = pages.find(|(status, _)| *status == answer.status).map(|(_, page)| page.clone());
        }
        let content = if self.exchange.method == Method::Head { Content::HeadOnly } else { Content::Full };
        view.scratch.clear();
        write_reply(view.scratch, &answer, connection, view.date, content);
        if let Some(transcript) = &mut view.transcript {
            if transcript.request_line().is_empty() {
                transcript.ask(view.request.pending());
            }
            transcript.reply(answer.status, view.scratch);
        }
        view.request.drop_cleared();
        view.response.discard(view.response.pending().len());
        if view.response.emit(view.scratch).is_err() {
            return Step::Abort;
        }
        view.response.touch(view.now);
        self.scan = Scan::default();
        let body = answer.document.map(|document| document.body).filter(|_| content == Content::Full);
        self.rest = Rest { body, position: 0 };
        let in_exchange = mem::replace(&mut self.state, State::Reply(connection)) == State::Exchange;
        match self.go_on_replying(view, connection) {
            // It takes its time: the backend is not to be held up by it.
            Step::Continue if in_exchange => Step::Recycle { parting: Parting::Drop },
            step => step,
        }
    }

    fn leave(&mut self, farewell: Farewell) -> Step {
        self.state = State::Over(farewell);
        Step::Finish(farewell)
    }
}

impl Protocol for Http {
    fn advance(&mut self, view: &mut View) -> Step {
        match self.state {
            State::First | State::Idle | State::Next => self.begin(view),
            State::Exchange => self.exchange(view),
            State::Reply(connection) => self.go_on_replying(view, connection),
            State::Tunnel => tunnel::pass_ends(view),
            State::Over(farewell) => Step::Finish(farewell),
        }
    }

    fn waits_for(&self) -> Wait {
        let exchange = &self.exchange;
        let request = match exchange.request {
            Transfer::Done => Received::Whole,
            _ if exchange.expecting => Received::Withheld,
            _ => Received::Part,
        };
        match (self.state, &exchange.response) {
            (State::First | State::Next, _) => Wait::RequestHead,
            (State::Idle, _) => Wait::NextRequest,
            (State::Tunnel, _) => Wait::Tunnel,
            (State::Reply(_), _) => Wait::Body { head_bytes: 0, request: Received::Whole },
            (_, Transfer::Head) => Wait::Response { head_bytes: exchange.request_head_bytes, request },
            (_, _) => Wait::Body { head_bytes: exchange.response_head_bytes, request },
        }
    }

    fn apologize(&mut self, view: &mut View, trouble: Trouble) -> Step {
        let nothing_came = view.request.pending().is_empty();
        let status = match trouble {
            Trouble::SlowClient if self.state != State::Exchange && nothing_came => {
                return self.leave(Farewell::Close);
            }
            Trouble::SlowClient => Status::RequestTimeout,
            Trouble::Deserted { pool } => return self.help_out(view, pool),
            Trouble::NoBackend | Trouble::Busy => Status::Unavailable,
            Trouble::Backend(Failure::Refused | Failure::Unreachable | Failure::Local) => Status::Unavailable,
            Trouble::Backend(Failure::TimedOut) => Status::GatewayTimeout,
            Trouble::Backend(_) => Status::BadGateway,
        };
        match self.state {
            State::Over(_) => Step::Abort,
            _ => self.refuse_or_abort(view, status),
        }
    }

    fn restart(&mut self) {
        self.scan = Scan::default();
        self.exchange.response = Transfer::Head;
    }

    fn resend(&self) -> Resend {
        if self.exchange.method.is_idempotent() { Resend::Safe } else { Resend::Unsafe }
    }
}
