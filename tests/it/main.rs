//! The one integration test binary.

mod oracle;
#[cfg(windows)]
mod windows;
