//! The log of the gateways that listen: whole lines on standard error.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger {
    program: String,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        let line = format!("{}: {level}{}\n", self.program, record.args());
        // One write for a line, so that lines of several threads do not mix; a closed log cannot be complained about.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Sends the library's messages to standard error, each line with the program's name.
pub(super) fn install(program: &str) {
    // A second logger is refused, and then the first one stays.
    if log::set_logger(Box::leak(Box::new(Logger { program: program.to_owned() }))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
