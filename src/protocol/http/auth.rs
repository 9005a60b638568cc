//! Basic authentication (RFC 7617): who says to be whom, and whether that is so.
//!
//! A verification blocks the loop, so it is paid for: what goes into all of them together is at most a fifth of the time.
//! Whoever was verified once is remembered, and whoever failed too; neither takes a verification again. What is
//! remembered is a hash of what came with random keys, and never a password.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::password::{PASSWORD_BYTES_MAX, REFERENCE_WORK};
use crate::base::recent::Recent;
use crate::base::time::Time;
use crate::config::{Auth, USER_BYTES_MAX};

/// The longest credentials: the user, a colon and the password.
const CREDENTIALS_BYTES_MAX: usize = USER_BYTES_MAX + 1 + PASSWORD_BYTES_MAX;
/// The room for decoding them: as much as an encoding of that length may be of.
pub const CREDENTIALS_ROOM: usize = CREDENTIALS_BYTES_MAX.next_multiple_of(3);
/// Of those who were verified, and of those who failed, so many are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// After a rest so much time may go into verifications at once.
const WORK_AT_ONCE: Duration = Duration::from_millis(250);
/// One in so many moments may go into verifications, all of them together.
const SHARE: u32 = 5;

/// What is said to somebody who wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Welcome,
    /// Not without a user and the password that fits (401).
    Unauthorized,
    /// Come again in so many seconds: too many are being verified (429).
    Busy(u64),
}

/// What the verifications of one of the listeners took, and what may still go into them.
#[derive(Debug)]
pub struct Budget {
    /// All that was spent is made up for by then.
    settled: Time,
    /// One in so many moments may be spent.
    share: u32,
    /// How long a work of a second takes.
    second: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(1, REFERENCE_WORK)
    }
}

impl Budget {
    /// One of so many that share what the process may spend, where the reference takes so long.
    pub fn new(count: u32, reference: Duration) -> Budget {
        let second = reference.mul_f64(1.0 / REFERENCE_WORK.as_secs_f64());
        Budget { settled: Time::START, share: SHARE * count, second }
    }

    /// Spends `work`, if there is anything left; otherwise tells after how many seconds there will be, at least 1.
    fn spend(&mut self, work: Duration, now: Time) -> Result<(), u64> {
        let ahead = self.settled.since(now);
        if let Some(wait) = ahead.checked_sub(WORK_AT_ONCE * self.share) {
            return Err(wait.as_secs() + 1);
        }
        self.settled = now.max(self.settled) + self.second.mul_f64(work.as_secs_f64()) * self.share;
        Ok(())
    }
}

/// Who was verified for a route of a listener, and who failed.
#[derive(Debug)]
pub struct Gate {
    keys: [RandomState; 2],
    verified: Recent<[u64; 2], ()>,
    failed: Recent<[u64; 2], ()>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            keys: [RandomState::new(), RandomState::new()],
            verified: Recent::new(REMEMBERED_MAX),
            failed: Recent::new(REMEMBERED_MAX),
        }
    }
}

impl Gate {
    /// Judges the values of the `Authorization` fields of a request for the route at this position.
    pub fn judge<'v>(
        &mut self,
        route: usize,
        auth: &Auth,
        mut values: impl Iterator<Item = &'v [u8]>,
        budget: &mut Budget,
        now: Time,
    ) -> Verdict {
        let mut buffer = [0; CREDENTIALS_ROOM];
        let value = values.next().filter(|_| values.next().is_none());
        let named = value.and_then(|value| credentials(value, &mut buffer));
        let Some((user, password)) = named.filter(|(_, password)| password.len() <= PASSWORD_BYTES_MAX) else {
            return Verdict::Unauthorized;
        };
        let digest = self.keys.each_ref().map(|key| key.hash_one((route, user, password)));
        if self.verified.get(&digest, now).is_some() {
            return Verdict::Welcome;
        }
        if self.failed.get(&digest, now).is_some() {
            return Verdict::Unauthorized;
        }
        let known = auth.users.hash(user);
        let hash = known.unwrap_or(auth.users.decoy());
        if let Err(seconds) = budget.spend(hash.work(password.len()), now) {
            return Verdict::Busy(seconds);
        }
        // Both are done, whoever it is.
        match hash.fits(password) && known.is_some() {
            true => {
                self.verified.insert(digest, (), now);
                Verdict::Welcome
            }
            false => {
                self.failed.insert(digest, (), now);
                Verdict::Unauthorized
            }
        }
    }
}

/// The user of such a field; whether the password fits is not known here.
pub fn user<'b>(value: &[u8], buffer: &'b mut [u8]) -> Option<&'b str> {
    credentials(value, buffer).map(|(user, _)| user)
}

