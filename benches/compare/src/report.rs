//! Tables and files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::cases::{self, Measure};
use crate::peers::{FLOOR, OURS, PEERS};
use crate::results::{Results, Sample, Spread};
use crate::{picture, targets};

/// Writes the JSON, the tables and the picture.
///
/// # Errors
/// The folder cannot be written.
pub fn write(results: &Results, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put("comparison.json", to_json(results)?)?;
    let mut page = introduction(results);
    if let Some(svg) = picture::draw(results) {
        put("comparison.svg", svg)?;
        page.push_str("\n![CPU time per request](comparison.svg)\n");
    }
    goals(&mut page, results);
    summary(&mut page, results);
    if let Some(counts) = &results.allocations {
        let _ = writeln!(page, "\n## Allocations\n\n```text\n{}\n```", counts.trim_end());
    }
    page.push_str("\n## All cases\n");
    page.push_str(&tables(results));
    put("comparison.md", page)
}

/// One line for each sample, so that two runs can be compared by line.
fn to_json(results: &Results) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(results)?;
    let samples = value.get_mut("samples").map(serde_json::Value::take).unwrap_or_default();
    let lines: Vec<String> =
        samples.as_array().into_iter().flatten().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let mut text = serde_json::to_string_pretty(&value)?;
    let end = "\"samples\": null";
    text = text.replace(end, &format!("\"samples\": [\n{}\n  ]", lines.join(",\n")));
    Ok(text + "\n")
}

fn introduction(results: &Results) -> String {
    let machine = &results.machine;
    let mut out = format!(
        "# The comparison: results\n\n\
         {}, commit {}; {} rounds of {} ms for each case and peer; {} cores of {}, {}; load average {} before, {} after.\n\n\
         The cores are shared: rates move with what else runs, by up to a factor of two. CPU time per request and ratios,\n\
         taken within a round, are what counts. Figures are medians, with the least and the greatest in brackets.\n\
         `benches/run` made this page; [the README](../README.md) says how to read it.\n\n",
        machine.date,
        machine.commit,
        results.rounds,
        results.window_ms,
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.load_average[0],
        machine.load_average[1],
    );
    if machine.is_loaded() {
        out.push_str(
            "**Others kept the machine busy during this run.** A peer with several threads then gets more of the processors than\n\
             one with a single thread, as the floor, libfcgi, scgi and hyper are: rates flatter it, and are shown but not judged.\n\n",
        );
    }
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = writeln!(out, "{}.", versions.join(", "));
    out
}

fn goals(out: &mut String, results: &Results) {
    out.push_str("\n## Targets\n\n| | wanted | seen | |\n|---|--:|--:|---|\n");
    for target in targets::all(results).iter().filter(|target| target.seen.is_some()) {
        let verdict = match target.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not judged: the machine was loaded",
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {verdict} |",
            target.what,
            target.wanted,
            spread(target.seen, target.digits)
        );
    }
}

/// A column of a summary.
pub struct Column {
    pub head: &'static str,
    pub case: &'static str,
    pub figure: Figure,
    pub digits: usize,
}

/// What a column shows of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Cpu,
    CpuMs,
    /// With nginx's.
    CpuOfBoth,
    Rate,
    /// Of the cases with bodies of 100 MiB.
    MibPerSecond,
    FirstByte,
    Median,
    P99,
    Served,
    Calls,
    Peak,
}
use Figure::{Calls, Cpu, CpuMs, CpuOfBoth, FirstByte, Median, MibPerSecond, P99, Peak, Rate, Served};

impl Figure {
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Cpu => sample.cpu_us,
            CpuMs => Some(sample.cpu_us? / 1e3),
            CpuOfBoth => Some(sample.cpu_us? + sample.nginx_cpu_us?),
            Rate => Some(sample.rate),
            MibPerSecond => Some(sample.rate * 100.0),
            FirstByte => Some(sample.first_us),
            Median => Some(sample.p50_us),
            P99 => Some(sample.p99_us),
            Served => Some(sample.served as f64),
            Calls => sample.calls,
            Peak => Some(sample.peak_mib).filter(|mib| *mib > 0.0),
        }
    }

    /// More is better.
    pub fn is_rate(self) -> bool {
        matches!(self, Rate | MibPerSecond)
    }
}

