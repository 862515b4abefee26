//! The wire protocols as sans-IO codecs: bytes in, events out, and back. No socket, no clock, and no allocation by a
//! length that a peer only claims.

pub mod fcgi;
pub mod scgi;
