//! The command line: arguments become a [`Command`], or a [`UsageError`] in one line.
//!
//! Opens no file and prints nothing; what the arguments of the quick start mean is for `config` to say.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::{self, LogTarget, Mode, Overrides, ProtocolName, TRACKED_DEFAULT, units};

/// The configuration file that is read when none is named.
pub const CONFIG_FILE_DEFAULT: &str = "/etc/plb.yaml";

/// What `--help` prints.
pub const HELP: &str = "\
plb, a load balancer for HTTP and TCP

Usage:
  plb [OPTIONS]                          serve what the configuration file says
  plb [OPTIONS] [--tcp] LISTEN BACKEND.. serve without a file
  plb [OPTIONS] demo                     try it: plb with backends of its own

Options:
  -c, --config FILE     configuration file (default: /etc/plb.yaml)
  -t, --check           check the configuration and exit: 0 good, 78 not
  -d, --loglevel LEVEL  error, warn, info, debug or trace; or 0 (debug)
                        to 3 (error) (default: info)
  -l, --logfile FILE    log file; or - (standard error), syslog or
                        udp://HOST:PORT (default: -)
  -B, --daemonize       run in the background; the command ends when plb serves,
                        or says why it does not
  -g, --pidfile FILE    pid file, or none (default: none; with -B
                        /var/run/plb.pid)
  -h, --help            show this help
  -v, --version         show the version

Without a file:
  LISTEN                PORT, on all addresses, or ADDRESS:PORT
  BACKEND               HOST:PORT, and behind it in any order ,weight=N (its
                        share; default: 1), ,max=N (connections to it; default:
                        no limit) and ,tier=N (0 to 9, 0 serves first)
  --tcp                 balance TCP connections (default: HTTP requests)
  --clients N           lead so many clients back to the backend that served
                        them, by their addresses (default: 2048)
  --no-tracking         lead nobody back

Demo:
  --listen ADDRESS:PORT where the demo listens

The command line beats the file: -d, -l and -g win over log_level, log_file and
pid_file.
Exit status: 0 good, 1 failed, 2 wrong usage, 78 wrong configuration.

Examples:
  plb 8080 10.0.0.1:80 10.0.0.2:80,weight=2
  plb --tcp 127.0.0.1:5432 db1.example:5432 db2.example:5432,tier=1
  plb --check --config plb.yaml
";

/// The word that asks for the demo.
const DEMO: &str = "demo";

/// What the options are called, for suggestions.
const OPTIONS: &str = "--config --check --loglevel --logfile --daemonize --pidfile --help --version --tcp --listen \
    --clients --no-tracking";

/// What plb is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Check a configuration file.
    Check {
        /// The file.
        config: PathBuf,
    },
    /// Serve what a configuration file says.
    Serve {
        /// The file.
        config: PathBuf,
        /// What beats the file.
        overrides: Overrides,
    },
    /// Serve without a file.
    QuickStart {
        /// What the clients speak.
        protocol: ProtocolName,
        /// `PORT` or `ADDRESS:PORT`, not judged yet.
        listen: String,
        /// `HOST:PORT[,weight=N][,max=N][,tier=N]`, not judged yet; at least one.
        backends: Vec<String>,
        /// How many clients are tracked, if any.
        tracked_max: Option<usize>,
        /// What beats the defaults.
        overrides: Overrides,
    },
    /// Serve backends of plb's own.
    Demo {
        /// Where; `None` leaves the choice to the demo.
        listen: Option<SocketAddr>,
        /// What beats the defaults.
        overrides: Overrides,
    },
}

