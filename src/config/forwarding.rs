//! What backends are told about clients, and which proxies are believed about theirs.

use super::leaf::Switch;
use super::network::Networks;
use super::word::settings;

settings! {
    /// What a listener tells backends about its clients.
    Forwarding {
        /// The address, in `X-Forwarded-For`.
        x_forwarded_for: Switch = true,
        /// The scheme, in `X-Forwarded-Proto`.
        x_forwarded_proto: Switch = true,
        /// What it sent as `Host`, in `X-Forwarded-Host`.
        x_forwarded_host: Switch = true,
        /// The port that it connected to, in `X-Forwarded-Port`.
        x_forwarded_port: Switch = false,
        /// Address, host and scheme, in `Forwarded` (RFC 7239).
        forwarded: Switch = false,
        /// Whether a request gets an `X-Request-Id`.
        request_id: RequestId = RequestId::None,
        /// Its response gets it, too.
        request_id_in_response: Switch = false,
        /// Who is believed about whom it forwards for.
        trusted_proxies: Networks = Networks::default(),
    }
}

/// Whether a request gets an `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// What the client sends is passed on like any other field.
    None,
    /// A new one.
    Make,
    /// That of a trusted proxy, or else a new one.
    Keep,
}
