//! The access log: the flags, the same for every gateway.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::access_log::{AccessLog, Format, LogFile, UnknownFormat};
use crate::error::os_reason;

#[derive(Args, Clone, Debug, Default)]
pub(super) struct AccessFlags {
    /// Write a line for each request to this file, or to standard error (-); SIGUSR1 opens the file anew
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// The form of its lines: common, combined or json
    #[arg(long, value_name = "FORMAT", value_parser = parse_format, default_value = "combined")]
    access_log_format: Format,
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: UnknownFormat| error.to_string())
}

/// A log whose file is open: as root it may be, where the gateway's user could not make it.
pub(super) struct OpenedLog {
    file: LogFile,
    format: Format,
}

impl AccessFlags {
    pub(super) fn is_on(&self) -> bool {
        self.access_log.is_some()
    }

    /// Opens the file, if there shall be a log; an error names flag and file.
    pub(super) fn open(&self) -> Result<Option<OpenedLog>, String> {
        let Some(path) = &self.access_log else { return Ok(None) };
        let file = match path {
            path if path == Path::new("-") => LogFile::standard_error(),
            path => LogFile::open(path)
                .map_err(|error| format!("--access-log {}: {}", path.display(), cannot(&error)))?,
        };
        Ok(Some(OpenedLog { file, format: self.access_log_format }))
    }
}

/// Why there is no log, and what can be done about it.
fn cannot(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    let advice = match error.kind() {
        NotFound => "; create its folder first",
        PermissionDenied => "; this user may not write there: change the rights, or name another file",
        IsADirectory => "; name a file in it",
        _ => "",
    };
    format!("{}{advice}", os_reason(error))
}

impl OpenedLog {
    pub(super) fn start(self) -> std::io::Result<AccessLog> {
        AccessLog::start(self.file, self.format)
    }

    pub(super) fn direct(self) -> AccessLog {
        AccessLog::direct(self.file, self.format)
    }
}
