//! Why plb refused something: the causes, and how often each of them was met.

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It breaks the rules of HTTP (400).
    Malformed,
    /// Its method is not allowed (405).
    Method,
    /// Its address is too long (414).
    TargetTooLong,
    /// Its head is too long, or has too many fields (431).
    HeadTooLarge,
    /// Its body is too long (413).
    BodyTooLarge,
    /// It wants what plb does not do (417, 501, 505).
    Unsupported,
    /// A route denies it (403).
    Denied,
    /// It needs a user and a password (401).
    Unauthorized,
    /// The client asks too often (429).
    Rate,
    /// Passwords are asked for faster than they can be verified (429).
    Verifications,
    /// No route and no pool is for it.
    NoRoute,
    /// Its head did not come in time (408).
    SlowHead,
    /// Its body did not come in time, or not fast enough (408).
    SlowBody,
    /// The client has too many connections.
    Crowd,
    /// A trusted proxy did not say whom it forwards for.
    ProxyHeader,
    /// The listener's `access` denies the client.
    Access,
}

/// Their words, in the order in which they were declared.
#[rustfmt::skip]
const NAMES: [&str; 16] = [
    "malformed", "method", "target_too_long", "head_too_large", "body_too_large", "unsupported", "denied",
    "unauthorized", "rate", "verifications", "no_route", "slow_head", "slow_body", "crowd",
    "proxy_header", "access",
];

impl Cause {
    /// The word for it.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// How often each cause was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; NAMES.len()]);

impl Refusals {
    /// It was met once more; tells how often by now.
    pub fn count(&mut self, cause: Cause) -> u64 {
        self.0[cause as usize] += 1;
        self.0[cause as usize]
    }

    /// Such as `3 malformed, 1 rate`, or `nothing`.
    pub fn summary(&self) -> String {
        let met = NAMES.iter().zip(self.0).filter(|(_, count)| *count > 0);
        let counts: Vec<String> = met.map(|(name, count)| format!("{count} {name}")).collect();
        if counts.is_empty() { "nothing".to_string() } else { counts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_counted_for_itself() {
        let causes = [(Cause::Malformed, "malformed"), (Cause::Denied, "denied"), (Cause::Access, "access")];
        let mut refusals = Refusals::default();
        assert_eq!(refusals.summary(), "nothing");
        for (cause, name) in causes {
            assert_eq!((cause.name(), refusals.count(cause), refusals.count(cause)), (name, 1, 2));
        }
        assert_eq!(refusals.summary(), "2 malformed, 2 denied, 2 access");
        assert_eq!(Cause::Access as usize, NAMES.len() - 1, "each has a name");
    }
}
