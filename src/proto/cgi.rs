//! CGI: the answer of a program, as it writes it to its standard output.
//!
//! [`Decoder`] gathers the head of the answer, whatever pieces it comes in, and [`Head`] is what it means: one of the
//! four answers of the specification, with its status and headers. Everything behind the head is the document.
//!
//! "The specification" in this module is RFC 3875, section 6.
//!
//! ```
//! use gatewright::proto::cgi::{Decoder, Kind, Limits};
//!
//! let output = b"Content-Type: text/plain\nStatus: 404 Nobody home\n\nHello";
//! let mut decoder = Decoder::new(Limits::default());
//! let mut document = Vec::new();
//! for piece in output.chunks(7) {
//!     let mut input = piece;
//!     if decoder.decode(&mut input)? {
//!         document.extend_from_slice(input);
//!     }
//! }
//! let head = decoder.finish()?;
//! assert_eq!(head.kind, Kind::Document);
//! assert_eq!(head.status, b"404 Nobody home");
//! assert_eq!(head.headers.get("content-type"), Some(&b"text/plain"[..]));
//! assert_eq!(document, b"Hello");
//! # Ok::<(), gatewright::proto::cgi::DecodeError>(())
//! ```

mod error;
mod head;

pub use error::DecodeError;
pub use head::{Decoder, Head, Kind, Limits};

#[cfg(test)]
mod tests;
