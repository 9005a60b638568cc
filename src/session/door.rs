//! The doors of the listeners: who may come in, how many at once, and how fast.
//!
//! Two things are counted for a listener, each once: its sessions, from when they begin, and the connections of each
//! client, from when it is known who that is. What a client was counted under is its [`Entry`].

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::greeting::first_phase;
use super::phase::Phase;
use super::{Context, Session};
use crate::base::bucket::{Bucket, Rate};
use crate::base::network::network_of;
use crate::base::time::Time;
use crate::config::Listener;
use crate::config::access::Denied;
use crate::protocol::Stage;
use crate::protocol::refusal::Cause;

/// After a rest, so much of a second's clients may come at once.
const BURST_PART: u32 = 10;

/// What becomes of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It comes in.
    Enter(Entry),
    /// Its connection is closed in good order.
    Close,
    /// Its connection is reset.
    Reset,
}

/// What a client that came in was counted under; [`Door::leave`] wants it back. The default is that of somebody of whom
/// it is not known yet who it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Boxed, as few listeners have a limit for it.
    network: Option<Box<u128>>,
    /// The pool that serves this client and no other one, whatever the rules say: its listener denies it.
    pub diverted: Option<u16>,
}

/// A client was refused, or diverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// By this listener.
    pub listener: u16,
    /// Its address.
    pub client: IpAddr,
    /// Why.
    pub cause: Cause,
    /// How often the listener has refused somebody for that.
    pub times: u64,
}

/// The doors of all listeners.
#[derive(Debug)]
pub struct Door {
    gates: Vec<Gate>,
    /// The connections of each client to each listener that has a limit for them; no more than there are sessions.
    crowd: HashMap<(u16, u128), u32>,
    /// Those of this turn.
    pub refusals: Vec<Refusal>,
}

/// The door of one listener.
#[derive(Debug)]
struct Gate {
    inside: u32,
    inside_max: u32,
    tokens: Option<(Rate, Bucket)>,
    /// Whether it was noted that it is full.
    noted: bool,
    times_full: u64,
}

impl Door {
    /// Nobody is in yet.
    pub fn new(listeners: &[Listener], now: Time) -> Door {
        let gate = |listener: &Listener| Gate {
            inside: 0,
            inside_max: listener.clients_max.unwrap_or(u32::MAX),
            tokens: listener.accept_rate.map(|rate| {
                let rate = Rate::new(rate, Duration::from_secs(1), (rate / BURST_PART).max(1));
                (rate, Bucket::full(rate, now))
            }),
            noted: false,
            times_full: 0,
        };
        Door { gates: listeners.iter().map(gate).collect(), crowd: HashMap::new(), refusals: Vec::new() }
    }

    /// When the next client may be taken from the backlogs of this listener; `None`: not before somebody leaves. A daemon
    /// that stops takes whoever waits there as fast as it can.
    pub fn opens(&self, listener: u16, stage: Stage, now: Time) -> Option<Time> {
        let gate = &self.gates[usize::from(listener)];
        match gate.tokens {
            _ if gate.is_full() => None,
            Some((rate, bucket)) if stage == Stage::Serving => Some(now + bucket.wait(rate, now)),
            _ => Some(now),
        }
    }

    /// A session begins.
    pub fn enter(&mut self, listener: u16, now: Time) {
        let gate = &mut self.gates[usize::from(listener)];
        gate.inside += 1;
        if let Some((rate, bucket)) = &mut gate.tokens {
            // Without one, it stops.
            let _ = bucket.take(*rate, now);
        }
    }

    /// Clients wait before a door that is full: tells how often that has been so, unless it was told since somebody left.
    pub fn note_full(&mut self, listener: u16) -> Option<u64> {
        let gate = &mut self.gates[usize::from(listener)];
        if !gate.is_full() || std::mem::replace(&mut gate.noted, true) {
            return None;
        }
        gate.times_full += 1;
        Some(gate.times_full)
    }

