//! plb, a load balancer for TCP services.

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod log;
pub mod net;
pub mod protocol;
pub mod server;
pub mod session;
pub mod start;
