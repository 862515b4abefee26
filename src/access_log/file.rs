//! The file that lines are written to.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;

/// A file that lines are appended to, or standard error. It is made with mode 0640.
#[derive(Debug)]
pub struct LogFile {
    /// Where it is, and what is open now.
    place: Option<(PathBuf, File)>,
    /// The last line was not written whole.
    pub(super) torn: bool,
}

impl LogFile {
    /// Appends to the file at `path`, which is made where there is none; its folder has to be there. A pipe needs a
    /// reader already.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = append(&path)?;
        Ok(Self { place: Some((path, file)), torn: false })
    }

    /// Standard error.
    pub fn standard_error() -> Self {
        Self { place: None, torn: false }
    }

    /// Writes a line with its end, by one call as long as the system takes it whole.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let result = match &mut self.place {
            // What is left of a torn line must not run into this one.
            Some((_, file)) if self.torn => file.write_all(&[b"\n", line].concat()),
            Some((_, file)) => file.write_all(line),
            None => io::stderr().write_all(line),
        };
        self.torn = result.is_err();
        result
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some((path, file)) = &mut self.place {
            *file = append(path)?;
            self.torn = false;
        }
        Ok(())
    }
}

/// Opens a pipe without waiting for its reader; writing waits all the same.
fn append(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
    let file = open(path, flags | OFlag::O_NONBLOCK, mode)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file.into())
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((path, _)) => path.display().fmt(f),
            None => f.write_str("on standard error"),
        }
    }
}
