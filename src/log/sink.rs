//! `Sink`: where lines leave the process, and never wait.
//!
//! | destination | how a write is kept from waiting |
//! |---|---|
//! | a regular file | it does not wait for anybody |
//! | a pipe, a terminal, a device | `O_NONBLOCK`, on an open file description of our own |
//! | the same, where the system lets us have none | it is asked for room first, and gets no more than fits |
//! | a socket | `MSG_DONTWAIT` |
//!
//! The description behind a standard stream is shared with whoever started plb, the shell for one: a flag that is set
//! there is set for them all. So a pipe or a terminal is opened anew, through /proc where that is (proc(5), "fd"). The
//! last but one way has a gap: another process may fill the pipe between the question and the write.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, UnixAddr, connect, send};
use nix::unistd::{geteuid, write};

/// The most bytes that a write to a pipe takes as one piece (POSIX, `limits.h`); Linux takes more.
const PIPE_BYTES_MAX: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Where lines leave the process.
#[derive(Debug)]
pub struct Sink {
    descriptor: OwnedFd,
    way: Way,
    /// Where a local socket was, which may come back there.
    path: Option<UnixAddr>,
}

/// How they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Into a regular file.
    File,
    /// Through a description of our own that does not block.
    Own,
    /// Through a description that others share, and that may block.
    Shared,
    /// Into a stream socket.
    Stream,
    /// Each as one datagram.
    Datagram,
}

impl Sink {
    /// A standard stream. Its own flags are left alone.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn standard(stream: BorrowedFd) -> io::Result<Sink> {
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let file = fs::File::from(stream.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let own = || OpenOptions::new().write(true).custom_flags(flags.bits()).open(path);
        Ok(match kind {
            kind if kind.is_file() => Sink::new(file, Way::File),
            kind if kind.is_socket() => Sink::new(file, Way::Stream),
            _ => own().map_or_else(|_| Sink::new(file, Way::Shared), |own| Sink::new(own, Way::Own)),
        })
    }

