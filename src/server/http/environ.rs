//! From a request's head to variables.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use percent_encoding::percent_decode;

use super::forwarded::{Client, TrustedProxies};
use crate::environ::Vars;
use crate::error::Error;
use crate::proto::http::{self, Authority, Request, SeenLine};
use crate::proto::{NamedPair, PairPlaces};
use crate::server::pairs::{Format, collect_pairs};
use crate::util::shown;

/// SERVER_SOFTWARE.
const SOFTWARE: &str = concat!("gatewright/", env!("CARGO_PKG_VERSION"));

/// The two ends of a connection; `None` over a unix socket, which has no addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The client, or the proxy in front.
    pub peer: Option<SocketAddr>,
    /// This server.
    pub local: Option<SocketAddr>,
}

/// What a server is told about its place on the web.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// SERVER_NAME, whatever clients put into Host.
    pub server_name: Option<ServerName>,
    /// The proxies whose word counts about who the client is, and whether it used https.
    pub trusted: TrustedProxies,
}

impl Site {
    /// Adds a request's variables to `vars`, which is empty.
    ///
    /// | variable | from |
    /// |---|---|
    /// | GATEWAY_INTERFACE, SERVER_SOFTWARE | this crate |
    /// | SERVER_NAME | [`server_name`](Self::server_name), else the target's or Host's name, else the local address, else `localhost` |
    /// | SERVER_PORT | the local port; for what a trusted proxy forwards, and over a unix socket, X-Forwarded-Port, else the port in Host, else the scheme's own |
    /// | SERVER_ADDR | the local address |
    /// | SERVER_PROTOCOL, REQUEST_METHOD | the request line |
    /// | REQUEST_URI | the target as it was sent |
    /// | REQUEST_SCHEME, and HTTPS=on | what a trusted proxy says, else `http` |
    /// | SCRIPT_NAME | empty |
    /// | PATH_INFO | the target's path, decoded; empty for `*` |
    /// | QUERY_STRING | the target's query as it was sent; empty without one |
    /// | REMOTE_ADDR, REMOTE_PORT | the peer, or the client that a trusted proxy names |
    /// | CONTENT_TYPE, CONTENT_LENGTH | their fields, when sent |
    /// | HTTP_* | the other fields; HTTP_HOST is the target's authority, if it has one |
    ///
    /// Not all fields are passed on: see [`Request::variables`].
    ///
    /// # Errors
    /// Status 400 where a trusted proxy passes on two stories about its client.
    ///
    /// ```
    /// use gatewright::environ::Vars;
    /// use gatewright::proto::http::{Limits, Request};
    /// use gatewright::server::http::{Ends, Site};
    ///
    /// let head = b"GET /caf%C3%A9?q=1 HTTP/1.1\r\nHost: example.com:8000\r\nX-A: 1\r\nX_A: 2\r\n\r\n";
    /// let request = Request::parse(head, &Limits::default())?;
    /// let ends = Ends { peer: "192.0.2.7:4000".parse().ok(), local: "192.0.2.1:8000".parse().ok() };
    /// let mut vars = Vars::new();
    /// Site::default().environ(&request, &ends, &mut vars)?;
    /// assert_eq!(vars.get("PATH_INFO"), Some("/café".as_bytes()));
    /// assert_eq!(vars.get("SERVER_NAME"), Some(&b"example.com"[..]));
    /// assert_eq!(vars.get("HTTP_X_A"), Some(&b"1"[..]));
    /// # Ok::<(), gatewright::error::BoxError>(())
    /// ```
    pub fn environ(&self, request: &Request<'_>, ends: &Ends, vars: &mut Vars) -> Result<(), Error> {
        let mut gathered = Vars::new();
        self.gather(request, request.fields(), ends, &mut gathered, &mut Vec::new())?;
        vars.update(&gathered);
        Ok(())
    }

