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
struct Column {
    head: &'static str,
    case: &'static str,
    figure: fn(&Sample) -> Option<f64>,
    digits: usize,
}

fn cpu(sample: &Sample) -> Option<f64> {
    sample.cpu_us
}

const FCGI: &[Column] = &[
    Column { head: "CPU µs, kept 8", case: "fcgi-kept-8-hello", figure: cpu, digits: 1 },
    Column { head: "kept 64", case: "fcgi-kept-64-hello", figure: cpu, digits: 1 },
    Column { head: "kept 256", case: "fcgi-kept-256-hello", figure: cpu, digits: 1 },
    Column { head: "new 64", case: "fcgi-new-64-hello", figure: cpu, digits: 1 },
    Column { head: "10 MiB", case: "fcgi-kept-8-10m", figure: cpu, digits: 0 },
    Column { head: "1 MiB POST", case: "fcgi-kept-8-post1m", figure: cpu, digits: 0 },
    Column { head: "requests/s, kept 64", case: "fcgi-kept-64-hello", figure: |s| Some(s.rate), digits: 0 },
    Column { head: "p99 µs", case: "fcgi-kept-64-hello", figure: |s| Some(s.p99_us), digits: 0 },
    Column { head: "served of 64", case: "fcgi-kept-64-hello", figure: |s| Some(s.served as f64), digits: 0 },
    Column { head: "system calls, kept 64", case: "fcgi-kept-64-hello", figure: |s| s.calls, digits: 1 },
    Column {
        head: "behind nginx: requests/s",
        case: "nginx-fcgi-kept-64-hello",
        figure: |s| Some(s.rate),
        digits: 0,
    },
];

const SCGI: &[Column] = &[
    Column { head: "CPU µs, 8", case: "scgi-new-8-hello", figure: cpu, digits: 1 },
    Column { head: "64", case: "scgi-new-64-hello", figure: cpu, digits: 1 },
    Column { head: "256", case: "scgi-new-256-hello", figure: cpu, digits: 1 },
    Column { head: "10 MiB", case: "scgi-new-8-10m", figure: cpu, digits: 0 },
    Column { head: "1 MiB POST", case: "scgi-new-8-post1m", figure: cpu, digits: 0 },
    Column { head: "requests/s, 64", case: "scgi-new-64-hello", figure: |s| Some(s.rate), digits: 0 },
    Column { head: "p99 µs", case: "scgi-new-64-hello", figure: |s| Some(s.p99_us), digits: 0 },
    Column { head: "system calls", case: "scgi-new-64-hello", figure: |s| s.calls, digits: 1 },
    Column {
        head: "behind nginx: requests/s",
        case: "nginx-scgi-new-64-hello",
        figure: |s| Some(s.rate),
        digits: 0,
    },
];

fn summary(out: &mut String, results: &Results) {
    for (title, columns) in [("FastCGI", FCGI), ("SCGI", SCGI)] {
        let mut rows = String::new();
        for peer in PEERS {
            let cell =
                |column: &Column| plain(results.median(column.case, peer.name, column.figure), column.digits);
            let cells: Vec<String> = columns.iter().map(cell).collect();
            if cells.iter().any(|cell| cell != NOTHING) {
                let _ = writeln!(rows, "| {} | {} |", peer.name, cells.join(" | "));
            }
        }
        if !rows.is_empty() {
            let heads: Vec<&str> = columns.iter().map(|column| column.head).collect();
            let _ = write!(out, "\n## {title}\n\n| | {} |\n|---|", heads.join(" | "));
            columns.iter().for_each(|_| out.push_str("--:|"));
            let _ = write!(out, "\n{rows}");
        }
    }
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
    let more = targets::MORE.iter().filter(|(name, _)| {
        results.samples.iter().any(|sample| sample.case == case && sample.more.contains_key(*name))
    });
    let more: Vec<_> = more.collect();
    let mut heads = vec!["peer"];
    if measure != Measure::Lateness {
        heads.extend(["CPU µs", "×floor", "×ours"]);
        heads.extend(nginx.then_some("nginx's CPU µs"));
        heads.extend(["requests/s", "×floor", "×ours", "p50 µs", "p99 µs", "served", "calls", "peak MiB"]);
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
        let median = |figure: fn(&Sample) -> Option<f64>| results.median(case, peer, figure);
        let ratio = |to: &str, figure: fn(&Sample) -> Option<f64>| {
            plain(results.ratio((case, peer), (case, to), figure), 2)
        };
        let mut cells = vec![peer.to_owned()];
        if measure != Measure::Lateness {
            cells.extend([spread(median(cpu), 1), ratio(FLOOR, cpu), ratio(OURS, cpu)]);
            cells.extend(nginx.then(|| plain(median(|s| s.nginx_cpu_us), 1)));
            let rate = |sample: &Sample| Some(sample.rate);
            cells.extend([spread(median(rate), 0), ratio(FLOOR, rate), ratio(OURS, rate)]);
            cells.extend([plain(median(|s| Some(s.p50_us)), 0), plain(median(|s| Some(s.p99_us)), 0)]);
            cells.extend([plain(median(|s| Some(s.served as f64)), 0), plain(median(|s| s.calls), 1)]);
            cells.push(plain(median(|s| Some(s.peak_mib)), 1));
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