/// Why the arguments make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (see plb --help)", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments, without the name of the program.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(args.collect::<Vec<_>>());
    let mut given = Given::default();
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('v') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('c') | Arg::Long("config") => once(&mut given.config, "--config", path(&mut parser)?)?,
            Arg::Short('d') | Arg::Long("loglevel") => once(&mut given.log_level, "--loglevel", level(&mut parser)?)?,
            Arg::Short('l') | Arg::Long("logfile") => once(&mut given.log_file, "--logfile", target(&mut parser)?)?,
            Arg::Short('B') | Arg::Long("daemonize") => once(&mut given.daemonize, "--daemonize", ())?,
            Arg::Short('g') | Arg::Long("pidfile") => once(&mut given.pid_file, "--pidfile", path(&mut parser)?)?,
            Arg::Short('t') | Arg::Long("check") => once(&mut given.check, "--check", ())?,
            Arg::Long("tcp") => once(&mut given.tcp, "--tcp", ())?,
            Arg::Long("clients") => once(&mut given.clients, "--clients", clients(&mut parser)?)?,
            Arg::Long("no-tracking") => once(&mut given.no_tracking, "--no-tracking", ())?,
            Arg::Long("listen") => once(&mut given.listen, "--listen", address(&mut parser)?)?,
            Arg::Value(value) => given.words.push(value.string().map_err(usage)?),
            other => return Err(usage(other.unexpected())),
        }
    }
    given.command()
}

/// The arguments as they were given, each option at most once.
#[derive(Default)]
struct Given {
    config: Option<PathBuf>,
    log_level: Option<log::LevelFilter>,
    log_file: Option<LogTarget>,
    daemonize: Option<()>,
    pid_file: Option<PathBuf>,
    listen: Option<SocketAddr>,
    check: Option<()>,
    tcp: Option<()>,
    clients: Option<usize>,
    no_tracking: Option<()>,
    words: Vec<String>,
}

impl Given {
    fn command(self) -> Result<Command, UsageError> {
        if let Some(message) = self.contradiction() {
            return Err(UsageError(message.to_string()));
        }
        let config = self.config.unwrap_or_else(|| PathBuf::from(CONFIG_FILE_DEFAULT));
        let mode = self.daemonize.map_or(Mode::Foreground, |()| Mode::Background);
        let Given { log_level, log_file, pid_file, .. } = self;
        let overrides = Overrides { log_level, log_file, pid_file, mode };
        let mut words = self.words.into_iter();
        Ok(match words.next() {
            None if self.check.is_some() => Command::Check { config },
            None => Command::Serve { config, overrides },
            Some(word) if word == DEMO => Command::Demo { listen: self.listen, overrides },
            Some(listen) => {
                let protocol = self.tcp.map_or(ProtocolName::Http, |()| ProtocolName::Tcp);
                let tracked_max = self.no_tracking.map_or(Some(self.clients.unwrap_or(TRACKED_DEFAULT)), |()| None);
                Command::QuickStart { protocol, listen, backends: words.collect(), tracked_max, overrides }
            }
        })
    }

    /// What does not go together.
    fn contradiction(&self) -> Option<&'static str> {
        let has_words = !self.words.is_empty();
        let is_descriptor = |path: &PathBuf| path.starts_with("/dev") || path.starts_with("/proc");
        let is_demo = self.words.first().is_some_and(|word| word == DEMO);
        let is_quick = has_words && !is_demo;
        let rules = [
            (self.listen.is_some() && !is_demo, "--listen goes with demo only"),
            (self.tcp.is_some() && !is_quick, "--tcp needs LISTEN and a BACKEND"),
            (self.clients.is_some() && !is_quick, "--clients needs LISTEN and a BACKEND (a file has affinity)"),
            (self.no_tracking.is_some() && !is_quick, "--no-tracking needs LISTEN and a BACKEND"),
            (self.clients.is_some() && self.no_tracking.is_some(), "--clients goes without --no-tracking"),
            (self.check.is_some() && has_words, "--check takes a file: --config FILE"),
            (self.config.is_some() && has_words, "--config goes without further arguments"),
            (is_demo && self.daemonize.is_some(), "the demo runs in the foreground, without --daemonize"),
            (is_demo && self.pid_file.is_some(), "the demo has no pid file"),
            (self.check.is_some() && self.daemonize.is_some(), "--check goes without --daemonize"),
            (
                self.daemonize.is_some() && self.config.as_ref().is_some_and(is_descriptor),
                "--daemonize reads the configuration twice, which takes a file",
            ),
            (is_demo && self.words.len() > 1, "demo takes no arguments"),
            (!is_demo && self.words.len() == 1, "LISTEN needs at least one BACKEND after it (a file needs --config)"),
        ];
        rules.into_iter().find_map(|(is_broken, message)| is_broken.then_some(message))
    }
}

