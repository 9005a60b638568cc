//! The kinds of values that settings have, each with its limits, as serde sees them.
//!
//! Reading one needs no more than the value; the error says what is allowed and what was found.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::error::{quoted, suggestion};
use super::units::{
    self, ACCOUNT_ALLOWED, DIRECTORY_ALLOWED, HOST_ALLOWED, LOG_LEVEL_ALLOWED, LOG_LEVELS, LOG_TARGET_ALLOWED,
    NAME_ALLOWED,
};
use super::{AccessFormat, Account, LogTarget, Policy, ProtocolName, RequestId, Trailers, Upgrade};

/// The protocols by name.
const PROTOCOLS: [(&str, ProtocolName); 2] = [("http", ProtocolName::Http), ("tcp", ProtocolName::Tcp)];
/// What a client may change to, by name.
const UPGRADES: [(&str, Upgrade); 3] =
    [("websocket", Upgrade::Websocket), ("any", Upgrade::Any), ("none", Upgrade::None)];
/// What becomes of trailers, by name.
const TRAILERS: [(&str, Trailers); 2] = [("drop", Trailers::Drop), ("forward", Trailers::Forward)];
/// Where an `X-Request-Id` comes from, by name.
const REQUEST_IDS: [(&str, RequestId); 3] =
    [("none", RequestId::None), ("make", RequestId::Make), ("keep", RequestId::Keep)];
/// The policies by name.
const POLICIES: [(&str, Policy); 1] = [("round_robin", Policy::RoundRobin)];
/// The formats of the access log by name.
const FORMATS: [(&str, AccessFormat); 3] =
    [("plb", AccessFormat::Plb), ("combined", AccessFormat::Combined), ("json", AccessFormat::Json)];
/// How an absent limit or log is written.
const NONE: &str = "none";

/// Declares a type that serde reads and writes through `TryFrom<Value>` and `From`.
macro_rules! leaf {
    ($(#[$about:meta])* $name:ident $(<$($limit:ident: $kind:ty),*>)? ($inner:ty)) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(try_from = "Value", into = "Value")]
        pub struct $name $(<$(const $limit: $kind),*>)? (pub $inner);
    };
}

/// Declares such a type whose values have names.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident($inner:ty) of $choices:ident) => {
        leaf! { $(#[$about])* $name($inner) }

        impl TryFrom<Value> for $name {
            type Error = String;
            fn try_from(value: Value) -> Result<Self, String> {
                chosen(&value, &$choices).map($name)
            }
        }

        impl From<$name> for Value {
            fn from(leaf: $name) -> Value {
                name_of(&leaf.0, &$choices)
            }
        }
    };
}

pub(super) use {choice, leaf};

leaf! {
    /// A whole number from `MIN` to `MAX`.
    Whole<MIN: u32, MAX: u32>(u32)
}
leaf! {
    /// A whole number from `MIN` to `MAX`, or `none`.
    WholeOrNone<MIN: u32, MAX: u32>(Option<u32>)
}
leaf! {
    /// A number of bytes from `MIN` to `MAX`: plain, or such as `64KiB`.
    Size<MIN: u64, MAX: u64>(u64)
}
leaf! {
    /// A number of bytes, or `none`.
    SizeOrNone(Option<u64>)
}
leaf! {
    /// A timeout such as `30s`.
    Period(Duration)
}
leaf! {
    /// `true` or `false`.
    Switch(bool)
}
leaf! {
    /// The status for requests that nobody is to serve.
    Unrouted(u16)
}
leaf! {
    /// Where a log goes.
    Target(LogTarget)
}
leaf! {
    /// Where a log goes, or `none`.
    TargetOrNone(Option<LogTarget>)
}
choice! {
    /// What a line of the access log looks like.
    Format(AccessFormat) of FORMATS
}
leaf! {
    /// The name of a file, or a word that stands for one.
    FileName(String)
}
leaf! {
    /// The name of a listener, a pool or a backend; empty while it is not set.
    Name(String)
}
leaf! {
    /// Host and port of a backend; `None` while it is not set.
    HostPort(Option<(String, u16)>)
}
leaf! {
    /// A user or a group; `None` while it is not set.
    AccountName(Option<Account>)
}
leaf! {
    /// A directory; `None` while it is not set.
    Directory(Option<PathBuf>)
}
leaf! {
    /// A log level.
    Level(LevelFilter)
}
choice! {
    /// The protocol of a listener.
    Protocol(ProtocolName) of PROTOCOLS
}
choice! {
    /// What a client may change to from HTTP.
    UpgradeTo(Upgrade) of UPGRADES
}
choice! {
    /// What becomes of trailers.
    TrailersTo(Trailers) of TRAILERS
}
choice! {
    /// Whether a request gets an `X-Request-Id`.
    Identity(RequestId) of REQUEST_IDS
}
choice! {
    /// The policy of a pool.
    Balance(Policy) of POLICIES
}

impl<const MIN: u32, const MAX: u32> TryFrom<Value> for Whole<MIN, MAX> {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (MIN..=MAX).contains(number));
        number.map(Whole).ok_or_else(|| wrong(&format!("a whole number from {MIN} to {MAX}"), &value))
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<Value> for WholeOrNone<MIN, MAX> {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        if value.as_str() == Some(NONE) {
            return Ok(WholeOrNone(None));
        }
        let number = Whole::<MIN, MAX>::try_from(value.clone()).map(|number| WholeOrNone(Some(number.0)));
        number.map_err(|_| wrong(&format!("{NONE} or a whole number from {MIN} to {MAX}"), &value))
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<Value> for Size<MIN, MAX> {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let bytes = bytes(&value).filter(|bytes| (MIN..=MAX).contains(bytes));
        bytes.map(Size).ok_or_else(|| {
            let (min, max) = (units::size_text(MIN), units::size_text(MAX));
            wrong(&format!("a size from {min} to {max} in bytes, KiB, MiB or GiB, such as 8KiB"), &value)
        })
    }
}

impl TryFrom<Value> for SizeOrNone {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        if value.as_str() == Some(NONE) {
            return Ok(SizeOrNone(None));
        }
        let size = bytes(&value).map(|bytes| SizeOrNone(Some(bytes)));
        size.ok_or_else(|| wrong("none or a size in bytes, KiB, MiB or GiB, such as 1MiB", &value))
    }
}

