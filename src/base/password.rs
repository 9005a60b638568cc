//! `PasswordHash`: what a file of users keeps of a password, and whether one fits it.
//!
//! bcrypt and sha-crypt only: what is quick to compute is quick to guess. A hash that would take too long is refused
//! when it is read, because whoever waits for its verification waits with everybody else.

use std::time::Duration;

use sha_crypt::{PasswordVerifier, ShaCrypt};

/// The highest cost of bcrypt: a quarter of a second.
pub const BCRYPT_COST_MAX: u32 = 12;
/// The most rounds of sha-crypt: as long, about.
pub const SHA_ROUNDS_MAX: u32 = 500_000;
/// A longer password fits nothing: the work of sha-crypt grows with its square.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// The rounds of sha-crypt where the hash does not tell.
const SHA_ROUNDS_DEFAULT: u32 = 5_000;
/// The fewest rounds of sha-crypt.
const SHA_ROUNDS_MIN: u32 = 1_000;
/// What bcrypt takes at its lowest cost, 4; each further one doubles it. Measured, as the others; a host may be slower.
const BCRYPT_WORK: Duration = Duration::from_millis(1);
/// What ten rounds of sha-crypt take for each block of the password.
const SHA_WORK: Duration = Duration::from_micros(3);
/// What counts as a block.
const SHA_BLOCK_BYTES: usize = 64;

/// What [`reference()`] counts as.
pub const REFERENCE_WORK: Duration = BCRYPT_WORK;

/// Does a work that shows how fast this host is.
pub fn reference() {
    std::hint::black_box(bcrypt::bcrypt(4, [0; 16], b"reference\0"));
}

/// The hash of a password, as crypt(5) writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bcrypt { cost: u32 },
    Sha { rounds: u32 },
}

impl PasswordHash {
    /// Reads a hash such as `$2y$10$..` (bcrypt), `$5$..` or `$6$..` (sha-crypt).
    ///
    /// # Errors
    /// What it must be; never a character of it.
    pub fn parse(text: &str) -> Result<PasswordHash, String> {
        let kind = match text.split('$').collect::<Vec<_>>()[..] {
            ["", "2a" | "2b" | "2y", cost, digest] => bcrypt_kind(text, cost, digest)?,
            ["", id @ ("5" | "6"), salt, digest] => sha_kind(id, SHA_ROUNDS_DEFAULT, salt, digest)?,
            ["", id @ ("5" | "6"), rounds, salt, digest] => sha_kind(id, sha_rounds(rounds)?, salt, digest)?,
            _ => return Err("the hash must be of bcrypt ($2y$..) or sha-crypt ($5$.., $6$..)".to_string()),
        };
        Ok(PasswordHash { text: text.into(), kind })
    }

    /// Whether it is the hash of `password`. The comparison takes as long wherever they differ.
    pub fn fits(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match self.kind {
            Kind::Bcrypt { .. } => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Sha { .. } => ShaCrypt::SHA512.verify_password(password, &*self.text).is_ok(),
        }
    }

    /// How long that takes for a password of so many bytes, about.
    pub fn work(&self, password_bytes: usize) -> Duration {
        match self.kind {
            Kind::Bcrypt { cost } => BCRYPT_WORK * (1 << (cost - 4)),
            Kind::Sha { rounds } => SHA_WORK * (rounds / 10) * (1 + password_bytes / SHA_BLOCK_BYTES) as u32,
        }
    }
}

fn bcrypt_kind(text: &str, cost: &str, digest: &str) -> Result<Kind, String> {
    let malformed = || "the hash of bcrypt is malformed".to_string();
    if digest.len() != 53 || cost.len() != 2 || !cost.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let cost = text.parse::<bcrypt::HashParts>().map_err(|_| malformed())?.get_cost();
    match cost {
        0..4 => Err(malformed()),
        4..=BCRYPT_COST_MAX => Ok(Kind::Bcrypt { cost }),
        _ => Err(format!("the cost of bcrypt is {cost}, at most {BCRYPT_COST_MAX} is allowed: {TOO_LONG}")),
    }
}

/// Why a hash may not take much work.
const TOO_LONG: &str = "all clients would wait while one password is verified";

fn sha_rounds(field: &str) -> Result<u32, String> {
    let digits = field.strip_prefix("rounds=").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.map(str::parse) {
        Some(Ok(rounds @ SHA_ROUNDS_MIN..=SHA_ROUNDS_MAX)) => Ok(rounds),
        Some(_) => {
            Err(format!("sha-crypt must have from {SHA_ROUNDS_MIN} to {SHA_ROUNDS_MAX} rounds: with more, {TOO_LONG}"))
        }
        None => Err("the rounds of sha-crypt are malformed".to_string()),
    }
}

