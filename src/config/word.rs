//! How settings are declared: [`Word`], the kind of a value, and `settings!`, a struct of settings with their keys, kinds
//! and defaults, which is the schema and the model at once.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Mapping, Value};

use super::error::{quoted, suggestion};

/// How an absent limit or log is written.
pub(super) const NONE: &str = "none";

/// A kind of value, with its limits.
pub trait Word {
    /// What it is in the model.
    type Of;

    /// Reads one.
    ///
    /// # Errors
    /// What is allowed and what was found.
    fn read(value: &Value) -> Result<Self::Of, String>;

    /// How one is written. Only defaults ever are.
    fn write(_: &Self::Of) -> Value {
        Value::Null
    }
}

/// A struct of settings.
pub trait Schema: Default + DeserializeOwned {
    /// Its keys.
    const KEYS: &'static [&'static str];

    /// Every key with its value. Null: it has no default, and the sample shows an example.
    fn written(&self) -> Mapping;
}

/// Declares structs of settings: of each setting its field, its key where that is another one, its kind, and its default
/// if it has one. What stands behind `and` is no setting.
macro_rules! settings {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@written $kind:ty, $value:expr) => { serde_yaml::Value::Null };
    (@written $kind:ty, $value:expr, $default:expr) => { <$kind as $crate::config::word::Word>::write(&$value) };
    ($(#[$about:meta])* $name:ident {
        $($(#[$what:meta])* $field:ident $(as $key:literal)?: $kind:ty $(= $default:expr)?,)*
    } $(and { $($(#[$other_what:meta])* $other:ident: $type:ty,)* })?) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$what])* pub $field: <$kind as $crate::config::word::Word>::Of,)*
            $($($(#[$other_what])* pub $other: $type,)*)?
        }

        impl Default for $name {
            fn default() -> $name {
                $name {
                    $($field: settings!(@default $($default)?),)*
                    $($($other: Default::default(),)*)?
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                #[derive(Default, serde::Deserialize)]
                #[serde(default)]
                struct Written {
                    $($(#[serde(rename = $key)])? $field: $crate::config::word::Written<$kind>,)*
                }
                let (written, mut settings) = (Written::deserialize(deserializer)?, $name::default());
                $(written.$field.replace(&mut settings.$field);)*
                Ok(settings)
            }
        }

        impl $crate::config::word::Schema for $name {
            const KEYS: &'static [&'static str] = &[$(settings!(@key $field $($key)?)),*];

            fn written(&self) -> serde_yaml::Mapping {
                [$((
                    serde_yaml::Value::from(settings!(@key $field $($key)?)),
                    settings!(@written $kind, self.$field $(, $default)?),
                )),*].into_iter().collect()
            }
        }
    };
}

/// Declares kinds: of each its type in the model, how it is read and, where there are defaults, written.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident($of:ty) = $read:expr $(, $write:expr)?;)*) => {$(
        $(#[$about])*
        pub struct $name;

        impl $crate::config::word::Word for $name {
            type Of = $of;

            fn read(value: &Value) -> Result<$of, String> {
                let read: fn(&Value) -> Result<$of, String> = $read;
                read(value)
            }

            $(fn write(of: &$of) -> Value {
                let write: fn(&$of) -> Value = $write;
                write(of)
            })?
        }
    )*};
}

/// Declares the names of the values of a type.
macro_rules! choices {
    ($of:ident: $($name:literal $value:ident),*) => {
        impl $crate::config::word::Choice for $of {
            const CHOICES: &'static [(&'static str, $of)] = &[$(($name, $of::$value)),*];
        }
    };
}

pub(super) use {choices, settings, words};

/// A value as serde reads it, if it is there.
pub(super) struct Written<W: Word>(Option<W::Of>);

impl<W: Word> Written<W> {
    /// Puts it there.
    pub(super) fn replace(self, place: &mut W::Of) {
        if let Some(value) = self.0 {
            *place = value;
        }
    }
}

impl<W: Word> Default for Written<W> {
    fn default() -> Written<W> {
        Written(None)
    }
}

impl<'de, W: Word> Deserialize<'de> for Written<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        W::read(&Value::deserialize(deserializer)?).map(|value| Written(Some(value))).map_err(D::Error::custom)
    }
}

/// A kind whose values have names.
pub trait Choice: Copy + PartialEq + 'static {
    /// Each name with its value.
    const CHOICES: &'static [(&'static str, Self)];

    /// The name of a value that has one.
    fn name(self) -> Option<&'static str> {
        Self::CHOICES.iter().find(|(_, other)| *other == self).map(|&(name, _)| name)
    }
}

