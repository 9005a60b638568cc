//! plb, a load balancer for TCP services.

pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod demo;
pub mod protocol;
