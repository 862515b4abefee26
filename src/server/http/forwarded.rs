//! Who the client is, when a proxy that is trusted says so.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::environ::{Ends, SiteError};
use crate::error::Error;
use crate::proto::http::Request;
use crate::server::Peers;

/// The proxies that are believed. The default is none.
///
/// What they are believed is X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Port, or Forwarded (RFC 7239) with its
/// `for` and `proto`: the client is the last address that is no trusted proxy itself. Names of hosts are not taken from
/// them: a proxy passes Host on, or [`server_name`](super::Site::server_name) says it.
///
/// A proxy adds to one kind of field, and may pass on the other kind as the client wrote it. So when both are there they
/// have to agree.
///
/// ```
/// use gatewright::server::http::TrustedProxies;
///
/// let trusted: TrustedProxies = "unix, 10.0.0.0/8".parse()?;
/// assert!(trusted.trusts(None) && trusted.trusts("10.1.2.3".parse().ok()));
/// assert!(!trusted.trusts("192.0.2.7".parse().ok()));
/// # Ok::<(), gatewright::server::http::SiteError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    peers: Option<Peers>,
    unix: bool,
}

impl TrustedProxies {
    /// Whether a peer with this address is trusted; `None` is one on a unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(peer) => self.peers.as_ref().is_some_and(|peers| peers.allows(peer)),
        }
    }

    /// These, and others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let peers = match (self.peers, others.peers) {
            (Some(some), Some(others)) => Some(some.and(others)),
            (some, others) => some.or(others),
        };
        Self { peers, unix: self.unix || others.unix }
    }

    /// The client of a request.
    pub(super) fn client(&self, request: &Request<'_>, ends: &Ends) -> Result<Client, Error> {
        let peer = Client {
            address: ends.peer.map(|peer| peer.ip()),
            port: ends.peer.map(|peer| peer.port()),
            ..Client::default()
        };
        if !self.trusts(peer.address) {
            return Ok(peer);
        }
        let extended = self.walk(&peer, extended(request));
        let standard = self.walk(&peer, standard(request)?);
        let Some(mut client) = (match (extended, standard) {
            (Some(one), Some(other)) if one.same(&other) => Some(one),
            (Some(_), Some(_)) => {
                return Err(Error::bad_request(
                    "X-Forwarded-For and Forwarded name different clients; let the proxy remove the one it does not set",
                ));
            }
            (one, other) => one.or(other),
        }) else {
            return Ok(peer);
        };
        let asked =
            elements(request, b"x-forwarded-port").last().and_then(|port| std::str::from_utf8(port).ok());
        client.asked_port = asked.and_then(|port| port.parse().ok());
        Ok(client)
    }

    /// Walks from the nearest proxy to the client, over those that are trusted.
    fn walk(&self, peer: &Client, hops: Option<Vec<Hop>>) -> Option<Client> {
        let hops = hops?;
        let mut client = Client { forwarded: true, ..*peer };
        for (at, hop) in hops.iter().enumerate().rev() {
            if let Some(https) = hop.https {
                client.https = https;
            }
            let Some((address, port)) = hop.node else { break };
            (client.address, client.port) = (Some(address), port);
            if at == 0 || !self.trusts(Some(address)) {
                break;
            }
        }
        Some(client)
    }
}

impl FromStr for TrustedProxies {
    type Err = SiteError;

    /// A list with commas of addresses and networks, and `unix` for those on unix sockets.
    fn from_str(text: &str) -> Result<Self, SiteError> {
        let parts = || text.split(',').map(str::trim);
        let addresses: Vec<&str> = parts().filter(|part| *part != "unix").collect();
        let unix = addresses.len() < parts().count();
        if addresses.is_empty() {
            return Ok(Self { peers: None, unix });
        }
        let peers = addresses.join(",").parse().map_err(|error| SiteError(format!("{error}; or unix")))?;
        Ok(Self { peers: Some(peers), unix })
    }
}

/// The client, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) https: bool,
    /// Whether a proxy's word is in it.
    pub(super) forwarded: bool,
    /// The port that the client connected to, at the proxy.
    pub(super) asked_port: Option<u16>,
}

impl Client {
    fn same(&self, other: &Client) -> bool {
        (self.address, self.https) == (other.address, other.https)
    }
}

/// What one proxy says about who spoke to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    /// `None` for `unknown`, made-up names, and anything else that is no address.
    node: Option<(IpAddr, Option<u16>)>,
    https: Option<bool>,
}

