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
}

impl Cause {
    /// All of them, in the order in which they were declared.
    pub const ALL: [Cause; 14] = [
        Cause::Malformed,
        Cause::Method,
        Cause::TargetTooLong,
        Cause::HeadTooLarge,
        Cause::BodyTooLarge,
        Cause::Unsupported,
        Cause::Denied,
        Cause::Unauthorized,
        Cause::Rate,
        Cause::Verifications,
        Cause::NoRoute,
        Cause::SlowHead,
        Cause::SlowBody,
        Cause::Crowd,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Malformed => "malformed",
            Cause::Method => "method",
            Cause::TargetTooLong => "target_too_long",
            Cause::HeadTooLarge => "head_too_large",
            Cause::BodyTooLarge => "body_too_large",
            Cause::Unsupported => "unsupported",
            Cause::Denied => "denied",
            Cause::Unauthorized => "unauthorized",
            Cause::Rate => "rate",
            Cause::Verifications => "verifications",
            Cause::NoRoute => "no_route",
            Cause::SlowHead => "slow_head",
            Cause::SlowBody => "slow_body",
            Cause::Crowd => "crowd",
        }
    }
}

/// How often each cause was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Cause::ALL.len()]);

impl Refusals {
    /// It was met once more.
    pub fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How often this one was met.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// Such as `3 malformed, 1 rate`, or `nothing`.
    pub fn summary(&self) -> String {
        let met = Cause::ALL.into_iter().filter(|&cause| self.of(cause) > 0);
        let counts: Vec<String> = met.map(|cause| format!("{} {}", self.of(cause), cause.name())).collect();
        if counts.is_empty() { "nothing".to_string() } else { counts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_counted_for_itself() {
        for cause in Cause::ALL {
            let mut refusals = Refusals::default();
            assert_eq!(refusals.summary(), "nothing");
            refusals.count(cause);
            refusals.count(cause);
            assert_eq!(refusals.summary(), format!("2 {}", cause.name()));
        }
    }
}
