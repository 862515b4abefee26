//! Where a peer listens.

use std::fmt;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, UnixAddr, connect, setsockopt, socket, sockopt,
};

#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    /// For peers that cannot listen on a unix socket.
    Tcp(SocketAddrV4),
}

impl Address {
    /// A new connection that does not block; over TCP it may still be under way.
    ///
    /// # Errors
    /// EAGAIN: the server's queue is full.
    pub fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let family = match self {
            Address::Unix(_) => AddressFamily::Unix,
            Address::Tcp(_) => AddressFamily::Inet,
        };
        let fd = socket(family, SockType::Stream, flags, None)?;
        let result = match self {
            Address::Unix(path) => connect(fd.as_raw_fd(), &UnixAddr::new(path)?),
            Address::Tcp(address) => {
                setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
                connect(fd.as_raw_fd(), &SockaddrIn::from(*address))
            }
        };
        match result {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Tcp(address) => write!(f, "{address}"),
        }
    }
}
