//! The binaries: flags → settings → run. Each is one line in `bin/`.

mod app;
pub mod cgi;
mod config;
#[cfg(unix)]
mod logger;
#[cfg(unix)]
pub mod serve;
mod usage;
