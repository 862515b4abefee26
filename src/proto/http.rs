//! HTTP/1.1 and HTTP/1.0, an origin server's side: requests in, responses out.
//!
//! A request is decoded in steps, so that each can be used alone: [`HeadDecoder`] gathers the head, [`Request`] reads it,
//! [`BodyDecoder`] takes the body out of its frame and stops where the next request begins. A response's head is framed
//! by [`ResponseHead`], its body by the [`BodyEncoder`] that comes out of that.
//!
//! Heads are taken apart by the httparse crate. It is made for clients of all kinds and takes bare LF, any number of empty
//! lines, and targets with 8-bit characters; the rules that two parties must not read differently are this module's.
//!
//! # Refusals
//!
//! Each is answered with its status, and then the connection is closed, since nobody can say any more where the next
//! request begins. What has no place here is accepted.
//!
//! | what | status | source |
//! |---|---|---|
//! | a first byte that begins no method (TLS, for one) | 400, at once | |
//! | a second empty line before the request | 400 | RFC 9112, 2.2: one is enough for old clients |
//! | a line ending in LF alone, a bare CR | 400 | RFC 9112, 2.2 |
//! | a request line that is not three words with one blank between each two; HTTP/0.9 | 400 | RFC 9112, 3 |
//! | a target with a fragment, or with a byte that is no visible ASCII character | 400 | RFC 9112, 3.2 |
//! | a target that is no path, no http or https URL, and no `*` of OPTIONS; a URL with a user or a bad port | 400 | RFC 9112, 3.2 |
//! | a path with an encoded NUL | 400 | no variable and no file's name can hold it |
//! | CONNECT | 501 | RFC 9110, 9.3.6 |
//! | another version, `PRI * HTTP/2.0` for one | 505 | RFC 9110, 15.6.6 |
//! | a request line longer than the whole head may be | 414 | RFC 9112, 3 |
//! | a longer head, more fields | 431 | RFC 6585, 5 |
//! | a name that is no token, a blank before the colon, a line without a colon | 400 | RFC 9112, 5.1 |
//! | NUL or another control character in a value | 400 | RFC 9110, 5.5 |
//! | a folded field | 400 | RFC 9112, 5.2 |
//! | no Host in HTTP/1.1; several; one that is no host with an optional port | 400 | RFC 9112, 3.2 |
//! | a Content-Length that is not digits up to 2^63 − 1; several, be they equal | 400 | RFC 9112, 6.3 |
//! | Content-Length and Transfer-Encoding together | 400 | RFC 9112, 6.1 |
//! | Transfer-Encoding in HTTP/1.0; one that does not end in one `chunked`; several fields | 400 | RFC 9112, 6.1 |
//! | another coding beneath `chunked` | 501 | RFC 9112, 6.1 |
//! | a chunk size that is not 1 to 16 hexadecimal digits, then CR LF or `;` | 400 | RFC 9112, 7.1 |
//! | a control character in a chunk's extension; one longer than 250 bytes, or 16 KiB of them in a body | 400 | |
//! | chunk data without CR LF behind it | 400 | RFC 9112, 7.1 |
//! | a trailer that is no field | 400 | RFC 9112, 7.1.2 |
//! | more than 8 KiB of trailers | 431 | |
//! | a body larger than the limit | 413 | RFC 9110, 15.5.14 |
//!
//! Upgrade is ignored, an Expect other than `100-continue` too, trailers are dropped.
//!
//! ```
//! use gatewright::proto::http::{BodyDecoder, HeadDecoder, Limits, Request};
//!
//! let wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\n";
//! let limits = Limits::default();
//! let (mut decoder, mut head, mut input) = (HeadDecoder::new(limits), Vec::new(), &wire[..]);
//! assert!(decoder.decode(&mut input, &mut head)?);
//! let request = Request::parse(&head, &limits)?;
//! assert_eq!(request.target.path(), b"/");
//! let mut body = BodyDecoder::new(request.framing, 1 << 20)?;
//! assert_eq!(body.decode(&mut input)?, Some(&b"hello"[..]));
//! assert!(body.is_whole());
//! assert_eq!(input, b"GET /next HTTP/1.1\r\n");
//! # Ok::<(), gatewright::proto::http::DecodeError>(())
//! ```

#[cfg(unix)]
mod block;
mod body;
mod chunked;
mod error;
mod head;
#[cfg(unix)]
mod line;
mod request;
mod response;
mod target;
mod variables;

#[cfg(unix)]
pub(crate) use block::{pair_at, pair_named, push_pair};
pub use body::BodyDecoder;
pub use error::DecodeError;
pub use head::{EndOfInput, HeadDecoder, Limits};
#[cfg(unix)]
pub(crate) use line::SeenLine;
pub use request::{Fields, Framing, Request, Version};
#[cfg(unix)]
pub(crate) use request::{Head, Slots};
pub use response::{
    BodyEncoder, CONTINUE, ChunkHead, EncodeError, Exchange, HeadEncoder, ResponseHead, Shortfall,
};
pub use target::{Authority, Target, TargetError};
#[cfg(unix)]
pub(crate) use variables::variables;

#[cfg(test)]
mod tests;
