//! The time that deadlines are measured by: the machine's, or one that a test moves by hand.

use std::time::{Duration, Instant};

/// Milliseconds since the server's start; never 0, which stands for "none".
pub(super) type Millis = u64;

#[derive(Clone, Debug)]
pub(super) enum Clock {
    Real(Instant),
    #[cfg(test)]
    Manual(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    pub(super) fn real() -> Self {
        Clock::Real(Instant::now())
    }

    pub(super) fn now(&self) -> Millis {
        match self {
            Clock::Real(start) => {
                Millis::try_from(start.elapsed().as_millis()).unwrap_or(Millis::MAX - 1) + 1
            }
            #[cfg(test)]
            Clock::Manual(now) => now.load(std::sync::atomic::Ordering::SeqCst) + 1,
        }
    }

    /// How long to sleep for so many milliseconds.
    pub(super) fn sleep_for(&self, left: Millis) -> Duration {
        match self {
            Clock::Real(_) => Duration::from_millis(left),
            // Time may be moved at any moment, and nobody says so.
            #[cfg(test)]
            Clock::Manual(_) => Duration::from_millis(left.min(2)),
        }
    }

    /// The moment so far from now; `None` when the duration is 0, which means "no limit".
    pub(super) fn after(&self, duration: Duration) -> Option<Millis> {
        (!duration.is_zero()).then(|| self.now()).and_then(|now| Self::later(now, duration))
    }

    /// The same for who has just looked at the clock.
    pub(super) fn later(now: Millis, duration: Duration) -> Option<Millis> {
        let millis = Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2).min(Millis::MAX / 2);
        (!duration.is_zero()).then(|| now.saturating_add(millis.max(1)))
    }
}
