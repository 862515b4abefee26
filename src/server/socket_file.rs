//! Socket files: they appear with their final rights, replace nobody who listens, and are removed by their owner alone.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_to, connect, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{Gid, Uid};

use super::SocketRights;
use super::accounts::{group_id, group_name, user_id, user_name};

/// A socket file of ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Removes the file, unless somebody else's stands there by now.
    ///
    /// While our socket is open the system keeps its file's number for it, so that no other file can have that.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.identity) {
            // Whoever gave up rights after binding may not be allowed to; the next start replaces what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Binds a socket file.
pub(super) fn bind(path: &Path, rights: &SocketRights) -> io::Result<(UnixListener, SocketFile)> {
    let path = std::path::absolute(path)?;
    // Nobody could connect to a name that is too long, though the one it is bound by may fit.
    UnixAddr::new(&path)?;
    let there = occupied_by(&path)?;
    let named = |flag: &str, error: io::Error| io::Error::new(error.kind(), format!("{flag}: {error}"));
    let owner = user_id(rights.owner.as_deref()).map_err(|error| named("--socket-owner", error))?;
    let group = group_id(rights.group.as_deref()).map_err(|error| named("--socket-group", error))?;
    let (owner, group) = (owner.map(Uid::as_raw), group.map(Gid::as_raw));
    // Bound under another name with no rights at all, then given its owner, then its rights, and only then open for
    // connections and known by its name: whoever can see it there sees it finished, and a stale file is replaced in
    // one step.
    let (listener, staging) = bind_staged(&path)?;
    let finished = lchown(&staging, owner, group).and_then(|()| {
        // Neither call follows a link that somebody may have put there meanwhile.
        let mode = Mode::from_bits_truncate(rights.mode);
        fchmodat(AT_FDCWD, &staging, mode, FchmodatFlags::NoFollowSymlink)?;
        listen(&listener, Backlog::MAXCONN)?;
        let ours = identity(&fs::symlink_metadata(&staging)?);
        publish(&staging, &path, there)?;
        Ok(ours)
    });
    match finished {
        Ok(identity) => Ok((UnixListener::from(listener), SocketFile { path, identity })),
        Err(error) => {
            let _ = fs::remove_file(&staging);
            Err(error)
        }
    }
}

/// Binds under a name of its own beside `path`, short so that it fits where the final name does.
fn bind_staged(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const TRIES: u32 = 16;
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // On Linux the file gets the socket's own mode. A umask would do as well, but it is the whole process's.
    fchmod(&listener, Mode::empty())?;
    let mut tries = 0;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let staging = path.with_file_name(format!(".{:x}.{number:x}", std::process::id()));
        match bind_to(listener.as_raw_fd(), &UnixAddr::new(&staging)?) {
            Ok(()) => return Ok((listener, staging)),
            // Left behind by a process that had our number and was killed in this very place.
            Err(Errno::EADDRINUSE) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What stands at the path where a socket shall be.
#[derive(Clone, Copy)]
enum There {
    Nothing,
    Stale,
}

/// Gives the socket its name. Where nothing stood a moment ago, nothing is replaced: two gateways may start at once.
fn publish(staging: &Path, path: &Path, there: There) -> io::Result<()> {
    if let There::Nothing = there {
        // A second name is given or refused in one step, on every system and with every C library.
        match fs::hard_link(staging, path) {
            Ok(()) => return fs::remove_file(staging),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(in_use()),
            // Not every file system has second names.
            Err(_) => {}
        }
    }
    fs::rename(staging, path)
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another server is listening there; stop it first")
}

/// What stands at `path`; an error if it must not be replaced.
fn occupied_by(path: &Path) -> io::Result<There> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        other => other?.file_type(),
    };
    let no_socket = "the file exists and is no socket; choose another path";
    if !kind.is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, no_socket));
    }
    // Not blocking: a server whose queue is full is a live one too.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(asking.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => Ok(There::Stale),
        Err(Errno::ENOENT) => Ok(There::Nothing),
        Err(Errno::EACCES) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket exists, and it cannot be asked whether it is in use: permission denied",
        )),
        // Connected, a full queue, or a socket of another type.
        _ => Err(in_use()),
    }
}

/// The mode, owner and group of the socket file at `path`, as ` (mode 0660, owner root, group www-data)`.
pub(super) fn describe_rights(path: &Path) -> Option<String> {
    let about = fs::symlink_metadata(path).ok().filter(|about| about.file_type().is_socket())?;
    let (owner, group) = (user_name(about.uid()), group_name(about.gid()));
    Some(format!("mode {:04o}, owner {owner}, group {group}", about.mode() & 0o7777))
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether only this process's own user may connect.
    pub(super) fn is_private(&self) -> bool {
        let Ok(about) = fs::symlink_metadata(&self.path) else { return false };
        let others = about.mode() & 0o002 != 0;
        let group = about.mode() & 0o020 != 0 && about.gid() != nix::unistd::getegid().as_raw();
        let owner = about.mode() & 0o200 != 0 && about.uid() != nix::unistd::geteuid().as_raw();
        !others && !group && !owner
    }

    /// The folder above it that nobody but this process's own user may enter.
    pub(super) fn closed_folder(&self) -> Option<PathBuf> {
        let path = std::path::absolute(&self.path).ok()?;
        let is_closed = |folder: &&Path| {
            fs::metadata(folder).is_ok_and(|about| {
                about.mode() & 0o011 == 0 && about.uid() == nix::unistd::geteuid().as_raw()
            })
        };
        path.ancestors().skip(1).find(is_closed).map(Path::to_owned)
    }
}
