//! The demo: plb with three small origins and a client of its own, in one process, for the eyes.
//!
//! The origins, the client, the breaker (which stops and revives an origin now and then) and the painter are plain
//! threads; what is balanced between them goes through the ordinary server on its ordinary sockets. What plb thinks
//! of its backends is read off its log. Nothing of this may be used by, or change, the server.

mod health_log;

use crate::config::{self, Config};
pub use health_log::HealthLog;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where the demo listens unless it is told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How many ports are tried, from the wanted one upwards.
const PORTS_TRIED_MAX: u16 = 20;
/// How many origins there are.
const ORIGINS: usize = 3;
/// How long all origins run, and how long one is stopped.
const RUNNING: Duration = Duration::from_secs(8);
const STOPPED: Duration = Duration::from_secs(6);
/// Between two requests of the client.
const PACE: Duration = Duration::from_millis(20);
/// Between two frames on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// What every origin says before its name.
const GREETING: &str = "hello from ";
/// The longest wait on a socket of the demo's own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demo until `serve` returns, which serves the configuration that it is given.
///
/// No logger may be installed, neither before nor by `serve`: the demo installs a [`HealthLog`].
///
/// # Errors
/// No port is free, a logger is installed already, or what `serve` reports.
pub fn run(listen: Option<SocketAddr>, serve: impl FnOnce(Config) -> Result<(), String>) -> Result<(), String> {
    let log = HealthLog::default();
    log::set_boxed_logger(Box::new(log.clone())).map_err(|error| error.to_string())?;
    log::set_max_level(log::LevelFilter::Info);
    let origins = (1..=ORIGINS).map(Origin::start).collect::<io::Result<Vec<_>>>();
    let origins = origins.map_err(|error| format!("an origin of the demo cannot listen: {error}"))?;
    let address = free_address(listen.unwrap_or(LISTEN_DEFAULT))?;
    let config = configuration(address, &origins)?;
    let show = Arc::new(Show { url: reachable(address), origins, log, failed: 0.into(), over: false.into() });
    for part in [ask, break_origins] {
        let show = Arc::clone(&show);
        thread::spawn(move || part(&show));
    }
    let painter = spawn_painter(&show);
    let result = serve(config);
    show.over.store(true, Relaxed);
    drop(painter.join()); // so that nothing is drawn over what the caller prints next
    result
}

/// What the threads of the demo share.
struct Show {
    url: SocketAddr,
    origins: Vec<Arc<Origin>>,
    log: HealthLog,
    failed: AtomicU64,
    over: AtomicBool,
}

/// A server that says hello and can be stopped.
struct Origin {
    name: String,
    address: SocketAddr,
    served: AtomicU64,
    up: AtomicBool,
}

impl Origin {
    fn start(number: usize) -> io::Result<Arc<Origin>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (name, address) = (format!("origin-{number}"), listener.local_addr()?);
        let origin = Arc::new(Origin { name, address, served: 0.into(), up: true.into() });
        origin.listen(listener);
        Ok(origin)
    }

    fn listen(self: &Arc<Self>, listener: TcpListener) {
        let origin = Arc::clone(self);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if !origin.up.load(Relaxed) {
                    return; // this was the wake-up of `stop`; the listener closes here
                }
                let origin = Arc::clone(&origin);
                thread::spawn(move || origin.answer(&stream));
            }
        });
    }

    /// Answers until the other end closes, or until this origin is stopped.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut writer) = (String::new(), stream);
        loop {
            line.clear();
            let is_end_of_head = (&mut reader).take(16_384).read_line(&mut line).ok()? == 2;
            if line.is_empty() || !self.up.load(Relaxed) {
                return None;
            }
            if is_end_of_head {
                self.served.fetch_add(1, Relaxed); // before anybody can know of the answer
                writer.write_all(self.response().as_bytes()).ok()?;
            }
        }
    }

    fn response(&self) -> String {
        let body = format!("{GREETING}{}\n", self.name);
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    fn stop(&self) {
        self.up.store(false, Relaxed);
        drop(TcpStream::connect(self.address)); // wakes the thread that accepts
    }

    fn revive(self: &Arc<Self>) {
        // When somebody else has the port now, it stays stopped; the others go on.
        if let Ok(listener) = TcpListener::bind(self.address) {
            self.up.store(true, Relaxed);
            self.listen(listener);
        }
    }
}

