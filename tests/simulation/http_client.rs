//! Clients that send scripted requests and check that every answer is the one to their request, in order and whole.

use plb::base::time::Time;
use plb::config::ProtocolName;

use super::kernel::Given;
use super::message::{Decoder, Kind, Message, chunked, content, find};
use super::site::{Goal, Homes};
use super::world::{Fault, Peer, Weather, World};

/// The requests of one client are numbered from its own number times this.
const REQUESTS_MAX: u32 = 256;

/// Whether the request with this number may be sent twice: the number says so.
pub fn is_idempotent(id: u32) -> bool {
    id % 4 != 3
}

/// The body of the answer to a request differs from the request's own.
pub fn answer_content(id: u32, length: usize) -> Vec<u8> {
    content(id ^ 0x5555, length)
}

/// What a client does besides asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Nothing.
    Polite,
    /// It ends its sending after its last request.
    EndsEarly,
    /// It breaks off when it has sent so many bytes.
    Resets(usize),
    /// It ends when it has sent so many bytes.
    EndsAt(usize),
    /// It sends a byte now and then.
    Drips,
    /// It does nothing for a long time when it has sent so many bytes.
    Stalls(usize),
    /// It takes nothing for a long time.
    TakesNothing,
}

struct Request {
    id: u32,
    goal: Goal,
    /// The cookie of plb's that it carried.
    carried: Option<String>,
    head: bool,
    /// It is the last one, or cannot be followed by another one for certain.
    ends: bool,
    /// It speaks HTTP/1.0.
    old: bool,
    body_bytes: usize,
    bytes: Vec<u8>,
}

impl Request {
    /// Whether whoever answered must have read its request line: plb may tire of waiting for that.
    fn is_known_by(&self, answer: &Message) -> bool {
        answer.field("x-id").or(answer.field("x-own")).is_some() || answer.status() >= 500
    }
}

/// A client.
pub struct HttpClient {
    wire: usize,
    number: u32,
    homes: Homes,
    requests: Vec<Request>,
    manner: Manner,
    /// Requests that are sent before the answer to the first of them.
    depth: usize,
    outgoing: Vec<u8>,
    begun: usize,
    answered: usize,
    sent: usize,
    decoder: Decoder,
    /// An answer said that it is the last one.
    told_to_go: bool,
    /// It got an interim response to the request that is to be answered next.
    hinted: bool,
    /// It was told that its request came too late by somebody who could not know that it was a `HEAD`.
    misread: bool,
    ended: bool,
    over: bool,
    piece_max: u64,
    wake: Time,
}

impl HttpClient {
    pub fn new(world: &mut World, wire: usize, number: u32, wake: Time) -> HttpClient {
        debug_assert!(world.profile.protocol == ProtocolName::Http);
        let (piece_max, most) = world.draw_sizes();
        let count = 1 + world.rng.below(5) as u32;
        let requests: Vec<_> = (0..count)
            .map(|index| request(world, number * REQUESTS_MAX + index * 4, index + 1 == count, most))
            .collect();
        let total: usize = requests.iter().map(|request| request.bytes.len()).sum();
        let at = world.rng.below(total as u64) as usize;
        let manner = match world.rng.below(12) {
            0..2 => Manner::EndsEarly,
            2 if world.profile.weather == Weather::Chaos => Manner::Resets(at),
            3 if world.profile.weather == Weather::Chaos => Manner::EndsAt(at),
            4 if world.profile.weather == Weather::Chaos => Manner::Drips,
            5..7 if world.profile.weather == Weather::Chaos => Manner::Stalls(at),
            7 if world.profile.weather == Weather::Chaos => Manner::TakesNothing,
            _ => Manner::Polite,
        };
        let depth = [1, 1, 2, 5][world.rng.below(4) as usize];
        HttpClient {
            wire,
            number,
            homes: Homes::default(),
            requests,
            manner,
            depth,
            outgoing: Vec::new(),
            begun: 0,
            answered: 0,
            sent: 0,
            decoder: Decoder::new(),
            told_to_go: false,
            hinted: false,
            misread: false,
            ended: false,
            over: false,
            piece_max,
            wake,
        }
    }

