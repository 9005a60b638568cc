//! Backends: connections that answer requests with randomized framing, or fail in a scripted way, and count the
//! requests that they saw.

use plb::base::time::Time;

use super::http_client::answer_content;
use super::kernel::Given;
use super::message::{Decoder, Kind, Message, chunked, content, find};
use super::site::Goal;
use super::world::{Fault, Peer, World};

/// The connection of a backend.
pub struct HttpServer {
    wire: usize,
    backend: usize,
    /// What was wrong from the start.
    fault: Option<Fault>,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// Whether the request that is being read was counted.
    counted: bool,
    served: u32,
    /// It answered before it had the whole request, and reads no more of it.
    deaf: bool,
    /// It closes when the answer has left.
    closes: bool,
    /// It stops after so many more bytes, in the way of its fault.
    breaks_after: Option<usize>,
    over: bool,
    piece_max: u64,
    length_max: u64,
    wake: Time,
}

impl HttpServer {
    pub fn new(world: &mut World, wire: usize, backend: usize, fault: Option<Fault>) -> HttpServer {
        let (piece_max, length_max) = world.draw_sizes();
        HttpServer {
            wire,
            backend,
            fault,
            decoder: Decoder::new(),
            outgoing: Vec::new(),
            counted: false,
            served: 0,
            deaf: false,
            closes: false,
            breaks_after: None,
            over: false,
            piece_max,
            length_max,
            wake: world.now,
        }
    }

    fn stop(&mut self, world: &mut World, how: Fault) {
        let wire = &mut world.wires[self.wire];
        match how {
            Fault::EndsAtOnce | Fault::EndsBeforeAnswer | Fault::EndsInAnswer => wire.peer_close(&mut world.rng),
            _ => wire.reset(&mut world.rng),
        }
        self.over = true;
    }

    fn receive(&mut self, world: &mut World) -> bool {
        if self.deaf {
            return false;
        }
        let most = 1 + world.rng.below(self.piece_max) as usize;
        let (bytes, given) = world.wires[self.wire].receive(most);
        self.decoder.bytes.extend_from_slice(&bytes);
        self.count_request(world);
        loop {
            match self.decoder.next(Kind::Request) {
                Ok(Some(message)) => self.answer(world, &message),
                Ok(None) => break,
                Err(error) => panic!("{}: {error}", self.name()),
            }
            if self.deaf {
                break;
            }
            self.counted = false;
            self.count_request(world);
        }
        self.answer_early(world);
        if matches!(given, Given::End | Given::Failed(_)) {
            world.wires[self.wire].peer_close(&mut world.rng);
            self.over = true;
        }
        !bytes.is_empty()
    }

    /// A request is seen as soon as its first line can be read.
    fn count_request(&mut self, world: &mut World) {
        let line = match self.decoder.partial() {
            Some(message) => message.first_line.clone(),
            None => match find(&self.decoder.bytes, b"\r\n") {
                Some(end) => String::from_utf8_lossy(&self.decoder.bytes[..end]).into_owned(),
                None => return,
            },
        };
        if self.counted {
            return;
        }
        self.counted = true;
        if self.served > 0 {
            self.fault = world.draw_fault(self.backend);
        }
        let id = id_of(&line);
        let pool = world.profile.site.pool_of(self.backend);
        let is_own = Goal::of(id).pool() == Some(pool);
        assert!(is_own || world.is_emergency(), "{}: {line} does not belong here", self.name());
        let count = world.seen.entry(id).or_default();
        *count += 1;
        let count = *count;
        assert!(count < 2 || self.served == 0, "{}: {id} comes again, and not on a fresh connection", self.name());
        world.trace(|| format!("backend {} on wire {} sees {id} ({count}) {:?}", self.backend, self.wire, self.fault));
    }

    fn answer(&mut self, world: &mut World, request: &Message) {
        let id = id_of(&request.first_line);
        assert!(request.body == content(id, request.body.len()), "{}: the body of {id} is not its own", self.name());
        let announced = request.field("x-forwarded-for");
        assert!(announced == Some("192.0.2.1"), "{}: {id} does not tell its client", self.name());
        let is_long = world.profile.site.body_max.is_some_and(|max| request.body.len() > max);
        assert!(!is_long, "{}: all {} bytes of {id} came", self.name(), request.body.len());
        let cookies = request.field("cookie").unwrap_or_default();
        let own = ["PLB-p", "PLB-q"][world.profile.site.pool_of(self.backend)];
        assert!(cookies.starts_with("SESSION=") && !cookies.contains(own), "{}: {id} brings {cookies}", self.name());
        self.served += 1;
        let before = self.outgoing.len();
        match self.fault {
            Some(Fault::SaysNonsense) => self.outgoing.extend_from_slice(b"SSH-2.0 what?\r\n"),
            _ => self.write_answer(world, id, request.first_line.starts_with("HEAD")),
        }
        let length = (self.outgoing.len() - before) as u64;
        self.breaks_after = match self.fault {
            Some(fault) if fault.is_in_answer() => Some(before + 1 + world.rng.below(length) as usize),
            Some(Fault::ResetsBeforeAnswer | Fault::EndsBeforeAnswer | Fault::IsSilent) => Some(before),
            _ => None,
        };
    }

