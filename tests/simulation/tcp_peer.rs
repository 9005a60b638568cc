//! The ends of TCP sessions: each sends a number, a length and contents that follow from the number, ends its
//! direction, and checks every byte that it gets. Where HTTP is spoken, both ends upgrade to that, and the client does not
//! wait for the answer before it goes on.

use plb::base::time::Time;

use super::kernel::Given;
use super::message::{content, content_byte, find};
use super::world::{Fault, Peer, Weather, World};

/// The bytes before the contents: number, length.
const HEADER_BYTES: usize = 8;
/// Set in the number by who ends its sending before the other one has.
const ENDS_FIRST: u32 = 1 << 31;

/// Which end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server(Option<Fault>),
}

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
const DECLINED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How far an end has come with the change from HTTP.
enum Change {
    /// The other end's head is to come; this much of it has.
    Awaited(Vec<u8>),
    /// It has changed, or never spoke HTTP.
    Done,
    /// It will not change.
    Declined,
}

/// One end of a TCP session.
pub struct TcpPeer {
    change: Change,
    wire: usize,
    role: Role,
    outgoing: Vec<u8>,
    sent: usize,
    ended: bool,
    ends_first: bool,
    /// Gives up after it has sent so many bytes.
    resets_after: Option<usize>,
    header: Vec<u8>,
    received: usize,
    heard_end: bool,
    over: bool,
    piece_max: u64,
    wake: Time,
}

impl TcpPeer {
    pub fn new(world: &mut World, wire: usize, number: u32, wake: Time, role: Role) -> TcpPeer {
        let ends_first = world.rng.chance(2, 3);
        let (piece_max, most) = world.draw_sizes();
        let length = world.rng.below(most) as usize;
        let number = number | if ends_first { ENDS_FIRST } else { 0 };
        let mut outgoing = match (world.profile.upgrades, role) {
            (true, Role::Client) => REQUEST.into(),
            _ => Vec::new(),
        };
        outgoing.extend_from_slice(&number.to_be_bytes());
        outgoing.extend_from_slice(&(length as u32).to_be_bytes());
        outgoing.extend(content(number, length));
        let chaos = world.profile.weather == Weather::Chaos;
        let rude = role == Role::Client && chaos && world.rng.chance(1, 4);
        let resets_after = rude.then(|| world.rng.below(outgoing.len() as u64) as usize);
        TcpPeer {
            change: if world.profile.upgrades { Change::Awaited(Vec::new()) } else { Change::Done },
            wire,
            role,
            outgoing,
            sent: 0,
            ended: false,
            ends_first,
            resets_after,
            header: Vec::new(),
            received: 0,
            heard_end: false,
            over: false,
            piece_max,
            wake,
        }
    }

    fn fail_by_plan(&mut self, world: &mut World) -> bool {
        let Role::Server(Some(fault)) = self.role else { return false };
        let half = self.outgoing.len() / 2;
        let wire = &mut world.wires[self.wire];
        match fault {
            Fault::ResetsAtOnce => wire.reset(&mut world.rng),
            Fault::EndsAtOnce => wire.peer_close(&mut world.rng),
            Fault::ResetsBeforeAnswer if !self.header.is_empty() => wire.reset(&mut world.rng),
            Fault::ResetsInAnswer if self.sent > half => wire.reset(&mut world.rng),
            _ => return false,
        }
        self.over = true;
        true
    }

