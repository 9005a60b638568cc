//! Who the process is. Started by root, it becomes somebody else in a root directory of its own; whoever started it,
//! it ends without any privilege, and cannot get one back.
//!
//! ```text
//! look up ▶ chroot ▶ bounding set ▶ groups ▶ gid ▶ uid ▶ no_new_privs ▶ capabilities ▶ verify
//! ```
//! A step that fails ends the start: nothing may serve with half of its privileges.

use std::fmt::{self, Display};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Group, Uid, User, chdir, chroot, fchdir, getegid, geteuid, getgid, getuid, setgid, setuid};

use crate::config::{Account, Confinement};

/// Who plb becomes when nobody is named.
pub const USER_DEFAULT: &str = "nobody";
/// Where its root directory is when none is named; it is made when it is missing.
pub const ROOT_DEFAULT: &str = "/var/empty";

/// A step that failed, and why.
#[derive(Debug)]
pub struct Refusal {
    /// What could not be done.
    pub step: String,
    /// What the system said, or what is wrong.
    pub reason: String,
}

/// Who the process is, and what it sees as `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
    /// `None`: root did not start it, and it sees what everybody sees.
    root: Option<PathBuf>,
}

impl Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {} ({}:{})", self.name, self.uid, self.gid)?;
        self.root.as_ref().map_or(Ok(()), |root| write!(f, ", root directory {}", root.display()))
    }
}

/// Gives up all privileges for good, and says who is left.
///
/// # Errors
/// The first step that is not possible, and what the verification finds.
pub fn give_up(wanted: &Confinement) -> Result<Identity, Refusal> {
    if !wanted.core_dumps {
        setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(refused("cannot limit core dumps"))?;
    }
    let identity = if getuid().is_root() || geteuid().is_root() { leave_root(wanted)? } else { stay(wanted)? };
    system::renounce(wanted)?;
    verify(&identity)?;
    Ok(identity)
}

/// Becomes the user that is wanted, in the root directory that is wanted.
fn leave_root(wanted: &Confinement) -> Result<Identity, Refusal> {
    let identity = look_up(wanted)?;
    let path = identity.root.as_deref().unwrap_or(Path::new(ROOT_DEFAULT));
    let directory = match &wanted.chroot_dir {
        Some(_) => open_root(path)?,
        None => made_root(path)?,
    };
    fchdir(&directory)
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"))
        .map_err(refused(format!("cannot make {} the root directory", path.display())))?;
    drop(directory); // a descriptor of a directory is a way out (chroot(2))
    if let Err(reason) = system::clear_bounding_set() {
        // It matters to programs that are executed; there will be none.
        log::info!("the capability bounding set stays as it is: {reason}");
    }
    let step = || format!("cannot become {identity}");
    #[cfg(not(target_vendor = "apple"))] // where nix has no such calls
    nix::unistd::setgroups(&[] as &[Gid]).map_err(refused(format!("{}: supplementary groups", step())))?;
    set_ids(identity.uid, identity.gid).map_err(refused(step()))?;
    Ok(identity)
}

/// Stays who started it, without a way to another identity.
fn stay(wanted: &Confinement) -> Result<Identity, Refusal> {
    let (uid, gid) = (geteuid(), getegid());
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let identity = Identity { name, uid, gid, root: None };
    let is_same = |account: &Account, name: &str, id: u32| match account {
        Account::Name(other) => other == name,
        Account::Number(number) => *number == id,
    };
    let same_user = wanted.user.as_ref().is_none_or(|user| is_same(user, &identity.name, uid.as_raw()));
    let ignored = if same_user && wanted.group.is_none() && wanted.chroot_dir.is_none() {
        ""
    } else {
        "; user, group and chroot_dir are ignored"
    };
    log::info!("not started by root: no change of user, no root directory of its own{ignored}");
    let _ = system::clear_bounding_set(); // that is for those who have CAP_SETPCAP
    set_ids(uid, gid).map_err(refused(format!("cannot stay {identity} for good")))?;
    Ok(identity)
}

/// Finds out who is wanted. This needs files, and thus the old root directory.
fn look_up(wanted: &Confinement) -> Result<Identity, Refusal> {
    let default = Account::Name(USER_DEFAULT.to_string());
    let account = wanted.user.as_ref().unwrap_or(&default);
    let group = wanted.group.as_ref().map_or(String::new(), |group| format!(" with group {group}"));
    let refuse = |reason: String| Refusal { step: format!("cannot become user {account}{group}"), reason };
    let user = match account {
        Account::Name(name) => User::from_name(name),
        Account::Number(number) => User::from_uid(Uid::from_raw(*number)),
    };
    let user = user.map_err(|error| refuse(error.to_string()))?;
    let (name, uid, own_gid) = match (user, account) {
        (Some(user), _) => (user.name, user.uid, Some(user.gid)),
        (None, Account::Number(number)) => (number.to_string(), Uid::from_raw(*number), None),
        (None, Account::Name(_)) => return Err(refuse("there is no such user".to_string())),
    };
    let gid = match (&wanted.group, own_gid) {
        (Some(group), _) => look_up_group(group)?,
        (None, Some(gid)) => gid,
        (None, None) => return Err(refuse("the system knows no group of it; set group".to_string())),
    };
    if uid.is_root() || gid.as_raw() == 0 {
        return Err(refuse(format!("{uid}:{gid} is root, and plb does not serve as root")));
    }
    let root = wanted.chroot_dir.clone().unwrap_or_else(|| PathBuf::from(ROOT_DEFAULT));
    Ok(Identity { name, uid, gid, root: Some(root) })
}

