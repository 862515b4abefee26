//! Listening sockets: bound without stealing, with the rights that were asked for.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};

use super::Address;

/// Rights of a socket file.
#[derive(Clone, Debug)]
pub struct SocketRights {
    /// Permission bits.
    pub mode: u32,
    /// Its owner, by name or number; `None` is who runs the gateway.
    pub owner: Option<String>,
    /// Its group, by name or number.
    pub group: Option<String>,
}

impl Default for SocketRights {
    fn default() -> Self {
        Self { mode: 0o660, owner: None, group: None }
    }
}

/// A socket that accepts connections. A socket file is removed when its listener is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    description: String,
    file: Option<PathBuf>,
}

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds an address.
    ///
    /// A socket file that nobody listens on is replaced; one that somebody does is an error. The file appears with its
    /// final rights, never with wider ones.
    ///
    /// # Errors
    /// The address and the reason, in one line.
    pub fn bind(address: &Address, rights: &SocketRights) -> io::Result<Self> {
        let described = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {}", plain(&error)))
        };
        match address {
            Address::Unix(path) => bind_unix(path, rights).map_err(described),
            Address::Abstract(name) => {
                use std::os::linux::net::SocketAddrExt;
                let bound = std::os::unix::net::SocketAddr::from_abstract_name(name)
                    .and_then(|address| UnixListener::bind_addr(&address));
                Ok(Self::new(Kind::Unix(bound.map_err(described)?), address.to_string(), None))
            }
            Address::Tcp(socket) => Self::bind_tcp(socket).map_err(described),
            Address::TcpName(name, port) => Self::bind_tcp((name.as_str(), *port)).map_err(described),
            Address::Descriptor(_) | Address::Systemd(_) => Err(described(io::Error::new(
                io::ErrorKind::Unsupported,
                "inherited sockets are not in this version yet",
            ))),
        }
    }

    fn bind_tcp(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let description = listener.local_addr()?.to_string();
        Ok(Self::new(Kind::Tcp(listener), description, None))
    }

    fn new(kind: Kind, description: String, file: Option<PathBuf>) -> Self {
        Self { kind, description, file }
    }

    /// The address, with the port that the system chose, for the log.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The socket file's mode, owner and group, as ` (mode 0660, owner root, group www-data)`; empty without a file.
    pub fn rights(&self) -> String {
        let Some(about) = self.file.as_ref().and_then(|file| fs::metadata(file).ok()) else {
            return String::new();
        };
        let owner = User::from_uid(about.uid().into()).ok().flatten().map(|user| user.name);
        let group = Group::from_gid(about.gid().into()).ok().flatten().map(|group| group.name);
        let (owner, group) =
            (owner.unwrap_or(about.uid().to_string()), group.unwrap_or(about.gid().to_string()));
        format!(" (mode {:04o}, owner {owner}, group {group})", about.mode() & 0o7777)
    }

    /// What to do where nobody but this process's own user could connect.
    pub fn hint(&self) -> Option<String> {
        let about = self.file.as_ref().and_then(|file| fs::metadata(file).ok())?;
        let others = about.mode() & 0o002 != 0;
        let group = about.mode() & 0o020 != 0 && about.gid() != nix::unistd::getegid().as_raw();
        let owner = about.uid() != nix::unistd::geteuid().as_raw();
        let alone = !others && !group && !owner;
        alone
            .then(|| format!("{}: only this user can connect; try --socket-group www-data", self.description))
    }

    /// Takes no more connections: a waiting `accept` returns with an error.
    pub(super) fn close(&self) {
        // A listening socket that cannot be shut down has no one waiting on it.
        let _ = nix::sys::socket::shutdown(self.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd;
        match &self.kind {
            Kind::Unix(listener) => listener.as_raw_fd(),
            Kind::Tcp(listener) => listener.as_raw_fd(),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// What the system says; most are about one connection and pass.
    pub fn accept(&self) -> io::Result<Stream> {
        match &self.kind {
            Kind::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
            Kind::Tcp(listener) => {
                let stream = listener.accept()?.0;
                // Answers are written whole: waiting to fill a packet would only delay them.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Somebody may have removed it already.
            let _ = fs::remove_file(file);
        }
    }
}

/// An error's text without Rust's "(os error 98)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text).to_owned()
}

fn bind_unix(path: &Path, rights: &SocketRights) -> io::Result<Listener> {
    refuse_live(path)?;
    let (owner, group) = (user_id(rights.owner.as_deref())?, group_id(rights.group.as_deref())?);
    let mut staging = path.as_os_str().to_owned();
    staging.push(format!(".{}", std::process::id()));
    let staging = PathBuf::from(staging);
    // Bound under another name with no rights for others, then given its rights, then its name: whoever can see it
    // sees it finished, and a stale file is replaced in one step.
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(&staging);
    nix::sys::stat::umask(umask);
    let listener = bound?;
    let finished = fs::set_permissions(&staging, fs::Permissions::from_mode(rights.mode))
        .and_then(|()| nix::unistd::chown(&staging, owner, group).map_err(io::Error::from))
        .and_then(|()| fs::rename(&staging, path));
    if let Err(error) = finished {
        let _ = fs::remove_file(&staging);
        return Err(error);
    }
    let path = std::path::absolute(path)?;
    Ok(Listener::new(Kind::Unix(listener), format!("unix:{}", path.display()), Some(path)))
}

/// An error if something stands at `path` that must not be replaced.
fn refuse_live(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.file_type(),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the file exists and is no socket; choose another path",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another server is listening there; stop it first"))
        }
    }
}

fn user_id(name: Option<&str>) -> io::Result<Option<Uid>> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(Uid::from_raw(number)));
    }
    match User::from_name(name)? {
        Some(user) => Ok(Some(user.uid)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user \"{name}\""))),
    }
}

fn group_id(name: Option<&str>) -> io::Result<Option<Gid>> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(Gid::from_raw(number)));
    }
    match Group::from_name(name)? {
        Some(group) => Ok(Some(group.gid)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no group \"{name}\""))),
    }
}

/// A connection, of either family.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_write_timeout(timeout),
            Stream::Tcp(stream) => stream.set_write_timeout(timeout),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.shutdown(how),
            Stream::Tcp(stream) => stream.shutdown(how),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl io::Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).read(into),
            Stream::Tcp(stream) => (&mut &*stream).read(into),
        }
    }
}

impl io::Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&mut &*stream).write(data),
            Stream::Tcp(stream) => (&mut &*stream).write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
