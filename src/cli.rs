//! The programs: flags → settings → run. Each binary is one line in `bin/`; [`run`] makes such a program of any
//! application.

#[cfg(unix)]
mod access;
mod app;
pub mod cgi;
mod config;
mod front;
#[cfg(unix)]
mod life;
#[cfg(unix)]
mod limits;
mod logger;
#[cfg(unix)]
mod notify;
mod own;
#[cfg(unix)]
mod rights;
#[cfg(unix)]
pub mod serve;
mod serving;
#[cfg(unix)]
mod units;
mod usage;

pub use own::run;