    /// Whether this client may come in, and what there is to say against it.
    fn admit(&mut self, position: u16, listener: &Listener, client: IpAddr) -> (Admission, Option<Cause>) {
        let diverted = match listener.access.as_ref().and_then(|access| access.denied(client)) {
            Some(Denied::Close) => return (Admission::Close, Some(Cause::Access)),
            Some(Denied::Reject) => return (Admission::Reset, Some(Cause::Access)),
            Some(Denied::Pool(pool)) => Some(pool),
            None => None,
        };
        let mut network = None;
        if let Some(max) = limit(listener, client) {
            let count = self.crowd.entry((position, **network.insert(Box::new(network_of(client))))).or_default();
            if *count >= max {
                // Whoever has too much is left nothing: no answer, and no connection that ends slowly.
                return (Admission::Reset, Some(Cause::Crowd));
            }
            *count += 1;
        }
        (Admission::Enter(Entry { network, diverted }), diverted.map(|_| Cause::Access))
    }

    /// A session ends.
    pub fn leave(&mut self, listener: u16, entry: Entry) {
        let gate = &mut self.gates[usize::from(listener)];
        gate.inside -= 1;
        gate.noted = false;
        let Some(network) = entry.network else { return };
        if let Slot::Occupied(mut slot) = self.crowd.entry((listener, *network)) {
            *slot.get_mut() -= 1;
            if *slot.get() == 0 {
                slot.remove();
            }
        }
    }
}

impl Gate {
    fn is_full(&self) -> bool {
        self.inside >= self.inside_max
    }
}

/// How many connections a client may have; behind a proxy there are many clients.
fn limit(listener: &Listener, client: IpAddr) -> Option<u32> {
    listener.clients_per_address_max.filter(|_| !listener.http.forwarding.trusted_proxies.contains(client))
}

impl Context<'_> {
    /// This peer has connected to this listener: what becomes of it. Whose client a proxy brings is not known yet.
    pub fn receive(&mut self, listener: u16, peer: SocketAddr) -> Admission {
        match first_phase(&self.config.listeners[usize::from(listener)], peer) {
            Phase::Greeting => Admission::Enter(Entry::default()),
            _ => self.admit(listener, peer.ip()),
        }
    }

    /// It is known who the client of this listener is: what becomes of it. Whoever comes in is counted from now on.
    pub fn admit(&mut self, listener: u16, client: IpAddr) -> Admission {
        let index = usize::from(listener);
        let (admission, cause) = self.door.admit(listener, &self.config.listeners[index], client);
        if let Some(cause) = cause {
            let times = self.sites[index].refusals.count(cause);
            self.door.refusals.push(Refusal { listener, client, cause, times });
        }
        admission
    }
}

impl Session {
    /// A client that has just been accepted at this port of the listener; it was not counted.
    pub fn new(listener: u16, port: u16, client: SocketAddr, context: &mut Context) -> Session {
        Session::admitted(Entry::default(), listener, port, client, context)
    }

