//! The program: arguments, exit codes, the stages of start-up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use plb::cli::{self, Command};
use plb::config::{self, Config, LogTarget, Mode, Overrides};
use plb::daemon::daemonize::{self, Readiness};
use plb::daemon::descriptors::close_inherited;
use plb::log::has_syslog;
use plb::start::StartError;
use plb::{demo, server};

/// Something failed at run time or at the start.
const FAILURE: u8 = 1;
/// The arguments make no sense.
const USAGE: u8 = 2;
/// The configuration is wrong (`EX_CONFIG` of sysexits).
const CONFIG: u8 = 78;
/// The step that fails when there can be no daemon.
const DAEMONIZE: &str = "cannot go into the background";
/// Where a log goes that goes nowhere.
const NULL: &str = "/dev/null";

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    match command {
        Command::Help => print(cli::HELP),
        Command::Version => print(concat!("plb ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Check { config } => match read(&config) {
            Ok(_) => print(&format!("{}: the configuration is valid\n", config.display())),
            Err(code) => code,
        },
        Command::Serve { config, overrides } => match read(&config) {
            Ok(config) => serve(config, &overrides),
            Err(code) => code,
        },
        Command::QuickStart { protocol, listen, backends, tracked_max, overrides } => {
            match config::quick_start(protocol, &listen, &backends) {
                Ok(mut config) => {
                    tracked_max.into_iter().for_each(|clients| config.track(clients));
                    serve(config, &overrides)
                }
                Err(errors) => fail(USAGE, &errors.join("\nplb: ")),
            }
        }
        Command::Demo { listen, .. } => {
            close_inherited();
            match demo::run(listen, |config| server::run(config, None).map_err(|e| e.to_string())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(FAILURE, &error),
            }
        }
    }
}

/// Reads and checks a configuration file; what is wrong with it goes to standard error.
fn read(path: &Path) -> Result<Config, ExitCode> {
    let name = path.display().to_string();
    let text =
        read_file(path, config::FILE_BYTES_MAX).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(|error| fail(CONFIG, &format!("{name}: {error}")))?;
    // Whatever it names lies beside it, wherever plb was started.
    let directory = path.parent().unwrap_or(Path::new(""));
    let files = |file: &Path, bytes_max| read_file(&directory.join(file), bytes_max).map_err(|error| error.to_string());
    config::parse_with(&name, &text, &files).map_err(|errors| {
        for error in &errors {
            drop(writeln!(io::stderr(), "{error}\n{}", error.excerpt()));
        }
        ExitCode::from(CONFIG)
    })
}

/// What is in a file, or enough of it to see that it is too long.
fn read_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn serve(mut config: Config, overrides: &Overrides) -> ExitCode {
    config.apply(overrides);
    close_inherited();
    let readiness = match overrides.mode {
        Mode::Foreground => Ok(None),
        Mode::Background => match Readiness::claim() {
            Ok(None) => return launch(&config),
            claimed => {
                leave_standard_streams(&mut config);
                claimed.map_err(|error| StartError::new(DAEMONIZE, error))
            }
        },
    };
    match readiness.and_then(|readiness| server::run(config, readiness)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error.to_string()),
    }
}

/// Runs plb again as a daemon; what that meets at its start is how this process ends.
fn launch(config: &Config) -> ExitCode {
    match daemonize::spawn() {
        Ok(None) => {
            if config.log_file == LogTarget::Standard && !has_syslog() {
                say("warning: the log goes nowhere in the background: name a file with log_file or --logfile");
            }
            if config.access_log == Some(LogTarget::Standard) {
                say("warning: there is no access log in the background: name a file with access_log");
            }
            ExitCode::SUCCESS
        }
        Ok(Some(status)) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code @ 1..) => ExitCode::from(code), // it has said why
            _ => fail(FAILURE, &format!("the daemon ended before it served: {status}")),
        },
        Err(error) => fail(FAILURE, &StartError::new(DAEMONIZE, error).to_string()),
    }
}

/// In the background the standard streams lead nowhere, and none may be kept open for a log.
fn leave_standard_streams(config: &mut Config) {
    if config.log_file == LogTarget::Standard {
        config.log_file = if has_syslog() { LogTarget::Syslog } else { LogTarget::File(NULL.into()) };
    }
    config.access_log.take_if(|target| *target == LogTarget::Standard);
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILURE),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    say(message);
    ExitCode::from(status)
}

/// A line on the terminal; without one, plb works all the same.
fn say(message: &str) {
    drop(writeln!(io::stderr(), "plb: {message}"));
}
