//! Proves that no log ever holds up the service, and that what it cost is told.

use crate::harness::client::{Client, get};
use crate::harness::lines::{self, Lines, read_more};
use crate::harness::plb::{PROGRAM, written};
use crate::harness::{Origin, Plb, Reservation, configuration, poll_until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

/// Requests that make more lines than a pipe and the buffer hold.
const REQUESTS: usize = 2_000;

/// A target of that length makes a long line.
const LONG: usize = 900;

fn serve_long(address: SocketAddr, count: usize) {
    let target = format!("/{}", "x".repeat(LONG));
    let mut client = Client::connect(address);
    (0..count).for_each(|_| assert_eq!(client.get(&target).status(), 200));
}

fn whole_lines(text: &str) -> usize {
    let is_whole = |line: &str| line.starts_with("20") && line.ends_with(" 1 done") && line.matches('"').count() == 2;
    text.lines().for_each(|line| assert!(is_whole(line), "a torn line: {line}"));
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().count()
}

fn lost(line: &str) -> usize {
    let words: Vec<_> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "access").expect("it says what was lost");
    words[at - 1].parse().expect("a number")
}

#[test]
fn a_stalled_reader_costs_lines_and_no_request_and_is_told_how_many() {
    let (origin, fifo) = (Origin::named("one"), Lines::fifo());
    let mut reader = fifo.reader();
    let plb = Plb::http(&format!("access_log: {}", fifo.path().display()), &[origin.address()]);
    serve_long(plb.web(), REQUESTS);
    let mut text = String::new();
    poll_until("all that waited", || {
        read_more(&mut reader, &mut text);
        plb.log().contains("access log lines were lost")
    });
    let lost = lost(&plb.wait_for_log("access log lines were lost"));
    assert!(lost > 0);
    poll_until("the last line", || {
        read_more(&mut reader, &mut text);
        text.lines().count() >= REQUESTS - lost
    });
    assert_eq!(whole_lines(&text) + lost, REQUESTS);
    plb.signal(Signal::SIGUSR1);
    plb.wait_for_log(&format!("{lost} log lines lost"));
    text.clear();
    assert_eq!(get(plb.web(), "/").status(), 200);
    poll_until("a line as ever", || {
        read_more(&mut reader, &mut text);
        text.ends_with('\n')
    });
    assert_eq!(whole_lines(&text), 1);
    plb.stop_unmarked();
}

#[test]
fn a_reader_that_is_gone_ends_nothing_and_another_one_gets_what_follows() {
    let (origin, fifo) = (Origin::named("one"), Lines::fifo());
    let reader = fifo.reader();
    let plb = Plb::http(&format!("access_log: {}", fifo.path().display()), &[origin.address()]);
    serve_long(plb.web(), 1);
    drop(reader);
    serve_long(plb.web(), REQUESTS);
    let used = plb.processor_time();
    let (mut reader, mut text) = (fifo.reader(), String::new());
    poll_until("the loss is told", || {
        read_more(&mut reader, &mut text);
        plb.log().contains("access log lines were lost")
    });
    assert!(plb.processor_time() - used < std::time::Duration::from_secs(2), "it spins");
    assert!(whole_lines(&text) + lost(&plb.wait_for_log("lines were lost")) >= REQUESTS);
    plb.stop_unmarked();
}

/// plb with pipes that nobody reads but the test; it ends with the test.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_nobody_and_keeps_its_flags() {
    let (refusing, good) = (Reservation::new(), Origin::named("good"));
    let settings = "core_dumps: true\nlog_level: debug\nserver_retry: 1000000\naccess_log: \"-\"";
    let (_directory, file) = written(&configuration("http", settings, &[refusing.address(), good.address()]));
    // The pipes' descriptions are shared with the test, as a shell shares its terminal.
    let [(_unread, output), (read, errors)] = [(); 2].map(|()| pipe2(OFlag::O_CLOEXEC).expect("descriptors are left"));
    let shared = |descriptor: &OwnedFd| descriptor.try_clone().expect("descriptors are left");
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(file).stdin(Stdio::null()).stdout(shared(&output)).stderr(shared(&errors));
    let _plb = Bare(command.spawn().expect("the program is built"));
    let mut log = BufReader::new(File::from(read));
    let mut next = || {
        let mut line = String::new();
        log.read_line(&mut line).expect("a line comes");
        line
    };
    let address = std::iter::repeat_with(&mut next).find(|line| line.contains("listening on ")).expect("it never ends");
    let address = address.trim_end().rsplit(' ').next().expect("there are words").parse().expect("an address");
    while !next().ends_with("plb: serving\n") {}
    // Each of them logs a failure of the backend that refuses, and a line of its own.
    serve_long(address, REQUESTS);
    for descriptor in [output, errors] {
        let flags = fcntl(descriptor, FcntlArg::F_GETFL).expect("a descriptor has flags");
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK), "the flags of a standard stream changed");
    }
    let lines = std::iter::repeat_with(next).filter(|line| !line.contains("the access log takes no lines"));
    assert!(lines.take(REQUESTS / 4).all(|line| line.contains(" DEBUG backend web/b1: ")));
}

