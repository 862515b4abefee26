//! The picture: one panel for each of a few cases, one bar for each peer. Readable on light and on dark ground.

use std::fmt::Write as _;

use crate::peers::{FLOOR, OURS, PEERS};
use crate::results::{Results, Sample};

struct Panel {
    case: &'static str,
    title: &'static str,
    figure: fn(&Sample) -> Option<f64>,
    unit: &'static str,
}

const PANELS: &[Panel] = &[
    Panel {
        case: "fcgi-kept-64-hello",
        title: "FastCGI, 64 kept connections",
        figure: |sample| sample.cpu_us,
        unit: "server CPU µs per request, less is better",
    },
    Panel {
        case: "fcgi-new-64-hello",
        title: "FastCGI, a connection for each request",
        figure: |sample| sample.cpu_us,
        unit: "server CPU µs per request, less is better",
    },
    Panel {
        case: "scgi-new-64-hello",
        title: "SCGI",
        figure: |sample| sample.cpu_us,
        unit: "server CPU µs per request, less is better",
    },
    Panel {
        case: "nginx-fcgi-kept-64-hello",
        title: "FastCGI behind nginx, kept connections",
        figure: |sample| Some(sample.cpu_us? + sample.nginx_cpu_us?),
        unit: "CPU µs per request of server and nginx, less is better",
    },
    Panel {
        case: "http-kept-64-hello",
        title: "HTTP, 64 kept connections",
        figure: |sample| sample.cpu_us,
        unit: "server CPU µs per request, less is better",
    },
    Panel {
        case: "fcgi-new-16-program",
        title: "Running CGI programs, 16 at once",
        figure: |sample| sample.cpu_us,
        unit: "CPU µs per program, its own included, less is better",
    },
];

const WIDTH: usize = 920;
const COLUMN: usize = 450;
const LABEL: usize = 105;
const BAR: usize = 16;
const STEP: usize = 23;
/// Space for a value behind the longest bar.
const VALUE: usize = 125;
const TITLE: usize = 48;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.title{font-weight:600;font-size:14px}\
.unit,.note{fill:#59636e;font-size:11.5px}\
.peer{fill:#8c959f}.floor{fill:#c4ccd4}.ours{fill:#0969da}.us{font-weight:600}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.unit,.note{fill:#9da7b1}\
.peer{fill:#6e7681}.floor{fill:#3d444d}.ours{fill:#4493f8}}";

/// The picture as SVG; `None` where no panel has a figure.
pub fn draw(results: &Results) -> Option<String> {
    let panels: Vec<(&Panel, Vec<Bar>)> = PANELS.iter().map(|panel| (panel, bars(results, panel))).collect();
    let panels: Vec<_> = panels.into_iter().filter(|(_, bars)| !bars.is_empty()).collect();
    let mut body = String::new();
    let mut top = 8;
    for row in panels.chunks(2) {
        for (column, (panel, bars)) in row.iter().enumerate() {
            draw_panel(&mut body, panel, bars, column * (WIDTH - COLUMN), top);
        }
        let most = row.iter().map(|(_, bars)| bars.len()).max().unwrap_or_default();
        top += TITLE + most * STEP + 22;
    }
    let machine = &results.machine;
    let note = format!(
        "Medians of {} rounds, all peers in turn; {} cores; unix sockets; 12-byte answers; {}",
        results.rounds, machine.cores, machine.date
    );
    let _ = writeln!(body, "<text class=\"note\" x=\"4\" y=\"{}\">{}</text>", top + 8, escape(&note));
    (!panels.is_empty()).then(|| {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\">\n\
             <title>gatewright and its peers: cost of a request</title>\n<style>{STYLE}</style>\n{body}</svg>\n",
            height = top + 18,
        )
    })
}

struct Bar {
    peer: &'static str,
    value: f64,
    /// Connections that were served, of how many, where not all were.
    served: Option<(usize, usize)>,
}

fn bars(results: &Results, panel: &Panel) -> Vec<Bar> {
    let bar = |peer: &'static str| {
        let value = results.median(panel.case, peer, panel.figure)?.median;
        let own = results.samples.iter().filter(|sample| sample.case == panel.case && sample.peer == peer);
        let all = results
            .samples
            .iter()
            .filter(|sample| sample.case == panel.case)
            .map(|sample| sample.served)
            .max()?;
        let served =
            own.map(|sample| sample.served).min().filter(|served| *served < all).map(|served| (served, all));
        Some(Bar { peer, value, served })
    };
    PEERS.iter().filter_map(|peer| bar(peer.name)).collect()
}

fn draw_panel(out: &mut String, panel: &Panel, bars: &[Bar], left: usize, top: usize) {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let room = (COLUMN - LABEL - VALUE) as f64;
    let _ =
        writeln!(out, "<text class=\"title\" x=\"{}\" y=\"{}\">{}</text>", left + 4, top + 14, panel.title);
    let _ = writeln!(out, "<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text>", left + 4, top + 31, panel.unit);
    for (at, bar) in bars.iter().enumerate() {
        let y = top + TITLE + at * STEP;
        let width = (bar.value / most * room).max(1.0);
        let (class, name, bold) = match bar.peer {
            OURS => ("ours", "gatewright", " class=\"us\""),
            FLOOR => ("floor", "(floor)", ""),
            name => ("peer", name, ""),
        };
        let served =
            bar.served.map(|(served, all)| format!(" — {served} of {all} served")).unwrap_or_default();
        let digits = if bar.value < 10.0 { 1 } else { 0 };
        let _ = writeln!(
            out,
            "<text{bold} x=\"{label}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text{bold} x=\"{end:.1}\" y=\"{base}\">{value:.digits$}{served}</text>",
            label = left + LABEL - 8,
            base = y + BAR - 4,
            x = left + LABEL,
            end = (left + LABEL) as f64 + width + 6.0,
            value = bar.value,
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