    /// Backends that are not healthy answer before the request is whole, now and then, and close.
    fn answer_early(&mut self, world: &mut World) {
        let Some(message) = self.decoder.partial() else { return };
        if world.profile.backends[self.backend].is_ok() || self.fault.is_some() || !world.rng.chance(1, 4) {
            return;
        }
        let line = message.first_line.clone();
        self.write_answer(world, id_of(&line), line.starts_with("HEAD"));
        (self.deaf, self.closes, world.answered_early) = (true, true, true);
        world.trace(|| format!("backend {} on wire {} answers early", self.backend, self.wire));
    }

    fn write_answer(&mut self, world: &mut World, id: u32, head_only: bool) {
        let length = world.rng.below(self.length_max) as usize;
        if world.rng.chance(1, 6) {
            self.outgoing.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        }
        let body = answer_content(id, length);
        let is_busy = self.fault == Some(Fault::IsBusy);
        let framing = if is_busy { 1 + world.rng.below(7) } else { world.rng.below(8) };
        let old = framing == 7;
        let status = if is_busy {
            "503 Busy"
        } else if framing == 0 {
            "204 No Content"
        } else {
            "200 OK"
        };
        let version = if old { "1.0" } else { "1.1" };
        let mut text =
            format!("HTTP/{version} {status}\r\nX-Id: {id}\r\nX-Length: {length}\r\nX-Backend: {}\r\n", self.backend);
        let (mut body, until_close) = match framing {
            0 => (Vec::new(), false),
            1..3 => {
                text.push_str("Transfer-Encoding: chunked\r\n");
                (chunked(&body, world.draw_chunk(body.len())), false)
            }
            3 => (body, true),
            _ => {
                text.push_str(&format!("Content-Length: {length}\r\n"));
                (body, false)
            }
        };
        if head_only {
            body.clear();
        }
        let says_close = !old && world.rng.chance(1, 6);
        if says_close {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        self.outgoing.extend_from_slice(text.as_bytes());
        self.outgoing.extend_from_slice(&body);
        if says_close && !until_close && world.rng.chance(1, 4) {
            // What follows the last answer is nobody's.
            self.outgoing.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Id: 0\r\nX-Length: 1\r\n\r\nx");
        }
        // An answer without a body does not last until the close.
        self.closes = says_close || until_close && !head_only || old;
        if until_close && self.fault == Some(Fault::EndsInAnswer) {
            // Nobody could tell that end from the end of the body.
            self.fault = Some(Fault::ResetsInAnswer);
        }
    }

    fn send(&mut self, world: &mut World) -> bool {
        let mut most = 1 + world.rng.below(self.piece_max) as usize;
        if let Some(left) = self.breaks_after {
            most = most.min(left);
        }
        let piece = &self.outgoing[..most.min(self.outgoing.len())];
        let mut taken = 0;
        if !piece.is_empty() {
            match world.wires[self.wire].send(piece, &mut world.rng) {
                Some(count) => taken = count,
                None => {
                    self.over = true;
                    return true;
                }
            }
        }
        self.outgoing.drain(..taken);
        if let Some(left) = &mut self.breaks_after {
            *left -= taken;
            if *left == 0 {
                return self.break_down(world);
            }
        }
        if self.closes && self.outgoing.is_empty() {
            world.wires[self.wire].peer_close(&mut world.rng);
            self.over = true;
            return true;
        }
        taken > 0
    }

    fn break_down(&mut self, world: &mut World) -> bool {
        match self.fault {
            Some(Fault::IsSilent | Fault::StallsInAnswer) | None => {
                let acted = !self.outgoing.is_empty();
                self.outgoing.clear();
                self.closes = false;
                acted
            }
            Some(fault) => {
                self.stop(world, fault);
                true
            }
        }
    }

    /// An idle connection is closed when it hurts most: bytes of a request may be on their way.
    fn close_idle(&mut self, world: &mut World) -> bool {
        let idle =
            self.served > 0 && self.outgoing.is_empty() && self.decoder.is_fresh() && self.breaks_after.is_none();
        if !world.profile.idle_closes || !idle || !world.rng.chance(1, 12) {
            return false;
        }
        world.wires[self.wire].peer_close(&mut world.rng);
        self.over = true;
        true
    }
}

impl Peer for HttpServer {
    fn act(&mut self, world: &mut World) -> bool {
        if !world.wires[self.wire].stands() {
            let wire = &world.wires[self.wire];
            self.over |= wire.is_closed() || wire.connect_error().is_some();
            return false;
        }
        if let Some(fault @ (Fault::ResetsAtOnce | Fault::EndsAtOnce)) = self.fault.filter(|_| self.served == 0) {
            self.stop(world, fault);
            return true;
        }
        if self.close_idle(world) {
            return true;
        }
        let mut acted = self.receive(world);
        if !self.over {
            acted |= self.send(world);
        }
        self.wake = world.soon(2_000);
        acted
    }

    fn wakes(&self) -> Time {
        self.wake
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn name(&self) -> String {
        format!("backend {} on wire {}", self.backend, self.wire)
    }
}

fn id_of(line: &str) -> u32 {
    let id = line.split(' ').nth(1).and_then(|target| target.strip_prefix('/')).and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("a strange request line {line:?}"))
}
