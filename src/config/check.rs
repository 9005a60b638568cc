//! What a probe says, and what it takes for a good answer: the model, and its reading.

use super::error::Errors;
use super::validate::Section;
use super::word::{choices, settings};

/// What a probe does with a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Check {
    /// It connects; that is all.
    #[default]
    Tcp,
}

/// The types of probes, as `type` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Check::Tcp`]
    Tcp,
}

choices!(Kind: "tcp" Tcp);

settings! {
    /// The type of a probe, and what only some types know.
    CheckSettings {
        /// It decides which of the others mean something.
        kind as "type": Kind = Kind::Tcp,
    }
}

/// Reads what concerns the check in a section that is read as [`Health`](super::health::Health), too.
pub(super) fn read(section: &mut Section<'_>, errors: &mut Errors<'_>) -> Check {
    let own: CheckSettings = section.read(errors);
    match own.kind {
        Kind::Tcp => Check::Tcp,
    }
}