    fn take(&mut self, world: &mut World, bytes: &[u8]) {
        for &byte in bytes {
            match &mut self.change {
                Change::Done => {}
                Change::Declined => return,
                Change::Awaited(head) => {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let head = std::mem::take(head);
                        self.take_head(world, &head);
                    }
                    continue;
                }
            }
            if self.header.len() < HEADER_BYTES {
                self.header.push(byte);
                continue;
            }
            let expected = content_byte(self.number(), self.received);
            assert!(byte == expected, "{}: byte {} is {byte}, not {expected}", self.name(), self.received);
            self.received += 1;
        }
        assert!(self.received <= self.length(), "{}: more bytes than were sent", self.name());
    }

    fn take_head(&mut self, world: &mut World, head: &[u8]) {
        let upgrades = find(head, b"Connection: upgrade\r\nUpgrade: ").is_some();
        let name = self.name();
        match self.role {
            Role::Client if head.starts_with(b"HTTP/1.1 103") => return,
            Role::Client if head.starts_with(b"HTTP/1.1 101") => assert!(upgrades, "{name}: an upgrade to nothing"),
            Role::Client => {
                // A backend may break off in its head already.
                let broken = world.profile.fault().is_some_and(Fault::is_in_answer);
                let excusable = world.draining || broken || world.profile.weather == Weather::Chaos;
                assert!(excusable, "{name}: {}", head.escape_ascii());
                self.decline(world);
                return;
            }
            Role::Server(_) if upgrades => {
                let mut head = if world.rng.chance(1, 4) { HINTS.to_owned() } else { String::new() };
                head.push_str(AGREED);
                self.outgoing.splice(..0, head.into_bytes());
            }
            Role::Server(_) => {
                assert!(world.draining, "{name}: no upgrade in {}", head.escape_ascii());
                self.outgoing = DECLINED.into();
                self.change = Change::Declined;
                return;
            }
        }
        self.change = Change::Done;
    }

    /// What was sent ahead means nothing to whom it went to: the client goes.
    fn decline(&mut self, world: &mut World) {
        self.change = Change::Declined;
        self.sent = self.outgoing.len();
        self.resets_after = None;
        if !std::mem::replace(&mut self.ended, true) {
            world.wires[self.wire].end();
        }
    }

    fn number(&self) -> u32 {
        self.header[..4].try_into().map_or(0, u32::from_be_bytes)
    }

    fn length(&self) -> usize {
        let length = self.header.get(4..).and_then(|bytes| bytes.try_into().ok());
        length.map_or(usize::MAX, |bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn is_whole(&self) -> bool {
        self.received == self.length()
    }

    fn take_end(&mut self, world: &World) {
        self.heard_end = true;
        if matches!(self.change, Change::Declined) || self.is_client_of_drained(world) {
            return;
        }
        let clean_refusal = self.header.is_empty() && (world.profile.weather != Weather::Calm || self.is_server());
        assert!(self.is_whole() || clean_refusal, "{}: an end after {} of its bytes", self.name(), self.received);
        if !self.is_whole() {
            let Some(fault) = world.profile.fault().filter(|_| !self.is_server()) else { return };
            let excusable = world.profile.weather == Weather::Chaos || !fault.is_before_sending();
            assert!(excusable, "{}: turned away although a backend lives", self.name());
        }
    }

    /// Whoever comes too late with its request is closed without a word.
    fn is_client_of_drained(&self, world: &World) -> bool {
        world.draining && !self.is_server() && matches!(self.change, Change::Awaited(_))
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    fn take_reset(&mut self, world: &World) {
        self.over = true;
        if matches!(self.change, Change::Declined) {
            return;
        }
        if self.is_whole() && self.sent == self.outgoing.len() && self.ended {
            return;
        }
        // An upgrade is asked for by a request, and whoever ends while that waits for a backend is taken to have given up.
        let gave_up = self.ended && world.profile.upgrades && world.profile.connections_max.is_some();
        let excusable = match world.profile.weather {
            _ if gave_up => true,
            Weather::Calm => false,
            Weather::OneBad => !world.profile.fault().is_some_and(Fault::is_before_sending),
            Weather::Chaos => true,
        };
        assert!(excusable, "{}: reset after {} bytes", self.name(), self.received);
    }

    fn end_when_due(&mut self, world: &mut World) -> bool {
        let other_ends_first = self.header.len() == HEADER_BYTES && self.number() & ENDS_FIRST != 0;
        // A server that does not know yet whether its client waits for its end, waits.
        let due = matches!(self.change, Change::Declined)
            || self.ends_first
            || self.is_server() && self.header.len() == HEADER_BYTES && !other_ends_first;
        if self.ended || self.sent < self.outgoing.len() || !(due || self.heard_end) {
            return false;
        }
        self.ended = true;
        world.wires[self.wire].end();
        true
    }
}

impl Peer for TcpPeer {
    fn act(&mut self, world: &mut World) -> bool {
        let wire = self.wire;
        if !world.wires[wire].stands() {
            self.over |= world.wires[wire].is_closed() || world.wires[wire].connect_error().is_some();
            return false;
        }
        if self.fail_by_plan(world) {
            return true;
        }
        let silent = self.role == Role::Server(Some(Fault::IsSilent));
        let mut acted = false;
        let most = 1 + world.rng.below(self.piece_max) as usize;
        if !self.heard_end {
            let (bytes, given) = world.wires[wire].receive(most);
            self.take(world, &bytes);
            acted |= !bytes.is_empty();
            match given {
                Given::End => self.take_end(world),
                Given::Failed(_) => self.take_reset(world),
                Given::Bytes(_) | Given::Blocked => {}
            }
        }
        if self.over {
            return true;
        }
        let speechless = silent || self.is_server() && matches!(self.change, Change::Awaited(_));
        let piece = &self.outgoing[self.sent..];
        if !piece.is_empty() && !speechless {
            let piece = &piece[..piece.len().min(most)];
            match world.wires[wire].send(piece, &mut world.rng) {
                Some(count) => {
                    self.sent += count;
                    acted |= count > 0;
                }
                None => self.take_reset(world),
            }
        }
        if !self.over && self.resets_after.is_some_and(|after| self.sent > after) {
            world.wires[wire].reset(&mut world.rng);
            self.over = true;
            return true;
        }
        acted |= !self.over && !speechless && self.end_when_due(world);
        if self.heard_end && (self.ended || silent) {
            world.wires[wire].peer_close(&mut world.rng);
            self.over = true;
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
        format!("{:?} on wire {}", self.role, self.wire)
    }
}