    fn receive(&mut self, world: &mut World) -> bool {
        let most = 1 + world.rng.below(self.piece_max) as usize;
        let (bytes, given) = world.wires[self.wire].receive(most);
        if !self.misread {
            self.decoder.bytes.extend_from_slice(&bytes);
        }
        self.read_answers(world);
        match given {
            Given::End => self.take_end(world),
            Given::Failed(_) => self.take_reset(world),
            Given::Bytes(_) | Given::Blocked => {}
        }
        !bytes.is_empty()
    }

    fn read_answers(&mut self, world: &mut World) {
        loop {
            let kind = match self.requests.get(self.answered) {
                // Who has read too little of a HEAD to know that it is one answers it with a body; see `misread`.
                Some(request) if request.head => Kind::HeadOnly,
                _ => Kind::Response,
            };
            match self.decoder.next(kind) {
                Ok(Some(message)) => self.take_answer(world, &message),
                Ok(None) => return,
                Err(error) => panic!("{}: {error}", self.name()),
            }
        }
    }

    fn take_answer(&mut self, world: &mut World, message: &Message) {
        let name = self.name();
        assert!(!self.told_to_go, "{name}: an answer after the last one: {}", message.first_line);
        let status = message.status();
        // Whoever sends a bad request may be told so before it was sent whole; else a request is sent before its answer.
        let request = self.requests.get(self.answered);
        let Some(request) = request.filter(|_| self.answered < self.begun) else {
            assert!(status == 408 && self.manner != Manner::Polite, "{name}: an answer to nothing: {status}");
            self.told_to_go = message.closes();
            return;
        };
        if status < 200 {
            assert!(!request.old, "{name}: an interim response for an old client");
            self.hinted = true;
            return;
        }
        if request.is_known_by(message) {
            world.answered.push((request.id, status));
        }
        match (message.field("x-id"), message.field("x-own")) {
            (Some(id), _) => {
                assert!(id == request.id.to_string(), "{name}: the answer to {id} for request {}", request.id);
                check_body(&name, message, request);
                assert!(status != 503 || self.may_be_busy(world, request), "{name}: 503 for request {}", request.id);
                self.homes.settle(&name, world, request.goal, request.carried.as_ref(), message);
            }
            (None, Some(_)) => {
                world.profile.site.check_own(&name, request.goal, request.id, request.head, message);
                let ends = request.ends || Some(self.answered as u32 + 1) == world.profile.site.requests_max;
                assert!(message.closes() == ends || world.draining, "{name}: {:?} after {}", ends, request.id);
            }
            (None, None) => {
                self.excuse(world, request, status, message);
                if request.head && status == 408 {
                    self.misread = true;
                    self.decoder.bytes.clear();
                }
            }
        }
        self.told_to_go = message.closes();
        self.hinted = false;
        self.answered += 1;
        let is_last = world.profile.site.requests_max == Some(self.answered as u32);
        assert!(!is_last || self.told_to_go, "{name}: the last request that it may send is not answered as such");
    }

    /// An answer of plb's own: is it allowed?
    fn excuse(&self, world: &World, request: &Request, status: u32, message: &Message) {
        let name = self.name();
        assert!(message.field("content-type") == Some("text/html"), "{name}: a strange answer {status}");
        world.profile.site.check_page(&name, request.head, message);
        let profile = &world.profile;
        if status == 413 {
            let is_long = profile.site.body_max.is_some_and(|max| request.body_bytes > max);
            assert!(is_long && request.goal.pool().is_some() && message.closes(), "{name}: 413 for {}", request.id);
            return;
        }
        let asked_badly = match self.manner {
            Manner::EndsAt(_) => status == 400 || status == 408,
            Manner::Drips | Manner::Stalls(_) | Manner::TakesNothing => status == 408,
            Manner::Polite | Manner::EndsEarly | Manner::Resets(_) => self.may_starve(world) && status == 408,
        };
        let excusable = match (profile.weather, status) {
            (_, 400..500) => asked_badly,
            (Weather::Chaos, _) => true,
            (Weather::Calm, _) => false,
            (Weather::OneBad, _) if request.goal != Goal::First => profile.idle_closes && request.goal == Goal::Second,
            (Weather::OneBad, _) => {
                let fault = profile.fault();
                let sent = !fault.is_some_and(Fault::is_before_sending);
                // An idle connection that dies costs the one time that a request may be sent again.
                let heard = fault.is_some_and(|fault| fault.is_in_answer() || fault == Fault::SaysNonsense);
                heard || sent && (!is_idempotent(request.id) || request.body_bytes > 4_000 || profile.idle_closes)
            }
        };
        assert!(excusable, "{name}: {status} for request {} in {:?}", request.id, self.manner);
    }