impl TryFrom<Value> for Period {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let duration = value.as_str().and_then(units::duration);
        duration.map(Period).ok_or_else(|| wrong(units::DURATION_ALLOWED, &value))
    }
}

impl TryFrom<Value> for Switch {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        value.as_bool().map(Switch).ok_or_else(|| wrong("true or false", &value))
    }
}

impl TryFrom<Value> for Unrouted {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        match value.as_u64() {
            Some(404) => Ok(Unrouted(404)),
            Some(503) => Ok(Unrouted(503)),
            _ => Err(wrong("404 or 503", &value)),
        }
    }
}

impl TryFrom<Value> for Target {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        target(&value).map(Target).ok_or_else(|| wrong(LOG_TARGET_ALLOWED, &value))
    }
}

impl TryFrom<Value> for TargetOrNone {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        if value.as_str() == Some(NONE) {
            return Ok(TargetOrNone(None));
        }
        let target = target(&value).map(|target| TargetOrNone(Some(target)));
        target.ok_or_else(|| wrong(&format!("{NONE} or {LOG_TARGET_ALLOWED}"), &value))
    }
}

impl TryFrom<Value> for FileName {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let name = value.as_str().filter(|name| !name.is_empty() && !name.contains('\0'));
        name.map(|name| FileName(name.to_string())).ok_or_else(|| wrong("a file, auto or none", &value))
    }
}

impl TryFrom<Value> for Name {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let name = value.as_str().filter(|name| units::is_name(name));
        name.map(|name| Name(name.to_string())).ok_or_else(|| wrong(NAME_ALLOWED, &value))
    }
}

impl TryFrom<Value> for HostPort {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let address = value.as_str().and_then(units::host_and_port);
        address.map(|address| HostPort(Some(address))).ok_or_else(|| wrong(HOST_ALLOWED, &value))
    }
}

impl TryFrom<Value> for AccountName {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().map(|number| number.to_string());
        let account = number.as_deref().or(value.as_str()).and_then(units::account);
        account.map(|account| AccountName(Some(account))).ok_or_else(|| wrong(ACCOUNT_ALLOWED, &value))
    }
}

