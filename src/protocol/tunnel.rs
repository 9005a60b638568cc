//! Tunnels: bytes flow both ways unjudged, and an end travels in its own direction and leaves the other one open.
//!
//! A TCP session is one from its first byte, an HTTP connection from the moment at which both peers have agreed to speak
//! another protocol.

use super::{Farewell, Step, View};
use crate::base::pipe::UNLIMITED;

/// From now on whatever comes is passed on, what has come already included.
pub(super) fn open(view: &mut View) {
    view.request.grant(UNLIMITED);
    view.response.grant(UNLIMITED);
}

/// Passes the ends on, and finishes when both have arrived.
pub(super) fn pass_ends(view: &mut View) -> Step {
    let [up, down] = [&mut *view.request, &mut *view.response].map(|pipe| {
        if pipe.source_ended() {
            pipe.finish();
        }
        pipe.source_ended() && !pipe.has_unsent()
    });
    match (up, down) {
        // Two closes tell both peers what two shutdowns would have told them.
        (true, true) => Step::Finish(Farewell::Close),
        // Nobody takes what the client still sends: without this it would be waited for as long as for a tunnel.
        (false, true) if view.request.sink_broken() => Step::Finish(Farewell::Linger),
        _ => Step::Continue,
    }
}
