//! A request's head as bytes.

use super::{CONTENT_LENGTH, SCGI};
use std::fmt;

/// Appends the head of a request with a body of `content_length` bytes: CONTENT_LENGTH first, SCGI second, then `pairs`
/// in their order, without those of the two names that they have.
///
/// The body is appended, or sent, behind it as it is.
///
/// # Errors
///
/// An [`EncodeError`]; nothing is appended then.
///
/// ```
/// use gatewright::proto::scgi::encode_head;
///
/// let mut out = Vec::new();
/// encode_head(&mut out, 5, [(&b"REQUEST_METHOD"[..], &b"POST"[..])])?;
/// assert_eq!(out, b"44:CONTENT_LENGTH\x005\0SCGI\x001\0REQUEST_METHOD\0POST\0,");
/// # Ok::<(), gatewright::error::BoxError>(())
/// ```
pub fn encode_head<'p, I>(out: &mut Vec<u8>, content_length: u64, pairs: I) -> Result<(), EncodeError>
where
    I: IntoIterator<Item = (&'p [u8], &'p [u8])>,
{
    let length = content_length.to_string();
    let mut head = Vec::new();
    push(&mut head, CONTENT_LENGTH, length.as_bytes())?;
    push(&mut head, SCGI, b"1")?;
    for (name, value) in pairs {
        if name != CONTENT_LENGTH && name != SCGI {
            push(&mut head, name, value)?;
        }
    }
    encode_netstring(out, &head);
    Ok(())
}

/// Appends a netstring: length, colon, content, comma.
///
/// ```
/// let mut out = Vec::new();
/// gatewright::proto::scgi::encode_netstring(&mut out, b"hello");
/// assert_eq!(out, b"5:hello,");
/// ```
pub fn encode_netstring(out: &mut Vec<u8>, content: &[u8]) {
    let length = content.len().to_string();
    out.reserve(content.len().saturating_add(length.len()).saturating_add(2));
    out.extend_from_slice(length.as_bytes());
    out.push(b':');
    out.extend_from_slice(content);
    out.push(b',');
}

fn push(head: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
    if name.is_empty() {
        return Err(EncodeError::EmptyName);
    }
    if memchr::memchr(0, name).or(memchr::memchr(0, value)).is_some() {
        return Err(EncodeError::Nul);
    }
    for bytes in [name, value] {
        head.extend_from_slice(bytes);
        head.push(0);
    }
    Ok(())
}

/// A name or value that SCGI cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A name of no bytes.
    EmptyName,
    /// A name or value with a NUL in it, which would end it.
    Nul,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyName => "an SCGI variable's name is empty",
            Self::Nul => "an SCGI variable's name or value has a NUL in it",
        })
    }
}

impl std::error::Error for EncodeError {}
