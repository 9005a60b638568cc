//! The simulated kernel: TCP connections between plb and simulated peers, with bounded byte queues and edges that are
//! delivered once.
//!
//! It knows no session and no protocol. Where a real kernel has a choice, it takes the one that hurts.

use std::collections::VecDeque;

use plb::balance::Failure;
use plb::base::rng::Rng;
use plb::base::time::Time;

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// How far a connection that plb asked for has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// It stands.
    Done,
    /// Its outcome is known at that moment; `None` is success.
    Until(Time, Option<Failure>),
    /// It failed.
    Failed(Failure),
}

/// What a call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// So many bytes.
    Bytes(usize),
    /// The end of the other side.
    End,
    /// It would block.
    Blocked,
    /// An error.
    Failed(Failure),
}

/// What an event says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    pub readable: bool,
    pub writable: bool,
    /// An end, an error or urgent data.
    pub closing: bool,
    pub urgent: bool,
}

/// One connection between plb and a peer.
pub struct Wire {
    inbound: Lane,
    outbound: Lane,
    /// What the peer sends before anything of its own.
    pub announcement: VecDeque<u8>,
    /// What plb has to send before anything else.
    pub expected: VecDeque<u8>,
    capacity: usize,
    connecting: Connecting,
    /// An edge that poll has not delivered yet.
    edge: bool,
    /// plb was told that its write would block.
    full: bool,
    /// plb was told that there is no room for a third of the capacity.
    crowded: bool,
    /// No event comes when there is more of it.
    hushed: bool,
    /// So many bytes before which a read stops once, for an urgent byte is there.
    urgent: Option<usize>,
    plb_closed: bool,
    peer_closed: bool,
    reset_by_peer: bool,
    reset_by_plb: bool,
    /// plb was told of the reset; what follows reads as an end.
    error_told: bool,
}

impl Wire {
    /// A connection with room for `capacity` bytes each way.
    pub fn new(capacity: usize, connecting: Connecting) -> Wire {
        Wire {
            inbound: Lane::default(),
            outbound: Lane::default(),
            announcement: VecDeque::new(),
            expected: VecDeque::new(),
            capacity,
            connecting,
            edge: false,
            full: false,
            crowded: false,
            hushed: false,
            urgent: None,
            plb_closed: false,
            peer_closed: false,
            reset_by_peer: false,
            reset_by_plb: false,
            error_told: false,
        }
    }

    // What plb calls.

    /// Reads up to `most` bytes.
    pub fn read(&mut self, room: &mut [u8]) -> Given {
        match self.connecting {
            Connecting::Until(..) => return Given::Blocked,
            Connecting::Failed(failure) => return Given::Failed(failure),
            Connecting::Done => {}
        }
        let mut count = room.len().min(self.inbound.bytes.len());
        if count == 0 {
            return self.read_end();
        }
        if let Some(urgent) = self.urgent.take() {
            match urgent {
                0 => {}
                _ if urgent < count => count = urgent,
                _ => self.urgent = Some(urgent - count).filter(|&left| left > 0),
            }
        }
        for (place, byte) in room.iter_mut().zip(self.inbound.bytes.drain(..count)) {
            *place = byte;
        }
        Given::Bytes(count)
    }

    fn read_end(&mut self) -> Given {
        if self.reset_by_peer && !self.error_told {
            self.error_told = true;
            return Given::Failed(Failure::Reset);
        }
        if self.inbound.ended || self.reset_by_peer { Given::End } else { Given::Blocked }
    }