fn once<T>(slot: &mut Option<T>, option: &str, value: T) -> Result<(), UsageError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UsageError(format!("{option} is given twice"))),
    }
}

fn path(parser: &mut Parser) -> Result<PathBuf, UsageError> {
    let value = parser.value().map_err(usage)?;
    if value.is_empty() { Err(UsageError("a file name must not be empty".to_string())) } else { Ok(value.into()) }
}

fn level(parser: &mut Parser) -> Result<log::LevelFilter, UsageError> {
    let text = parser.value().and_then(ValueExt::string).map_err(usage)?;
    let level = units::log_level(&text);
    level.ok_or_else(|| UsageError(format!("the log level must be {}, not {text:?}", units::LOG_LEVEL_ALLOWED)))
}

fn target(parser: &mut Parser) -> Result<LogTarget, UsageError> {
    let text = parser.value().map_err(usage)?;
    let target = units::log_target(&text);
    target.ok_or_else(|| UsageError(format!("the log must be {}, not {text:?}", units::LOG_TARGET_ALLOWED)))
}

fn clients(parser: &mut Parser) -> Result<usize, UsageError> {
    let text = parser.value().and_then(ValueExt::string).map_err(usage)?;
    config::tracked_max(&text).map_err(|message| UsageError(format!("--clients {message}")))
}

fn address(parser: &mut Parser) -> Result<SocketAddr, UsageError> {
    let text = parser.value().and_then(ValueExt::string).map_err(usage)?;
    let address = units::listen_address(&text);
    address.ok_or_else(|| UsageError(format!("--listen must be {}, not {text:?}", units::LISTEN_ALLOWED)))
}

