//! Who may come in: the model of `basic_auth`, and the reading of it and of its file of users.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::Errors;
use super::schema;
use super::source::Node;
use super::validate::Section;
use crate::base::password::PasswordHash;

/// The longest file of users, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The longest name of a user, in bytes.
pub const USER_BYTES_MAX: usize = 128;

/// Basic authentication (RFC 7617) for what lies behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// What the client is told that it is for; nothing in it needs a quoted-pair.
    pub realm: String,
    /// Who may come in.
    pub users: Arc<Users>,
    /// Whether the backend gets the `Authorization` field.
    pub forward: bool,
}

/// The users of one file; never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Users {
    hashes: HashMap<String, PasswordHash>,
    decoy: PasswordHash,
}

impl Users {
    /// The users of a file; what is wrong goes to `refuse` with its line, 0 for the whole.
    pub fn parse(bytes: &[u8], mut refuse: impl FnMut(usize, String)) -> Option<Users> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            refuse(0, "it must be UTF-8".to_string());
            return None;
        };
        let mut hashes = HashMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            match user(line) {
                Err(message) => refuse(number, message),
                Ok((user, hash)) => {
                    if hashes.insert(user.to_string(), hash).is_some() {
                        refuse(number, "this user is there already".to_string());
                    }
                }
            }
        }
        let decoy = hashes.values().max_by_key(|hash| hash.work(0)).cloned();
        if decoy.is_none() {
            refuse(0, "there is no user in it (a line is USER:HASH)".to_string());
        }
        Some(Users { hashes, decoy: decoy? })
    }

    /// What the password of this user has to fit, if there is such a user.
    pub fn hash(&self, user: &str) -> Option<&PasswordHash> {
        self.hashes.get(user)
    }

    /// The most laborious of the hashes: whoever is none of the users has it tried, so that trying tells nobody who is.
    pub fn decoy(&self) -> &PasswordHash {
        &self.decoy
    }
}

/// Reads the map of a `basic_auth` at its path; `None` where there is an error.
pub(super) fn auth(place: (&Node, String), errors: &mut Errors<'_>) -> Option<Auth> {
    let required = ["realm", "file"];
    let (section, own) = Section::whole::<schema::BasicAuth>(place, "with the keys realm and file", &required, errors);
    let (realm, name) = (own.realm?, own.file?);
    let bytes = section.file("file", &name, FILE_BYTES_MAX, errors)?;
    let users = Users::parse(&bytes, |line, message| {
        let place = if line == 0 { name.clone() } else { format!("{name}:{line}") };
        section.refuse("file", format!("{place}: {message}"), errors);
    });
    Some(Auth { realm, users: Arc::new(users?), forward: own.forward })
}

fn user(line: &str) -> Result<(&str, PasswordHash), String> {
    let (user, hash) = line.split_once(':').ok_or("a line must be USER:HASH")?;
    if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(format!("the name of a user must have 1 to {USER_BYTES_MAX} bytes and no control character"));
    }
    Ok((user, PasswordHash::parse(hash)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "apx2xBUC4954936wVIjyyPHmUBFu0wCWapx2xBUC4954936wVIjyy";

    fn read(text: &str) -> (Option<Users>, Vec<String>) {
        let mut found = Vec::new();
        let users = Users::parse(text.as_bytes(), |line, message| found.push(format!("{line}: {message}")));
        (users, found)
    }

    #[test]
    fn each_line_is_a_user_with_a_hash() {
        let (users, found) = read(&format!(
            "# people\nann:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n\n\
             Bj\u{f6}rn:$5$salt${}\r\n",
            &DIGEST[..43]
        ));
        assert_eq!(found, Vec::<String>::new());
        let users = users.unwrap();
        assert!(users.hash("ann").is_some() && users.hash("Bj\u{f6}rn").is_some() && users.hash("bob").is_none());
        assert_eq!(Some(users.decoy()), users.hash("ann"), "the most laborious one");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_hash() {
        let sha = format!("$5$salt${}", &DIGEST[..43]);
        let long = "u".repeat(USER_BYTES_MAX + 1);
        let table = [
            ("", "0: there is no user in it".to_string()),
            ("# nobody\n", "0: there is no user in it".to_string()),
            ("\nann\n", "2: a line must be USER:HASH".to_string()),
            ("ann:secret\n", "1: the hash must be of bcrypt".to_string()),
            ("ann:$apr1$x$y\n", "1: the hash must be of bcrypt".to_string()),
            (&format!(":{sha}\n"), "1: the name of a user".to_string()),
            (&format!("a\tb:{sha}\n"), "1: the name of a user".to_string()),
            (&format!("{long}:{sha}\n"), "1: the name of a user".to_string()),
            (&format!("ann:{sha}:x\n"), "1: the hash of sha-crypt is malformed".to_string()),
            (&format!("ann:{sha}\nbob:{sha}\nann:{sha}\n"), "3: this user is there already".to_string()),
        ];
        for (text, message) in table {
            let (_, found) = read(text);
            assert!(found[0].starts_with(&message) && !found[0].contains("secret"), "{text}: {found:?}");
        }
        let mut found = Vec::new();
        assert!(Users::parse(b"ann:\xff", |line, message| found.push((line, message))).is_none());
        assert_eq!(found, [(0, "it must be UTF-8".to_string())]);
    }
}