/// X-Forwarded-For and -Proto, the farthest hop first; `None` without either.
fn extended(request: &Request<'_>) -> Option<Vec<Hop>> {
    let nodes: Vec<&[u8]> = elements(request, b"x-forwarded-for").collect();
    let schemes: Vec<Option<bool>> = elements(request, b"x-forwarded-proto").map(scheme).collect();
    if nodes.is_empty() && schemes.is_empty() {
        return None;
    }
    let nearest = schemes.last().copied().flatten();
    // One scheme for each hop is told by all proxies, another number of them by the nearest at best.
    let aligned = schemes.len() == nodes.len();
    let mut hops: Vec<Hop> = nodes.iter().map(|text| Hop { node: node(text), https: None }).collect();
    match hops.last_mut() {
        None => hops.push(Hop { node: None, https: nearest }),
        Some(hop) if !aligned => hop.https = nearest,
        Some(_) => hops.iter_mut().zip(schemes).for_each(|(hop, https)| hop.https = https),
    }
    Some(hops)
}

/// Forwarded, the farthest hop first; `None` without one.
fn standard(request: &Request<'_>) -> Result<Option<Vec<Hop>>, Error> {
    let mut hops = Vec::new();
    for value in values(request, b"forwarded") {
        let elements = split_unquoted(value, b',').and_then(|elements| {
            let elements = elements.into_iter().filter(|element| !trim(element).is_empty());
            elements.map(hop).collect::<Option<Vec<_>>>()
        });
        hops.extend(elements.ok_or_else(|| Error::bad_request("Forwarded is not as RFC 7239 has it"))?);
    }
    Ok(if hops.is_empty() { None } else { Some(hops) })
}

/// One element of Forwarded.
fn hop(element: &[u8]) -> Option<Hop> {
    let mut hop = Hop::default();
    for pair in split_unquoted(element, b';')? {
        if trim(pair).is_empty() {
            continue;
        }
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        let value = unquoted(trim(value.get(1..)?))?;
        match trim(name) {
            name if name.eq_ignore_ascii_case(b"for") => hop.node = node(&value),
            name if name.eq_ignore_ascii_case(b"proto") => hop.https = scheme(&value),
            _ => {}
        }
    }
    Some(hop)
}