#[test]
fn a_full_disk_ends_nothing() {
    let origin = Origin::named("one");
    let plb = Plb::http("access_log: /dev/full", &[origin.address()]);
    serve_long(plb.web(), REQUESTS);
    plb.signal(Signal::SIGUSR1);
    let line = plb.wait_for_log(" log lines lost");
    assert!(!line.contains(", 0 log lines lost"), "{line}");
    let log = plb.stop();
    assert!(log.contains("the access log takes no lines: No space left on device (so far 1 times)"), "{log}");
    let told: usize = log.lines().filter(|line| line.ends_with("access log lines were lost")).map(lost).sum();
    assert_eq!(told, REQUESTS, "each is told of in the end: {log}");
    let listen = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    let yaml = configuration("http", "log_file: /dev/full", &[origin.address()]);
    let plb = Plb::launch(&yaml.replace("127.0.0.1:0", &listen.to_string()));
    poll_until("plb serves", || TcpStream::connect(listen).is_ok());
    assert_eq!(get(listen, "/").status(), 200);
    assert_eq!(plb.stop(), "");
}

#[test]
fn a_disk_that_has_room_again_gets_whole_lines_and_the_loss_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can mount a small disk");
    }
    let (origin, directory) = (Origin::named("one"), tempfile::tempdir().expect("there is room"));
    let disk = directory.path().display();
    let (_kept, file) = written(&configuration("http", &format!("access_log: {disk}/log"), &[origin.address()]));
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs {disk} && head -c 950000 /dev/zero >{disk}/ballast && exec {PROGRAM} -c {}",
        file.display()
    );
    let plb = Plb::run(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    plb.wait_for_log("plb: serving");
    serve_long(plb.web(), REQUESTS);
    // It is confined, but its mounts can be visited.
    let visit = |program: &str, name: &str| {
        let (process, path) = (plb.pid().to_string(), directory.path().join(name));
        let output = Command::new("nsenter").args(["-m", "-t", &process, program]).arg(path).output();
        String::from_utf8(output.expect("nsenter is there").stdout).expect("logs are ASCII")
    };
    let full = visit("cat", "log");
    assert!((1..100_000).contains(&full.len()) && !full.ends_with('\n'), "it is full in the middle of a line");
    visit("rm", "ballast");
    let lost = lost(&plb.wait_for_log("access log lines were lost"));
    assert!(lost > 0);
    assert_eq!(whole_lines(&visit("cat", "log")) + lost, REQUESTS);
    plb.stop_unmarked();
}

#[test]
fn a_fifo_that_nobody_reads_and_a_link_are_refused_at_the_start() {
    let (fifo, file) = (Lines::fifo(), Lines::new());
    let refused = |settings: String| {
        let mut plb = Plb::launch(&configuration("http", &settings, &[Reservation::new().address()]));
        assert_eq!(plb.wait_exit().code(), Some(1));
        plb.log()
    };
    let path = fifo.path().display();
    let said = refused(format!("access_log: {path}"));
    assert_eq!(said, format!("plb: cannot open the access log {path}: it is a FIFO that nobody reads"));
    let log = Lines::new();
    refused(format!("log_file: {}\naccess_log: {path}", log.path().display()));
    assert!(log.line().ends_with(&format!(" ERROR {said}")));
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::symlink("target", file.path()).expect("a link can be made");
        assert!(refused(format!("log_file: {}", file.path().display())).contains("a symbolic link"));
        assert!(!file.path().with_file_name("target").exists());
    }
}

#[test]
fn a_start_that_fails_is_told_to_the_log_too() {
    let log = Lines::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let listen = listener.local_addr().expect("it is bound").to_string();
    let yaml = configuration(
        "http",
        &format!("log_file: {}", log.path().display()),
        &[listener.local_addr().expect("it is bound")],
    );
    let mut plb = Plb::launch(&yaml.replace("127.0.0.1:0", &listen));
    assert_eq!(plb.wait_exit().code(), Some(1));
    assert!(plb.log().contains("cannot listen on"));
    assert!(log.wait_for(1).iter().any(|line| line.contains(" ERROR plb: listener web: cannot listen on")));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(log.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o137, 0, "only its owner writes it, and not everybody reads it");
}

#[test]
fn the_syslog_of_the_host_gets_the_daemons_lines() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can give plb a syslog of its own");
    }
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("socket");
    let syslog = UnixDatagram::bind(&path).expect("a socket can be made");
    syslog.set_read_timeout(Some(crate::harness::PATIENCE)).expect("a socket takes it");
    let (_kept, file) = written(&configuration("http", "log_file: syslog", &[Reservation::new().address()]));
    let script = format!(
        "mount -t tmpfs tmpfs /dev && ln -s {} /dev/log && exec {PROGRAM} -c {}",
        path.display(),
        file.display()
    );
    let plb = Plb::run(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    let serving = format!("<30>plb[{}]: plb: serving", plb.pid());
    poll_until("plb tells the syslog that it serves", || {
        let mut room = [0; 1000];
        let count = syslog.recv(&mut room).expect("a datagram comes");
        room[..count] == *serving.as_bytes()
    });
    drop(lines::wait_for(&file, 1));
}
