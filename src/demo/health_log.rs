//! `HealthLog`: the log of the demo's plb, read instead of printed.
//!
//! It keeps the last lines and what the lines say of the backends; it never writes to a terminal.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many lines are kept.
const LINES_MAX: usize = 4;

/// The log of the demo's plb: keeps its last lines and what they say of the backends, and prints nothing.
#[derive(Clone, Default)]
pub struct HealthLog(Arc<Mutex<Journal>>);

#[derive(Default)]
struct Journal {
    lines: VecDeque<String>,
    down: Vec<String>,
    serving: bool,
}

impl HealthLog {
    /// The last lines, the oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.journal().lines.iter().cloned().collect()
    }

    /// Whether plb has taken `backend` (`pool/name`) out.
    pub fn is_down(&self, backend: &str) -> bool {
        self.journal().down.iter().any(|name| name == backend)
    }

    /// Whether plb has said that it serves.
    pub fn is_serving(&self) -> bool {
        self.journal().serving
    }

    fn take(&self, line: String) {
        let mut journal = self.journal();
        if let Some((name, news)) = line.strip_prefix("backend ").and_then(|rest| rest.split_once(": ")) {
            journal.down.retain(|other| other != name);
            if news.starts_with("down ") {
                journal.down.push(name.to_string());
            }
        }
        journal.serving |= line == "plb: serving";
        if journal.lines.len() == LINES_MAX {
            journal.lines.pop_front();
        }
        journal.lines.push_back(line);
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for HealthLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.take(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_who_is_down() {
        let log = HealthLog::default();
        log.take("backend demo/origin-2: down after 2 failures: connection refused (was up for 8s)".into());
        log.take("backend demo/origin-3: down after 2 failures: reset (was up for 8s)".into());
        assert!(log.is_down("demo/origin-2") && !log.is_down("demo/origin-1") && !log.is_serving());
        log.take("backend demo/origin-2: up (was down for 6s)".into());
        log.take("plb: serving".into());
        assert!(!log.is_down("demo/origin-2") && log.is_down("demo/origin-3") && log.is_serving());
    }

    #[test]
    fn the_log_keeps_only_the_last_lines() {
        let log = HealthLog::default();
        (0..100).for_each(|number| log.take(number.to_string()));
        assert_eq!(log.lines(), ["96", "97", "98", "99"]);
    }
}
