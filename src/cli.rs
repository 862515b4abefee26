//! The binaries: flags → settings → run. Each is one line in `bin/`.

mod app;
pub mod cgi;
mod usage;