fn usage(error: lexopt::Error) -> UsageError {
    UsageError(match error {
        lexopt::Error::UnexpectedOption(option) => {
            let near = crate::config::suggestion(&option, OPTIONS.split(' '));
            format!("unknown option {option:?}{near}")
        }
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.0)
    }

    fn overrides(log_level: Option<log::LevelFilter>, log_file: Option<&str>) -> Overrides {
        Overrides {
            log_level,
            log_file: log_file.and_then(|text| units::log_target(text.as_ref())),
            ..Overrides::default()
        }
    }

    #[test]
    fn good_lines_become_commands() {
        let config = || PathBuf::from(CONFIG_FILE_DEFAULT);
        let none = Overrides::default;
        let backends = vec!["a:1".to_string(), "b:2,weight=3".to_string()];
        let tracking = |tracked_max, protocol, overrides| Command::QuickStart {
            protocol,
            listen: "80".to_string(),
            backends: backends.clone(),
            tracked_max,
            overrides,
        };
        let quick = |protocol, overrides| tracking(Some(2_048), protocol, overrides);
        let background = |path: Option<PathBuf>| Overrides { pid_file: path, mode: Mode::Background, ..none() };
        let debug_to_file = overrides(Some(log::LevelFilter::Debug), Some("f"));
        let table = [
            ("", Command::Serve { config: config(), overrides: none() }),
            ("-c x", Command::Serve { config: "x".into(), overrides: none() }),
            ("--config=x -d 0 -l f", Command::Serve { config: "x".into(), overrides: debug_to_file.clone() }),
            ("--loglevel debug --logfile f", Command::Serve { config: config(), overrides: debug_to_file.clone() }),
            ("-l -", Command::Serve { config: config(), overrides: overrides(None, Some("-")) }),
            ("-B", Command::Serve { config: config(), overrides: background(None) }),
            ("-B -c x -g none", Command::Serve { config: "x".into(), overrides: background(Some("none".into())) }),
            ("-Bgf 80 a:1 b:2,weight=3", quick(ProtocolName::Http, background(Some("f".into())))),
            ("--daemonize 80 a:1 b:2,weight=3", quick(ProtocolName::Http, background(None))),
            (
                "--pidfile=f",
                Command::Serve { config: config(), overrides: Overrides { pid_file: Some("f".into()), ..none() } },
            ),
            ("-t -g f", Command::Check { config: config() }),
            ("-t", Command::Check { config: config() }),
            ("-tcx", Command::Check { config: "x".into() }),
            ("80 a:1 b:2,weight=3", quick(ProtocolName::Http, none())),
            ("--tcp -d0 80 -lf a:1 b:2,weight=3", quick(ProtocolName::Tcp, debug_to_file)),
            ("--clients 7 80 a:1 b:2,weight=3", tracking(Some(7), ProtocolName::Http, none())),
            ("--tcp 80 a:1 b:2,weight=3 --no-tracking", tracking(None, ProtocolName::Tcp, none())),
            ("demo", Command::Demo { listen: None, overrides: none() }),
            ("--listen [::1]:80 demo", Command::Demo { listen: "[::1]:80".parse().ok(), overrides: none() }),
            ("-h --nonsense", Command::Help),
            ("--tcp --version", Command::Version),
        ];
        for (line, command) in table {
            assert_eq!(parsed(line), Ok(command), "plb {line}");
        }
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let table = [
            ("--confg x", "unknown option \"--confg\"; did you mean '--config'?"),
            ("-x", "unknown option \"-x\""),
            ("-c", "missing argument for option '-c'"),
            ("-c a -c b", "--config is given twice"),
            ("-t -t", "--check is given twice"),
            (
                "-d loud",
                "the log level must be error, warn, info, debug, trace or 0 (debug) to 3 (error), not \"loud\"",
            ),
            ("--check=yes", "unexpected argument for option '--check': \"yes\""),
            ("80", "LISTEN needs at least one BACKEND after it (a file needs --config)"),
            ("--tcp", "--tcp needs LISTEN and a BACKEND"),
            ("--tcp demo", "--tcp needs LISTEN and a BACKEND"),
            ("--clients 5 -c x", "--clients needs LISTEN and a BACKEND (a file has affinity)"),
            ("--no-tracking demo", "--no-tracking needs LISTEN and a BACKEND"),
            ("--no-tracking --clients 5 80 a:1", "--clients goes without --no-tracking"),
            ("--clients 0 80 a:1", "--clients must be a whole number from 1 to 10000000, not 0"),
            ("--clients many 80 a:1", "--clients must be a whole number from 1 to 10000000, not \"many\""),
            ("--clients", "missing argument for option '--clients'"),
            ("-t 80 a:1", "--check takes a file: --config FILE"),
            ("-c x 80 a:1", "--config goes without further arguments"),
            ("--listen 127.0.0.1:80", "--listen goes with demo only"),
            ("--listen 80 demo", "--listen must be ADDRESS:PORT, such as 127.0.0.1:8080 or \"[::1]:8080\", not \"80\""),
            ("-B -t", "--check goes without --daemonize"),
            ("-B demo", "the demo runs in the foreground, without --daemonize"),
            ("-g f demo", "the demo has no pid file"),
            ("-B -B", "--daemonize is given twice"),
            ("-g=", "a file name must not be empty"),
            ("demo 80", "demo takes no arguments"),
        ];
        for (line, message) in table {
            assert_eq!(parsed(line), Err(message.to_string()), "plb {line}");
        }
    }

    #[test]
    fn the_help_names_every_option_and_fits_a_terminal() {
        assert!(OPTIONS.split(' ').all(|option| HELP.contains(option)));
        assert!(HELP.contains(CONFIG_FILE_DEFAULT));
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_name_need_not_be_text_but_an_argument_must() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(vec![0x66, 0xff]);
        let command = parse(["-c".into(), odd()].into_iter());
        assert_eq!(command, Ok(Command::Serve { config: odd().into(), overrides: Overrides::default() }));
        assert!(parse(["80".into(), odd()].into_iter()).is_err());
        assert_eq!(parse(["-c".into(), OsString::new()].into_iter()).unwrap_err().0, "a file name must not be empty");
    }
}
