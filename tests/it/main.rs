//! The one integration test binary.

mod ladder;
mod oracle;
