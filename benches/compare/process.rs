//! A process that the comparison has started: pinned, ended with its guard, and what it has cost so far.
//!
//! The guard ends it on every way out of a round; the parent-death signal of setpriv(1) covers the bench being killed,
//! but not for a process that gives up root, which clears it: prctl(2), `PR_SET_PDEATHSIG`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rustix::io::ioctl_fionread;

/// The processor of the load generator and of the origins.
pub const LOAD_CPU: u32 = 0;
/// The processor that the balancer has for itself.
pub const BALANCER_CPU: u32 = 1;
/// How long a process may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two looks at something that another process has to do.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// So many readings of memory in a row have to be the same.
const SETTLE_READINGS: u32 = 3;
/// The pause between two of them.
const SETTLE_PAUSE: Duration = Duration::from_millis(800);
/// A process that never comes to rest is read all the same.
const SETTLE_READINGS_MAX: u32 = 15;

/// What a process does when the comparison is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// It gets SIGTERM.
    Ends,
    /// It finds out by itself.
    Knows,
}

/// A child process; dropping it ends it and its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` on the processor `cpu`, its standard streams as given there.
    pub fn start(
        command: &Command,
        cpu: u32,
        orphan: Orphan,
        [input, output, errors]: [Stdio; 3],
    ) -> io::Result<Process> {
        let signal = match orphan {
            Orphan::Ends => "TERM",
            Orphan::Knows => "clear",
        };
        // Both tools exec what follows them, so the child's id is the id of the program itself.
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", signal, "taskset", "-c"]).arg(cpu.to_string());
        pinned.arg(command.get_program()).args(command.get_args());
        let child = pinned.stdin(input).stdout(output).stderr(errors).spawn()?;
        Ok(Process { child })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child with its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` and waits for the end; `None` when it does not end in time.
    pub fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        send(self.id(), signal);
        let limit = Instant::now() + END_LIMIT;
        while Instant::now() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let offspring = children(self.id());
        if self.end(Signal::SIGTERM).is_none() {
            offspring.into_iter().for_each(|id| send(id, Signal::SIGKILL));
            // Both fail only for a process that is gone, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Pins this process, before it has a second thread, to `cpu`.
pub fn pin_self(cpu: u32) -> Result<(), String> {
    let arguments = ["-pc".to_string(), cpu.to_string(), std::process::id().to_string()];
    match Command::new("taskset").args(arguments).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("taskset: {status} (two processors are needed)")),
        Err(error) => Err(format!("taskset: {error} (package util-linux)")),
    }
}

/// The ids of the children of the main thread of process `id`.
pub fn children(id: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The nanoseconds that all tasks of process `id` have run: the first field of schedstat (Linux, sched-stats.rst).
pub fn cpu_nanoseconds(id: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        let line = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += first_number(&line)?;
    }
    Ok(sum)
}

/// The number of descriptors that process `id` has open.
pub fn descriptors(id: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count() as u64)
}

/// The proportional set size of process `id` in KiB, and of what its kernel pipes hold, once it is at rest: when
/// the sum has been the same for some readings. A balancer may give memory back a while after it was needed.
pub fn settled_memory_kib(id: u32) -> io::Result<u64> {
    let (mut last, mut same) = (memory_kib(id)?, 0);
    for _ in 0..SETTLE_READINGS_MAX {
        thread::sleep(SETTLE_PAUSE);
        let now = memory_kib(id)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == SETTLE_READINGS {
            break;
        }
    }
    Ok(last)
}

fn memory_kib(id: u32) -> io::Result<u64> {
    Ok(pss_kib(id)? + pipes_kib(id)?)
}

/// What the pipes of process `id` hold, in KiB.
fn pipes_kib(id: u32) -> io::Result<u64> {
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    for entry in fs::read_dir(format!("/proc/{id}/fd"))? {
        let path = entry?.path();
        // A descriptor may have been closed meanwhile.
        let Ok(target) = fs::read_link(&path) else { continue };
        // Both ends have the same name.
        if target.to_string_lossy().starts_with("pipe:") && seen.insert(target) {
            // This opens the pipe once more: nothing is taken out of it.
            let pipe = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
            bytes += pipe.map_or(Ok(0), ioctl_fionread)?;
        }
    }
    Ok(bytes / 1024)
}

fn pss_kib(id: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    first_number(rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default())
}

/// The id of the process that traces process `id`; 0 when none does.
pub fn tracer(id: u32) -> io::Result<u64> {
    first_number(&status(id, "TracerPid:")?)
}

/// An error when process `id`, which was started with what rights this one has, still has those of root or sees all files.
pub fn verify_confined(id: u32) -> Result<(), String> {
    let (users, root) = (status(id, "Uid:"), fs::read_link(format!("/proc/{id}/root")));
    let (users, root) = users.and_then(|users| Ok((users, root?))).map_err(|error| format!("/proc/{id}: {error}"))?;
    if users.split_whitespace().any(|user| user == "0") {
        return Err(format!("it is not confined: it has the user ids {users}"));
    }
    if geteuid().is_root() && root == Path::new("/") {
        return Err("it is not confined: it has no root directory of its own".to_string());
    }
    Ok(())
}

/// What /proc/ID/status says after `name`.
fn status(id: u32, name: &str) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.ok_or_else(|| io::Error::other(format!("no {name}")))?.trim().to_string())
}

/// Asks process `id` to end.
pub fn ask_to_end(id: u32) {
    send(id, Signal::SIGTERM);
}

/// Where `program` is; a name without a slash is looked for on the path and where daemons are kept.
pub fn find(program: &Path) -> Option<std::path::PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_path_buf()]);
    directories.map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no number in {text:?}")))
}

fn send(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id) {
        // An error means that the process has ended.
        let _ = kill(Pid::from_raw(id), signal);
    }
}
