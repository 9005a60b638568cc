//! Proves what the service manager is told, and that nothing depends on whether it listens.

use crate::harness::client::{Client, bodies, get};
use crate::harness::plb::{PROGRAM, written};
use crate::harness::{Origin, PATIENCE, Plb, configuration};
use crate::site::Site;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The end of a service manager: a socket, and how it is named in the environment.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
    directory: TempDir,
}

impl Supervisor {
    fn new() -> Supervisor {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory takes it");
        Supervisor::with(socket, path.to_str().expect("a plain path").to_string(), directory)
    }

    /// In no file system.
    fn abstract_one() -> Supervisor {
        let directory = tempfile::tempdir().expect("there is room");
        let name = directory.path().to_str().expect("a plain path").to_string();
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        let socket = UnixDatagram::bind_addr(&address).expect("nobody else is called so");
        Supervisor::with(socket, format!("@{name}"), directory)
    }

    fn with(socket: UnixDatagram, name: String, directory: TempDir) -> Supervisor {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes it");
        Supervisor { socket, name, directory }
    }

    /// Leaves no room for a message.
    fn crowd(&self) {
        let crowd = UnixDatagram::unbound().expect("descriptors are left");
        crowd.set_nonblocking(true).expect("a socket takes it");
        while crowd.send_to(b"NOISE=1", &self.name).is_ok() {}
    }

    fn message(&self) -> String {
        let mut bytes = [0; 1024];
        let count = self.socket.recv(&mut bytes).expect("plb has something to say");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    /// plb with these settings in its environment.
    fn plb(&self, settings: &str, backend: &Origin, variables: &[(&str, &str)]) -> Plb {
        let file = self.directory.path().join("plb.yaml");
        std::fs::write(&file, configuration("http", settings, &[backend.address()])).expect("there is room");
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(file).env("NOTIFY_SOCKET", &self.name).envs(variables.iter().copied());
        Plb::run(&mut command)
    }
}

#[test]
fn the_manager_is_told_of_the_start_the_backends_and_the_stop() {
    for manager in [Supervisor::new(), Supervisor::abstract_one()] {
        let mut origin = Origin::named("only");
        let plb = manager.plb("server_retry: 1\ntimeout_cleanup: 100ms", &origin, &[]);
        assert_eq!(manager.message(), "READY=1\nSTATUS=1 of 1 backends up, 0 clients");
        assert_eq!(get(plb.web(), "/").text(), "only");
        origin.stop();
        assert_eq!(get(plb.web(), "/").status(), 503);
        let down = manager.message();
        assert!(down.starts_with("STATUS=0 of 1 backends up, "), "{down}");
        origin.revive();
        let up = manager.message();
        assert!(up.starts_with("STATUS=1 of 1 backends up, "), "{up}");
        plb.stop();
        let stopping = manager.message();
        assert!(stopping.starts_with("STOPPING=1\nSTATUS="), "{stopping}");
    }
}

#[test]
fn the_manager_hears_of_a_daemon_as_well() {
    let (manager, site) = (Supervisor::new(), Site::new(""));
    let ended = crate::site::run(site.plb(&["-B"]).env("NOTIFY_SOCKET", &manager.name));
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(manager.message().starts_with("READY=1\n"));
    crate::site::stop(site.pid());
    assert!(manager.message().starts_with("STOPPING=1\n"));
}

#[test]
fn the_watchdog_is_fed_while_the_loop_turns() {
    let (manager, origin) = (Supervisor::new(), Origin::named("only"));
    let plb = manager.plb("", &origin, &[("WATCHDOG_USEC", "100000")]);
    assert!(manager.message().starts_with("READY=1\n"));
    for _ in 0..5 {
        assert_eq!(manager.message(), "WATCHDOG=1");
    }
    plb.stop();
}

#[test]
fn a_watchdog_that_watches_another_process_is_not_fed() {
    let (manager, origin) = (Supervisor::new(), Origin::named("only"));
    let plb = manager.plb("", &origin, &[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")]);
    assert!(manager.message().starts_with("READY=1\n"));
    bodies(plb.web(), 20);
    plb.stop();
    assert!(manager.message().starts_with("STOPPING=1\n"), "nothing before");
}

#[test]
fn a_manager_that_does_not_read_or_is_gone_costs_nothing() {
    let (manager, origin) = (Supervisor::new(), Origin::named("only"));
    let plb = manager.plb("", &origin, &[("WATCHDOG_USEC", "2000")]);
    assert!(manager.message().starts_with("READY=1\n"));
    manager.crowd();
    assert_eq!(bodies(plb.web(), 50).len(), 50);
    drop(manager);
    assert_eq!(bodies(plb.web(), 50).len(), 50);
    plb.stop();
}

#[test]
fn a_manager_that_was_busy_hears_that_plb_serves() {
    let (manager, origin) = (Supervisor::new(), Origin::named("only"));
    manager.crowd();
    let plb = manager.plb("", &origin, &[]);
    let mut client = Client::connect(plb.web());
    client.ask("/");
    assert!(!client.has_news(Duration::from_millis(300)), "the manager has not heard that it serves");
    while !manager.message().starts_with("READY=1\n") {}
    assert_eq!(client.response().text(), "only");
    plb.stop();
}

#[test]
fn a_socket_that_is_not_there_is_a_warning() {
    let origin = Origin::named("only");
    for name in ["/nonexistent/notify", "@plb-nobody-is-called-so", "nonsense"] {
        let (directory, file) = written(&configuration("http", "", &[origin.address()]));
        let plb = Plb::run(Command::new(PROGRAM).arg("-c").arg(file).env("NOTIFY_SOCKET", name));
        plb.wait_for_log("WARN  the service manager cannot be told anything: ");
        plb.wait_for_log("plb: serving");
        bodies(plb.web(), 1);
        plb.stop();
        drop(directory);
    }
}
