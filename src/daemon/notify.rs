//! Messages to the service manager: sd_notify(3), a datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET`
//! names.
//!
//! Connected at the start, before there is no file system any more. Once plb serves it never waits: a message that the
//! manager has no room for is lost, and one that has gone away costs nothing.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a busy manager may take to make room for the first message.
const READY_WAIT: Duration = Duration::from_secs(5);

/// Whoever has to be told what becomes of the process; nobody, by default.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// How often the manager wants a sign of life.
    watchdog: Option<Duration>,
}

impl Notify {
    /// Connects to whoever `NOTIFY_SOCKET` names, if it is set.
    ///
    /// # Errors
    /// There is no such socket.
    pub fn connect() -> io::Result<Notify> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(Notify::default()) };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        socket.set_write_timeout(Some(READY_WAIT))?;
        let (period, pid) = (env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok());
        let watchdog = watchdog_pause(period.as_deref(), pid.as_deref(), std::process::id());
        Ok(Notify { socket: Some(socket), watchdog })
    }

    /// Sends the message that plb is ready. It alone waits for room: a manager that missed it would end plb.
    pub fn ready(&self, message: &str) {
        self.send(message);
        self.socket.iter().for_each(|socket| drop(socket.set_nonblocking(true)));
    }

    /// Sends one message, if somebody is there and has room for it.
    pub fn send(&self, message: &str) {
        self.socket.iter().for_each(|socket| drop(socket.send(message.as_bytes())));
    }

    /// Tells that the loop turns, and when to tell it again; `None` when nobody asks.
    pub fn alive(&self) -> Option<Duration> {
        self.watchdog.inspect(|_| self.send("WATCHDOG=1"))
    }
}

/// A path, or behind `@` a name that is in no file system.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "no such kind of socket")),
    }
}

/// Half of the period after which the manager despairs, as sd_watchdog_enabled(3) advises; `None` when it asks nothing
/// of this process.
fn watchdog_pause(period_micros: Option<&str>, watched: Option<&str>, own: u32) -> Option<Duration> {
    let is_watched = watched.is_none_or(|pid| pid.parse() == Ok(own));
    let micros: u64 = period_micros?.parse().ok()?;
    (is_watched && micros > 1).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_a_period_when_it_watches_this_process() {
        let table = [
            (None, None, None),
            (Some("3000000"), None, Some(1_500)),
            (Some("3000000"), Some("7"), Some(1_500)),
            (Some("3000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("often"), None, None),
            (Some("3000000"), Some("me"), None),
        ];
        for (period, watched, millis) in table {
            let pause = millis.map(Duration::from_millis);
            assert_eq!(watchdog_pause(period, watched, 7), pause, "{period:?} {watched:?}");
        }
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        assert!(address("/run/notify".as_ref()).unwrap().as_pathname().is_some());
        assert_eq!(address("@name".as_ref()).is_ok(), cfg!(target_os = "linux"));
        for name in ["", "run/notify", "vsock:2:1234"] {
            assert!(address(name.as_ref()).is_err(), "{name:?}");
        }
    }
}
