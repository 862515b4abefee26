//! Tables and files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::peers::{FLOOR, OURS, PEERS};
use crate::results::{Results, Sample, Spread};

/// Writes JSON and tables.
///
/// # Errors
/// The folder cannot be written.
pub fn write(results: &Results, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put("comparison.json", serde_json::to_string(results)? + "\n")?;
    put("comparison.md", tables(results))?;
    Ok(())
}

/// A table for each case.
pub fn tables(results: &Results) -> String {
    let mut out = String::new();
    let mut cases: Vec<&str> = Vec::new();
    for sample in &results.samples {
        if !cases.contains(&sample.case.as_str()) {
            cases.push(&sample.case);
        }
    }
    cases.iter().for_each(|case| table(&mut out, results, case));
    out
}

fn table(out: &mut String, results: &Results, case: &str) {
    let _ = writeln!(out, "\n### {case}\n");
    let _ = writeln!(
        out,
        "| peer | CPU µs | ×floor | ×ours | requests/s | ×floor | ×ours | p50 µs | p99 µs | served | calls | peak MiB | notes |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    );
    for peer in PEERS.iter().map(|peer| peer.name) {
        let own = || results.samples.iter().filter(|sample| sample.case == case && sample.peer == peer);
        if own().next().is_none() {
            continue;
        }
        let median = |figure: fn(&Sample) -> Option<f64>| results.median(case, peer, figure);
        let ratio =
            |to: &str, figure: fn(&Sample) -> Option<f64>| results.ratio((case, peer), (case, to), figure);
        let _ = writeln!(
            out,
            "| {peer} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            spread(median(|s| s.cpu_us), 1),
            plain(ratio(FLOOR, |s| s.cpu_us), 2),
            plain(ratio(OURS, |s| s.cpu_us), 2),
            spread(median(|s| Some(s.rate)), 0),
            plain(ratio(FLOOR, |s| Some(s.rate)), 2),
            plain(ratio(OURS, |s| Some(s.rate)), 2),
            plain(median(|s| Some(s.p50_us)), 0),
            plain(median(|s| Some(s.p99_us)), 0),
            plain(median(|s| Some(s.served as f64)), 0),
            plain(median(|s| s.calls), 1),
            plain(median(|s| Some(s.peak_mib)), 1),
            notes(own().collect()),
        );
    }
}

fn plain(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("–".to_owned(), |spread| format!("{:.digits$}", spread.median))
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { least, median, greatest }) = spread else { return "–".to_owned() };
    if least == greatest {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
}

/// What a reader must know beside the figures.
fn notes(samples: Vec<&Sample>) -> String {
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
    notes.join("; ")
}