    /// Writes some of `bytes`.
    pub fn write(&mut self, bytes: &[u8], rng: &mut Rng) -> Given {
        assert!(!self.outbound.ended, "a write after the end was sent");
        match self.connecting {
            Connecting::Until(..) => return Given::Blocked,
            Connecting::Failed(failure) => return Given::Failed(failure),
            Connecting::Done => {}
        }
        if self.reset_by_peer {
            self.error_told = true;
            return Given::Failed(Failure::Reset);
        }
        if self.peer_closed {
            // It goes into the void, and the answer is a reset.
            self.reset_by_peer = true;
            self.edge = true;
            return Given::Bytes(bytes.len());
        }
        let room = self.capacity - self.outbound.bytes.len();
        if room == 0 || rng.chance(1, 24) {
            self.full = true;
            self.edge |= room > 0;
            return Given::Blocked;
        }
        let most = room.min(bytes.len());
        let count = if rng.chance(1, 4) { 1 + rng.below(most as u64) as usize } else { most };
        self.outbound.bytes.extend(&bytes[..count]);
        Given::Bytes(count)
    }

    /// Takes up to `most` bytes into a kernel pipe: never past an urgent byte, where a read goes on.
    pub fn splice(&mut self, most: usize, rng: &mut Rng) -> (Vec<u8>, Given) {
        assert!(self.connecting == Connecting::Done && most > 0, "a splice of nothing or from nobody");
        let most = if rng.chance(1, 4) { 1 + rng.below(most as u64) as usize } else { most };
        let mut count = most.min(self.inbound.bytes.len());
        if count == 0 {
            return (Vec::new(), self.read_end());
        }
        if let Some(urgent) = &mut self.urgent {
            count = count.min(*urgent);
            *urgent -= count;
        }
        match count {
            0 => (Vec::new(), Given::Blocked),
            _ => (self.inbound.bytes.drain(..count).collect(), Given::Bytes(count)),
        }
    }

    /// Whether a third of the capacity is free. When it is not, an edge comes when it is.
    pub fn has_room(&mut self, rng: &mut Rng) -> bool {
        if !self.is_crowded() && !rng.chance(1, 24) {
            return true;
        }
        self.edge |= !self.is_crowded();
        self.crowded = true;
        false
    }

    /// Whether poll(2) would not call it writable.
    fn is_crowded(&self) -> bool {
        let free = self.capacity - self.outbound.bytes.len();
        !self.reset_by_peer && !self.peer_closed && free < self.capacity.div_ceil(3)
    }

    /// Whether plb was told that there is too little room, and there still is.
    pub fn awaits_room(&self) -> bool {
        self.crowded && self.is_crowded()
    }

    /// The edge that was promised does not come.
    pub fn hush(&mut self) {
        self.hushed = true;
    }

    /// Ends plb's sending.
    pub fn shutdown(&mut self) {
        self.outbound.ended = true;
    }

    /// How connecting ended.
    pub fn connect_error(&self) -> Option<Failure> {
        match self.connecting {
            Connecting::Failed(failure) => Some(failure),
            Connecting::Done | Connecting::Until(..) => None,
        }
    }

    /// plb closes; with a reset when it asks for one, or when it leaves bytes unread.
    pub fn close(&mut self, reset: bool, rng: &mut Rng) {
        assert!(!self.plb_closed, "closed twice");
        self.plb_closed = true;
        self.edge = false;
        if reset || !self.inbound.bytes.is_empty() {
            self.break_off(rng);
        }
        self.outbound.ended = true;
        self.inbound.bytes.clear();
    }

    fn break_off(&mut self, rng: &mut Rng) {
        self.reset_by_plb = true;
        if rng.chance(1, 2) {
            self.outbound.bytes.clear();
        }
    }

    /// What poll says, once.
    pub fn take_edge(&mut self) -> Edge {
        self.edge = false;
        self.state()
    }

    /// Whether poll has something to say.
    pub fn has_edge(&self) -> bool {
        self.edge && !self.plb_closed
    }

    /// What is true now, whether it was told or not.
    pub fn state(&self) -> Edge {
        match self.connecting {
            Connecting::Until(..) => return Edge::default(),
            Connecting::Failed(_) => return Edge { readable: true, writable: true, closing: true, urgent: false },
            Connecting::Done => {}
        }
        let ended = self.inbound.ended || self.reset_by_peer;
        Edge {
            readable: ended || !self.inbound.bytes.is_empty(),
            writable: self.reset_by_peer || self.outbound.bytes.len() < self.capacity,
            closing: ended || self.urgent.is_some(),
            urgent: self.urgent.is_some(),
        }
    }

