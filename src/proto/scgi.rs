//! SCGI: a request's head as one netstring, then its body.
//!
//! The head is decoded in three steps, so that each can be used alone: [`HeadDecoder`] gathers the netstring, [`Pairs`]
//! walks the names and values in it, and [`Check`] decides whether they make a request, which gives the length of the
//! body. The body is simply that many bytes behind the head, and the answer is a CGI program's.
//!
//! "The specification" in this module is "SCGI: A Simple Common Gateway Interface alternative" (protocol version 1),
//! and for netstrings D. J. Bernstein's "Netstrings" (1997).
//!
//! ```
//! use gatewright::proto::scgi::{Check, HeadDecoder, Pairs, encode_head};
//!
//! let mut wire = Vec::new();
//! encode_head(&mut wire, 5, [(&b"REQUEST_METHOD"[..], &b"POST"[..])])?;
//! wire.extend_from_slice(b"hello");
//!
//! let mut decoder = HeadDecoder::new(65536);
//! let (mut head, mut body) = (Vec::new(), Vec::new());
//! for piece in wire.chunks(7) {
//!     let mut input = piece;
//!     if decoder.decode(&mut input, &mut head)? {
//!         body.extend_from_slice(input);
//!     }
//! }
//!
//! let mut check = Check::new();
//! for pair in Pairs::new(&head) {
//!     let (name, value) = pair?;
//!     check.pair(name, value)?;
//!     println!("{}={}", name.escape_ascii(), value.escape_ascii());
//! }
//! assert_eq!(check.finish()?, 5);
//! assert_eq!(body, b"hello");
//! # Ok::<(), gatewright::error::BoxError>(())
//! ```

mod encode;
mod error;
mod head;
mod pairs;

pub use encode::{EncodeError, encode_head, encode_netstring};
pub use error::DecodeError;
pub use head::{EndOfInput, HeadDecoder};
#[cfg(unix)]
pub(crate) use pairs::pair_at;
#[cfg(unix)]
pub(crate) use pairs::pair_named;
pub use pairs::{Check, Pairs, check};

/// The name of the variable that comes first and says how long the body is.
const CONTENT_LENGTH: &[u8] = b"CONTENT_LENGTH";

/// The name of the variable that says `1`.
const SCGI: &[u8] = b"SCGI";

#[cfg(test)]
mod tests;
