//! One application, every gateway.

pub mod app;
pub mod apps;
#[cfg(feature = "cli")]
pub mod cli;
pub mod environ;
pub mod error;
pub mod handlers;
pub mod headers;
pub mod proto;
#[cfg(unix)]
pub mod server;
#[cfg(unix)]
#[allow(unsafe_code)]
mod sys;
pub mod util;

/// Property tests that are the same at each run, and leave no files.
#[cfg(test)]
pub(crate) fn repeatable(cases: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};

    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}
