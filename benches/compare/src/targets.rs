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

/// Who calls an application that may block, by HTTP.
const BLOCKING: &[&str] = &["hyper-blocking", "granian", "gunicorn", "uwsgi", "wsgiref"];
const FCGIWRAP: &[&str] = &["fcgiwrap-1", "fcgiwrap-4", "fcgiwrap-16"];

/// All targets, in the order of the design.
pub fn all(results: &Results) -> Vec<Target> {
    let mut all = servers(results);
    all.extend(http(results));
    all.extend(programs(results));
    all.extend(folders(results));
    if results.machine.is_loaded() {
        all.iter_mut()
            .filter(|target| target.what.contains(": rate"))
            .for_each(|target| target.reached = None);
    }
    all
}

fn http(results: &Results) -> Vec<Target> {
    const HTTP: &str = "http-kept-64-hello";
    vec![
        target(
            "HTTP kept, 64: CPU, of hyper's with the application inline",
            AtMost(1.3),
            results.ratio((HTTP, OURS), (HTTP, HYPER), cpu),
            2,
        ),
        target(
            "HTTP kept, 64: CPU, of the best that may block",
            AtMost(1.0),
            best(BLOCKING, |peer| results.ratio((HTTP, OURS), (HTTP, peer), cpu), f64::gt),
            2,
        ),
        target(
            "HTTP kept, 64: requests per CPU, of wsgiref's",
            AtLeast(10.0),
            results.ratio((HTTP, "wsgiref"), (HTTP, OURS), cpu),
            1,
        ),
        target(
            "HTTP kept, 64: rate, of wsgiref's",
            AtLeast(10.0),
            results.ratio((HTTP, OURS), (HTTP, "wsgiref"), rate),
            1,
        ),
    ]
}

fn programs(results: &Results) -> Vec<Target> {
    const PROGRAM: &str = "fcgi-new-16-program";
    const OUT: &str = "fcgi-new-1-out100m";
    const IN: &str = "fcgi-new-1-in100m";
    const SPAWN: &str = "cgi-spawn";
    // Of the three that run another number of programs at once, the one that does best.
    let of_fcgiwrap = |case, figure: fn(&Sample) -> Option<f64>| {
        best(FCGIWRAP, |peer| results.ratio((case, OURS), (case, peer), figure), f64::lt)
    };
    let per_cpu = |case| best(FCGIWRAP, |peer| results.ratio((case, peer), (case, OURS), cpu), f64::lt);
    let small = results.median("fcgi-new-1-program", OURS, peak);
    let growth = |case| {
        let small = small?.median;
        results.median(case, OURS, |sample| Some((sample.peak_mib - small).max(0.0)))
    };
    vec![
        target("CGI programs, 16: rate, of fcgiwrap's", AtLeast(1.4), of_fcgiwrap(PROGRAM, rate), 2),
        target("CGI programs, 16: programs per CPU, of fcgiwrap's", AtLeast(1.4), per_cpu(PROGRAM), 2),
        target("CGI programs, 100 MiB out: rate, of fcgiwrap's", AtLeast(3.0), of_fcgiwrap(OUT, rate), 2),
        target("CGI programs, 100 MiB out: bytes per CPU, of fcgiwrap's", AtLeast(3.0), per_cpu(OUT), 2),
        target("CGI programs, 100 MiB out: MiB more than for 12 bytes", AtMost(1.0), growth(OUT), 1),
        target("CGI programs, 100 MiB in: MiB more than for 12 bytes", AtMost(1.0), growth(IN), 1),
        target(
            "cgi-gateway, linked statically: CPU, of a bare Rust program's",
            AtMost(1.25),
            results.ratio((SPAWN, OURS), (SPAWN, "bare-rust"), cpu),
            2,
        ),
    ]
}

fn folders(results: &Results) -> Vec<Target> {
    const MIDDLE: &str = "http-kept-8-file100k";
    const LARGE: &str = "http-kept-1-file100m";
    let of_nginx =
        |case, figure: fn(&Sample) -> Option<f64>| results.ratio((case, OURS), (case, "nginx"), figure);
    vec![
        target("files of 100 KiB: rate, of nginx's", AtLeast(0.8), of_nginx(MIDDLE, rate), 2),
        target("files of 100 KiB: CPU, of nginx's", AtMost(1.25), of_nginx(MIDDLE, cpu), 2),
        target("files of 100 MiB: rate, of nginx's", AtLeast(0.8), of_nginx(LARGE, rate), 2),
        target("files of 100 MiB: CPU, of nginx's", AtMost(1.25), of_nginx(LARGE, cpu), 2),
    ]
}

fn rate(sample: &Sample) -> Option<f64> {
    Some(sample.rate)
}

fn cpu(sample: &Sample) -> Option<f64> {
    sample.cpu_us
}

fn peak(sample: &Sample) -> Option<f64> {
    Some(sample.peak_mib)
}

/// The ratio to the peer for which it is worst.
fn best(
    peers: &[&str],
    ratio: impl Fn(&str) -> Option<Spread>,
    worse: fn(&f64, &f64) -> bool,
) -> Option<Spread> {
    let ratios = peers.iter().filter_map(|peer| ratio(peer));
    ratios.reduce(|worst, other| if worse(&other.median, &worst.median) { other } else { worst })
}

fn servers(results: &Results) -> Vec<Target> {
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
    vec![
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
    ]
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