fn look_up_group(account: &Account) -> Result<Gid, Refusal> {
    let refuse = |reason: String| Refusal { step: format!("cannot become group {account}"), reason };
    match account {
        Account::Number(number) => Ok(Gid::from_raw(*number)),
        Account::Name(name) => match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            Ok(None) => Err(refuse("there is no such group".to_string())),
            Err(error) => Err(refuse(error.to_string())),
        },
    }
}

/// The default root directory, made when it is missing.
fn made_root(path: &Path) -> Result<OwnedFd, Refusal> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open_root(path),
        Err(error) => Err(refused(format!("cannot make the root directory {}", path.display()))(error)),
        Ok(()) => {
            let directory = open_root(path)?;
            // Our umask took its share.
            fchmod(&directory, Mode::from_bits_truncate(0o755)).map_err(refused("cannot open it to all"))?;
            Ok(directory)
        }
    }
}

/// Opens a directory and judges what was opened, so that nobody can put another one in its place in between.
fn open_root(path: &Path) -> Result<OwnedFd, Refusal> {
    let step = || format!("chroot_dir {}", path.display());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP => refused(step())("it is not a directory (a link to one does not do)"),
        errno => refused(step())(errno),
    })?;
    let status = fstat(&directory).map_err(refused(step()))?;
    let mode = Mode::from_bits_truncate(status.st_mode);
    if status.st_uid != 0 {
        return Err(refused(step())(format!("it must be root's, but is that of user {}", status.st_uid)));
    }
    if mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) {
        return Err(refused(step())(format!("only root may write to it, but its mode is {:04o}", mode.bits())));
    }
    Ok(directory)
}

/// Sets real, effective and saved ids: the group's first, because it takes privilege.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn set_ids(uid: Uid, gid: Gid) -> nix::Result<()> {
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

/// Sets all ids, as setuid(2) does for root.
#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
fn set_ids(uid: Uid, gid: Gid) -> nix::Result<()> {
    setgid(gid)?;
    setuid(uid)
}

/// Tries to be what was given up.
fn verify(identity: &Identity) -> Result<(), Refusal> {
    let found = |what: &str| Err(refused(format!("cannot give up privileges: still {identity}?"))(what));
    let Identity { uid, gid, ref root, .. } = *identity;
    if [getuid(), geteuid()] != [uid; 2] || [getgid(), getegid()] != [gid; 2] {
        return found("the user or the group is another one");
    }
    // FreeBSD counts the effective group among the supplementary ones.
    #[cfg(not(target_vendor = "apple"))]
    if root.is_some() && !nix::unistd::getgroups().is_ok_and(|groups| groups.iter().all(|&other| other == gid)) {
        return found("there are supplementary groups");
    }
    if setuid(Uid::from_raw(0)).is_ok() || (gid.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok()) {
        return found("it can become root again");
    }
    if system::has_capabilities() {
        return found("there are capabilities");
    }
    Ok(())
}

fn refused<E: Display>(step: impl Display) -> impl FnOnce(E) -> Refusal {
    move |reason| Refusal { step: step.to_string(), reason: reason.to_string() }
}

/// What Linux has.
#[cfg(target_os = "linux")]
mod system {
    use caps::errors::CapsError;
    use caps::{CapSet, clear, read};
    use nix::sys::prctl::{set_dumpable, set_no_new_privs};

    use super::{Confinement, Refusal, refused};

    /// What a process has and can pass on. The ambient set holds only what two of these hold (capabilities(7)).
    const SETS: [CapSet; 3] = [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];

    pub fn clear_bounding_set() -> Result<(), CapsError> {
        clear(None, CapSet::Bounding)
    }

    /// What the user that is left may do beyond others, and what others may see of it.
    pub fn renounce(wanted: &Confinement) -> Result<(), Refusal> {
        set_no_new_privs().map_err(refused("cannot set no_new_privs"))?;
        SETS.into_iter().try_for_each(|set| clear(None, set)).map_err(refused("cannot give up capabilities"))?;
        // Late, because a change of user sets it back (proc(5), suid_dumpable).
        set_dumpable(wanted.core_dumps).map_err(refused("cannot set whether there are core dumps"))
    }

    pub fn has_capabilities() -> bool {
        SETS.into_iter().any(|set| !read(None, set).is_ok_and(|capabilities| capabilities.is_empty()))
    }
}

/// Other systems have nothing beyond users and groups.
#[cfg(not(target_os = "linux"))]
mod system {
    pub fn clear_bounding_set() -> nix::Result<()> {
        Ok(())
    }

    pub fn renounce(_: &super::Confinement) -> Result<(), super::Refusal> {
        Ok(())
    }

    pub fn has_capabilities() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uid: Uid, gid: Gid) -> Identity {
        Identity { name: "somebody".to_string(), uid, gid, root: None }
    }

    #[test]
    fn who_is_somebody_else_or_can_become_root_is_found_out() {
        let other = Uid::from_raw(getuid().as_raw() + 1);
        let refusal = verify(&identity(other, getgid())).expect_err("it is not that user");
        assert!(refusal.reason.contains("another"), "{}", refusal.reason);
        if getuid().is_root() {
            let refusal = verify(&identity(getuid(), getgid())).expect_err("it is root");
            assert!(refusal.reason.contains("root again"), "{}", refusal.reason);
        }
    }

    #[test]
    fn who_is_left_is_said_with_the_root_directory() {
        let nobody = identity(Uid::from_raw(7), Gid::from_raw(8));
        assert_eq!(nobody.to_string(), "user somebody (7:8)");
        let confined = Identity { root: Some(PathBuf::from("/var/empty")), ..nobody };
        assert_eq!(confined.to_string(), "user somebody (7:8), root directory /var/empty");
    }
}
