//! Scenarios: the real program between scripted clients and scripted origins, one file a behaviour.
//!
//! Everything listens on loopback ports that the kernel chooses. Tests wait for states (a log line, a counter, an
//! end of a stream); time only bounds a failure.

mod harness;

mod access;
mod access_log;
mod admission;
mod affinity;
mod backpressure;
mod balancing;
mod basics;
mod bulk;
mod cli;
mod demo;
mod distribution;
mod early_responses;
mod emergency;
mod error_replies;
mod failover;
mod fairness;
mod forwarding;
mod framing;
mod harness_itself;
mod health;
mod idle_bytes;
mod interim;
mod limits;
mod limits_http;
mod logs;
mod long_answers;
mod outages;
mod probes;
mod proxy_protocol;
mod queue;
mod resend;
mod retries;
mod reuse;
mod routes;
mod signals;
mod smuggling;
mod sockets;
mod stale_connection;
mod stop_under_load;
mod tcp;
mod timeouts;
mod tracking;
mod upgrade;
