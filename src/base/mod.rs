//! Small pure tools that know nothing of balancing.

pub mod arena;
pub mod bucket;
pub mod buffers;
pub mod network;
pub mod password;
pub mod pipe;
pub mod recent;
pub mod rng;
pub mod stable_hash;
pub mod time;
pub mod timer;
