//! What the process gives up before it serves: the model and the section at the top of the file.

use std::fmt;

use super::leaf::{AccountName, Directory, Switch};
use super::word::{Maybe, settings};

settings! {
    /// What the process gives up before it serves.
    Confinement {
        /// Who it becomes when root starts it; `None` is `nobody`.
        user: Maybe<AccountName>,
        /// With which group; `None` is the user's own.
        group: Maybe<AccountName>,
        /// Its root directory when root starts it; `None` is `/var/empty`.
        chroot_dir: Maybe<Directory>,
        /// It makes the system calls of a list only, where the kernel can see to that.
        seccomp: Switch = true,
        /// A crash may leave an image of the memory.
        core_dumps: Switch = false,
    }
}

/// A user or a group; never root's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By its name, which is looked up at the start.
    Name(String),
    /// By its number.
    Number(u32),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Name(name) => f.write_str(name),
            Account::Number(number) => number.fmt(f),
        }
    }
}