    /// Whether nobody else could be asked after a backend that was busy, in this request's stead.
    fn may_be_busy(&self, world: &World, request: &Request) -> bool {
        let is_kept = is_idempotent(request.id) && request.body_bytes <= 4_000;
        let was_told = self.hinted;
        // Nobody waits for another backend who has an answer.
        let may_be_full = world.profile.connections_max.is_some();
        world.profile.weather == Weather::Chaos || !world.profile.site.repeats || !is_kept || was_told || may_be_full
    }

    fn take_end(&mut self, world: &mut World) {
        if self.decoder.lasts_until_close() {
            let message = self.decoder.done().expect("its head was read");
            self.take_answer(world, &message);
        }
        self.over = true;
        let name = self.name();
        assert!(self.decoder.is_fresh(), "{name}: an answer was cut and looks ended");
        if self.answered == self.requests.len() || self.told_to_go || world.draining {
            return;
        }
        let request = &self.requests[self.answered];
        // A request that is not kept whole cannot be sent again either.
        let raced = self.answered > 0 && (!is_idempotent(request.id) || request.body_bytes > 4_000);
        let unruly = !matches!(self.manner, Manner::Polite | Manner::EndsEarly);
        let excusable = raced && self.may_race(world) || unruly || self.may_starve(world) || world.answered_early;
        assert!(excusable, "{name}: an end before the answer to request {}", request.id);
    }

    /// In a lack of buffers, a session that was not polite may keep others waiting for too long.
    fn may_starve(&self, world: &World) -> bool {
        world.profile.weather == Weather::Chaos && world.profile.buffer_pairs < world.profile.clients
    }

    /// Idle connections may die, and non-idempotent requests with them.
    fn may_race(&self, world: &World) -> bool {
        world.profile.idle_closes || world.profile.weather != Weather::Calm
    }

    fn take_reset(&mut self, world: &World) {
        self.over = true;
        let done = self.answered == self.requests.len() || self.told_to_go;
        let fault = world.profile.fault();
        // Whoever ends while it waits for a backend is taken to have given up.
        let gave_up = self.ended && world.profile.connections_max.is_some();
        let excusable = match world.profile.weather {
            _ if done || gave_up => true,
            Weather::Calm => false,
            Weather::OneBad => fault.is_some_and(Fault::is_in_answer),
            Weather::Chaos => true,
        };
        assert!(excusable, "{}: a reset before the answer to request {}", self.name(), self.answered);
    }

    fn send(&mut self, world: &mut World) -> bool {
        if self.ended {
            return false;
        }
        while self.begun < self.requests.len() && self.begun - self.answered < self.depth && !self.told_to_go {
            let request = &mut self.requests[self.begun];
            request.carried = self.homes.carried(request.goal);
            let line = find(&request.bytes, b"\r\n").expect("a request has lines") + 2;
            self.outgoing.extend_from_slice(&request.bytes[..line]);
            self.outgoing.extend_from_slice(self.homes.line(self.number).as_bytes());
            self.outgoing.extend_from_slice(&request.bytes[line..]);
            self.begun += 1;
        }
        let most = 1 + world.rng.below(self.piece_max) as usize;
        let count = match self.manner {
            Manner::Drips => 1,
            Manner::EndsAt(at) | Manner::Resets(at) => most.min(at - self.sent),
            Manner::Stalls(at) if self.sent < at => most.min(at - self.sent),
            _ => most,
        };
        let piece = &self.outgoing[..count.min(self.outgoing.len())];
        let taken = match piece {
            [] => 0,
            piece => match world.wires[self.wire].send(piece, &mut world.rng) {
                Some(taken) => taken,
                None => {
                    // What was received before the reset may still be read.
                    self.ended = true;
                    return true;
                }
            },
        };
        self.outgoing.drain(..taken);
        self.sent += taken;
        self.end_when_due(world) || taken > 0
    }

