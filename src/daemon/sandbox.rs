//! What the kernel refuses from now on (Linux): every path, by Landlock; `system_calls` adds the calls.
//!
//! It holds for the calling thread and whatever that starts, and cannot be taken back. What is open stays open.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Source;

/// Forbids every path, binding to TCP ports (but to those that the system chooses, where the configuration says where
/// connections come from), signals to other processes, and their abstract sockets, as far as the
/// kernel can (landlock(7)).
///
/// # Errors
/// Why there is no Landlock.
pub fn close_paths(source: Source) -> Result<String, String> {
    let status = restrict(source).map_err(|error| format!("no Landlock: {error}"))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Err("no Landlock: it is switched off".to_string()),
        (RulesetStatus::NotEnforced, _) => Err("no Landlock: this kernel has none".to_string()),
        (_, status) => Ok(format!("Landlock ABI {}", ABI::from(status))),
    }
}

fn restrict(source: Source) -> Result<RestrictionStatus, RulesetError> {
    // A right that is handled and that no rule grants is denied. Port 0 leaves the choice to the system.
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V9))?
        .handle_access(AccessNet::BindTcp)?
        .scope(BitFlags::<Scope>::all())?
        .create()?;
    match source {
        Source::System => ruleset.restrict_self(),
        Source::Configuration => ruleset.add_rule(NetPort::new(0, AccessNet::BindTcp))?.restrict_self(),
    }
}