impl TryFrom<Value> for Directory {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let path = value.as_str().and_then(units::directory);
        path.map(|path| Directory(Some(path))).ok_or_else(|| wrong(DIRECTORY_ALLOWED, &value))
    }
}

impl TryFrom<Value> for Level {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_u64().map(|number| number.to_string());
        let text = number.as_deref().or(value.as_str());
        text.and_then(units::log_level).map(Level).ok_or_else(|| {
            let names = LOG_LEVELS.iter().map(|&(name, _)| name);
            wrong(LOG_LEVEL_ALLOWED, &value) + &suggestion(value.as_str().unwrap_or_default(), names)
        })
    }
}

impl<const MIN: u32, const MAX: u32> From<Whole<MIN, MAX>> for Value {
    fn from(leaf: Whole<MIN, MAX>) -> Value {
        leaf.0.into()
    }
}

impl<const MIN: u32, const MAX: u32> From<WholeOrNone<MIN, MAX>> for Value {
    fn from(leaf: WholeOrNone<MIN, MAX>) -> Value {
        leaf.0.map_or_else(|| NONE.into(), Value::from)
    }
}

impl<const MIN: u64, const MAX: u64> From<Size<MIN, MAX>> for Value {
    fn from(leaf: Size<MIN, MAX>) -> Value {
        size_value(leaf.0)
    }
}

impl From<SizeOrNone> for Value {
    fn from(leaf: SizeOrNone) -> Value {
        leaf.0.map_or_else(|| NONE.into(), size_value)
    }
}

impl From<Period> for Value {
    fn from(leaf: Period) -> Value {
        units::duration_text(leaf.0).into()
    }
}

impl From<Switch> for Value {
    fn from(leaf: Switch) -> Value {
        leaf.0.into()
    }
}

impl From<Unrouted> for Value {
    fn from(leaf: Unrouted) -> Value {
        leaf.0.into()
    }
}

impl From<Target> for Value {
    fn from(leaf: Target) -> Value {
        leaf.0.to_string().into()
    }
}

impl From<TargetOrNone> for Value {
    fn from(leaf: TargetOrNone) -> Value {
        leaf.0.map_or_else(|| NONE.into(), |target| target.to_string().into())
    }
}

impl From<FileName> for Value {
    fn from(leaf: FileName) -> Value {
        leaf.0.into()
    }
}

impl From<Name> for Value {
    fn from(leaf: Name) -> Value {
        leaf.0.into()
    }
}

impl From<HostPort> for Value {
    fn from(leaf: HostPort) -> Value {
        leaf.0.map_or_else(String::new, |(host, port)| host_port_text(&host, port)).into()
    }
}

impl From<AccountName> for Value {
    fn from(leaf: AccountName) -> Value {
        leaf.0.map_or_else(|| "".into(), |account| account.to_string().into())
    }
}

impl From<Directory> for Value {
    fn from(leaf: Directory) -> Value {
        leaf.0.map_or_else(|| "".into(), |path| path.to_string_lossy().into())
    }
}

impl From<Level> for Value {
    fn from(leaf: Level) -> Value {
        name_of(&leaf.0, &LOG_LEVELS)
    }
}

/// `must be .., not ..`
pub(super) fn wrong(allowed: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "nothing".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Sequence(_) => "a list".to_string(),
        Value::Mapping(_) | Value::Tagged(_) => "a map".to_string(),
    };
    format!("must be {allowed}, not {found}")
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn host_port_text(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn target(value: &Value) -> Option<LogTarget> {
    value.as_str().and_then(|text| units::log_target(text.as_ref()))
}

fn bytes(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(units::size))
}

fn size_value(bytes: u64) -> Value {
    let text = units::size_text(bytes);
    text.parse::<u64>().map_or_else(|_| text.into(), Value::from)
}

pub(super) fn chosen<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    let word = value.as_str().unwrap_or_default();
    if let Some(&(_, choice)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(choice);
    }
    let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
    Err(wrong(&names.join(" or "), value) + &suggestion(word, names))
}

pub(super) fn name_of<T: PartialEq>(choice: &T, choices: &[(&'static str, T)]) -> Value {
    choices.iter().find(|(_, other)| other == choice).map_or(Value::Null, |&(name, _)| name.into())
}