    fn end_when_due(&mut self, world: &mut World) -> bool {
        let wire = &mut world.wires[self.wire];
        let all = self.begun == self.requests.len() && self.outgoing.is_empty();
        match self.manner {
            Manner::Resets(at) if self.sent >= at => {
                wire.reset(&mut world.rng);
                (self.over, self.ended) = (true, true);
            }
            Manner::EndsEarly if all => {
                wire.end();
                self.ended = true;
            }
            Manner::EndsAt(at) if self.sent >= at => {
                wire.end();
                self.ended = true;
            }
            _ => return false,
        }
        true
    }

    /// All is answered, and whether the client or plb goes first is a matter of chance.
    fn leave(&mut self, world: &mut World) -> bool {
        let done = self.answered == self.requests.len() && self.decoder.is_fresh();
        if !done || self.ended || self.told_to_go && world.rng.chance(3, 4) || world.rng.chance(1, 2) {
            return false;
        }
        self.ended = true;
        world.wires[self.wire].end();
        true
    }

    fn pause(&mut self, world: &mut World) {
        let long = std::time::Duration::from_millis(1_000 + world.rng.below(3_000));
        self.wake = match self.manner {
            Manner::Drips => world.now + std::time::Duration::from_millis(50 + world.rng.below(200)),
            Manner::Stalls(at) if self.sent >= at => {
                self.manner = Manner::Stalls(usize::MAX);
                world.now + long
            }
            Manner::TakesNothing if self.sent > 0 && world.rng.chance(1, 8) => world.now + long,
            _ => world.soon(2_000),
        };
    }
}

impl Peer for HttpClient {
    fn act(&mut self, world: &mut World) -> bool {
        let mut acted = self.receive(world);
        if self.over {
            world.wires[self.wire].peer_close(&mut world.rng);
            return true;
        }
        acted |= self.send(world);
        if !self.over {
            acted |= self.leave(world);
        }
        self.pause(world);
        acted
    }

    fn wakes(&self) -> Time {
        self.wake
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn name(&self) -> String {
        let (answered, all) = (self.answered, self.requests.len());
        format!("HTTP client on wire {} ({:?}, {answered} of {all} answered)", self.wire, self.manner)
    }
}

fn check_body(name: &str, message: &Message, request: &Request) {
    let length: usize = message.field("x-length").and_then(|text| text.parse().ok()).expect("backends tell it");
    let expected = if request.head || message.status() == 204 { 0 } else { length };
    assert!(
        message.body == answer_content(request.id, expected),
        "{name}: {} bytes in the answer to {}, not the {expected} that were sent",
        message.body.len(),
        request.id,
    );
}

fn request(world: &mut World, number: u32, last: bool, most: u64) -> Request {
    let goal = world.profile.site.draw_goal(&mut world.rng);
    let id = number + goal.offset();
    let (method, id) = match world.rng.below(10) {
        0..4 => ("GET", id),
        4 => ("HEAD", id + 1),
        5..7 => ("PUT", id + 2),
        _ => ("POST", id + 3),
    };
    let has_body = matches!(method, "PUT" | "POST") && world.rng.chance(4, 5);
    let body_bytes = if has_body { world.rng.below(most) as usize } else { 0 };
    let old = last && world.rng.chance(1, 4);
    let version = if old { "1.0" } else { "1.1" };
    let prefix = goal.prefix();
    let mut text = format!("{method} {prefix}/{id} HTTP/{version}\r\nHost: a.example\r\n");
    let says_close = last && world.rng.chance(1, 3);
    if says_close {
        text.push_str("Connection: close\r\n");
    }
    let body = content(id, body_bytes);
    let in_chunks = has_body && !old && world.rng.chance(1, 2);
    match (has_body, in_chunks) {
        (true, true) => text.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        (true, false) => text.push_str(&format!("Content-Length: {body_bytes}\r\n\r\n")),
        (false, _) => text.push_str("\r\n"),
    }
    let mut bytes = text.into_bytes();
    match in_chunks {
        true => bytes.extend(chunked(&body, world.draw_chunk(body.len()))),
        false => bytes.extend(body),
    }
    let ends = old || says_close || body_bytes > 0 || in_chunks;
    Request { id, goal, carried: None, head: method == "HEAD", ends, old, body_bytes, bytes }
}
