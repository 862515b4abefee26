//! Opening what stands beneath a folder, and nothing else: for applications whose paths come from clients.
//!
//! A [`Root`] is the folder by its path, entered anew for each request, so that a deployment that switches a link is
//! seen. The [`Folder`] that [`Root::enter`] gives stays the same one, whatever happens to its path.
//!
//! ```
//! use gatewright::files::{Found, Links, NotOpened, Root};
//!
//! let root = Root::new("src".as_ref(), Links::Inside)?;
//! let folder = root.enter()?;
//! assert!(matches!(folder.open(b"lib.rs")?, Found::File(_, metadata) if metadata.len() > 0));
//! assert!(matches!(folder.open(b"apps")?, Found::Folder(_)));
//! assert!(matches!(folder.open(b"apps/../../Cargo.toml"), Err(NotOpened::Outside)));
//! assert!(matches!(folder.open(b"lib.rs/x"), Err(NotOpened::NotAFolder)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Linux decides it in one system call, `openat2`. Where that is missing (before Linux 5.6, in some containers, on other
//! systems) the path is walked folder by folder, with the same result.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// None: a link counts as leading out.
    None,
    /// Those that stay beneath the folder. A link whose target begins with `/` leads out, wherever it points.
    #[default]
    Inside,
    /// All. Whoever may make links in the folder then decides what is opened.
    Any,
}

/// Why nothing was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotOpened {
    /// There is nothing by this name, and no file can be where it is too long or has a NUL.
    Missing,
    /// A file stands where the path has a folder.
    NotAFolder,
    /// The path has a `..` or begins with `/`, or a symbolic link in it may not be followed, or leads in circles.
    Outside,
    /// The file's rights do not allow it.
    Denied,
    /// Neither a regular file nor a folder: a pipe, a socket, a device.
    Special,
    /// The system failed: descriptors or memory have run out, the disk is broken.
    Failed(io::Error),
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotOpened::Missing => "no such file",
            NotOpened::NotAFolder => "a file stands where the path has a folder",
            NotOpened::Outside => "the path leads out of the folder",
            NotOpened::Denied => "permission denied",
            NotOpened::Special => "neither a regular file nor a folder",
            NotOpened::Failed(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for NotOpened {}

impl From<Errno> for NotOpened {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENAMETOOLONG => NotOpened::Missing,
            Errno::ENOTDIR => NotOpened::NotAFolder,
            Errno::EXDEV | Errno::ELOOP => NotOpened::Outside,
            Errno::EACCES | Errno::EPERM => NotOpened::Denied,
            // What opening a socket, and a device without a driver, gives.
            Errno::ENXIO | Errno::ENODEV => NotOpened::Special,
            other => NotOpened::Failed(other.into()),
        }
    }
}

/// What was opened.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open for reading, and what is known of it.
    File(File, Metadata),
    /// A folder.
    Folder(Folder),
}

impl Found {
    fn new(opened: OwnedFd, links: Links) -> Result<Self, NotOpened> {
        let file = File::from(opened);
        let metadata = file.metadata().map_err(NotOpened::Failed)?;
        match () {
            () if metadata.is_file() => Ok(Found::File(file, metadata)),
            () if metadata.is_dir() => Ok(Found::Folder(Folder { fd: file.into(), links })),
            () => Err(NotOpened::Special),
        }
    }
}

/// What was only looked at: nothing was opened for reading, and no right to read is needed.
#[derive(Debug)]
pub struct Entry {
    metadata: Metadata,
}

impl Entry {
    /// Size, times, rights, owner and kind.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.metadata.is_file()
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.metadata.is_dir()
    }
}

/// A folder by its path: what it names at the moment of [`enter`](Root::enter).
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    links: Links,
    /// Whether one call may do: there was no link in the path.
    plain: bool,
}