/// The pieces between separators that do not stand in quotes; `None` when a quote does not end.
fn split_unquoted(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in value.iter().enumerate() {
        match (quoted, escaped, *byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => quoted = !quoted,
            (false, _, byte) if byte == separator => {
                pieces.push(value.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(value.get(start..)?);
    (!quoted).then_some(pieces)
}

/// A token, or the text in quotes.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inside) = value.strip_prefix(b"\"") else {
        return (!value.is_empty() && !value.contains(&b'"')).then_some(Cow::Borrowed(value));
    };
    let inside = inside.strip_suffix(b"\"")?;
    let (mut text, mut escaped) = (Vec::with_capacity(inside.len()), false);
    for byte in inside {
        match (escaped, *byte) {
            (false, b'\\') => escaped = true,
            (false, b'"') => return None,
            (_, byte) => {
                text.push(byte);
                escaped = false;
            }
        }
    }
    (!escaped).then_some(Cow::Owned(text))
}

/// An address, with brackets around one of IPv6 or without, and a port or none.
fn node(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some((address, None)),
        Err(_) => text.parse::<SocketAddr>().ok().map(|node| (node.ip(), Some(node.port()))),
    }
}

fn scheme(text: &[u8]) -> Option<bool> {
    let is = |scheme: &str| text.eq_ignore_ascii_case(scheme.as_bytes());
    if is("https") { Some(true) } else { is("http").then_some(false) }
}

/// The values of all fields of that name.
fn values<'h>(request: &Request<'h>, name: &'static [u8]) -> impl Iterator<Item = &'h [u8]> {
    let fields = request.fields().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    fields.map(|(_, value)| value)
}

/// The elements of a list that may stand in several fields, without empty ones.
fn elements<'h>(request: &Request<'h>, name: &'static [u8]) -> impl Iterator<Item = &'h [u8]> {
    values(request, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(trim)
        .filter(|one| !one.is_empty())
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::Limits;

    const TRUSTED: &str = "127.0.0.1, 10.0.0.0/8";

    /// The client of a request from `peer` with these fields.
    fn client(peer: &str, fields: &str) -> Result<Client, Error> {
        let head =
            format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n");
        let request = Request::parse(head.as_bytes(), &Limits::default()).unwrap();
        let ends = Ends { peer: peer.parse().ok(), local: None };
        TRUSTED.parse::<TrustedProxies>().unwrap().client(&request, &ends)
    }

    /// Its address and scheme, seen from a trusted proxy.
    fn seen(fields: &str) -> (String, bool) {
        let client = client("127.0.0.1:5000", fields).unwrap();
        (client.address.unwrap().to_string(), client.https)
    }

    fn expect(address: &str, https: bool) -> (String, bool) {
        (address.to_owned(), https)
    }

    #[test]
    fn the_word_of_a_stranger_does_not_count() {
        let stranger = client(
            "192.0.2.9:5000",
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4",
        )
        .unwrap();
        let expected = Client { address: "192.0.2.9".parse().ok(), port: Some(5000), ..Client::default() };
        assert_eq!(stranger, expected);
        assert!(!TrustedProxies::default().trusts("127.0.0.1".parse().ok()));
        assert!(!TrustedProxies::default().trusts(None));
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        assert_eq!(seen("X-Forwarded-For: 192.0.2.1"), expect("192.0.2.1", false));
        assert_eq!(seen("X-Forwarded-For: 1.1.1.1, 192.0.2.1"), expect("192.0.2.1", false));
        assert_eq!(seen("X-Forwarded-For: 1.1.1.1, 192.0.2.1, 10.0.0.1"), expect("192.0.2.1", false));
        assert_eq!(
            seen("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.1,,10.0.0.1"),
            expect("192.0.2.1", false)
        );
        assert_eq!(seen("X-Forwarded-For: 10.0.0.2, 10.0.0.1"), expect("10.0.0.2", false));
        assert_eq!(seen("X-Forwarded-For: 192.0.2.1:99, [::1]:5"), expect("::1", false));
        assert_eq!(seen("X-Forwarded-For: 1.1.1.1, unknown"), expect("127.0.0.1", false));
        assert_eq!(seen("X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.1"), expect("10.0.0.1", false));
        assert_eq!(seen("X-A: 1"), expect("127.0.0.1", false));
    }

    #[test]
    fn the_scheme_is_the_nearest_proxys_unless_each_tells_one() {
        assert_eq!(seen("X-Forwarded-Proto: https"), expect("127.0.0.1", true));
        assert_eq!(seen("X-Forwarded-Proto: https, HTTP"), expect("127.0.0.1", false));
        assert_eq!(seen("X-Forwarded-Proto: gopher"), expect("127.0.0.1", false));
        let one_each = "X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https, http";
        assert_eq!(seen(one_each), expect("192.0.2.1", true));
        let fewer = "X-Forwarded-For: 9.9.9.9, 192.0.2.1\r\nX-Forwarded-Proto: https";
        assert_eq!(seen(fewer), expect("192.0.2.1", true));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        assert_eq!(seen("Forwarded: for=192.0.2.1;proto=https"), expect("192.0.2.1", true));
        assert_eq!(seen("Forwarded: For=\"[2001:db8::1]:4711\" ; Proto=HTTP"), expect("2001:db8::1", false));
        assert_eq!(
            seen("Forwarded: for=1.1.1.1, for=192.0.2.1;by=x;host=\"a,b;c\", for=10.0.0.1"),
            expect("192.0.2.1", false)
        );
        assert_eq!(seen("Forwarded: for=_hidden, for=\"192.0.2\\.1\""), expect("192.0.2.1", false));
        assert_eq!(seen("Forwarded: for=unknown;proto=https"), expect("127.0.0.1", true));
        let client = client("127.0.0.1:1", "Forwarded: for=\"192.0.2.1:77\"").unwrap();
        assert_eq!(client.port, Some(77));
    }

    #[test]
    fn what_nobody_can_read_in_forwarded_is_refused() {
        for value in ["for=\"1.1.1.1, for=2.2.2.2", "for", "for=", "for=\"a\"b", "for=a\"b", "for=\"a\\\""] {
            let error = client("127.0.0.1:1", &format!("Forwarded: {value}")).unwrap_err();
            assert_eq!(error.status(), 400, "{value}");
        }
    }

    #[test]
    fn two_stories_about_the_client_are_refused() {
        let both = |extended: &str, standard: &str| {
            client("127.0.0.1:1", &format!("{extended}\r\nForwarded: {standard}"))
                .map(|client| client.address)
        };
        let address = "192.0.2.1".parse().ok();
        assert_eq!(both("X-Forwarded-For: 192.0.2.1", "for=192.0.2.1").unwrap(), address);
        assert_eq!(both("X-Forwarded-For: 192.0.2.1", "for=1.1.1.1").unwrap_err().status(), 400);
        assert_eq!(both("X-Forwarded-Proto: https", "for=192.0.2.1;proto=https").unwrap_err().status(), 400);
    }

    #[test]
    fn lists_of_proxies() {
        let unix: TrustedProxies = "unix".parse().unwrap();
        assert!(unix.trusts(None) && !unix.trusts("127.0.0.1".parse().ok()));
        let both = unix.and("10.0.0.1".parse().unwrap()).and("10.0.0.2".parse().unwrap());
        assert!(
            both.trusts(None) && both.trusts("10.0.0.1".parse().ok()) && both.trusts("10.0.0.2".parse().ok())
        );
        let any: TrustedProxies = "any".parse().unwrap();
        assert!(!any.trusts(None) && any.trusts("192.0.2.1".parse().ok()));
        let error = "nginx".parse::<TrustedProxies>().unwrap_err().to_string();
        assert!(error.contains("nginx") && error.ends_with("or unix"), "{error}");
    }
}
