//! The routes of a listener as serde sees them.

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::super::word::{
    Expression, FieldValue, FreeField, Hosts, Leaf, Method, Net, One, Redirection, Several, Target, Text, UrlPath,
    UrlPrefix,
};
use super::{Name, SizeOrNone, Switch, Whole};

/// A route of a listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Route {
    /// A map, read as [`Conditions`] and [`Negation`].
    #[serde(rename = "match")]
    pub conditions: Value,
    /// The name of the pool that serves the request.
    pub pool: One<Leaf<Name>>,
    /// A map, read as [`Redirect`].
    pub redirect: Value,
    /// A map, read as [`Respond`].
    pub respond: Value,
    /// Whether it is refused.
    pub deny: One<Leaf<Switch>>,
    /// The segments that are taken off the path.
    pub strip_prefix: One<UrlPrefix>,
    /// A map, read as [`ReplacePrefix`].
    pub replace_prefix: Value,
    /// A map, read as [`FieldEdits`].
    pub request_headers: Value,
    /// A map, read as [`FieldEdits`].
    pub response_headers: Value,
    /// A map, read as [`super::BasicAuth`].
    pub basic_auth: Value,
    /// `none`, or a map that is read as [`super::RateLimit`].
    pub rate_limit: Value,
    /// The longest request body, instead of the listener's.
    pub body_max: One<Leaf<SizeOrNone>>,
}

/// The conditions of a route; one of the values of each has to fit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Conditions {
    /// The host without port.
    pub host: Several<Hosts>,
    /// The whole path.
    pub path: Several<UrlPath>,
    /// The segments that the path begins with.
    pub path_prefix: Several<UrlPrefix>,
    /// What is found in the path.
    pub path_regex: Several<Expression>,
    /// A parameter of the query: a map or a list of them, each read as [`Named`].
    pub query: Value,
    /// A field, likewise.
    pub header: Value,
    /// A cookie, likewise.
    pub cookie: Value,
    /// The method.
    pub method: Several<Method>,
    /// The client's address.
    pub client: Several<Net>,
}

/// The other key of conditions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Negation {
    /// A map, read as [`Conditions`], none of which may hold.
    pub not: Value,
}

/// What has a name and a value; without the latter two keys, any.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Named {
    /// Its name.
    pub name: One<Text>,
    /// Its whole value.
    pub equals: One<Text>,
    /// What is found in its value.
    pub regex: One<Expression>,
}

/// A redirection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Redirect {
    /// Its status; 302 unless it is set.
    pub status: One<Redirection>,
    /// Where to.
    pub to: One<Target>,
}

/// An answer of plb's own.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Respond {
    /// Its status; 200 unless it is set.
    pub status: One<Leaf<Whole<200, 599>>>,
    /// Its body.
    pub text: One<Text>,
    /// The file with its body.
    pub file: One<Text>,
    /// The type of its body.
    pub content_type: One<FieldValue>,
    /// A map from names of fields to their values.
    pub headers: Value,
}

/// A change of the path.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ReplacePrefix {
    /// The segments that it begins with.
    pub from: One<UrlPrefix>,
    /// What they become.
    pub to: One<UrlPrefix>,
}

/// Changes of fields.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct FieldEdits {
    /// A map from names of fields to their values: these replace all others.
    pub set: Value,
    /// Such a map: these come on top.
    pub add: Value,
    /// Fields that are taken out.
    pub remove: Several<FreeField>,
}
