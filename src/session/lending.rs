//! The buffers that a session is lent, and when it gives them back.

use super::Session;
use crate::base::buffers::{Buffer, Buffers};

impl Session {
    /// Whether it has its two buffers.
    pub fn has_buffers(&self) -> bool {
        self.request.has_buffer()
    }

    /// How many buffers it has.
    pub fn buffers_held(&self) -> usize {
        usize::from(self.request.has_buffer()) + usize::from(self.response.has_buffer())
    }

    /// Borrows the buffers that it lacks, all of them or none, and tells whether it has both.
    pub fn borrow(&mut self, buffers: &mut Buffers) -> bool {
        match (self.request.has_buffer(), self.response.has_buffer()) {
            (true, _) => true,
            (false, true) => buffers.lend().map(|[request]| self.request.attach(request)).is_some(),
            (false, false) => {
                let pair = buffers.lend().map(|[request, response]| {
                    self.request.attach(request);
                    self.response.attach(response);
                });
                pair.is_some()
            }
        }
    }

    /// Gives back the buffers that it does not need while it waits.
    pub fn take_idle_buffers(&mut self) -> [Option<Buffer>; 2] {
        match (self.request.has_empty_buffer(), self.response.has_empty_buffer()) {
            (true, true) => self.take_buffers(),
            // A client that does not take what it gets costs one of them. When it has taken it, none is held: who held
            // one and needed another could wait for those who wait for it.
            (true, false) if self.response.is_cleared() => [self.request.detach(), None],
            _ => [None, None],
        }
    }

    /// Gives its buffers back, whatever is in them.
    pub fn take_buffers(&mut self) -> [Option<Buffer>; 2] {
        [self.request.detach(), self.response.detach()]
    }
}
