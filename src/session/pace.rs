//! The pace of a client that sends the body of its request: a body must not come slower than the listener's least rate,
//! or a few clients that drip hold all there is to be had.
//!
//! What is kept is the moment by which more has to come. Every byte puts it off by what it may take at that rate, and
//! the time in which it is the backend that takes nothing does not count.

use std::time::Duration;

use super::{Context, Io, Outcome, Session, Side};
use crate::base::time::Time;
use crate::protocol::{Protocol, Received, Wait};

/// How long a client may take for the beginning: packets are lost, and hosts are far away.
pub const GRACE: Duration = Duration::from_secs(5);

/// How the request stood before a call was made, where a rate is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    rate: u64,
    moved: Time,
    awaits_sink: bool,
}

impl Session {
    /// How the request stands.
    pub(super) fn before(&self, context: &Context) -> Option<Before> {
        let rate = context.config.listeners[usize::from(self.listener)].body_bytes_per_second_min?;
        Some(Before { rate, moved: self.request.moved(), awaits_sink: self.request.awaits_sink() })
    }

    /// Puts the moment off by what came of the call, or by what the backend was waited for.
    pub(super) fn keep_pace(&mut self, before: Before, io: Io, outcome: Outcome, context: &Context) {
        let Wait::Response { request: Received::Part, .. } = self.protocol.waits_for() else {
            self.pace = None;
            return;
        };
        let gained = match (io, outcome) {
            (Io::Read(Side::Client) | Io::Fill(Side::Client), Outcome::Bytes { count, .. }) => {
                Duration::from_micros(count as u64 * 1_000_000 / before.rate)
            }
            _ => Duration::ZERO,
        };
        let waited = if before.awaits_sink { self.request.moved().since(before.moved) } else { Duration::ZERO };
        let due = self.pace.map_or(context.now + GRACE, |due| due + gained + waited);
        let listener = &context.config.listeners[usize::from(self.listener)];
        // What came quickly buys no more time than a client may be silent.
        self.pace = Some(due.min(context.now + listener.timeouts.forward_client_read.max(GRACE)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffers::Buffers;
    use crate::config::{Config, ProtocolName, quick_start};
    use crate::session::record::CloseReason;
    use crate::session::{Core, Readiness};

    const KIB: usize = 1_024;
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";

    /// A session in the middle of a request whose backend takes all that it is sent, at once.
    struct Upload {
        core: Core,
        session: Session,
    }

    impl Upload {
        /// The head of a request has just come, `rate` bytes a second are wanted.
        fn begin(rate: Option<u64>) -> Upload {
            let mut config: Config =
                quick_start(ProtocolName::Http, "127.0.0.1:1", &["a:1".to_string()]).expect("it is right");
            config.listeners[0].body_bytes_per_second_min = rate;
            let mut core = Core::new(config, String::new());
            let mut session = Session::new(0, 80, "192.0.2.1:1".parse().expect("an address"), &mut core.context());
            assert!(session.borrow(&mut Buffers::new(1 << 20)), "there are buffers");
            session.room(Side::Client)[..HEAD.len()].copy_from_slice(HEAD);
            let mut upload = Upload { core, session };
            upload.complete(Io::Read(Side::Client), bytes(HEAD.len()));
            let acquire = upload.session.next_io([Readiness::default(); 2]);
            upload.complete(acquire, Outcome::Reused);
            upload
        }

        fn complete(&mut self, io: Io, outcome: Outcome) {
            self.session.complete(io, outcome, &mut self.core.context());
        }

        fn at(&mut self, millis: u64) {
            self.core.tick(Duration::from_millis(millis), String::new);
        }

        /// The client sends so many bytes.
        fn receive(&mut self, count: usize) {
            self.complete(Io::Read(Side::Client), bytes(count));
        }

        /// The backend takes what there is.
        fn forward(&mut self) {
            let count = self.session.cleared(Side::Backend).len();
            self.complete(Io::Write(Side::Backend), bytes(count));
        }

        /// How long after the start the client is given up.
        fn deadline(&self) -> Duration {
            self.session.deadline(&self.core.config, self.core.stage).since(Time::START)
        }
    }

    impl Drop for Upload {
        fn drop(&mut self) {
            self.session.close(CloseReason::Killed, &mut self.core.context());
        }
    }

    fn bytes(count: usize) -> Outcome {
        Outcome::Bytes { count, owes: false }
    }

    #[test]
    fn every_byte_puts_the_deadline_off_by_what_it_may_take() {
        let mut upload = Upload::begin(Some(KIB as u64));
        upload.forward();
        assert_eq!(upload.deadline(), GRACE);
        upload.at(1_000);
        upload.receive(2 * KIB);
        upload.forward();
        assert_eq!(upload.deadline(), GRACE + Duration::from_secs(2));
        upload.at(6_900);
        upload.receive(1);
        upload.forward();
        let least = GRACE + Duration::from_secs(2);
        assert!((least..least + Duration::from_millis(1)).contains(&upload.deadline()), "a byte is little");
    }

    #[test]
    fn without_a_least_rate_a_byte_now_and_then_will_do() {
        let mut upload = Upload::begin(None);
        upload.forward();
        for second in (0..1_000).step_by(20) {
            upload.at(second * 1_000);
            upload.receive(1);
            upload.forward();
            assert_eq!(upload.deadline(), Duration::from_secs(second + 30));
        }
    }

    #[test]
    fn what_the_backend_takes_its_time_for_is_not_the_clients_fault() {
        let mut upload = Upload::begin(Some(KIB as u64));
        upload.at(20_000);
        upload.forward();
        assert_eq!(upload.deadline(), GRACE + Duration::from_secs(20), "the backend was slow with the head");
        upload.at(21_000);
        upload.receive(KIB);
        upload.at(31_000);
        upload.forward();
        assert_eq!(upload.deadline(), GRACE + Duration::from_secs(20 + 10 + 1), "and with the body");
    }

    #[test]
    fn what_came_quickly_buys_no_more_than_the_time_of_a_silence() {
        let mut upload = Upload::begin(Some(1));
        upload.forward();
        upload.at(1_000);
        upload.receive(8 * KIB);
        upload.forward();
        assert_eq!(upload.session.pace, Some(Time::from_millis(31_000)));
    }

    #[test]
    fn a_request_that_is_whole_is_not_measured() {
        let mut upload = Upload::begin(Some(KIB as u64));
        upload.forward();
        let mut left = 1_000_000;
        while left > 0 {
            let count = left.min(upload.session.room(Side::Client).len());
            upload.receive(count);
            upload.forward();
            left -= count;
        }
        assert_eq!(upload.session.pace, None);
        assert_eq!(upload.deadline(), Duration::from_secs(30), "now it is the backend's turn");
    }
}