    /// The end of a file, which is made when it is missing; or a FIFO that somebody reads; or a device.
    ///
    /// Root follows no link there: whoever may write to the directory could lead it anywhere.
    ///
    /// # Errors
    /// It cannot be opened, or is no such thing.
    pub fn file(path: &Path) -> io::Result<Sink> {
        let is_root = geteuid().is_root();
        let mut flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        flags.set(OFlag::O_NOFOLLOW, is_root);
        let options = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags.bits()).clone();
        let file = options.open(path).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ELOOP) if is_root => io::Error::other("it is a symbolic link, which root does not follow"),
            Some(Errno::ENXIO) => io::Error::other("it is a FIFO that nobody reads"),
            _ => error,
        })?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        match () {
            () if kind.is_file() && is_root && metadata.nlink() > 1 => {
                Err(io::Error::other("it has another name, which root does not trust"))
            }
            () if kind.is_file() => Ok(Sink::new(file, Way::File)),
            () if kind.is_fifo() || kind.is_char_device() => Ok(Sink::new(file, Way::Own)),
            () => Err(io::Error::other("it is neither a file nor a FIFO nor a terminal")),
        }
    }

    /// The first of these local sockets that takes a connection.
    ///
    /// # Errors
    /// None does; what the last one that exists said.
    pub fn local(paths: &[PathBuf]) -> io::Result<Sink> {
        let mut failure = None;
        for path in paths {
            let socket = UnixDatagram::unbound()?;
            match socket.connect(path) {
                Ok(()) => return Ok(Sink { path: UnixAddr::new(path).ok(), ..Sink::new(socket, Way::Datagram) }),
                Err(error) if error.raw_os_error() == Some(Errno::EPROTOTYPE as i32) => {
                    return Ok(Sink::new(UnixStream::connect(path)?, Way::Stream));
                }
                Err(error) if error.kind() == ErrorKind::NotFound && failure.is_some() => {}
                Err(error) => failure = Some(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
        Err(failure.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    /// A server that takes datagrams.
    ///
    /// # Errors
    /// There is no way there.
    pub fn udp(server: SocketAddr) -> io::Result<Sink> {
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        Ok(Sink::new(socket, Way::Datagram))
    }

    fn new(descriptor: impl Into<OwnedFd>, way: Way) -> Sink {
        Sink { descriptor: descriptor.into(), way, path: None }
    }

    /// Writes some of these lines, the first ones, and tells how many bytes of them are done with.
    ///
    /// # Errors
    /// `EAGAIN` where it would wait; else what the system says.
    pub fn write(&self, lines: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::File => write(&self.descriptor, lines),
            Way::Own => write(&self.descriptor, piece(lines)),
            Way::Shared => {
                let mut question = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut question, PollTimeout::ZERO)? {
                    0 => Err(Errno::EAGAIN),
                    _ => write(&self.descriptor, piece(lines)),
                }
            }
            Way::Stream => self.send(lines),
            Way::Datagram => {
                let end = memchr(b'\n', lines).unwrap_or(lines.len());
                let sent = match (self.send(&lines[..end]), &self.path) {
                    // Whoever listened there is gone, and may have been started again.
                    (Err(Errno::ECONNREFUSED | Errno::ENOTCONN), Some(path)) => {
                        connect(self.descriptor.as_raw_fd(), path).and_then(|()| self.send(&lines[..end]))
                    }
                    (sent, _) => sent,
                };
                sent.map(|_| lines.len().min(end + 1))
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        // Rust's runtime ignores SIGPIPE.
        send(self.descriptor.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT)
    }
}

/// As many whole lines as a pipe takes in one piece, so that no line of another writer gets into the middle of one.
fn piece(lines: &[u8]) -> &[u8] {
    let piece = &lines[..lines.len().min(PIPE_BYTES_MAX)];
    memrchr(b'\n', piece).map_or(piece, |end| &piece[..=end])
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_pipe_that_is_full_is_not_waited_for_whoever_shares_it() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a FIFO can be made");
        assert!(Sink::file(&path).is_err(), "nobody reads it");
        let nonblocking = OFlag::O_NONBLOCK.bits();
        let mut reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).expect("it is there");
        let lines = "a line\n".repeat(3_000);
        let shared = OpenOptions::new().write(true).open(&path).expect("somebody reads it");
        let standard = Sink::standard(shared.as_fd()).expect("descriptors are left");
        for sink in [standard, Sink::new(shared, Way::Shared), Sink::file(&path).expect("somebody reads it")] {
            let counts: Vec<_> = std::iter::from_fn(|| sink.write(lines.as_bytes()).ok()).collect();
            assert!(counts.len() > 1 && counts.iter().all(|count| count % 7 == 0), "whole lines: {counts:?}");
            assert_eq!(sink.write(lines.as_bytes()), Err(Errno::EAGAIN));
            assert_eq!(reader.read_to_end(&mut Vec::new()).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        }
    }

    #[test]
    fn a_syslog_may_listen_on_a_stream_and_at_any_of_the_places() {
        let directory = tempfile::tempdir().expect("there is room");
        let [absent, path] = ["absent", "socket"].map(|name| directory.path().join(name));
        let failure = Sink::local(std::slice::from_ref(&absent)).expect_err("there is none").to_string();
        assert!(failure.starts_with(&format!("{}: No such file", absent.display())), "{failure}");
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let sink = Sink::local(&[absent, path]).expect("somebody listens");
        assert_eq!((sink.way, sink.write(b"one\ntwo\n")), (Way::Stream, Ok(8)));
        drop(sink);
        let mut text = String::new();
        listener.accept().expect("it was connected to").0.read_to_string(&mut text).expect("it was written");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_syslog_that_is_started_again_gets_what_follows() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("socket");
        let first = UnixDatagram::bind(&path).expect("a socket can be made");
        let sink = Sink::local(std::slice::from_ref(&path)).expect("somebody listens");
        drop(first);
        for _ in 0..3 {
            sink.write(b"lost\n").expect_err("nobody listens");
        }
        fs::remove_file(&path).expect("it is there");
        assert_eq!(sink.write(b"lost\n"), Err(Errno::ENOENT));
        let second = UnixDatagram::bind(&path).expect("a socket can be made");
        assert_eq!(sink.write(b"line\n"), Ok(5));
        assert_eq!(second.recv(&mut [0; 9]).expect("it was sent"), 4);
    }

    #[test]
    fn a_log_that_is_no_file_is_refused() {
        assert!(Sink::file(Path::new("/")).is_err());
        assert!(Sink::file(Path::new("/nonexistent/log")).is_err());
        assert_eq!(Sink::file(Path::new("/dev/null")).expect("it takes all").write(b"a\n"), Ok(2));
    }
}