    /// The same with the request's fields from where they were found, and variables that begin anew: `block` becomes their
    /// memory, and in exchange what they had.
    pub(super) fn gather<'h>(
        &self,
        request: &Request<'_>,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        ends: &Ends,
        vars: &mut Vars,
        block: &mut Vec<u8>,
    ) -> Result<(), Error> {
        block.clear();
        self.put_variables(request, fields, ends, block)?;
        // The fields were counted when they were parsed.
        collect_pairs(vars, block, usize::MAX, &mut Pairs)
    }

    fn put_variables<'h>(
        &self,
        request: &Request<'_>,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        ends: &Ends,
        block: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let client = self.trusted.client(request, ends)?;
        let mut put = |name: &str, value: &[u8]| http::push_pair(block, name.as_bytes(), value);
        put("GATEWAY_INTERFACE", b"CGI/1.1");
        put("SERVER_SOFTWARE", SOFTWARE.as_bytes());
        put("SERVER_NAME", &self.name(request, ends));
        put("SERVER_PORT", itoa::Buffer::new().format(port(request, ends, &client)).as_bytes());
        if let Some(local) = ends.local {
            put("SERVER_ADDR", address_text(&mut [0; 64], local.ip()));
        }
        put("SERVER_PROTOCOL", request.version.as_str().as_bytes());
        put("REQUEST_METHOD", request.method);
        put("REQUEST_URI", request.uri);
        put("REQUEST_SCHEME", if client.https { b"https" } else { b"http" });
        if client.https {
            put("HTTPS", b"on");
        }
        put("SCRIPT_NAME", b"");
        put("PATH_INFO", &Cow::<[u8]>::from(percent_decode(request.target.path())));
        put("QUERY_STRING", request.target.query().unwrap_or_default());
        if let Some(address) = client.address {
            put("REMOTE_ADDR", address_text(&mut [0; 64], address));
        }
        if let Some(port) = client.port {
            put("REMOTE_PORT", itoa::Buffer::new().format(port).as_bytes());
        }
        let put = |name: &[u8], value: &[u8]| {
            http::push_pair(block, name, value);
            Ok(())
        };
        http::variables(request, fields, put)
    }

    /// Adds what is known of a request that was refused, or did not come whole, for the log: the request line, and the
    /// peer, which may be a proxy.
    pub(super) fn refused(head: &[u8], ends: &Ends, vars: &mut Vars) {
        if let Some(seen) = SeenLine::of(head) {
            vars.set("REQUEST_METHOD", seen.method);
            vars.set("REQUEST_URI", seen.target);
            if let Some(version) = seen.version {
                vars.set("SERVER_PROTOCOL", version);
            }
        }
        if let Some(peer) = ends.peer {
            vars.set("REMOTE_ADDR", address_text(&mut [0; 64], peer.ip()));
        }
    }

    fn name<'a>(&'a self, request: &Request<'a>, ends: &Ends) -> Cow<'a, [u8]> {
        if let Some(name) = &self.server_name {
            return Cow::Borrowed(name.0.as_bytes());
        }
        if let Some(asked) = request.authority().filter(|authority| !authority.host.is_empty()) {
            return Cow::Borrowed(name_of(&asked));
        }
        match ends.local.map(|local| local.ip().to_canonical()) {
            Some(IpAddr::V6(address)) => Cow::Owned(format!("[{address}]").into_bytes()),
            Some(address) => Cow::Owned(address.to_string().into_bytes()),
            None => Cow::Borrowed(b"localhost"),
        }
    }
}

/// The host with the brackets of an IPv6 address, as URLs are made of SERVER_NAME.
fn name_of<'h>(authority: &Authority<'h>) -> &'h [u8] {
    let brackets = if authority.whole.starts_with(b"[") { 2 } else { 0 };
    authority.whole.get(..authority.host.len() + brackets).unwrap_or(authority.host)
}

fn port(request: &Request<'_>, ends: &Ends, client: &Client) -> u16 {
    match ends.local {
        Some(local) if !client.forwarded => local.port(),
        _ => {
            let asked = request.authority().and_then(|authority| authority.port);
            client.asked_port.or(asked).unwrap_or(if client.https { 443 } else { 80 })
        }
    }
}

/// An address without brackets and zone; one of IPv4 mapped into IPv6 as what it is.
fn address_text(room: &mut [u8; 64], address: IpAddr) -> &[u8] {
    let IpAddr::V4(address) = address.to_canonical() else { return shown(room, address) };
    let mut rest = &mut room[..];
    // Fifteen bytes find room.
    for (at, octet) in address.octets().into_iter().enumerate() {
        let _ = rest.write_all(if at > 0 { b"." } else { b"" });
        let _ = rest.write_all(itoa::Buffer::new().format(octet).as_bytes());
    }
    let left = rest.len();
    room.get(..room.len() - left).unwrap_or_default()
}

/// A server's own name: a host without a port.
///
/// ```
/// use gatewright::server::http::ServerName;
///
/// assert!("example.com".parse::<ServerName>().is_ok());
/// assert!("[::1]".parse::<ServerName>().is_ok());
/// assert!("example.com:80".parse::<ServerName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(String);

impl ServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        match Authority::parse(text.as_bytes()) {
            Some(authority) if !authority.host.is_empty() && name_of(&authority) == text.as_bytes() => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(SiteError("it is a host without a port, such as example.com or [::1]".to_owned())),
        }
    }
}

/// A setting that is none, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteError(pub(super) String);

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SiteError {}

/// The names and values of a request, as [`Site::gather`] puts them down.
struct Pairs;

impl Format for Pairs {
    type Error = Error;

    #[inline]
    fn next(block: &[u8], at: &mut usize) -> Option<Result<PairPlaces, Error>> {
        http::pair_at(block, at).map(Ok)
    }

    #[inline(always)]
    fn named(block: &[u8], at: usize, name: &[u8]) -> Option<NamedPair> {
        http::pair_named(block, at, name)
    }
}

#[cfg(test)]
mod tests;
