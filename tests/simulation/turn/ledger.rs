//! What plb's records say of its exchanges, held against what the clients saw and what moved.

use std::collections::BTreeMap;

use plb::config::ProtocolName;
use plb::session::record::{End, Record, Records};

use super::super::world::{Weather, World};

/// All records, by the client's wire, and what else is known of a client.
#[derive(Default)]
pub struct Ledger {
    entries: BTreeMap<u16, Vec<Entry>>,
    sessions: usize,
}

struct Entry {
    request: String,
    status: u32,
    end: End,
    received: u64,
    sent: u64,
}

impl Ledger {
    /// Takes the records of exchanges that ended.
    pub fn take(&mut self, records: &mut Records) {
        records.drain(|record| {
            check_times(record);
            let entry = Entry {
                request: String::from_utf8_lossy(record.transcript.request_line()).into_owned(),
                status: u32::from(record.transcript.status),
                end: record.end.expect("a record that was handed in has ended"),
                received: record.received,
                sent: record.sent,
            };
            self.entries.entry(record.client.port()).or_default().push(entry);
        });
    }

    /// A session was reaped: every byte of it is in a record.
    pub fn close(&mut self, wire: usize, [received, sent]: [u64; 2], weather: Weather) {
        self.sessions += 1;
        let entries = self.entries.get(&(wire as u16)).map(Vec::as_slice).unwrap_or_default();
        let recorded: u64 = entries.iter().map(|entry| entry.sent).sum();
        assert!(recorded == sent, "{sent} bytes went to the client on wire {wire}, and its records say {recorded}");
        let recorded: u64 = entries.iter().map(|entry| entry.received).sum();
        // What was sent after the last answer, or to a backend that is gone, is in no record.
        assert!(recorded <= received, "{received} bytes came on wire {wire}, and its records say {recorded}");
        let tunnel = weather == Weather::Calm && entries.iter().all(|entry| entry.request.is_empty());
        assert!(
            !tunnel || recorded == received,
            "{received} bytes came on wire {wire}, and its record says {recorded}"
        );
    }

    /// All sessions are over: each exchange has one record.
    pub fn check_end(&self, world: &World) {
        let entries = || self.entries.values().flatten();
        if world.profile.protocol == ProtocolName::Tcp {
            assert_eq!(entries().count(), self.sessions, "a TCP session has one record");
        }
        for &(id, status) in &world.answered {
            let path = format!("/{id} HTTP/1.");
            let told: Vec<u32> =
                entries().filter(|entry| entry.request.contains(&path)).map(|entry| entry.status).collect();
            assert!(told == [status], "request {id} was answered {status}, and its records say {told:?}");
        }
        let calm = world.profile.weather == Weather::Calm && !world.profile.idle_closes;
        // Whoever ends while it waits for a backend is taken to have given up.
        let may_give_up = world.profile.connections_max.is_some();
        let is_good = |entry: &Entry| match entry.end {
            End::Done => true,
            End::Refused => entry.status == 413,
            End::ClientGone => may_give_up && entry.status == 0,
            _ => false,
        };
        let bad = entries().find(|entry| calm && !is_good(entry));
        assert!(bad.is_none(), "all went well but {:?}", bad.map(|entry| (&entry.request, entry.end)));
    }
}

/// Each moment of a record comes after the one before it.
fn check_times(record: &Record) {
    let moments = [Some(record.began), record.asked, record.connected, record.heard, Some(record.ended)];
    let moments: Vec<_> = moments.into_iter().flatten().collect();
    assert!(moments.is_sorted(), "moments out of order: {record:?}");
    assert!(record.asked.is_some() == (record.attempts > 0), "nobody was asked: {record:?}");
}