const FCGI: &[Column] = &[
    Column { head: "CPU µs, kept 8", case: "fcgi-kept-8-hello", figure: Cpu, digits: 1 },
    Column { head: "kept 64", case: "fcgi-kept-64-hello", figure: Cpu, digits: 1 },
    Column { head: "kept 256", case: "fcgi-kept-256-hello", figure: Cpu, digits: 1 },
    Column { head: "new 64", case: "fcgi-new-64-hello", figure: Cpu, digits: 1 },
    Column { head: "10 MiB", case: "fcgi-kept-8-10m", figure: Cpu, digits: 0 },
    Column { head: "1 MiB POST", case: "fcgi-kept-8-post1m", figure: Cpu, digits: 0 },
    Column { head: "requests/s, kept 64", case: "fcgi-kept-64-hello", figure: Rate, digits: 0 },
    Column { head: "p99 µs", case: "fcgi-kept-64-hello", figure: P99, digits: 0 },
    Column { head: "served of 64", case: "fcgi-kept-64-hello", figure: Served, digits: 0 },
    Column { head: "system calls, kept 64", case: "fcgi-kept-64-hello", figure: Calls, digits: 1 },
    Column { head: "behind nginx: requests/s", case: "nginx-fcgi-kept-64-hello", figure: Rate, digits: 0 },
];

const SCGI: &[Column] = &[
    Column { head: "CPU µs, 8", case: "scgi-new-8-hello", figure: Cpu, digits: 1 },
    Column { head: "64", case: "scgi-new-64-hello", figure: Cpu, digits: 1 },
    Column { head: "256", case: "scgi-new-256-hello", figure: Cpu, digits: 1 },
    Column { head: "10 MiB", case: "scgi-new-8-10m", figure: Cpu, digits: 0 },
    Column { head: "1 MiB POST", case: "scgi-new-8-post1m", figure: Cpu, digits: 0 },
    Column { head: "requests/s, 64", case: "scgi-new-64-hello", figure: Rate, digits: 0 },
    Column { head: "p99 µs", case: "scgi-new-64-hello", figure: P99, digits: 0 },
    Column { head: "system calls", case: "scgi-new-64-hello", figure: Calls, digits: 1 },
    Column { head: "behind nginx: requests/s", case: "nginx-scgi-new-64-hello", figure: Rate, digits: 0 },
];

const HTTP: &[Column] = &[
    Column { head: "CPU µs, kept 1", case: "http-kept-1-hello", figure: Cpu, digits: 1 },
    Column { head: "kept 8", case: "http-kept-8-hello", figure: Cpu, digits: 1 },
    Column { head: "kept 64", case: "http-kept-64-hello", figure: Cpu, digits: 1 },
    Column { head: "requests/s, kept 64", case: "http-kept-64-hello", figure: Rate, digits: 0 },
    Column { head: "p99 µs", case: "http-kept-64-hello", figure: P99, digits: 0 },
    Column { head: "served of 64", case: "http-kept-64-hello", figure: Served, digits: 0 },
    Column { head: "system calls, kept 64", case: "http-kept-64-hello", figure: Calls, digits: 1 },
    Column { head: "peak MiB", case: "http-kept-64-hello", figure: Peak, digits: 1 },
];

const PROGRAMS_FCGI: &[Column] = &[
    Column { head: "CPU µs, C, 16", case: "fcgi-new-16-program", figure: Cpu, digits: 0 },
    Column { head: "shell, 16", case: "fcgi-new-16-script", figure: Cpu, digits: 0 },
    Column { head: "programs/s, C", case: "fcgi-new-16-program", figure: Rate, digits: 0 },
    Column { head: "shell", case: "fcgi-new-16-script", figure: Rate, digits: 0 },
    Column { head: "alone: first byte µs", case: "fcgi-new-1-program", figure: FirstByte, digits: 0 },
    Column { head: "100 MiB out: MiB/s", case: "fcgi-new-1-out100m", figure: MibPerSecond, digits: 0 },
    Column { head: "CPU ms", case: "fcgi-new-1-out100m", figure: CpuMs, digits: 0 },
    Column { head: "100 MiB in: MiB/s", case: "fcgi-new-1-in100m", figure: MibPerSecond, digits: 0 },
    Column { head: "CPU ms", case: "fcgi-new-1-in100m", figure: CpuMs, digits: 0 },
    Column { head: "peak MiB, out", case: "fcgi-new-1-out100m", figure: Peak, digits: 1 },
    Column { head: "in", case: "fcgi-new-1-in100m", figure: Peak, digits: 1 },
];