impl Root {
    /// The folder at `path`, which has to exist already. A relative path counts from the current folder.
    ///
    /// # Errors
    /// It does not exist, is no folder, or may not be entered.
    pub fn new(path: &Path, links: Links) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let plain = beneath::open_plain(path.as_os_str(), FOLDER).is_some_and(|opened| opened.is_ok());
        let root = Self { path, links, plain };
        root.enter()?;
        Ok(root)
    }

    /// The same folder, with other links followed beneath it.
    #[must_use]
    pub fn with_links(self, links: Links) -> Self {
        Self { links, ..self }
    }

    /// The absolute path, links in it unresolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder. Symbolic links in its own path are followed, wherever they lead.
    ///
    /// # Errors
    /// It is gone, no folder any more, or may not be entered.
    pub fn enter(&self) -> io::Result<Folder> {
        let fd = retry(|| nix::fcntl::open(&self.path, FOLDER, Mode::empty()))?;
        Ok(Folder { fd, links: self.links })
    }

    /// What [`enter`](Root::enter) and then [`Folder::open`] would open, in half the time, where there is no link on the
    /// way from the top: without links and `..`, what a path names is beneath what its beginning names. `None` where it
    /// takes the two, for whatever reason: they will say it.
    pub(crate) fn open_plain(&self, path: &[u8]) -> Option<Found> {
        check(path).ok().filter(|()| self.plain)?;
        let opened = beneath::open_plain(&self.full(path), READ)?.ok()?;
        Found::new(opened, self.links).ok()
    }

    /// Whether [`open_plain`](Root::open_plain) would find nothing at all by that name.
    pub(crate) fn lacks(&self, path: &[u8]) -> bool {
        let absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        self.plain && check(path).is_ok() && std::fs::symlink_metadata(self.full(path)).is_err_and(absent)
    }

    fn full(&self, path: &[u8]) -> OsString {
        let root = self.path.as_os_str();
        let mut full = OsString::with_capacity(root.len() + 1 + path.len());
        full.push(root);
        full.push("/");
        full.push(OsStr::from_bytes(path));
        full
    }
}

/// An open folder, beneath which files are opened by paths that a client may have written.
///
/// Paths are byte strings: names with `/` between them, no `/` in front. The empty path is the folder itself.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    links: Links,
}

/// A descriptor that only names a file: no right to read is needed, and no device or pipe notices.
#[cfg(target_os = "linux")]
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK: OFlag = READ;
const FOLDER: OFlag = LOOK.union(OFlag::O_DIRECTORY);
/// Opening a pipe or a terminal neither waits nor takes it over.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens a regular file for reading, or a folder. The file is the one that the metadata describes.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn open(&self, path: &[u8]) -> Result<Found, NotOpened> {
        // Such a link may lead to a device, which would notice being opened. Within the folder only root can make one.
        if self.links == Links::Any {
            let entry = self.look(path)?;
            if !entry.is_file() && !entry.is_folder() {
                return Err(NotOpened::Special);
            }
        }
        let opened = match self.resolve(path, READ) {
            // Entering a folder takes less than reading it.
            Err(NotOpened::Denied) => self.resolve(path, FOLDER).map_err(|_| NotOpened::Denied)?,
            other => other?,
        };
        Found::new(opened, self.links)
    }

    /// Looks at a file of any kind, without opening it for reading: a program need not be readable to be run.
    ///
    /// # Errors
    /// See [`NotOpened`]; special files are no error here.
    pub fn look(&self, path: &[u8]) -> Result<Entry, NotOpened> {
        let metadata = File::from(self.resolve(path, LOOK)?).metadata().map_err(NotOpened::Failed)?;
        Ok(Entry { metadata })
    }

    /// The names in the folder, in no order, without `.` and `..`. At most `most`; the second result says whether
    /// there are more.
    ///
    /// # Errors
    /// The folder may not be read.
    pub fn names(&self, most: usize) -> Result<(Vec<Vec<u8>>, bool), NotOpened> {
        let open =
            || openat(&self.fd, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let mut folder = Dir::from_fd(retry(open)?)?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if names.len() == most {
                return Ok((names, true));
            }
            names.push(name.to_vec());
        }
        Ok((names, false))
    }

    fn resolve(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, NotOpened> {
        check(path)?;
        let path = if path.is_empty() { b"." } else { path };
        match beneath::open(self.fd.as_fd(), path, flags, self.links) {
            Some(result) => Ok(result?),
            None if self.links == Links::Any => {
                Ok(retry(|| openat(&self.fd, OsStr::from_bytes(path), flags, Mode::empty()))?)
            }
            None => Ok(walk(self.fd.as_fd(), path, flags, self.links)?),
        }
    }
}