    /// What its client was counted under, once: the session ends.
    pub fn take_entry(&mut self) -> Entry {
        std::mem::take(&mut self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::session::Core;

    /// Two listeners with these settings.
    fn core(settings: &str) -> Core {
        let text = format!(
            "listeners:\n- {{name: l, listen: '127.0.0.1:1', pool: p, {settings}}}\n\
             - {{name: m, listen: '127.0.0.1:2', pool: p, {settings}}}\n\
             pools: {{p: {{backends: [a:1]}}, q: {{backends: [a:1]}}}}\n"
        );
        let config = crate::config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        Core::new(config, String::new())
    }

    impl Core {
        fn come(&mut self, listener: u16, client: IpAddr) -> Option<Entry> {
            match self.context().admit(listener, client) {
                Admission::Enter(entry) => {
                    self.door.enter(listener, self.now);
                    Some(entry)
                }
                Admission::Close | Admission::Reset => None,
            }
        }
    }

    fn addresses<const N: usize>(texts: [&str; N]) -> [IpAddr; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn nobody_has_more_than_the_limit_and_who_leaves_makes_room_for_any_seed() {
        let clients = addresses(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]);
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut core = core("max_clients_per_address: 3, max_clients: 7");
            let mut inside = Vec::<(u16, IpAddr, Entry)>::new();
            for step in 0..300 {
                let (position, client) = (rng.below(2) as u16, clients[rng.below(4) as usize]);
                let same =
                    |other: &&(u16, IpAddr, Entry)| other.0 == position && network_of(other.1) == network_of(client);
                let here = inside.iter().filter(|other| other.0 == position).count();
                let opens = core.door.opens(position, Stage::Serving, core.now);
                assert_eq!(opens.is_some(), here < 7, "seed {seed}, step {step}");
                if rng.chance(2, 3) && opens.is_some() {
                    let has_room = inside.iter().filter(same).count() < 3;
                    let entry = core.come(position, client);
                    assert_eq!(entry.is_some(), has_room, "seed {seed}, step {step}");
                    inside.extend(entry.map(|entry| (position, client, entry)));
                } else if !inside.is_empty() {
                    let (position, _, entry) = inside.swap_remove(rng.below(inside.len() as u64) as usize);
                    core.door.leave(position, entry);
                }
            }
            for (position, _, entry) in inside {
                core.door.leave(position, entry);
            }
            assert!(core.door.crowd.is_empty() && core.door.gates.iter().all(|gate| gate.inside == 0), "seed {seed}");
        }
    }

    #[test]
    fn a_trusted_proxy_makes_room_for_nobody_when_it_leaves() {
        let mut core = core("max_clients_per_address: 1, trusted_proxies: ['2001:db8::1']");
        let [proxy, neighbour] = addresses(["2001:db8::1", "2001:db8::2"]);
        let (first, proxied) = (core.come(0, neighbour).unwrap(), core.come(0, proxy).unwrap());
        core.door.leave(0, proxied);
        assert!(core.come(0, neighbour).is_none());
        core.door.leave(0, first);
        assert!(core.come(0, neighbour).is_some());
    }

    #[test]
    fn who_is_denied_is_told_so_in_the_way_that_was_chosen_and_counted() {
        let [inner, outer] = addresses(["10.1.2.3", "::ffff:192.0.2.1"]);
        for (action, admission) in [
            ("close", Admission::Close),
            ("reject", Admission::Reset),
            ("{ pool: q }", Admission::Enter(Entry { network: None, diverted: Some(1) })),
        ] {
            let mut core = core(&format!("access: {{rules: [allow: 10.0.0.0/8], default: deny, action: {action}}}"));
            assert_eq!(core.context().admit(0, inner), Admission::Enter(Entry::default()));
            for times in 1..3 {
                assert_eq!(core.context().admit(1, outer), admission);
                let refusal = Refusal { listener: 1, client: outer, cause: Cause::Access, times };
                assert_eq!(core.door.refusals.pop(), Some(refusal));
            }
            assert!(core.door.refusals.is_empty());
        }
    }

    #[test]
    fn who_is_diverted_counts_like_everybody_and_who_is_denied_does_not_count() {
        let [client] = addresses(["192.0.2.1"]);
        let limited = "max_clients_per_address: 1, access: {rules: [allow: 10.0.0.0/8], default: deny, action: ";
        let mut diverting = core(&format!("{limited} {{ pool: q }} }}"));
        assert_eq!(diverting.come(0, client).and_then(|entry| entry.diverted), Some(1));
        assert_eq!(diverting.context().admit(0, client), Admission::Reset);
        assert_eq!(diverting.door.refusals.last().map(|refusal| refusal.cause), Some(Cause::Crowd));
        let mut closing = core(&format!("{limited} close }}"));
        (0..3).for_each(|_| assert_eq!(closing.context().admit(0, client), Admission::Close));
        assert!(closing.door.crowd.is_empty());
    }

    #[test]
    fn a_listener_takes_no_more_than_its_rate_and_says_when_the_next_one_may_come() {
        let mut core = core("accept_rate: 20");
        let [client] = addresses(["192.0.2.1"]);
        let mut taken = 0;
        while core.now < Time::from_millis(10_000) {
            let opens = core.door.opens(0, Stage::Serving, core.now).expect("there is no limit of numbers");
            if opens <= core.now {
                core.come(0, client).expect("nobody is denied");
                taken += 1;
            }
            core.now = opens;
        }
        assert_eq!(taken, 2 + 200 - 1, "a burst of a tenth of a second, and the rate from then on");
        assert_eq!(core.door.opens(0, Stage::Draining, core.now), Some(core.now), "who waits at the end is taken");
        assert_eq!(core.door.opens(1, Stage::Serving, core.now), Some(core.now), "the other one is at rest");
    }

    #[test]
    fn that_clients_wait_is_told_once_for_each_time_that_somebody_leaves() {
        let mut core = core("max_clients: 1");
        let [client] = addresses(["192.0.2.1"]);
        assert_eq!(core.door.note_full(0), None);
        for times in 1..4 {
            let entry = core.come(0, client).expect("there is room");
            assert_eq!([core.door.note_full(0), core.door.note_full(0)], [Some(times), None]);
            assert_eq!(core.door.note_full(1), None);
            core.door.leave(0, entry);
        }
    }
}
