//! Listening sockets: bound without stealing, with the rights that were asked for.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

use super::socket_file::{self, SocketFile};
use super::{Address, inherit};

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

/// A socket that accepts connections. A socket file that it made is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    description: String,
    /// What else is known about it, for the log.
    about: String,
    file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds an address, or takes the sockets that were handed over. A name may stand for several addresses, and
    /// `systemd` for several sockets; there is always at least one.
    ///
    /// A socket file that nobody listens on is replaced; one that somebody does is an error. The file appears with its
    /// final rights, never with wider ones.
    ///
    /// # Errors
    /// The address and the reason, in one line.
    pub fn bind(address: &Address, rights: &SocketRights) -> io::Result<Vec<Self>> {
        let bound = match address {
            Address::Unix(path) => Self::bind_file(path, rights).map(one),
            Address::Abstract(name) => bind_abstract(name).map(one),
            Address::Tcp(socket) => bind_tcp(*socket).map(one),
            Address::TcpName(name, port) => bind_name(name, *port),
            Address::Descriptor(number) => inherit::descriptor(*number).map(one),
            Address::Systemd(name) => inherit::systemd_required(name.as_deref()),
        };
        bound.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {}", plain(&error)))
        })
    }

    fn bind_file(path: &Path, rights: &SocketRights) -> io::Result<Self> {
        let (listener, file) = socket_file::bind(path, rights)?;
        let description = format!("unix:{}", file.path().display());
        let about = socket_file::describe_rights(file.path()).unwrap_or_default();
        let mut listener = Self::new(Kind::Unix(listener), description, about)?;
        listener.file = Some(file);
        Ok(listener)
    }

    /// A socket that was handed over as this descriptor. Its file belongs to whoever made it.
    pub(super) fn inherited(kind: Kind, number: RawFd) -> io::Result<Self> {
        let (description, rights) = match &kind {
            Kind::Tcp(listener) => (listener.local_addr()?.to_string(), None),
            Kind::Unix(listener) => describe_unix(&listener.local_addr()?),
        };
        let rights = rights.map(|rights| format!(", {rights}")).unwrap_or_default();
        Self::new(kind, description, format!("inherited as descriptor {number}{rights}"))
    }

    fn new(kind: Kind, description: String, about: String) -> io::Result<Self> {
        // Others may take a connection that we were woken for; whoever then waited in accept could not be stopped.
        match &kind {
            Kind::Unix(listener) => listener.set_nonblocking(true)?,
            Kind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                look_after_peers(listener);
            }
        }
        Ok(Self { kind, description, about, file: None })
    }

    /// The address, with the port that the system chose, for the log.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The socket file's mode, owner and group and where the socket came from, as ` (mode 0660, owner root, group
    /// www-data)`; empty where there is nothing to say.
    pub fn rights(&self) -> String {
        if self.about.is_empty() { String::new() } else { format!(" ({})", self.about) }
    }

    /// What to do where nobody but this process's own user could connect.
    pub fn hint(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let why = match file.closed_folder() {
            _ if file.is_private() => "only this user can connect; try --socket-group www-data".to_owned(),
            Some(folder) => {
                format!("only this user may enter {}; open it to the web server", folder.display())
            }
            None => return None,
        };
        Some(format!("{}: {why}", self.description))
    }

    /// The address of a TCP socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Unix(_) => None,
            Kind::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    /// Whether other machines may reach it: TCP on an address that is not loopback.
    pub fn is_exposed(&self) -> bool {
        match &self.kind {
            Kind::Unix(_) => false,
            Kind::Tcp(_) => self.local_addr().is_none_or(|address| !is_loopback(address.ip())),
        }
    }

    /// Removes the file, so that nobody new finds the socket; who has found it already is still accepted.
    pub(super) fn unpublish(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// What the system says; most are about one connection and pass.
    pub fn accept(&self) -> io::Result<Stream> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        loop {
            match self.try_accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
                }
                accepted => return accepted,
            }
        }
    }

    /// Whether a connection waits to be accepted.
    pub(super) fn has_waiting(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
            .is_ok_and(|ready| ready > 0)
    }

    /// The next connection, if one is waiting; else the error is `WouldBlock`.
    pub(super) fn try_accept(&self) -> io::Result<Stream> {
        match &self.kind {
            Kind::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
            Kind::Tcp(listener) => {
                let stream = listener.accept()?.0;
                // Answers are written whole: waiting to fill a packet would only delay them. Without it, so be it.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Unix(listener) => listener.as_fd(),
            Kind::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unpublish();
    }
}

/// Has the system ask silent peers whether they are still there, on every connection that comes: one whose machine was cut
/// off says no farewell, and a kept FastCGI connection waits for ever. Within two minutes it is as good as reset.
fn look_after_peers(listener: &TcpListener) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Without it nothing is wrong but that.
    let _ = setsockopt(listener, sockopt::KeepAlive, &true);
    #[cfg(target_os = "linux")]
    {
        let _ = setsockopt(listener, sockopt::TcpKeepIdle, &60);
        let _ = setsockopt(listener, sockopt::TcpKeepInterval, &15);
        let _ = setsockopt(listener, sockopt::TcpKeepCount, &4);
    }
}