/// What no path may have that a client wrote.
fn check(path: &[u8]) -> Result<(), NotOpened> {
    if path.contains(&0) {
        return Err(NotOpened::Missing);
    }
    if path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err(NotOpened::Outside);
    }
    Ok(())
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// The whole question in one system call.
#[cfg(target_os = "linux")]
mod beneath {
    use std::ffi::OsStr;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;

    use nix::errno::Errno;
    use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

    use super::Links;

    /// `None` where the kernel, or the container, does not have it.
    pub(super) fn open(
        folder: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlag,
        links: Links,
    ) -> Option<nix::Result<OwnedFd>> {
        // While somebody renames within the tree the kernel cannot be sure, and says so.
        const TRIES: usize = 16;
        let resolve = match links {
            Links::None => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
            Links::Inside => ResolveFlag::RESOLVE_BENEATH,
            Links::Any => ResolveFlag::empty(),
        };
        let how = OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..TRIES {
            result = openat2(folder, OsStr::from_bytes(path), how);
            match result {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // Filters for system calls answer the ones that they do not know so.
                Err(Errno::ENOSYS | Errno::EPERM) => return None,
                _ => break,
            }
        }
        Some(result)
    }

    /// An absolute path without any link in it; `None` as above.
    pub(super) fn open_plain(path: &OsStr, flags: OFlag) -> Option<nix::Result<OwnedFd>> {
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match super::retry(|| openat2(AT_FDCWD, path, how)) {
            Err(Errno::ENOSYS | Errno::EPERM) => None,
            result => Some(result),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod beneath {
    use std::ffi::OsStr;
    use std::os::fd::{BorrowedFd, OwnedFd};

    use nix::fcntl::OFlag;

    pub(super) fn open(
        _: BorrowedFd<'_>,
        _: &[u8],
        _: OFlag,
        _: super::Links,
    ) -> Option<nix::Result<OwnedFd>> {
        None
    }

    pub(super) fn open_plain(_: &OsStr, _: OFlag) -> Option<nix::Result<OwnedFd>> {
        None
    }
}

/// As [`beneath::open`], folder by folder. No step follows a link by itself.
fn walk(root: BorrowedFd<'_>, path: &[u8], flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
    // As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let names =
        |path: &[u8]| -> Vec<Vec<u8>> { path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect() };
    let open = |at: BorrowedFd<'_>, name: &[u8], flags| {
        retry(|| openat(at, OsStr::from_bytes(name), flags | OFlag::O_NOFOLLOW, Mode::empty()))
    };
    let mut ahead = VecDeque::from(names(path));
    let mut entered: Vec<OwnedFd> = Vec::new();
    let mut followed = 0;
    while let Some(name) = ahead.pop_front() {
        let here = entered.last().map_or(root, OwnedFd::as_fd);
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                entered.pop().ok_or(Errno::EXDEV)?;
                continue;
            }
            _ => {}
        }
        match retry(|| readlinkat(here, OsStr::from_bytes(&name))) {
            Ok(target) => {
                followed += 1;
                if links == Links::None || followed > MOST_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = target.into_vec();
                if target.starts_with(b"/") {
                    return Err(Errno::EXDEV);
                }
                for name in names(&target).into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            // No link.
            Err(Errno::EINVAL) if ahead.is_empty() => return open(here, &name, flags),
            Err(Errno::EINVAL) => entered.push(open(here, &name, FOLDER)?),
            Err(error) => return Err(error),
        }
    }
    open(entered.last().map_or(root, OwnedFd::as_fd), b".", flags)
}

#[cfg(test)]
mod tests;
