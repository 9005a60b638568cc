//! The greeting: a trusted proxy says whom it forwards for before it sends anything else, and backends are told so.
//!
//! Nothing behind the header of the PROXY protocol is judged before the header is whole, and who sends anything else is
//! reset. Whether there is one is never guessed: the settings say so, and it is taken from trusted proxies only.

use std::net::SocketAddr;

use super::phase::Phase;
use super::record::CloseReason;
use super::{Context, Session};
use crate::balance::BackendId;
use crate::config::Listener;
use crate::protocol::proxy_header::{self, Parsed};
use crate::protocol::{AnyProtocol, Stage};

/// What a session does first whose client, or its proxy, is this peer.
pub(super) fn first_phase(listener: &Listener, peer: SocketAddr) -> Phase {
    let greets = listener.accept_proxy.is_some() && listener.http.forwarding.trusted_proxies.contains(peer.ip());
    if greets { Phase::Greeting } else { Phase::Waiting }
}

impl Context<'_> {
    /// Whether the first thing that this backend is sent on a connection is who the client is.
    pub(super) fn announces(&self, backend: BackendId) -> bool {
        self.config.pools[backend.pool()].send_proxy.is_some()
    }
}

impl Session {
    /// Who the client is, and where it connected to, as far as its proxy has said so.
    pub fn ends(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.client, self.destination)
    }

    /// The proxy has said more, or all that it will: whether the client is known now.
    pub(super) fn meets_client(&mut self, context: &mut Context) -> bool {
        let listener = &context.config.listeners[usize::from(self.listener)];
        let Some(versions) = listener.accept_proxy else { return true };
        let here = self.request.pending();
        match proxy_header::parse(here, versions) {
            Parsed::Header { bytes, addresses } => {
                self.request.discard(bytes);
                if let Some((source, destination)) = addresses {
                    self.client = source;
                    self.port = destination.port();
                    self.destination = Some(destination);
                    self.protocol = AnyProtocol::new(listener.protocol, source.ip());
                }
                self.phase = Phase::Waiting;
                self.since = context.now;
                return true;
            }
            Parsed::Malformed(why) => self.close(CloseReason::Unannounced(why), context),
            Parsed::Incomplete if !self.request.source_ended() => {}
            // It looked whether somebody listens.
            Parsed::Incomplete if here.is_empty() => self.close(CloseReason::Finished, context),
            Parsed::Incomplete => self.close(CloseReason::Unannounced("it is cut off"), context),
        }
        false
    }

    /// The header did not come in time.
    pub(super) fn misses_client(&mut self, context: &mut Context) {
        // Who has said nothing when the daemon stops loses nothing.
        let reason = match context.stage {
            Stage::Draining if self.request.is_empty() => CloseReason::Idle,
            Stage::Serving | Stage::Draining => CloseReason::Unannounced("it did not come in time"),
        };
        self.close(reason, context);
    }
}
