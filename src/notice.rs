//! Log lines about peers: at most a few a second, however many peers misbehave.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One cause that is logged, rate-limited.
pub(crate) struct Notice {
    state: Mutex<Option<(Instant, u64)>>,
}

const PERIOD: Duration = Duration::from_secs(1);

impl Notice {
    pub(crate) const fn new() -> Self {
        Self { state: Mutex::new(None) }
    }

    /// Logs `text` now, or counts it for the next line of this cause.
    pub(crate) fn warn(&self, text: std::fmt::Arguments<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *state {
            Some((last, kept_back)) if now.duration_since(*last) < PERIOD => *kept_back += 1,
            _ => match state.replace((now, 0)) {
                Some((_, kept_back @ 1..)) => log::warn!("{text} (and {kept_back} more since)"),
                _ => log::warn!("{text}"),
            },
        }
    }
}
