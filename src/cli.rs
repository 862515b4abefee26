//! The programs: flags → settings → run. Each binary is one line in `bin/`; [`run`] makes such a program of any
//! application.

#[cfg(unix)]
mod access;
mod app;
pub mod cgi;
mod config;
#[cfg(target_os = "linux")]
mod fcgiwrap;
mod front;
#[cfg(unix)]
mod life;
#[cfg(unix)]
mod limits;
mod logger;
#[cfg(unix)]
mod notify;
mod own;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(unix)]
mod rights;
#[cfg(unix)]
pub mod serve;
mod serving;
mod spool;
mod units;
mod usage;

#[cfg(unix)]
pub use crate::sys::Arena;
pub use own::run;
