//! What backends are told about clients, and which proxies are believed about theirs.

use super::network::Networks;
use super::schema::ListenerSettings;

/// What a listener tells backends about its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The address, in `X-Forwarded-For`.
    pub x_forwarded_for: bool,
    /// The scheme, in `X-Forwarded-Proto`.
    pub x_forwarded_proto: bool,
    /// What it sent as `Host`, in `X-Forwarded-Host`.
    pub x_forwarded_host: bool,
    /// The port that it connected to, in `X-Forwarded-Port`.
    pub x_forwarded_port: bool,
    /// Address, host and scheme, in `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Whether a request gets an `X-Request-Id`.
    pub request_id: RequestId,
    /// Its response gets it, too.
    pub request_id_in_response: bool,
    /// Who is believed about whom it forwards for.
    pub trusted_proxies: Networks,
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

impl From<&ListenerSettings> for Forwarding {
    fn from(settings: &ListenerSettings) -> Forwarding {
        Forwarding {
            x_forwarded_for: settings.x_forwarded_for.0,
            x_forwarded_proto: settings.x_forwarded_proto.0,
            x_forwarded_host: settings.x_forwarded_host.0,
            x_forwarded_port: settings.x_forwarded_port.0,
            forwarded: settings.forwarded.0,
            request_id: settings.request_id.0,
            request_id_in_response: settings.request_id_in_response.0,
            trusted_proxies: settings.trusted_proxies.networks(),
        }
    }
}
