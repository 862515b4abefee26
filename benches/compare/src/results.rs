//! What was measured, as it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One case with one peer in one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    pub case: String,
    pub peer: String,
    pub round: usize,
    /// Why there is no measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub answers: u64,
    /// Requests per second.
    pub rate: f64,
    /// CPU time of all the peer's processes, per request.
    pub cpu_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx_cpu_us: Option<f64>,
    pub generator_cpu_us: Option<f64>,
    /// Until an answer's first byte.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// The longest time that a connection was without an answer when the window ended.
    pub waiting_ms: f64,
    /// Connections that got an answer within the window.
    pub served: usize,
    /// Kept connections that the server closed between two requests.
    pub reconnects: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// The most that was resident.
    pub peak_mib: f64,
    /// System calls per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<f64>,
    /// Figures of the special cases.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, f64>,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// A whole comparison.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub rounds: usize,
    pub window_ms: u64,
    /// What `allocations` said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<String>,
    pub samples: Vec<Sample>,
}

/// Where and when it was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub commit: String,
    /// One minute's, before and after.
    pub load_average: [f64; 2],
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// Whether others used the processors so much that rates tell who has more threads, not who is faster.
    pub fn is_loaded(&self) -> bool {
        self.load_average.iter().any(|load| *load > 2.0 * self.cores as f64)
    }
}

impl Results {
    /// A figure of one case and peer, round by round.
    pub fn rounds(
        &self,
        case: &str,
        peer: &str,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> BTreeMap<usize, f64> {
        let own = self.samples.iter().filter(|sample| sample.case == case && sample.peer == peer);
        own.filter(|sample| sample.failed.is_none()).filter_map(|s| Some((s.round, figure(s)?))).collect()
    }

    /// The median of a figure with its least and greatest value.
    pub fn median(&self, case: &str, peer: &str, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds(case, peer, figure).into_values().collect())
    }

    /// The median of a figure's ratio to another's in the same round, so that noise which lasts hits both.
    pub fn ratio(
        &self,
        of: (&str, &str),
        to: (&str, &str),
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        let (of, to) = (self.rounds(of.0, of.1, &figure), self.rounds(to.0, to.1, &figure));
        let ratios = of.iter().filter_map(|(round, of)| Some(of / to.get(round).filter(|to| **to > 0.0)?));
        Spread::of(ratios.collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub greatest: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { least, median, greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        let sample = |peer: &str, round, rate| Sample {
            case: "c".to_owned(),
            peer: peer.to_owned(),
            round,
            rate,
            ..Sample::default()
        };
        // The second round is twice as slow for all; a ratio of medians would not see 2, 2, 3.
        let samples = vec![
            sample("a", 0, 200.0),
            sample("b", 0, 100.0),
            sample("a", 1, 100.0),
            sample("b", 1, 50.0),
            sample("a", 2, 300.0),
            sample("b", 2, 100.0),
        ];
        let results = Results { samples, ..Results::default() };
        let ratio = results.ratio(("c", "a"), ("c", "b"), |sample| Some(sample.rate));
        assert_eq!(ratio, Some(Spread { least: 2.0, median: 2.0, greatest: 3.0 }));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_middle() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(vec![]), None);
    }
}
