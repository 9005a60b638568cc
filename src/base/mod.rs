//! Small pure tools that know nothing of balancing.

pub mod time;
