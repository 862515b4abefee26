//! FastCGI 1.0: the records between a web server and an application, both ways.
//!
//! ```text
//!                 Decoder                        encode::{stream, end_request, …}
//! web server ─── BEGIN_REQUEST PARAMS STDIN ───▶ application ─── STDOUT STDERR END_REQUEST ───▶ web server
//!                 encode::{begin_request, …}                      ResponseDecoder
//! ```
//!
//! - [`Decoder`] is the application's side: it turns input of any slicing into [`Event`]s that borrow from it, and
//!   keeps no content. Whoever gathers the PARAMS of a request walks them with [`Pairs`] once they are whole: a pair
//!   may straddle records.
//! - [`encode`] appends records to a buffer, for both sides.
//! - [`ResponseDecoder`] is the web server's side.
//!
//! Section numbers in this module are those of the "FastCGI Specification", version 1.0.
//!
//! ```
//! use gatewright::proto::fcgi::{Decoder, Event, Pairs, ProtocolStatus, Role, Stream, encode};
//!
//! // What a web server sends for one request.
//! let mut wire = Vec::new();
//! encode::begin_request(&mut wire, 1, Role::RESPONDER, true);
//! encode::params(&mut wire, 1, [(&b"REQUEST_METHOD"[..], &b"POST"[..])])?;
//! encode::stream(&mut wire, Stream::Stdin, 1, b"hello");
//! encode::stream_end(&mut wire, Stream::Stdin, 1);
//!
//! // The application reads it, in pieces as they come.
//! let mut decoder = Decoder::new(64);
//! let (mut params, mut body, mut answer) = (Vec::new(), Vec::new(), Vec::new());
//! for piece in wire.chunks(7) {
//!     let mut input = piece;
//!     while let Some(event) = decoder.decode(&mut input)? {
//!         match event {
//!             Event::Begin { role, keep_conn, .. } => assert!(role == Role::RESPONDER && keep_conn),
//!             Event::Params { data, .. } => params.extend_from_slice(data),
//!             Event::ParamsEnd { .. } => {
//!                 let pairs = Pairs::new(&params).collect::<Result<Vec<_>, _>>()?;
//!                 assert_eq!(pairs, [(&b"REQUEST_METHOD"[..], &b"POST"[..])]);
//!             }
//!             Event::Stdin { data, .. } => body.extend_from_slice(data),
//!             Event::StdinEnd { id } => {
//!                 encode::stream(&mut answer, Stream::Stdout, id, b"Content-Type: text/plain\r\n\r\nhi");
//!                 encode::stream_end(&mut answer, Stream::Stdout, id);
//!                 encode::end_request(&mut answer, id, 0, ProtocolStatus::REQUEST_COMPLETE);
//!                 decoder.finish(id);
//!             }
//!             other => panic!("unexpected {other:?}"),
//!         }
//!     }
//! }
//! assert_eq!(body, b"hello");
//! assert_eq!(decoder.live_count(), 0);
//! # Ok::<(), gatewright::error::BoxError>(())
//! ```

mod decoder;
pub mod encode;
mod error;
mod frame;
mod params;
mod record;
mod response;
mod values;

pub use decoder::{Decoder, EndOfInput, Event, Phase};
pub use error::{DecodeError, ResponseError};
#[cfg(unix)]
pub(crate) use params::pair_at;
#[cfg(unix)]
pub(crate) use params::pair_named;
pub use params::{PairError, PairTooLong, Pairs};
pub use record::{
    FLAG_KEEP_CONN, HEADER_LEN, Header, MAX_CONTENT, NULL_REQUEST_ID, ProtocolStatus, RecordType, Role,
    Stream, VERSION,
};
pub use response::{ResponseDecoder, ResponseEvent};
pub use values::{Names, Values};

#[cfg(test)]
mod tests;
