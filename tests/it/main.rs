//! The one integration test binary.

mod differential;
#[cfg(unix)]
mod fcgi;
#[cfg(unix)]
mod front;
#[cfg(unix)]
mod fuzz;
#[cfg(unix)]
mod habits;
#[cfg(unix)]
mod hostile;
#[cfg(unix)]
mod hostile_http;
#[cfg(unix)]
mod house;
#[cfg(unix)]
mod http;
#[cfg(unix)]
mod interop;
mod ladder;
#[cfg(unix)]
mod models;
#[cfg(unix)]
mod multiplex;
mod names;
mod oracle;
#[cfg(target_os = "linux")]
mod programs;
mod random;
#[cfg(unix)]
mod regressions;
#[cfg(unix)]
mod roles;
#[cfg(unix)]
mod scgi;
#[cfg(unix)]
mod servers;
mod simple_server;
#[cfg(target_os = "linux")]
mod soak;
mod validate;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
mod wire;