fn free_address(wanted: SocketAddr) -> Result<SocketAddr, String> {
    let last = wanted.port().saturating_add(PORTS_TRIED_MAX - 1);
    let tried = (wanted.port()..=last).map(|port| TcpListener::bind(SocketAddr::new(wanted.ip(), port)));
    let free = tried.flatten().find_map(|listener| listener.local_addr().ok());
    free.ok_or_else(|| format!("no port from {wanted} to {last} can be bound"))
}

/// The same address, as a client of this host names it.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        ip if ip.is_ipv4() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        _ => (Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

fn configuration(listen: SocketAddr, origins: &[Arc<Origin>]) -> Result<Config, String> {
    let mut text = format!(
        "timeout_shutdown: 1s
listeners:
  - {{ name: demo, listen: \"{listen}\", protocol: http, pool: demo }}
pools:
  demo:
    server_retry: 2
    timeout_cleanup: 2s
    backends:
"
    );
    for origin in origins {
        text += &format!("      - {{ address: \"{}\", name: {} }}\n", origin.address, origin.name);
    }
    config::parse("demo", &text).map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
}

/// The breaker: one origin after the other is away for a while.
fn break_origins(show: &Show) {
    for origin in show.origins.iter().cycle() {
        thread::sleep(RUNNING);
        origin.stop();
        thread::sleep(STOPPED);
        origin.revive();
    }
}

/// The client: a request now and then, two on each connection.
fn ask(show: &Show) {
    while !show.log.is_serving() {
        thread::sleep(PACE);
    }
    while let Ok(mut stream) = TcpStream::connect(show.url) {
        for _ in 0..2 {
            thread::sleep(PACE);
            if get(&mut stream, show.url).is_err() {
                // When nobody listens any more, plb has been told to stop, and that is no failure.
                show.failed.fetch_add(u64::from(TcpStream::connect(show.url).is_ok()), Relaxed);
                break;
            }
        }
    }
}

/// Asks for `/` and takes a whole 200.
fn get(stream: &mut TcpStream, host: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one piece: a second small one would wait for the acknowledgement of the first (RFC 896).
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    while !answer.contains(GREETING) || !answer.ends_with('\n') {
        let mut room = [0; 4096];
        let count = stream.read(&mut room)?;
        answer += &String::from_utf8_lossy(&room[..count]);
        if count == 0 || !"HTTP/1.1 200".starts_with(answer.get(..12).unwrap_or("")) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

fn spawn_painter(show: &Arc<Show>) -> JoinHandle<()> {
    let show = Arc::clone(show);
    let paint = if io::stdout().is_terminal() { paint_frames } else { paint_lines };
    thread::spawn(move || drop(paint(&show, &mut io::stdout()))) // without a reader there is nothing to paint
}

fn paint_frames(show: &Show, out: &mut impl Write) -> io::Result<()> {
    let mut height = 0;
    loop {
        let is_last = show.over.load(Relaxed);
        let frame = show.frame();
        // Up over the last frame, and clear to the end of the screen.
        write!(out, "{}\x1b[J{frame}", if height > 0 { format!("\x1b[{height}F") } else { String::new() })?;
        out.flush()?;
        if is_last {
            return Ok(());
        }
        height = frame.lines().count();
        thread::sleep(FRAME);
    }
}

fn paint_lines(show: &Show, out: &mut impl Write) -> io::Result<()> {
    let (mut painted, mut health) = (Instant::now(), None);
    while !show.over.load(Relaxed) {
        let now = show.origins.iter().map(|origin| show.is_down(origin)).collect::<Vec<_>>();
        if painted.elapsed() >= Duration::from_secs(1) || health.as_ref() != Some(&now) {
            writeln!(out, "{}", show.line())?;
            (painted, health) = (Instant::now(), Some(now));
        }
        thread::sleep(FRAME);
    }
    writeln!(out, "{}", show.line())
}

impl Show {
    fn is_down(&self, origin: &Origin) -> bool {
        self.log.is_down(&format!("demo/{}", origin.name))
    }

    fn total(&self) -> u64 {
        self.origins.iter().map(|origin| origin.served.load(Relaxed)).sum()
    }

    fn line(&self) -> String {
        let mut line = format!("http://{}/ {} requests, {} failed", self.url, self.total(), self.failed.load(Relaxed));
        for origin in &self.origins {
            let health = if self.is_down(origin) { "down" } else { "up" };
            let _ = write!(line, "; {} {health} {}", origin.name, origin.served.load(Relaxed));
        }
        line
    }

    fn frame(&self) -> String {
        let most = self.origins.iter().map(|origin| origin.served.load(Relaxed)).max().unwrap_or(0).max(1);
        let mut frame = format!("\n  plb demo: open http://{}/ and reload it; stop with Ctrl-C\n\n", self.url);
        for origin in &self.origins {
            let (served, is_up) = (origin.served.load(Relaxed), origin.up.load(Relaxed));
            let state = match (is_up, self.is_down(origin)) {
                (true, false) => "\x1b[32mup\x1b[m",
                (true, true) => "\x1b[33mback, waits for a probe\x1b[m",
                (false, false) => "\x1b[33mstopped, not noticed yet\x1b[m",
                (false, true) => "\x1b[31mstopped, taken out\x1b[m",
            };
            let bar = "#".repeat(usize::try_from(served * 30 / most).unwrap_or(0));
            let _ = writeln!(frame, "  {:10}{served:>8}  {bar:30}  {state}", origin.name);
        }
        let failed = match self.failed.load(Relaxed) {
            0 => "none failed".to_string(),
            count => format!("\x1b[31m{count} failed\x1b[m"),
        };
        let _ = writeln!(frame, "  requests  {:>8}  {failed}\n", self.total());
        for line in self.log.lines() {
            let _ = writeln!(frame, "  {}", line.chars().take(76).collect::<String>());
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show() -> Show {
        let origins = (1..=ORIGINS).map(|number| Origin::start(number).expect("a port is free")).collect();
        let url = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Show { url, origins, log: HealthLog::default(), failed: 0.into(), over: false.into() }
    }

    fn ask_origin(origin: &Origin) -> io::Result<()> {
        get(&mut TcpStream::connect(origin.address)?, origin.address)
    }

    #[test]
    fn an_origin_answers_stops_and_comes_back() {
        let origin = Origin::start(1).expect("a port is free");
        let mut kept = TcpStream::connect(origin.address).expect("it listens");
        get(&mut kept, origin.address).expect("an answer");
        get(&mut kept, origin.address).expect("another on the same connection");
        assert_eq!(origin.served.load(Relaxed), 2);
        origin.stop();
        assert!(get(&mut kept, origin.address).is_err() && ask_origin(&origin).is_err());
        while TcpStream::connect(origin.address).is_ok() {}
        origin.revive();
        ask_origin(&origin).expect("an answer");
    }

    #[test]
    fn a_busy_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let taken = taken.local_addr().map(|address| (taken, address)).expect("it is bound");
        let free = free_address(taken.1).expect("one of the next is free");
        assert!(free.port() > taken.1.port() && free.port() - taken.1.port() < PORTS_TRIED_MAX);
    }

    #[test]
    fn the_configuration_is_one_that_plb_takes() {
        let show = show();
        let config = configuration(show.url, &show.origins).expect("it is right");
        assert_eq!(config.pools[0].backends[2].port, show.origins[2].address.port());
        assert_eq!((config.pools[0].name.as_str(), config.pools[0].server_retry), ("demo", 2));
    }

    #[test]
    fn the_picture_names_url_shares_and_who_is_down() {
        let show = show();
        show.origins[0].served.store(20, Relaxed);
        show.origins[1].served.store(10, Relaxed);
        log::Log::log(
            &show.log,
            &log::Record::builder()
                .level(log::Level::Info)
                .args(format_args!("backend demo/origin-2: down after 2 failures: refused"))
                .build(),
        );
        let line = "http://127.0.0.1:8080/ 30 requests, 0 failed; origin-1 up 20; origin-2 down 10; origin-3 up 0";
        assert_eq!(show.line(), line);
        let frame = show.frame();
        assert!(frame.contains("http://127.0.0.1:8080/") && frame.contains("none failed"), "{frame}");
        assert!(frame.contains(&format!(" {} ", "#".repeat(30))) && frame.contains(&format!(" {} ", "#".repeat(15))));
        assert!(frame.contains("back, waits for a probe"), "{frame}");
    }
}
