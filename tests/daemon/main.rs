//! The process around the balancer: the background, its start and what can go wrong there, the pid file, the service
//! manager.
//!
//! Daemons outlive the command that starts them: each has a directory of its own, by whose name it is found and ended
//! with the test.

#[allow(dead_code, unused_imports, reason = "the scenarios need more of it")]
#[path = "../scenarios/harness/mod.rs"]
mod harness;
mod site;

mod background;
mod notify;
mod pid_file;
mod startup_errors;
