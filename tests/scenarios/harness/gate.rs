//! `Gate`: closed until somebody opens it; what a script waits at so that a test decides when it goes on.

use super::PATIENCE;
use std::sync::{Arc, Condvar, Mutex};

/// Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().expect("no script panics while it holds the gate") = true;
        self.0.1.notify_all();
    }

    /// Returns once the gate is open.
    pub fn pass(&self) {
        let open = self.0.0.lock().expect("no script panics while it holds the gate");
        let (open, _) = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).expect("as above");
        assert!(*open, "nobody opened the gate");
    }
}
