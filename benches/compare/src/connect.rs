//! Connections that do not block: to unix sockets, which carry twice what TCP on loopback does, and by TCP to the one
//! that has no unix sockets.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, UnixAddr, connect, setsockopt, socket, sockopt,
};

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    /// A port of 127.0.0.1.
    Tcp(u16),
}

impl Address {
    /// A port that nobody listens on.
    pub fn free_port() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self::Tcp(listener.local_addr()?.port()))
    }

    /// The socket's path; of a port, which has none, what cannot be one.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unix(path) => path,
            Self::Tcp(_) => Path::new(""),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(port) => write!(f, "127.0.0.1:{port}"),
        }
    }
}

/// A new connection.
///
/// # Errors
/// EAGAIN: the server's queue is full.
pub fn to(address: &Address) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    match address {
        Address::Unix(path) => {
            let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
            Ok(fd)
        }
        Address::Tcp(port) => {
            let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
            let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port));
            match connect(fd.as_raw_fd(), &address) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
                Err(error) => Err(error),
            }
        }
    }
}
