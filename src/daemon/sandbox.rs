//! What the kernel refuses from now on (Linux): every path, by Landlock; `system_calls` adds the calls.
//!
//! It holds for the calling thread and whatever that starts, and cannot be taken back. What is open stays open.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

/// Forbids every path, listening on TCP ports, signals to other processes, and their abstract sockets, as far as the
/// kernel can (landlock(7)).
///
/// # Errors
/// Why there is no Landlock.
pub fn close_paths() -> Result<String, String> {
    let status = restrict().map_err(|error| format!("no Landlock: {error}"))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Err("no Landlock: it is switched off".to_string()),
        (RulesetStatus::NotEnforced, _) => Err("no Landlock: this kernel has none".to_string()),
        (_, status) => Ok(format!("Landlock ABI {}", ABI::from(status))),
    }
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    // A right that is handled and that no rule grants is denied.
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V9))?
        .handle_access(AccessNet::BindTcp)?
        .scope(BitFlags::<Scope>::all())?
        .create()?
        .restrict_self()
}
