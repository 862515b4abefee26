//! From a request's head to variables.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use percent_encoding::percent_decode;

use super::forwarded::{Client, TrustedProxies};
use crate::environ::{Collector, Vars, report_dropped};
use crate::error::Error;
use crate::proto::http::{Authority, Request};

/// SERVER_SOFTWARE.
const SOFTWARE: &str = concat!("gatewright/", env!("CARGO_PKG_VERSION"));

/// The two ends of a connection; `None` over a unix socket, which has no addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
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
    /// Not passed on are fields about the connection (Connection and what it names, Keep-Alive, TE, Trailer, Upgrade,
    /// Proxy and Proxy-*), and fields with a name that others could be taken for: any byte but A–Z, a–z, 0–9 and `-`.
    ///
    /// # Errors
    /// Status 400 for a path with an encoded NUL, and where a trusted proxy passes on two stories about its client.
    ///
    /// ```
    /// use gatewright::environ::Vars;
    /// use gatewright::proto::http::{Limits, Request};
    /// use gatewright::server::http::{Link, Site};
    ///
    /// let head = b"GET /caf%C3%A9?q=1 HTTP/1.1\r\nHost: example.com:8000\r\nX-A: 1\r\nX_A: 2\r\n\r\n";
    /// let request = Request::parse(head, &Limits::default())?;
    /// let link = Link { peer: "192.0.2.7:4000".parse().ok(), local: "192.0.2.1:8000".parse().ok() };
    /// let mut vars = Vars::new();
    /// Site::default().environ(&request, &link, &mut vars)?;
    /// assert_eq!(vars.get("PATH_INFO"), Some("/café".as_bytes()));
    /// assert_eq!(vars.get("SERVER_NAME"), Some(&b"example.com"[..]));
    /// assert_eq!(vars.get("HTTP_X_A"), Some(&b"1"[..]));
    /// # Ok::<(), gatewright::error::BoxError>(())
    /// ```
    pub fn environ(&self, request: &Request<'_>, link: &Link, vars: &mut Vars) -> Result<(), Error> {
        let client = self.trusted.client(request, link)?;
        vars.set("GATEWAY_INTERFACE", "CGI/1.1");
        vars.set("SERVER_SOFTWARE", SOFTWARE);
        vars.set("SERVER_NAME", self.name(request, link));
        vars.set("SERVER_PORT", port(request, link, &client).to_string());
        if let Some(local) = link.local {
            vars.set("SERVER_ADDR", bare(local.ip()));
        }
        vars.set("SERVER_PROTOCOL", request.version.as_str());
        vars.set("REQUEST_METHOD", request.method);
        vars.set("REQUEST_URI", request.uri);
        vars.set("REQUEST_SCHEME", if client.https { "https" } else { "http" });
        if client.https {
            vars.set("HTTPS", "on");
        }
        vars.set("SCRIPT_NAME", "");
        vars.set("PATH_INFO", decoded_path(request)?);
        vars.set("QUERY_STRING", request.target.query().unwrap_or_default());
        if let Some(address) = client.address {
            vars.set("REMOTE_ADDR", bare(address));
        }
        if let Some(port) = client.port {
            vars.set("REMOTE_PORT", port.to_string());
        }
        fields(request, vars)
    }

    fn name<'a>(&'a self, request: &Request<'a>, link: &Link) -> Cow<'a, [u8]> {
        if let Some(name) = &self.server_name {
            return Cow::Borrowed(name.0.as_bytes());
        }
        if let Some(asked) = request.authority().filter(|authority| !authority.host.is_empty()) {
            return Cow::Borrowed(name_of(&asked));
        }
        match link.local.map(|local| local.ip().to_canonical()) {
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

fn port(request: &Request<'_>, link: &Link, client: &Client) -> u16 {
    match link.local {
        Some(local) if !client.forwarded => local.port(),
        _ => {
            let asked = request.authority().and_then(|authority| authority.port);
            client.asked_port.or(asked).unwrap_or(if client.https { 443 } else { 80 })
        }
    }
}

/// An address without brackets and zone; one of IPv4 mapped into IPv6 as what it is.
fn bare(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn decoded_path<'h>(request: &Request<'h>) -> Result<Cow<'h, [u8]>, Error> {
    let path: Cow<'_, [u8]> = percent_decode(request.target.path()).into();
    match memchr::memchr(0, &path) {
        Some(_) => Err(Error::bad_request("the path has a NUL, written as %00")),
        None => Ok(path),
    }
}

/// Adds the fields.
fn fields(request: &Request<'_>, vars: &mut Vars) -> Result<(), Error> {
    let mut collector = Collector::new(vars);
    let mut name = Vec::with_capacity(64);
    let named_by_connection = request.fields().any(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let authority = request.target.authority();
    if let Some(authority) = authority {
        collector.push(b"HTTP_HOST", authority.whole)?;
    }
    for (field, value) in request.fields() {
        if !field.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            report_dropped(
                log::Level::Warn,
                field,
                "an HTTP field's name has letters, digits and '-' alone, or another could be taken for it",
            );
            continue;
        }
        if is_dropped(field) || (authority.is_some() && field.eq_ignore_ascii_case(b"host")) {
            continue;
        }
        let plain =
            field.eq_ignore_ascii_case(b"content-type") || field.eq_ignore_ascii_case(b"content-length");
        if !plain && named_by_connection && !is_essential(field) && request.connection_names(field) {
            continue;
        }
        name.clear();
        if !plain {
            name.extend_from_slice(b"HTTP_");
        }
        name.extend(field.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        collector.push(&name, value)?;
    }
    collector.finish();
    Ok(())
}

/// Fields about the connection, and those that a client would pass for a proxy's.
fn is_dropped(field: &[u8]) -> bool {
    let is_proxys = field.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"));
    is_proxys
        || ["connection", "keep-alive", "te", "trailer", "upgrade", "proxy"]
            .iter()
            .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
}

/// Fields for every recipient, which no client takes away by naming them in Connection (RFC 9110, section 7.6.1).
fn is_essential(field: &[u8]) -> bool {
    ["host", "authorization", "cookie", "transfer-encoding", "forwarded"]
        .iter()
        .any(|name| field.eq_ignore_ascii_case(name.as_bytes()))
        || field.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
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

#[cfg(test)]
mod tests;
