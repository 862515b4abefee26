//! The file that lines are written to.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::Mode;

/// A file that lines are appended to, or standard error.
///
/// It is made with mode 0640. The folder stays open, so that [`AccessLog::reopen`](super::AccessLog::reopen) finds the
/// file's name also after a change of the root directory.
#[derive(Debug)]
pub struct LogFile {
    place: Option<Place>,
    /// The last line was not written whole.
    pub(super) torn: bool,
}

#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Appends to the file at `path`, which is made where there is none; its folder has to be there. A pipe needs a
    /// reader already.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);
        #[cfg(target_os = "linux")]
        const LOOK: OFlag = OFlag::O_PATH;
        #[cfg(not(target_os = "linux"))]
        const LOOK: OFlag = OFlag::O_RDONLY;
        let path = path.as_ref();
        let name = path.file_name().ok_or_else(|| io::Error::other("this is no file's name"))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = open(folder, FOLDER | LOOK, Mode::empty())?;
        let file = append(&folder, name)?;
        let place = Place { folder, name: name.to_owned(), path: path.to_owned(), file };
        Ok(Self { place: Some(place), torn: false })
    }

    /// Standard error.
    pub fn standard_error() -> Self {
        Self { place: None, torn: false }
    }

    /// Writes a line with its end, by one call as long as the system takes it whole.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let result = match &mut self.place {
            // What is left of a torn line must not run into this one.
            Some(place) if self.torn => place.file.write_all(&[b"\n", line].concat()),
            Some(place) => place.file.write_all(line),
            None => io::stderr().write_all(line),
        };
        self.torn = result.is_err();
        result
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(place) = &mut self.place {
            place.file = append(&place.folder, &place.name)?;
            self.torn = false;
        }
        Ok(())
    }
}

/// Opens a pipe without waiting for its reader; writing waits all the same.
fn append(folder: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
    let file = openat(folder, name, flags | OFlag::O_NONBLOCK, mode)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file.into())
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => place.path.display().fmt(f),
            None => f.write_str("on standard error"),
        }
    }
}