/// User and password of the value of an `Authorization` field.
fn credentials<'b>(value: &[u8], buffer: &'b mut [u8]) -> Option<(&'b str, &'b [u8])> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let encoded = rest.trim_ascii_start();
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let length = STANDARD.decode_slice(encoded, buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let (user, password) = text.split_once(':')?;
    let good = user.len() <= USER_BYTES_MAX && !text.contains(char::is_control);
    good.then_some((user, password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::rng::Rng;
    use crate::config::Users;

    /// The first one's password is "open sesame"; verifying it counts as 2 ms.
    const FILE: &str = "Aladdin:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n\
        Cassim:$5$saltsalt$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop.\n";
    /// RFC 7617 section 2.
    const ALADDIN: &[u8] = b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";

    fn auth() -> Auth {
        let users = Users::parse(FILE.as_bytes(), |line, message| panic!("{line}: {message}")).unwrap();
        Auth { realm: "r".to_string(), users: Arc::new(users), forward: false }
    }

    fn basic(user: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into_bytes()
    }

    /// What is said to each of these values, one after the other at one moment, and what that took.
    fn judged(values: &[&[u8]]) -> (Vec<Verdict>, Duration) {
        let (mut gate, mut budget, now) = (Gate::default(), Budget::default(), Time::from_millis(9));
        let mut judge = |value: &&[u8]| gate.judge(0, &auth(), [*value].into_iter(), &mut budget, now);
        (values.iter().map(&mut judge).collect(), budget.settled.since(now) / budget.share)
    }

    #[test]
    fn a_user_with_the_right_password_comes_in_and_is_verified_once() {
        let (verdicts, work) = judged(&[ALADDIN, ALADDIN, b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        assert_eq!((&verdicts[..], work), (&[Verdict::Welcome; 3][..], Duration::from_millis(2)));
    }

    #[test]
    fn whoever_is_unknown_costs_as_much_as_whoever_errs_and_both_once() {
        for wrong in [basic("Aladdin", "open sesam"), basic("Alladin", "open sesame"), basic("", "")] {
            let (verdicts, work) = judged(&[&wrong, &wrong]);
            assert_eq!((&verdicts[..], work), (&[Verdict::Unauthorized; 2][..], Duration::from_millis(2)), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_basic_authentication_is_refused_without_work() {
        let long = basic("Aladdin", &"x".repeat(PASSWORD_BYTES_MAX + 1));
        let control = basic("Aladdin", "open\0sesame");
        let bare = STANDARD.encode("Aladdin");
        let bare = format!("Basic {bare}");
        let values: &[&[u8]] = &[
            b"",
            b"Basic",
            b"Basic ",
            b"Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            b"BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== x",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\t",
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            b"Basic /////w==",
            bare.as_bytes(),
            &long,
            &control,
        ];
        let (verdicts, work) = judged(values);
        assert_eq!((verdicts, work), (vec![Verdict::Unauthorized; values.len()], Duration::ZERO));
        let (mut gate, mut budget) = (Gate::default(), Budget::default());
        for values in [&[][..], &[ALADDIN, ALADDIN]] {
            let verdict = gate.judge(0, &auth(), values.iter().copied(), &mut budget, Time::START);
            assert_eq!(verdict, Verdict::Unauthorized, "no field, or two");
        }
    }

    #[test]
    fn who_may_come_in_at_one_door_has_to_be_verified_at_the_other() {
        let (mut gate, mut budget, now) = (Gate::default(), Budget::default(), Time::START);
        let mut judge = |route| gate.judge(route, &auth(), [ALADDIN].into_iter(), &mut budget, now);
        assert_eq!([judge(0), judge(0), judge(1)], [Verdict::Welcome; 3]);
        assert_eq!(budget.settled.since(now) / budget.share, Duration::from_millis(4));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut rng = Rng::new(5);
        let mut buffer = [0; CREDENTIALS_ROOM];
        for _ in 0..20_000 {
            let mut value = ALADDIN.to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(value.len() as u64) as usize;
                match rng.below(3) {
                    0 => value[at] = rng.next_u64() as u8,
                    1 => value.truncate(at + 1),
                    _ => value.insert(at, rng.next_u64() as u8),
                }
            }
            if let Some((user, password)) = credentials(&value, &mut buffer) {
                assert!(user.len() + password.len() < value.len() && !user.contains(':'));
            }
        }
    }

    #[test]
    fn verifications_take_a_fifth_of_the_time_however_many_are_asked_for() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let (mut budget, mut now, mut spent) = (Budget::default(), Time::from_millis(77), Duration::ZERO);
            let start = now;
            let dearest = Duration::from_millis(1 + rng.below(256));
            for _ in 0..1_000 {
                let work = dearest.mul_f64(rng.below(100) as f64 / 100.0);
                match budget.spend(work, now) {
                    Ok(()) => spent += work,
                    Err(seconds) => {
                        let then = now + Duration::from_secs(seconds);
                        assert!(budget.spend(Duration::ZERO, then).is_ok(), "seed {seed}: told to wait {seconds}s");
                    }
                }
                let most = WORK_AT_ONCE + dearest + now.since(start) / SHARE;
                assert!(spent <= most, "seed {seed}: {spent:?} of {most:?}");
                now = now + Duration::from_millis(rng.below(100));
            }
        }
    }

    #[test]
    fn whoever_was_verified_comes_in_when_others_have_spent_all_there_is() {
        let (mut gate, mut budget, now) = (Gate::default(), Budget::default(), Time::START);
        let mut judge = |value: &[u8], now| gate.judge(0, &auth(), [value].into_iter(), &mut budget, now);
        assert_eq!(judge(ALADDIN, now), Verdict::Welcome);
        let wrong = (0..1_000).map(|number| judge(&basic("Aladdin", &number.to_string()), now));
        let busy = wrong.filter(|verdict| *verdict == Verdict::Busy(1)).count();
        assert_eq!(busy, 1_000 - 124, "with the one that was welcome, a quarter of a second is spent");
        assert_eq!(judge(ALADDIN, now), Verdict::Welcome);
        assert_eq!(judge(&basic("Cassim", "x"), now), Verdict::Busy(1));
        let later = now + Duration::from_millis(500);
        assert_eq!(judge(&basic("Cassim", "x"), later), Verdict::Unauthorized);
    }
}
