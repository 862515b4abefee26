//! Where a gateway listens: the address forms of the command line.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::str::FromStr;

/// A parsed `--socket` value.
///
/// ```
/// use gatewright::server::Address;
///
/// assert_eq!("unix:/run/app.sock".parse(), Ok(Address::Unix("/run/app.sock".into())));
/// assert_eq!("[::1]:9000".parse(), Ok(Address::Tcp("[::1]:9000".parse().unwrap())));
/// assert!("9000".parse::<Address>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// `/run/app.sock` or `unix:/run/app.sock`: a socket file.
    Unix(PathBuf),
    /// `unix:@name`: a Linux socket without a file.
    Abstract(String),
    /// `127.0.0.1:9000`, `[::1]:9000` or `tcp:127.0.0.1:9000`.
    Tcp(SocketAddr),
    /// `tcp:localhost:9000`: a name to look up.
    TcpName(String, u16),
    /// `fd:3`: an inherited listening socket.
    Descriptor(i32),
    /// `systemd`, or `systemd:NAME`: sockets handed over by systemd.
    Systemd(Option<String>),
}

/// Why a text is no address, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

fn refuse(why: &str) -> AddressError {
    AddressError(format!("{why}; write for example unix:/run/app.sock, 127.0.0.1:9000 or [::1]:9000"))
}

impl Address {
    /// Whether it says by itself that other machines may reach it: TCP on an address that is not loopback. Of names and
    /// inherited sockets that is known when they are bound, by [`Listener::is_exposed`](super::Listener::is_exposed).
    pub fn is_exposed(&self) -> bool {
        matches!(self, Address::Tcp(address) if !super::listen::is_loopback(address.ip()))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains('\0') {
            return Err(refuse("an address cannot hold a NUL"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return unix(text);
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return match number.parse() {
                Ok(number @ 0..) => Ok(Address::Descriptor(number)),
                _ => Err(refuse("fd: wants the number of an inherited descriptor, as in fd:3")),
            };
        }
        if text == "systemd" {
            return Ok(Address::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let given = !name.is_empty();
            return if given {
                Ok(Address::Systemd(Some(name.to_owned())))
            } else {
                Err(refuse("systemd: wants a name"))
            };
        }
        match text.strip_prefix("tcp:") {
            Some(rest) => tcp(rest, true),
            None => tcp(text, false),
        }
    }
}

fn unix(path: &str) -> Result<Address, AddressError> {
    match path.strip_prefix('@') {
        Some("") => Err(refuse("unix:@ wants a name")),
        Some(name) => Ok(Address::Abstract(name.to_owned())),
        None if path.is_empty() => Err(refuse("unix: wants the path of the socket")),
        None => Ok(Address::Unix(PathBuf::from(path))),
    }
}

fn tcp(text: &str, names: bool) -> Result<Address, AddressError> {
    let Some((host, port)) = text.rsplit_once(':') else {
        if text.parse::<u16>().is_ok() {
            return Err(refuse(&format!("a port has an address before it, as in 127.0.0.1:{text}")));
        }
        return Err(refuse("there is no port, and it is no path"));
    };
    let port_error = || refuse(&format!("port \"{port}\" is no number from 1 to 65535"));
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(port_error());
    }
    let port: u16 = port.parse().map_err(|_| port_error())?;
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return ipv6(inside, port);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Address::Tcp(SocketAddrV4::new(address, port).into()));
    }
    if let Some((scheme, _)) = host.split_once(':')
        && scheme.len() > 1
        && !scheme.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(refuse(&format!("there is no kind of address \"{scheme}:\"")));
    }
    if host.contains(':') {
        return Err(refuse("an IPv6 address stands in brackets, as in [::1]:9000"));
    }
    let name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match (name, names) {
        (true, true) => Ok(Address::TcpName(host.to_owned(), port)),
        (true, false) => {
            Err(refuse(&format!("\"{host}\" is no IP address; a name is written tcp:{host}:{port}")))
        }
        (false, _) => Err(refuse("there is no host before the port")),
    }
}

fn ipv6(inside: &str, port: u16) -> Result<Address, AddressError> {
    let (address, zone) =
        inside.split_once('%').map_or((inside, None), |(address, zone)| (address, Some(zone)));
    let address: Ipv6Addr =
        address.parse().map_err(|_| refuse(&format!("\"{address}\" is no IPv6 address")))?;
    let scope = match zone {
        None => 0,
        Some(zone) => {
            scope_id(zone).ok_or_else(|| refuse(&format!("there is no network interface \"{zone}\"")))?
        }
    };
    Ok(Address::Tcp(SocketAddrV6::new(address, port, 0, scope).into()))
}

/// The number of a network interface, by its number or name.
fn scope_id(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| nix::net::if_::if_nametoindex(zone).ok())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
            Address::Tcp(address) => write!(f, "{address}"),
            Address::TcpName(name, port) => write!(f, "tcp:{name}:{port}"),
            Address::Descriptor(number) => write!(f, "fd:{number}"),
            Address::Systemd(None) => f.write_str("systemd"),
            Address::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_command_line_is_read() {
        for (text, expected) in [
            ("/run/app.sock", Address::Unix("/run/app.sock".into())),
            ("./app.sock", Address::Unix("./app.sock".into())),
            ("unix:app.sock", Address::Unix("app.sock".into())),
            ("unix:@name", Address::Abstract("name".into())),
            ("127.0.0.1:9000", Address::Tcp("127.0.0.1:9000".parse().unwrap())),
            ("tcp:127.0.0.1:9000", Address::Tcp("127.0.0.1:9000".parse().unwrap())),
            ("tcp:localhost:9000", Address::TcpName("localhost".into(), 9000)),
            (
                "[fe80::1%1]:9000",
                Address::Tcp(SocketAddrV6::new("fe80::1".parse().unwrap(), 9000, 0, 1).into()),
            ),
            ("fd:3", Address::Descriptor(3)),
            ("systemd", Address::Systemd(None)),
            ("systemd:web", Address::Systemd(Some("web".into()))),
        ] {
            assert_eq!(text.parse::<Address>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "9000",
            ":9000",
            "localhost:9000",
            "::1:9000",
            "[::1]",
            "[::x]:1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:+80",
            "unix:",
            "unix:@",
            "fd:",
            "fd:-1",
            "fd:x",
            "systemd:",
            "tcp:",
            "tcp::1",
            "a b:1",
            "/a\0b",
            "[fe80::1%nosuchinterface]:1",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("for example") && !error.contains('\n'), "{text}: {error}");
        }
    }
}
