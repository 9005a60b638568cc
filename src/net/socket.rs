//! Sockets as the configuration wants them: the options of TCP, and the address that connections to backends come from.
//!
//! By default there is nothing to set, and no system call is made for that.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::{Pool, SocketOptions};

/// Whoever does not answer when asked whether it lives is asked again after this time ..
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// .. and so many times in all: it is gone a minute after it fell silent for too long.
#[cfg(not(target_os = "openbsd"))]
const KEEP_ALIVE_PROBES: u32 = 6;

/// Asks for a connection to a backend of this pool.
///
/// # Errors
/// The system refuses at once: descriptors or ports ran out, or there is no way there.
pub fn connect(address: SocketAddr, pool: &Pool) -> io::Result<TcpStream> {
    let socket = match pool.source.towards(address.ip()) {
        None => TcpStream::connect(address)?,
        Some(source) => connect_from(source, address)?,
    };
    // Without them it is a connection all the same.
    let _ = set_watch(SockRef::from(&socket), &pool.socket);
    Ok(socket)
}

fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = bound_to(source)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A socket with this local address.
///
/// # Errors
/// This host has no such address, or descriptors ran out.
pub fn bound_to(source: IpAddr) -> io::Result<Socket> {
    let source = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(source), Type::STREAM, Some(Protocol::TCP))?;
    // With it the port is chosen with regard to where the connection goes: as many to each backend as there are ports.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&source.into())?;
    Ok(socket)
}

/// Sets how the system finds out that the other end is gone; accepted sockets inherit it on Linux and the BSDs.
///
/// # Errors
/// The system knows no such option.
pub fn set_watch(socket: SockRef, options: &SocketOptions) -> io::Result<()> {
    if let Some(idle) = options.keep_alive {
        let keep_alive = TcpKeepalive::new().with_time(idle);
        #[cfg(not(target_os = "openbsd"))]
        let keep_alive = keep_alive.with_interval(KEEP_ALIVE_INTERVAL).with_retries(KEEP_ALIVE_PROBES);
        socket.set_tcp_keepalive(&keep_alive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}
