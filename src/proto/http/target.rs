//! What a request asks for: the four forms of a target, and the authority in them and in Host.

use std::fmt;

/// A request's target (RFC 9112, section 3.2), its parts as they were sent.
///
/// ```
/// use gatewright::proto::http::Target;
///
/// let target = Target::parse(b"GET", b"/a%20b?q=1")?;
/// assert_eq!((target.path(), target.query()), (&b"/a%20b"[..], Some(&b"q=1"[..])));
/// let target = Target::parse(b"GET", b"http://example.com:8080?q")?;
/// assert_eq!((target.path(), target.query()), (&b"/"[..], Some(&b"q"[..])));
/// assert_eq!(target.authority().and_then(|authority| authority.port), Some(8080));
/// # Ok::<(), gatewright::proto::http::TargetError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target<'h> {
    /// A path, and a query unless there is no `?`.
    Origin {
        /// The path, which begins with `/`.
        path: &'h [u8],
        /// What follows the first `?`.
        query: Option<&'h [u8]>,
    },
    /// A whole URL, as proxies are asked, and as every server has to understand.
    Absolute {
        /// Whether the scheme is `https`; else it is `http`.
        https: bool,
        /// What stands in for the Host field.
        authority: Authority<'h>,
        /// The path; `/` for an empty one.
        path: &'h [u8],
        /// What follows the first `?`.
        query: Option<&'h [u8]>,
    },
    /// `*`: the server itself, for OPTIONS.
    Asterisk,
}

impl<'h> Target<'h> {
    /// Reads the target of a request with that method, which is not CONNECT.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(method: &[u8], target: &'h [u8]) -> Result<Self, TargetError> {
        let seen = target.iter().fold(0, |seen, byte| seen | KINDS[usize::from(*byte)]);
        if seen & NOT_VISIBLE != 0 {
            return Err(TargetError::Byte);
        }
        if seen & HASH != 0 {
            return Err(TargetError::Fragment);
        }
        if target.starts_with(b"/") {
            let (path, query) = split_query(target)?;
            return Ok(Self::Origin { path, query });
        }
        if target == b"*" {
            return if method == b"OPTIONS" { Ok(Self::Asterisk) } else { Err(TargetError::Asterisk) };
        }
        let (https, rest) = strip_scheme(target).ok_or(TargetError::Form)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(TargetError::Form)?;
        let authority = Authority::parse(authority).filter(|authority| !authority.host.is_empty());
        let authority = authority.ok_or(TargetError::Authority)?;
        let (path, query) = split_query(rest)?;
        let path = if path.is_empty() { b"/" } else { path };
        Ok(Self::Absolute { https, authority, path, query })
    }

    /// The path as it was sent; empty for `*`.
    pub fn path(&self) -> &'h [u8] {
        match self {
            Self::Origin { path, .. } | Self::Absolute { path, .. } => path,
            Self::Asterisk => b"",
        }
    }

    /// The query as it was sent; `None` without a `?`.
    pub fn query(&self) -> Option<&'h [u8]> {
        match self {
            Self::Origin { query, .. } | Self::Absolute { query, .. } => *query,
            Self::Asterisk => None,
        }
    }

    /// The authority of an absolute target.
    pub fn authority(&self) -> Option<Authority<'h>> {
        match self {
            Self::Absolute { authority, .. } => Some(*authority),
            _ => None,
        }
    }
}

/// Kinds of bytes that no target may have.
static KINDS: [u8; 256] = {
    let mut table = [NOT_VISIBLE; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = if byte == b'#' { HASH } else { 0 };
        byte += 1;
    }
    table
};
const NOT_VISIBLE: u8 = 1;
const HASH: u8 = 2;

/// The path, which may have no encoded NUL, and the query.
fn split_query(target: &[u8]) -> Result<(&[u8], Option<&[u8]>), TargetError> {
    let (path, query) = match memchr::memchr(b'?', target).and_then(|at| target.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    };
    let mut escapes = memchr::memchr_iter(b'%', path);
    match escapes.any(|at| path.get(at..).is_some_and(|rest| rest.starts_with(b"%00"))) {
        true => Err(TargetError::Nul),
        false => Ok((path, query)),
    }
}

fn strip_scheme(target: &[u8]) -> Option<(bool, &[u8])> {
    [(false, &b"http://"[..]), (true, b"https://")].into_iter().find_map(|(https, scheme)| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((https, rest))
    })
}

/// A host and a port, as in a URL or a Host field (RFC 3986, section 3.2, without the user).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'h> {
    /// All of it, as it was sent.
    pub whole: &'h [u8],
    /// The name or address; of an IPv6 address without its brackets.
    pub host: &'h [u8],
    /// The port, when one was given.
    pub port: Option<u16>,
}

impl<'h> Authority<'h> {
    /// Reads a host, which may be empty, and a port, which may be left out behind its colon too. `None` for anything
    /// else, a user's name for one.
    ///
    /// ```
    /// use gatewright::proto::http::Authority;
    ///
    /// let authority = Authority::parse(b"[::1]:8000").unwrap();
    /// assert_eq!((authority.host, authority.port), (&b"::1"[..], Some(8000)));
    /// assert_eq!(Authority::parse(b"user@example.com"), None);
    /// ```
    pub fn parse(whole: &'h [u8]) -> Option<Self> {
        let (host, port) = match whole.strip_prefix(b"[") {
            Some(inside) => {
                let end = memchr::memchr(b']', inside)?;
                let (host, rest) = inside.split_at_checked(end)?;
                std::str::from_utf8(host).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
                (host, rest.get(1..)?)
            }
            None => {
                let end = memchr::memchr(b':', whole).unwrap_or(whole.len());
                let (host, rest) = whole.split_at_checked(end)?;
                if !host.iter().all(|byte| is_name_byte(*byte)) {
                    return None;
                }
                (host, rest)
            }
        };
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
                Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { whole, host, port })
    }
}

/// The bytes of a registered name (RFC 3986, section 3.2.2), unreserved and sub-delimiters. Escapes are left out: no name
/// of a host needs them, and readers differ about them.
fn is_name_byte(byte: u8) -> bool {
    static TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=');
            byte += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// Why a target is refused, always with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// A byte that is no visible ASCII character.
    Byte,
    /// A fragment, which clients keep to themselves.
    Fragment,
    /// None of the forms that an origin server knows, or a scheme other than http and https.
    Form,
    /// The authority of a URL is no host with an optional port.
    Authority,
    /// `*` for another method than OPTIONS.
    Asterisk,
    /// A path with an encoded NUL, which no file's name and no variable can hold.
    Nul,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Byte => "has a byte that is to be written as %XX",
            Self::Fragment => "has a fragment",
            Self::Form => "is no path and no http:// or https:// URL",
            Self::Authority => "has an authority that is no host with an optional port",
            Self::Asterisk => "is *, which is for OPTIONS alone",
            Self::Nul => "has a NUL in its path, written as %00",
        })
    }
}

impl std::error::Error for TargetError {}
