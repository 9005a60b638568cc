//! Ctrl-C and SIGTERM: they are only noted, so that the guards of all children run on the way out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on the two signals are noted instead of ending the process.
pub fn watch() -> io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&REQUESTED))?;
    }
    Ok(())
}

/// Whether one of the signals has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
