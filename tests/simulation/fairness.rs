//! One session whose peers never wait: both directions must advance alike.

use plb::balance::BackendId;
use plb::base::buffers::Buffers;
use plb::config::{Config, ProtocolName};
use plb::session::{Core, Io, Outcome, Readiness, Session};

/// Runs a tunnel for so many calls; the bytes that were written to the client and to the backend.
fn written(config: &Config, piece: usize, calls: u32) -> [usize; 2] {
    let mut buffers = Buffers::new(u64::MAX);
    let mut core = Core::new(config.clone(), String::new());
    let mut context = core.context();
    let mut session = Session::new(0, 80, "192.0.2.1:5000".parse().expect("an address"), &mut context);
    let mut written = [0; 2];
    for _ in 0..calls {
        let ready = Readiness { readable: true, writable: true, settled: true };
        let io = session.next_io([ready; 2]);
        let outcome = match io {
            Io::Borrow => {
                assert!(session.borrow(&mut buffers), "there are buffers");
                Outcome::Done
            }
            Io::Acquire { .. } => Outcome::Started { alternatives: 0 },
            Io::FinishConnect => Outcome::Done,
            Io::Read(side) => Outcome::Bytes { count: session.room(side).len().min(piece), owes: false },
            Io::Write(side) => {
                let count = session.cleared(side).len().min(piece);
                written[side as usize] += count;
                Outcome::Bytes { count, owes: false }
            }
            Io::Fill(_) => Outcome::Bytes { count: piece, owes: false },
            Io::Drain(side) => {
                let count = session.in_flight(side.other()).min(piece);
                written[side as usize] += count;
                Outcome::Bytes { count, owes: false }
            }
            other => panic!("{other:?} is of no use here"),
        };
        session.complete(io, outcome, &mut context);
    }
    session.close(plb::session::record::CloseReason::Killed, &mut context);
    assert_eq!(core.pools.load(BackendId::new(0, 0)), 0);
    written
}

#[test]
fn neither_direction_starves_the_other() {
    let backends = ["10.0.0.1:1".to_owned()];
    let config = plb::config::quick_start(ProtocolName::Tcp, "8080", &backends).expect("a good configuration");
    for piece in [1, 100, 5_000, 100_000] {
        let [to_client, to_backend] = written(&config, piece, 4_000);
        let sum = to_client + to_backend;
        assert!(to_client.min(to_backend) * 3 > sum, "{to_client} and {to_backend} bytes in pieces of {piece}");
    }
}