fn sha_kind(id: &str, rounds: u32, salt: &str, digest: &str) -> Result<Kind, String> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let length = if id == "5" { 43 } else { 86 };
    let good = digest.len() == length && is_plain(digest) && (1..=16).contains(&salt.len()) && is_plain(salt);
    if good { Ok(Kind::Sha { rounds }) } else { Err("the hash of sha-crypt is malformed".to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of the password before them, by other programs than these crates.
    const KNOWN: &[(&str, &str)] = &[
        ("open sesame", "$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"),
        ("open sesame", "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"),
        ("open sesame", "$2a$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"),
        ("open sesame", "$5$saltsalt$yrhPKxCqiWcCE9h0g86j6Ugz7SDFdFm.BjU.d8RaQnC"),
        (
            "open sesame",
            "$6$saltsalt$e/5XKibXPLqVcfjpD.ouauaJrAOL5V0uo80Lt7n7EbRdRiCx3HbQ90yjOHr.G0T.mx79PEMRy8nmtr0qSYhQp1",
        ),
        (
            "open sesame",
            "$6$rounds=1000$abc$T/VoLjX2QrHMGse5qGcGKXqZAM4/7BRMew5D44u0FfFVnTVZMxQu6mVPThREVK4UbnACKwrKl1LmLEfHrdaya/",
        ),
    ];

    #[test]
    fn a_hash_fits_its_password_and_no_other() {
        for (password, text) in KNOWN {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.fits(password.as_bytes()), "{text}");
            for other in [&password[1..], &format!("{password}x"), &password.to_uppercase(), ""] {
                assert!(!hash.fits(other.as_bytes()), "{text}: {other}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_repeated() {
        let digest = ".".repeat(53);
        let table = [
            ("secret".to_string(), "must be of bcrypt"),
            ("$apr1$x$y".to_string(), "must be of bcrypt"),
            ("{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=".to_string(), "must be of bcrypt"),
            ("$1$x$y".to_string(), "must be of bcrypt"),
            (String::new(), "must be of bcrypt"),
            (format!("$2x$10${digest}"), "must be of bcrypt"),
            (format!("$2y$13${digest}"), "the cost of bcrypt is 13, at most 12"),
            (format!("$2y$03${digest}"), "malformed"),
            (format!("$2y$10${digest}x"), "malformed"),
            (format!("$2y$1${digest}x"), "malformed"),
            (format!("$2y$+9${digest}"), "malformed"),
            (format!("$2y$10$é{}", &digest[2..]), "malformed"),
            (format!("$5$salt${}", "x".repeat(42)), "malformed"),
            (format!("$6$salt${}", "x".repeat(43)), "malformed"),
            (format!("$5$${}", "x".repeat(43)), "malformed"),
            (format!("$5$salt${}", ":".repeat(43)), "malformed"),
            (format!("$5$rounds=999$salt${}", "x".repeat(43)), "from 1000 to 500000 rounds"),
            (format!("$5$rounds=500001$salt${}", "x".repeat(43)), "from 1000 to 500000 rounds"),
            (format!("$5$rounds=+5000$salt${}", "x".repeat(43)), "malformed"),
            (format!("$5$rounds=$salt${}", "x".repeat(43)), "rounds"),
        ];
        for (text, reason) in table {
            let error = PasswordHash::parse(&text).expect_err(&text);
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn work_doubles_with_the_cost_and_grows_with_rounds_and_password() {
        let work = |text: &str, bytes| PasswordHash::parse(text).unwrap().work(bytes).as_millis();
        let digest = ".".repeat(86);
        assert_eq!(work(&format!("$2y$05${}", &digest[..53]), 8), 2);
        assert_eq!(work(&format!("$2y$12${}", &digest[..53]), 128), 256);
        assert_eq!(work(&format!("$6$s${digest}"), 8), 1);
        assert_eq!(work(&format!("$6$rounds=500000$s${digest}"), PASSWORD_BYTES_MAX), 450);
    }

    #[test]
    fn a_password_that_is_too_long_fits_nothing() {
        let hash = PasswordHash::parse(KNOWN[0].1).unwrap();
        assert!(!hash.fits(&[b'x'; PASSWORD_BYTES_MAX + 1]));
    }
}
