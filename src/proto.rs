//! The wire protocols as sans-IO codecs: bytes in, events out, and back. No socket, no clock, and no allocation by a
//! length that a peer only claims.

use std::ops::Range;

pub mod cgi;
pub mod fcgi;
pub mod http;
pub mod scgi;

/// Where the name and the value of a pair stand in their block.
pub(crate) type PairPlaces = (Range<usize>, Range<usize>);

/// Takes at most `at_most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let whole = *input;
    let (taken, rest) = whole.split_at_checked(at_most).unwrap_or((whole, &[]));
    *input = rest;
    taken
}
