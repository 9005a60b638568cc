//! What the scenarios are made of: the program under test, scripted origins, plain clients.
//!
//! Nothing here knows how plb works; it speaks to it through sockets, signals, its command line and its log.

pub mod client;
pub mod gate;
pub mod lines;
pub mod message;
pub mod origin;
pub mod plb;

pub use gate::Gate;
pub use message::Message;
pub use origin::{BlackHole, Connection, Origin, Reservation};
pub use plb::{Plb, configuration};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as failed. Never what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for a state that nobody announces until it is there; panics with `what` when it never comes.
pub fn poll_until(what: &str, mut reached: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < limit, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the mutex guards, also after a test that held it has failed: its end still needs it.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a scenario that moves much or counts memory: the memory that the kernel has for all sockets has a limit, and
/// where it is reached, sockets take less and plb has to hold more.
pub fn alone() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    locked(&HEAVY)
}

/// A whole 200 response with a length.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// `length` bytes that look random and are the same for the same `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The FNV-1a sum of some bytes: enough to tell two streams apart.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
