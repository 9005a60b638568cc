//! Proves the command line: exit codes, `--check`, where the log goes, and the quick start.

use crate::harness::client::{Client, get};
use crate::harness::plb::{PROGRAM, written};
use crate::harness::{Origin, Plb, configuration};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program is built")
}

/// The exit code of a run with these arguments, and all that it said.
fn outcome(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn somewhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[test]
fn help_and_version_are_answered_on_standard_output() {
    for argument in ["--help", "-h"] {
        let output = run(&[argument]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        for option in ["--config", "--loglevel", "--logfile", "--check", "--tcp", "demo"] {
            assert!(text.contains(option), "{option} is missing in {text}");
        }
    }
    for argument in ["--version", "-v"] {
        let output = run(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &["--no-such-option"][..],
        &["8080"],
        &["--tcp"],
        &["-d", "loud"],
        &["-c"],
        &["not-a-port", "127.0.0.1:9"],
        &["127.0.0.1:0", "127.0.0.1:9,weight=257"],
        &["127.0.0.1:0", "127.0.0.1:9,tier=1,tier=1"],
        &["127.0.0.1:0", "127.0.0.1:9,height=1"],
        &["--clients", "0", "127.0.0.1:0", "127.0.0.1:9"],
    ] {
        let (code, said) = outcome(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_configuration_ends_with_78_and_says_where() {
    let good = configuration("http", "", &[somewhere()]);
    let cases = [
        (good.replace("pool: web", "pool: wbe"), "wbe"),
        (good.replace("protocol: http", "protocol: htp"), "htp"),
        (good.replace("listeners:", "max_client: 7\nlisteners:"), "max_client"),
        (good.replace("listeners:", "timeout_idle: 4 parsecs\nlisteners:"), "timeout_idle"),
        ("listeners: [".to_string(), ""),
        (String::new(), ""),
    ];
    for (text, named) in cases {
        let (_directory, file) = written(&text);
        let path = file.to_str().expect("a plain path");
        for arguments in [&["-c", path][..], &["-c", path, "--check"], &["-t", "--config", path]] {
            let (code, said) = outcome(arguments);
            assert_eq!(code, Some(78), "{arguments:?}: {said}\n{text}");
            assert!(said.contains(named) && said.contains("plb"), "{said}");
        }
    }
    assert_eq!(outcome(&["-t", "-c", "/nonexistent/plb.yaml"]).0, Some(78));
}

#[test]
fn a_check_touches_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let yaml = configuration("http", "log_file: LOG", &[somewhere()]).replace("127.0.0.1:0", &listen);
    let directory = tempfile::tempdir().expect("there is room");
    let log = directory.path().join("plb.log");
    let (_directory, file) = written(&yaml.replace("LOG", log.to_str().expect("a plain path")));
    let (code, said) = outcome(&["--check", "-c", file.to_str().expect("a plain path")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!log.exists(), "a check opens no log");
}

#[test]
fn the_sample_file_passes_the_check() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/plb.yaml.sample");
    let (code, said) = outcome(&["-c", sample, "-t"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_log_goes_to_the_file_that_the_command_line_names() {
    let origin = Origin::named("only");
    let (directory, file) = written(&configuration("http", "", &[origin.address()]));
    let log = directory.path().join("plb.log");
    let mut plb = Plb::run(Command::new(PROGRAM).arg("-c").arg(&file).arg("-l").arg(&log));
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    crate::harness::poll_until("the file says that plb serves", || logged().contains("plb: serving"));
    plb.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(plb.wait_exit().code(), Some(0));
    assert!(logged().contains("plb: stopped"), "{}", logged());
    assert!(!plb.log().contains("serving"), "standard error is silent: {}", plb.log());
}

#[test]
fn the_level_of_the_command_line_beats_the_file() {
    let origin = Origin::named("only");
    let (_directory, file) = written(&configuration("http", "log_level: error", &[origin.address()]));
    let plb = Plb::run(Command::new(PROGRAM).arg("-c").arg(&file).args(["-d", "info"]));
    plb.wait_for_log("plb: serving");
}

#[test]
fn the_quick_start_serves_http_and_tcp() {
    let origin = Origin::named("only");
    let plb = Plb::run(Command::new(PROGRAM).args(["127.0.0.1:0", &origin.address().to_string()]));
    plb.wait_for_log("plb: serving");
    assert_eq!(get(quick_address(&plb), "/").text(), "only");
    let echo = Origin::echo();
    let plb = Plb::run(Command::new(PROGRAM).args(["--tcp", "127.0.0.1:0", &echo.address().to_string()]));
    plb.wait_for_log("plb: serving");
    let mut client = Client::connect(quick_address(&plb));
    client.send("raw bytes");
    assert_eq!(client.exactly(9), b"raw bytes");
}

/// The address of the only listener, whatever its name.
#[test]
fn the_backends_of_a_quick_start_have_limits_and_tiers() {
    let (mut first, spare) = (Origin::named("first"), Origin::named("spare"));
    let [of_first, of_spare] = [format!("{},max=1", first.address()), format!("{},max=9,tier=1", spare.address())];
    let plb = Plb::run(Command::new(PROGRAM).args(["--no-tracking", "127.0.0.1:0", &of_spare, &of_first]));
    plb.wait_for_log("plb: serving");
    assert_eq!((0..4).map(|_| get(quick_address(&plb), "/").text()).collect::<Vec<_>>(), ["first"; 4]);
    first.stop();
    assert_eq!(get(quick_address(&plb), "/").text(), "spare");
    let echo = Origin::echo();
    let backend = format!("{},max=1", echo.address());
    let plb = Plb::run(Command::new(PROGRAM).args(["--tcp", "127.0.0.1:0", &backend]));
    plb.wait_for_log("plb: serving");
    let mut clients = [(); 2].map(|()| Client::connect(quick_address(&plb)));
    clients[0].send("one");
    assert_eq!(clients[0].exactly(3), b"one");
    clients[1].send("two");
    assert!(!clients[1].has_news(Duration::from_millis(100)) && echo.connections() == 1, "it waits for its turn");
    let [first, mut second] = clients;
    drop(first);
    assert_eq!(second.exactly(3), b"two");
}

fn quick_address(plb: &Plb) -> SocketAddr {
    let line = plb.wait_for_log("listening on 127.0.0.1:");
    line.rsplit(' ').next().and_then(|address| address.parse().ok()).expect("the line ends with the address")
}

#[test]
fn a_port_in_use_ends_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let yaml = configuration("http", "", &[somewhere()]).replace("127.0.0.1:0", &listen);
    let (_directory, file) = written(&yaml);
    let (code, said) = outcome(&["-c", file.to_str().expect("a plain path")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&listen), "{said}");
}

#[test]
fn a_terminal_that_takes_nothing_changes_no_status() {
    let (_directory, file) = written("listeners: 1");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("this is Linux");
    let status = Command::new(PROGRAM).arg("-tc").arg(file).stderr(full).status().expect("it can be run");
    assert_eq!(status.code(), Some(78));
}
