//! Versions of the PROXY protocol: which one is received, and which one is sent.

use super::word::choices;

/// The versions that a listener takes from trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersions {
    /// Either.
    Any,
    /// The line of text.
    V1,
    /// The binary block.
    V2,
}

/// The version that backends are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary block.
    V2,
}

choices!(ProxyVersions: "any" Any, "v1" V1, "v2" V2);
choices!(ProxyVersion: "v1" V1, "v2" V2);