fn one(listener: Listener) -> Vec<Listener> {
    vec![listener]
}

/// What the system says, and what to do about it.
fn plain(error: &io::Error) -> String {
    let text = crate::error::os_reason(error);
    // Errors of our own say themselves what to do.
    if error.raw_os_error().is_none() && !text.contains("SUN_LEN") {
        return text;
    }
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it, or choose another address",
        io::ErrorKind::NotFound => "the folder does not exist; create it first",
        io::ErrorKind::PermissionDenied => "this user may not; choose another folder, or a port above 1023",
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
        io::ErrorKind::InvalidInput => "choose a shorter path",
        _ if error.raw_os_error() == Some(libc::EPERM) => {
            "only root may give a file away; leave owner and group out"
        }
        _ => return text,
    };
    format!("{text}: {advice}")
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn bind_abstract(name: &str) -> io::Result<Listener> {
    let address = UnixAddress::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    Listener::new(Kind::Unix(listener), format!("unix:@{name}"), ABSTRACT.to_owned())
}

/// An abstract socket has no rights that could keep anybody away.
const ABSTRACT: &str = "no file: every local user may connect";

/// The address of a unix socket, and the rights of its file.
fn describe_unix(address: &UnixAddress) -> (String, Option<String>) {
    if let Some(path) = address.as_pathname() {
        return (format!("unix:{}", path.display()), socket_file::describe_rights(path));
    }
    match address.as_abstract_name() {
        Some(name) => (format!("unix:@{}", name.escape_ascii()), Some(ABSTRACT.to_owned())),
        None => ("unix:".to_owned(), None),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A restart need not wait for the connections of the last run to be forgotten.
    setsockopt(&socket, ReuseAddr, &true)?;
    if address.is_ipv6() {
        // What it means does not depend on a setting of the machine, and IPv4 has an address of its own.
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::MAXCONN)?;
    let listener = TcpListener::from(socket);
    let description = listener.local_addr()?.to_string();
    Listener::new(Kind::Tcp(listener), description, String::new())
}

/// Binds every address that the name has here; one whose family is switched off may be missing.
fn bind_name(name: &str, port: u16) -> io::Result<Vec<Listener>> {
    let mut addresses: Vec<SocketAddr> = (name, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let (mut listeners, mut missing) = (Vec::new(), None);
    for address in addresses {
        match bind_tcp(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_absent(&error) => missing = Some(error),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{address}: {}", plain(&error)))),
        }
    }
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    Err(missing.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// A connection, of either family.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// The address of a peer that came over TCP.
    pub(super) fn peer_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Stream::Unix(_) => Ok(None),
            Stream::Tcp(stream) => stream.peer_addr().map(Some),
        }
    }

    /// Has calls return at once that would have to wait.
    #[cfg(target_os = "linux")]
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_nonblocking(true),
            Stream::Tcp(stream) => stream.set_nonblocking(true),
        }
    }

    /// The address of this end, over TCP.
    pub(super) fn local_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Stream::Unix(_) => Ok(None),
            Stream::Tcp(stream) => stream.local_addr().map(Some),
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
