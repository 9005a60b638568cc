//! Reading what a socket has after an edge-triggered event, for both ends of the comparison.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

use mio::event::Event;
use mio::net::TcpStream;
use nix::sys::socket::{MsgFlags, recv};

/// The size of the buffer that `receive` is given.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// Whether the other end may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// More may come, with a new event.
    Open,
    /// It has ended its sending.
    Ended,
}

/// Appends to `received` all that `stream` has, through `buffer`.
pub fn receive(stream: &mut TcpStream, event: &Event, buffer: &mut [u8], received: &mut Vec<u8>) -> io::Result<Source> {
    loop {
        let count = match stream.read(buffer) {
            Ok(0) => return Ok(Source::Ended),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Source::Open),
            Err(error) => return Err(error),
        };
        received.extend_from_slice(&buffer[..count]);
        // A short read has emptied the socket, but an end that came with the bytes gives no event of its own.
        if count < buffer.len() && !event.is_read_closed() {
            return Ok(Source::Open);
        }
    }
}

/// Takes up to `room.len()` bytes out of `stream` without copying them anywhere: tcp(7), `MSG_TRUNC`.
pub fn discard(stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), room, MsgFlags::MSG_TRUNC)?)
}
