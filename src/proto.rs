//! The wire protocols as sans-IO codecs: bytes in, events out, and back. No socket, no clock, and no allocation by a
//! length that a peer only claims.

pub mod fcgi;
pub mod length;
pub mod scgi;

/// Takes at most `at_most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let whole = *input;
    let (taken, rest) = whole.split_at_checked(at_most).unwrap_or((whole, &[]));
    *input = rest;
    taken
}

/// Property tests that are the same at each run, and leave no files.
#[cfg(test)]
fn repeatable(cases: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};

    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}