const PROGRAMS_HTTP: &[Column] = &[
    Column { head: "CPU µs, C, 16", case: "http-kept-16-program", figure: Cpu, digits: 0 },
    Column { head: "shell, 16", case: "http-kept-16-script", figure: Cpu, digits: 0 },
    Column { head: "programs/s, C", case: "http-kept-16-program", figure: Rate, digits: 0 },
    Column { head: "shell", case: "http-kept-16-script", figure: Rate, digits: 0 },
    Column { head: "100 MiB out: MiB/s", case: "http-kept-1-out100m", figure: MibPerSecond, digits: 0 },
    Column { head: "CPU ms", case: "http-kept-1-out100m", figure: CpuMs, digits: 0 },
    Column { head: "100 MiB in: MiB/s", case: "http-kept-1-in100m", figure: MibPerSecond, digits: 0 },
    Column { head: "CPU ms", case: "http-kept-1-in100m", figure: CpuMs, digits: 0 },
    Column { head: "peak MiB, out", case: "http-kept-1-out100m", figure: Peak, digits: 1 },
    Column { head: "in", case: "http-kept-1-in100m", figure: Peak, digits: 1 },
];

const FILES: &[Column] = &[
    Column { head: "1 KiB: CPU µs", case: "http-kept-8-file1k", figure: Cpu, digits: 1 },
    Column { head: "files/s", case: "http-kept-8-file1k", figure: Rate, digits: 0 },
    Column { head: "100 KiB: CPU µs", case: "http-kept-8-file100k", figure: Cpu, digits: 1 },
    Column { head: "files/s", case: "http-kept-8-file100k", figure: Rate, digits: 0 },
    Column { head: "100 MiB: CPU ms", case: "http-kept-1-file100m", figure: CpuMs, digits: 1 },
    Column { head: "MiB/s", case: "http-kept-1-file100m", figure: MibPerSecond, digits: 0 },
    Column { head: "peak MiB", case: "http-kept-1-file100m", figure: Peak, digits: 1 },
];

const SPAWN: &[Column] = &[
    Column { head: "CPU µs", case: "cgi-spawn", figure: Cpu, digits: 0 },
    Column { head: "median µs", case: "cgi-spawn", figure: Median, digits: 0 },
    Column { head: "started/s", case: "cgi-spawn", figure: Rate, digits: 0 },
];

/// All summaries.
const SUMMARIES: &[(&str, &[Column])] = &[
    ("FastCGI", FCGI),
    ("SCGI", SCGI),
    ("HTTP", HTTP),
    ("Running CGI programs, by FastCGI", PROGRAMS_FCGI),
    ("Running CGI programs, by HTTP", PROGRAMS_HTTP),
    ("Folders, by HTTP", FILES),
    ("Starting a CGI program", SPAWN),
];

fn summary(out: &mut String, results: &Results) {
    for (title, columns) in SUMMARIES {
        let body = rows(results, columns, |peer| peer.to_owned());
        if !body.is_empty() {
            let _ = write!(out, "\n## {title}\n\n{}{body}", head(columns));
        }
    }
}

/// The first two lines of a table with these columns.
pub fn head(columns: &[Column]) -> String {
    let heads: Vec<&str> = columns.iter().map(|column| column.head).collect();
    format!("| | {} |\n|---|{}\n", heads.join(" | "), "--:|".repeat(columns.len()))
}

/// A line for each peer that has a figure; `name` is what it is called.
pub fn rows(results: &Results, columns: &[Column], name: impl Fn(&str) -> String) -> String {
    let mut rows = String::new();
    // Ours first; the floor, which is no server, last.
    let mut peers: Vec<_> = PEERS.iter().collect();
    peers.sort_by_key(|peer| match peer.name {
        OURS => 0,
        FLOOR => 2,
        _ => 1,
    });
    for peer in peers {
        let cell = |column: &Column| {
            plain(results.median(column.case, peer.name, |sample| column.figure.of(sample)), column.digits)
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            let _ = writeln!(rows, "| {} | {} |", name(peer.name), cells.join(" | "));
        }
    }
    rows
}