    /// Whether the outcome of connecting is known.
    pub fn is_settled(&self) -> bool {
        !matches!(self.connecting, Connecting::Until(..))
    }

    /// When the outcome of connecting will be known.
    pub fn settles(&self) -> Option<Time> {
        match self.connecting {
            Connecting::Until(at, _) if at != Time::NEVER && !self.plb_closed => Some(at),
            _ => None,
        }
    }

    /// Whether plb has closed it.
    pub fn is_closed(&self) -> bool {
        self.plb_closed
    }

    /// Time passes.
    pub fn settle(&mut self, now: Time) {
        if let Connecting::Until(at, failure) = self.connecting {
            if at <= now {
                self.connecting = failure.map_or(Connecting::Done, Connecting::Failed);
                self.edge = true;
            }
        }
    }

    // What the peer does.

    /// Whether the peer has a connection.
    pub fn stands(&self) -> bool {
        self.connecting == Connecting::Done
    }

    /// The peer sends what comes before its own bytes; whether that went on, or `None` when there is nothing left of it.
    pub fn announce(&mut self) -> Option<bool> {
        if self.announcement.is_empty() || self.plb_closed {
            return None;
        }
        let count = self.announcement.len().min(self.capacity - self.inbound.bytes.len());
        self.inbound.bytes.extend(self.announcement.drain(..count));
        self.edge |= count > 0;
        Some(count > 0)
    }

    /// The peer sends; the count of bytes taken, or `None` when it is told of a reset.
    pub fn send(&mut self, bytes: &[u8], rng: &mut Rng) -> Option<usize> {
        if self.reset_by_plb {
            return None;
        }
        if self.plb_closed {
            self.break_off(rng);
            return Some(bytes.len());
        }
        let count = bytes.len().min(self.capacity - self.inbound.bytes.len());
        self.inbound.bytes.extend(&bytes[..count]);
        self.edge |= count > 0;
        if count > 1 && rng.chance(1, 64) {
            self.urgent = Some(self.inbound.bytes.len() - count + 1);
        }
        Some(count)
    }

    /// The peer ends its sending.
    pub fn end(&mut self) {
        self.inbound.ended = true;
        self.edge = true;
    }

    /// The peer breaks off.
    pub fn reset(&mut self, rng: &mut Rng) {
        self.reset_by_peer = true;
        self.edge = true;
        self.outbound.bytes.clear();
        if rng.chance(1, 2) {
            self.inbound.bytes.clear();
            self.urgent = None;
        }
    }

    /// The peer closes: a reset when it leaves bytes unread.
    pub fn peer_close(&mut self, rng: &mut Rng) {
        self.peer_closed = true;
        match self.outbound.bytes.is_empty() {
            true => self.end(),
            false => self.reset(rng),
        }
    }

    /// The peer takes up to `most` bytes.
    pub fn receive(&mut self, most: usize) -> (Vec<u8>, Given) {
        let announced = self.expected.len().min(self.outbound.bytes.len());
        let expected = self.expected.drain(..announced);
        assert!(self.outbound.bytes.drain(..announced).eq(expected), "a peer was told of somebody else");
        let count = most.min(self.outbound.bytes.len());
        let bytes: Vec<u8> = self.outbound.bytes.drain(..count).collect();
        let has_room = self.crowded && !self.hushed && !self.is_crowded();
        if announced + count > 0 && (self.full || has_room) {
            self.full = false;
            self.crowded &= !has_room;
            self.edge = true;
        }
        let given = match () {
            () if count > 0 => Given::Bytes(count),
            () if self.reset_by_plb => Given::Failed(Failure::Reset),
            () if self.outbound.ended => Given::End,
            () => Given::Blocked,
        };
        (bytes, given)
    }
}
