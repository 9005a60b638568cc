//! Proves that the demo serves by itself, tells the truth about it, survives the loss of an origin, and stops.

use crate::harness::Plb;
use crate::harness::client::get;
use crate::harness::plb::PROGRAM;
use std::net::SocketAddr;
use std::process::Command;

#[test]
fn the_demo_serves_without_a_failed_request_until_it_is_stopped() {
    // What goes to standard output comes through the pipe on which the harness reads.
    let script = "exec \"$0\" demo --listen 127.0.0.1:0 >&2";
    let mut plb = Plb::run(Command::new("sh").args(["-c", script, PROGRAM]));
    let url = plb.wait_for_line("the URL", |lines| {
        lines.iter().find_map(|line| line.strip_prefix("http://")?.split('/').next()?.parse::<SocketAddr>().ok())
    });
    plb.wait_for_line("requests to all origins", |lines| {
        let line = lines.last()?;
        let share = |name: &str| line.split("; ").find(|part| part.starts_with(name)).map(|part| !part.ends_with(" 0"));
        ["origin-1", "origin-2", "origin-3"].into_iter().all(|name| share(name) == Some(true)).then_some(())
    });
    let response = get(url, "/");
    assert!(response.text().starts_with("hello from origin-"), "{response:?}");
    plb.wait_for_log("origin-1 down"); // it is stopped after 8 seconds
    plb.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(plb.wait_exit().code(), Some(0));
    let log = plb.log();
    assert!(log.lines().all(|line| !line.contains("requests, ") || line.contains(" requests, 0 failed")), "{log}");
}