/// A table for each case.
pub fn tables(results: &Results) -> String {
    let mut out = String::new();
    for case in cases::all() {
        if results.samples.iter().any(|sample| sample.case == case.name) {
            table(&mut out, results, &case.name, case.measure);
        }
    }
    out
}

/// A figure that is not there.
const NOTHING: &str = "–";

fn table(out: &mut String, results: &Results, case: &str, measure: Measure) {
    let _ = writeln!(out, "\n### {case}\n");
    let nginx = results.samples.iter().any(|sample| sample.case == case && sample.nginx_cpu_us.is_some());
    // Where an answer takes long, or comes in pieces.
    let first =
        results.samples.iter().any(|s| s.case == case && s.first_us > 0.0 && s.first_us < 0.9 * s.p50_us);
    let more = targets::MORE.iter().filter(|(name, _)| {
        results.samples.iter().any(|sample| sample.case == case && sample.more.contains_key(*name))
    });
    let more: Vec<_> = more.collect();
    let mut heads = vec!["peer"];
    if measure != Measure::Lateness {
        heads.extend(["CPU µs", "×floor", "×ours"]);
        heads.extend(nginx.then_some("nginx's CPU µs"));
        heads.extend(["requests/s", "×floor", "×ours"]);
        heads.extend(first.then_some("first byte µs"));
        heads.extend(["p50 µs", "p99 µs", "served", "calls", "peak MiB"]);
    }
    heads.extend(more.iter().map(|(_, head)| *head));
    heads.push("notes");
    let _ = write!(out, "| {} |\n|---|", heads.join(" | "));
    heads.iter().skip(2).for_each(|_| out.push_str("--:|"));
    out.push_str("---|\n");
    for peer in PEERS.iter().map(|peer| peer.name) {
        let own: Vec<&Sample> =
            results.samples.iter().filter(|sample| sample.case == case && sample.peer == peer).collect();
        if own.is_empty() {
            continue;
        }
        let median = |figure: Figure| results.median(case, peer, |sample| figure.of(sample));
        let ratio = |to: &str, figure: Figure| {
            plain(results.ratio((case, peer), (case, to), |sample| figure.of(sample)), 2)
        };
        let mut cells = vec![peer.to_owned()];
        if measure != Measure::Lateness {
            cells.extend([spread(median(Cpu), 1), ratio(FLOOR, Cpu), ratio(OURS, Cpu)]);
            cells.extend(nginx.then(|| plain(results.median(case, peer, |s| s.nginx_cpu_us), 1)));
            cells.extend([spread(median(Rate), 0), ratio(FLOOR, Rate), ratio(OURS, Rate)]);
            cells.extend(first.then(|| plain(median(FirstByte), 0)));
            cells.extend([plain(median(Median), 0), plain(median(P99), 0)]);
            cells.extend([plain(median(Served), 0), plain(median(Calls), 1)]);
            cells.push(plain(median(Peak), 1));
        }
        for (name, _) in &more {
            cells.push(plain(results.median(case, peer, |sample| sample.more.get(*name).copied()), 1));
        }
        cells.push(notes(&own));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

fn plain(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or(NOTHING.to_owned(), |spread| format!("{:.digits$}", spread.median))
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { least, median, greatest }) = spread else { return NOTHING.to_owned() };
    if least == greatest {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
}

/// What a reader must know beside the figures.
fn notes(samples: &[&Sample]) -> String {
    let mut notes = Vec::new();
    if let Some(error) = samples.iter().find_map(|sample| sample.failed.as_deref()) {
        notes.push(format!("failed: {}", error.replace('|', "/")));
    }
    let errors: u64 = samples.iter().flat_map(|sample| sample.errors.values()).sum();
    if let Some((error, _)) = samples.iter().flat_map(|sample| &sample.errors).next() {
        notes.push(format!("{errors} errors: {}", error.replace('|', "/")));
    }
    let (answers, reconnects) =
        samples.iter().fold((0, 0), |(a, r), sample| (a + sample.answers, r + sample.reconnects));
    if reconnects * 2 > answers && answers > 0 {
        notes.push("closes kept connections".to_owned());
    }
    let waiting = samples.iter().map(|sample| sample.waiting_ms).fold(0.0, f64::max);
    if waiting > 250.0 {
        notes.push(format!("a connection waited {waiting:.0} ms"));
    }
    notes.join("; ")
}
