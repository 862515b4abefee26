//! Listening sockets that this process was started with: `fd:N`, descriptor 0, and systemd's.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{AcceptConn, SockType as TypeOf};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt};

use super::Listener;
use super::listen::Kind;
use crate::sys;

#[cfg(feature = "cli")]
/// The variables by which systemd, and whoever does as it does, hands sockets over.
pub(crate) const VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// Where systemd's descriptors begin.
const FIRST: RawFd = 3;

/// Takes the listening socket at descriptor `number`.
pub(super) fn descriptor(number: RawFd) -> io::Result<Listener> {
    let ours = sys::inherit(number).map_err(|error| not_open(number, error))?;
    let kind = listening(ours).map_err(|why| refuse(format!("descriptor {number} {why}")))?;
    if number == 0 {
        // Nobody shall read from it, or get it as standard input; and closing ours shall close it.
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    }
    Listener::inherited(kind, number)
}

fn not_open(number: RawFd, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EBADF) => refuse(format!("descriptor {number} is not open")),
        _ => error,
    }
}

fn refuse(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// What kind of listening socket it is, or why it is none.
fn listening(descriptor: OwnedFd) -> Result<Kind, &'static str> {
    match getsockopt(&descriptor, TypeOf) {
        Ok(SockType::Stream) => {}
        Err(Errno::ENOTSOCK) => return Err("is no socket"),
        _ => return Err("is no stream socket"),
    }
    if !matches!(getsockopt(&descriptor, AcceptConn), Ok(true)) {
        return Err("is a socket that does not listen");
    }
    let address: SockaddrStorage =
        getsockname(descriptor.as_raw_fd()).map_err(|_| "has no address that could be read")?;
    match address.family() {
        Some(AddressFamily::Unix) => Ok(Kind::Unix(UnixListener::from(descriptor))),
        Some(AddressFamily::Inet | AddressFamily::Inet6) => Ok(Kind::Tcp(TcpListener::from(descriptor))),
        _ => Err("is a socket of a family that is not supported"),
    }
}

/// The listening socket that is standard input, if it is one: so do spawn-fcgi, lighttpd and mod_fcgid start a program.
pub(super) fn standard_input() -> io::Result<Option<Listener>> {
    let Ok(stdin) = sys::inherit(0) else { return Ok(None) };
    match listening(stdin) {
        Ok(_) => descriptor(0).map(Some),
        Err(_) => Ok(None),
    }
}

/// The sockets from systemd that have this name, or all; there may be none.
pub(super) fn systemd(wanted: Option<&str>) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for (number, name) in handed_over()? {
        if wanted.is_none_or(|wanted| name.as_deref() == Some(wanted)) {
            listeners.push(descriptor(number)?);
        } else {
            sys::close_on_exec(number).map_err(|error| not_open(number, error))?;
        }
    }
    Ok(listeners)
}

/// Keeps what was handed over, used or not, from programs that are started later.
#[cfg(feature = "cli")]
pub(crate) fn keep_private() {
    let numbers = handed_over().into_iter().flatten().map(|(number, _)| number);
    // The count is only a claim: the first that is not open ends it.
    for number in numbers {
        if sys::close_on_exec(number).is_err() {
            return;
        }
    }
}

/// As [`systemd`], where having none is an error.
pub(super) fn systemd_required(wanted: Option<&str>) -> io::Result<Vec<Listener>> {
    let listeners = systemd(wanted)?;
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    Err(refuse(match wanted {
        Some(name) => format!("no socket of that name was handed over: FileDescriptorName={name} gives it"),
        None => {
            "no socket was handed over: LISTEN_FDS and LISTEN_PID are not set for this process".to_owned()
        }
    }))
}

/// The numbers and names of what was handed over to this process.
fn handed_over() -> io::Result<impl Iterator<Item = (RawFd, Option<String>)>> {
    let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let count = count(variable("LISTEN_FDS"), variable("LISTEN_PID"), std::process::id())?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names: std::vec::IntoIter<String> =
        names.split(':').map(str::to_owned).collect::<Vec<_>>().into_iter();
    Ok((FIRST..FIRST.saturating_add(count)).map(move |number| (number, names.next())))
}

/// How many descriptors there are for the process `own`; another's are none of ours.
fn count(fds: Option<String>, pid: Option<String>, own: u32) -> io::Result<RawFd> {
    let (Some(fds), Some(pid)) = (fds, pid) else { return Ok(0) };
    let bad = |name: &str, value: &str| refuse(format!("{name} is \"{}\", no number", value.escape_debug()));
    if pid.parse::<u32>().map_err(|_| bad("LISTEN_PID", &pid))? != own {
        return Ok(0);
    }
    fds.parse().ok().filter(|count| *count >= 0).ok_or_else(|| bad("LISTEN_FDS", &fds))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn only_listening_stream_sockets_are_taken() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(descriptor(tcp.as_raw_fd()).unwrap().local_addr(), Some(address));
        let connected = TcpStream::connect(address).unwrap();
        let (pair, _other) = UnixStream::pair().unwrap();
        let (datagram, file) = (UnixDatagram::unbound().unwrap(), File::open("/dev/null").unwrap());
        for (number, why) in [
            (connected.as_raw_fd(), "does not listen"),
            (pair.as_raw_fd(), "does not listen"),
            (datagram.as_raw_fd(), "no stream socket"),
            (file.as_raw_fd(), "no socket"),
            (1_000_000, "not open"),
        ] {
            let error = descriptor(number).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(&number.to_string()), "{error}");
        }
    }

    #[test]
    fn descriptors_count_for_the_process_that_they_are_for() {
        let text = |text: &str| Some(text.to_owned());
        for (fds, pid, expected) in [
            (None, None, 0),
            (text("2"), None, 0),
            (None, text("7"), 0),
            (text("2"), text("7"), 2),
            (text("2"), text("8"), 0),
            (text("0"), text("7"), 0),
        ] {
            assert_eq!(count(fds.clone(), pid.clone(), 7).unwrap(), expected, "{fds:?} {pid:?}");
        }
        for (fds, pid, named) in [
            ("x", "7", "LISTEN_FDS"),
            ("-1", "7", "LISTEN_FDS"),
            ("99999999999", "7", "LISTEN_FDS"),
            ("", "7", "LISTEN_FDS"),
            ("1", "x", "LISTEN_PID"),
        ] {
            assert!(count(text(fds), text(pid), 7).unwrap_err().to_string().contains(named));
        }
    }
}