impl<T: Choice> Word for T {
    type Of = T;

    fn read(value: &Value) -> Result<T, String> {
        let word = value.as_str().unwrap_or_default();
        let names = T::CHOICES.iter().map(|&(name, _)| name);
        match T::CHOICES.iter().find(|(name, _)| *name == word) {
            Some(&(_, choice)) => Ok(choice),
            None => Err(wrong(&names.clone().collect::<Vec<_>>().join(" or "), value) + &suggestion(word, names)),
        }
    }

    fn write(choice: &T) -> Value {
        choice.name().map_or(Value::Null, Value::from)
    }
}

/// What may be absent, without a word for that.
pub struct Maybe<W>(PhantomData<W>);

/// What may be `none`.
pub struct OrNone<W>(PhantomData<W>);

/// One value or a list of them.
pub struct Several<W>(PhantomData<W>);

/// What is nested: `validate` reads it entry by entry, to report every mistake.
pub struct Nested<T = ()>(PhantomData<T>);

impl<W: Word> Word for Maybe<W> {
    type Of = Option<W::Of>;

    fn read(value: &Value) -> Result<Option<W::Of>, String> {
        W::read(value).map(Some)
    }
}

impl<W: Word> Word for OrNone<W> {
    type Of = Option<W::Of>;

    fn read(value: &Value) -> Result<Option<W::Of>, String> {
        if value.as_str() == Some(NONE) {
            return Ok(None);
        }
        W::read(value).map(Some).map_err(|message| message.replacen(MUST_BE, &format!("{MUST_BE}{NONE} or "), 1))
    }

    fn write(of: &Option<W::Of>) -> Value {
        of.as_ref().map_or_else(|| NONE.into(), W::write)
    }
}

impl<W: Word> Word for Several<W> {
    type Of = Vec<W::Of>;

    fn read(value: &Value) -> Result<Vec<W::Of>, String> {
        value.as_sequence().map_or(std::slice::from_ref(value), Vec::as_slice).iter().map(W::read).collect()
    }

    fn write(of: &Vec<W::Of>) -> Value {
        Value::Sequence(of.iter().map(W::write).collect())
    }
}

impl<T: Default> Word for Nested<T> {
    type Of = T;

    fn read(_: &Value) -> Result<T, String> {
        Ok(T::default())
    }
}

const MUST_BE: &str = "must be ";

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
    format!("{MUST_BE}{allowed}, not {found}")
}

/// What was found in the value, if that was as it is allowed to be.
pub(super) fn found<T>(value: &Value, allowed: &str, found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| wrong(allowed, value))
}

/// What a text is read as, likewise.
pub(super) fn text<T>(value: &Value, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    found(value, allowed, value.as_str().and_then(read))
}

/// A text that is good.
pub(super) fn good(value: &Value, allowed: &str, is_good: impl FnOnce(&str) -> bool) -> Result<String, String> {
    match value {
        // It may look like what is allowed: quotes would help.
        Value::Number(_) | Value::Bool(_) => Err(wrong(&format!("text: {allowed}"), value)),
        _ => text(value, allowed, |text| is_good(text).then(|| text.to_string())),
    }
}

/// A text of which `read` says itself what is wrong.
pub(super) fn parsed<T>(value: &Value, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    value.as_str().map_or_else(|| Err(wrong("text", value)), read)
}
