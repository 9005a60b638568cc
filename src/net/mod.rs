//! System calls: the shell around the pure rooms.
//!
//! Sockets live here, and nowhere else. A token names a socket; whom it serves is the socket's own knowledge, so that
//! a backend connection moves between a session and the idle set without a system call.

pub mod addresses;
pub mod driver;
pub mod failure;
pub mod idle;
pub mod kernel_pipe;
pub mod listener;
pub mod probe;
pub mod socket;
pub mod stream;
pub mod token;
