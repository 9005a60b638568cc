//! What a route or a listener asks of its clients as serde sees it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::word::{Leaf, One, Realm, Text};
use super::{Period, Switch, Whole};

/// How often a client may ask.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct RateLimit {
    /// So many requests in each period.
    pub requests: One<Leaf<Whole<1, 1_000_000>>>,
    /// That period.
    pub period: Period,
    /// So many at once after a rest; as many as `requests` unless it is set.
    pub burst: One<Leaf<Whole<1, 1_000_000>>>,
}

/// Basic authentication.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct BasicAuth {
    /// What the client is told that the password is for.
    pub realm: One<Realm>,
    /// The file of users.
    pub file: One<Text>,
    /// The backend gets the `Authorization` field.
    pub forward: Switch,
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit { requests: One(None), period: Period(Duration::from_secs(1)), burst: One(None) }
    }
}

impl Default for BasicAuth {
    fn default() -> BasicAuth {
        BasicAuth { realm: One(None), file: One(None), forward: Switch(false) }
    }
}
