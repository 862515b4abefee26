//! Latencies, to within 2 %, in fixed memory.

use std::time::Duration;

/// Parts of each power of two.
const PARTS: u64 = 64;

#[derive(Debug, Default)]
pub struct Histogram {
    /// By the nanoseconds' highest bit and the six bits below it.
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(PARTS);
        let power = nanos.ilog2() - PARTS.ilog2();
        let at = (u64::from(power) * PARTS + (nanos >> power) - PARTS) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
    }

    /// Microseconds that this share of all stayed below; 0 when there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut sum = 0;
        for (at, count) in (0u64..).zip(&self.counts) {
            sum += count;
            if sum >= wanted.max(1) {
                let (power, part) = (at / PARTS, at % PARTS);
                return ((PARTS + part + 1) << power) as f64 / 1e3;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|micros| histogram.add(Duration::from_micros(micros)));
        for share in [0.01, 0.5, 0.99, 1.0] {
            let (seen, exact) = (histogram.quantile(share), 100_000.0 * share);
            assert!((seen / exact - 1.0).abs() < 0.02, "{share}: {seen} instead of {exact}");
        }
    }

    #[test]
    fn nothing_seen_is_zero() {
        assert_eq!(Histogram::default().quantile(0.99), 0.0);
    }
}
