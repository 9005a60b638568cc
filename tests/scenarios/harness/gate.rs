//! `Gate`: closed until somebody opens it; what a script waits at so that a test decides when it goes on.

use super::{PATIENCE, locked};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *locked(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Returns once the gate is open.
    pub fn pass(&self) {
        let open = locked(&self.0.0);
        let (open, _) =
            self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap_or_else(PoisonError::into_inner);
        assert!(*open, "nobody opened the gate");
    }
}
