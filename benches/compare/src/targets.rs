//! What the design asks for, and whether it was reached.

use crate::peers::{FLOOR, HYPER, OURS};
use crate::results::{Results, Sample, Spread};

pub struct Target {
    pub what: &'static str,
    pub wanted: String,
    /// What was seen; `None` where the cases were not measured.
    pub seen: Option<Spread>,
    pub digits: usize,
    /// `None` where the machine was too loaded for a rate to mean anything.
    pub reached: Option<bool>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

const KEPT: &str = "fcgi-kept-64-hello";
const NEW: &str = "fcgi-new-64-hello";
const FILE: &str = "fcgi-kept-8-10m";
const POST: &str = "fcgi-kept-8-post1m";
const IDLE: &str = "fcgi-idle-1000";
const LATENESS: &str = "fcgi-lateness";

/// All targets of the servers, in the order of the design.
pub fn all(results: &Results) -> Vec<Target> {
    let rate = |sample: &Sample| Some(sample.rate);
    let cpu = |sample: &Sample| sample.cpu_us;
    let to_floor =
        |case, figure: fn(&Sample) -> Option<f64>| results.ratio((case, OURS), (case, FLOOR), figure);
    let more =
        |case, name: &'static str| results.median(case, OURS, move |sample| sample.more.get(name).copied());
    // What each of the eight connections adds to the peak, above small answers and an application's own page.
    let each = |case: &str, own: f64| {
        let small = results.median("fcgi-kept-8-hello", OURS, |sample| Some(sample.peak_mib))?.median;
        results.median(case, OURS, |sample| Some(((sample.peak_mib - small - own) * 1024.0 / 8.0).max(0.0)))
    };
    let beside = |figure: fn(&Sample) -> Option<f64>, alone: &'static str| {
        results.median(IDLE, OURS, move |sample| {
            let alone = sample.more.get(alone).filter(|alone| **alone > 0.0)?;
            Some(figure(sample)? / alone)
        })
    };
    let mut all = vec![
        target("FastCGI kept, 64: rate, of the floor's", AtLeast(0.7), to_floor(KEPT, rate), 2),
        target("FastCGI kept, 64: CPU, of the floor's", AtMost(1.8), to_floor(KEPT, cpu), 2),
        target(
            "FastCGI kept, 64: connections served",
            AtLeast(64.0),
            results.median(KEPT, OURS, |sample| Some(sample.served as f64)),
            0,
        ),
        target(
            "FastCGI kept, 64: requests per CPU, of tokio-fastcgi's",
            AtLeast(4.0),
            results.ratio((KEPT, "tokio-fastcgi"), (KEPT, OURS), cpu),
            1,
        ),
        target(
            "FastCGI kept, 64: requests per CPU, of Go's",
            AtLeast(8.0),
            results.ratio((KEPT, "go"), (KEPT, OURS), cpu),
            1,
        ),
        target("FastCGI new, 64: CPU, of the floor's", AtMost(1.2), to_floor(NEW, cpu), 2),
        target(
            "FastCGI new, 64: CPU, of libfcgi's",
            AtMost(1.0),
            results.ratio((NEW, OURS), (NEW, "libfcgi"), cpu),
            2,
        ),
        target("SCGI, 64: CPU, of the floor's", AtMost(1.2), to_floor("scgi-new-64-hello", cpu), 2),
        target("10 MiB answer: rate, of the floor's", AtLeast(0.9), to_floor(FILE, rate), 2),
        target("10 MiB answer: CPU, of the floor's", AtMost(1.1), to_floor(FILE, cpu), 2),
        target("10 MiB answer: KiB for a connection", AtMost(256.0), each(FILE, 10.0), 0),
        target("1 MiB POST: rate, of the floor's", AtLeast(0.9), to_floor(POST, rate), 2),
        target("1 MiB POST: CPU, of the floor's", AtMost(1.1), to_floor(POST, cpu), 2),
        target("1 MiB POST: KiB for a connection", AtMost(256.0), each(POST, 0.0), 0),
        target(
            "behind nginx, kept, 64: rate, of proxy_pass to hyper",
            AtLeast(0.9),
            results.ratio(("nginx-fcgi-kept-64-hello", OURS), ("nginx-http-kept-64-hello", HYPER), rate),
            2,
        ),
        target(
            "behind nginx, kept, 64: CPU with nginx's, of proxy_pass to hyper",
            AtMost(1.1),
            results.ratio(
                ("nginx-fcgi-kept-64-hello", OURS),
                ("nginx-http-kept-64-hello", HYPER),
                |sample| Some(sample.cpu_us? + sample.nginx_cpu_us?),
            ),
            2,
        ),
        target("1,000 idle connections: MiB added", AtMost(4.0), more(IDLE, "added_mib"), 1),
        target(
            "1,000 idle connections: CPU of 8 active ones, of that alone",
            AtMost(1.1),
            beside(cpu, "alone_cpu_us"),
            2,
        ),
        target(
            "1,000 idle connections: rate of 8 active ones, of that alone",
            AtLeast(0.9),
            beside(rate, "alone_rate"),
            2,
        ),
        target("head time-out: p99 lateness, ms", AtMost(100.0), more(LATENESS, "late_p99_ms"), 1),
    ];
    if results.machine.is_loaded() {
        all.iter_mut()
            .filter(|target| target.what.contains(": rate"))
            .for_each(|target| target.reached = None);
    }
    all
}

/// Figures of the special cases, with what they are.
pub const MORE: &[(&str, &str)] = &[
    ("idle_served", "idle connections that had their answer"),
    ("added_mib", "MiB added by them"),
    ("threads", "threads"),
    ("alone_rate", "requests/s of the active ones alone"),
    ("alone_cpu_us", "CPU µs of the active ones alone"),
    ("late_p50_ms", "median lateness, ms"),
    ("late_p99_ms", "p99 lateness, ms"),
    ("late_max_ms", "greatest lateness, ms"),
];

fn target(what: &'static str, bound: Bound, seen: Option<Spread>, digits: usize) -> Target {
    let reached = |value: f64| match bound {
        AtLeast(least) => value >= least,
        AtMost(most) => value <= most,
    };
    let wanted = match bound {
        AtLeast(least) => format!("≥ {least}"),
        AtMost(most) => format!("≤ {most}"),
    };
    Target { what, wanted, seen, digits, reached: Some(seen.is_some_and(|seen| reached(seen.median))) }
}
