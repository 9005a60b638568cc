//! Small pure tools that know nothing of balancing.

pub mod buffers;
pub mod pipe;
pub mod time;
