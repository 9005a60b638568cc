//! How a pool chooses a backend: the model.

/// How a pool chooses a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
}
