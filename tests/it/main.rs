//! The one integration test binary.

#[cfg(unix)]
mod fcgi;
mod oracle;
#[cfg(unix)]
mod scgi;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
mod wire;
