//! What the project's README says about speed: written anew by each whole run, so that it stays true, losses too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::peers::{FLOOR, OURS, PEERS};
use crate::report::{Column, Figure, head, rows};
use crate::results::Results;
use crate::targets;

use Figure::{Cpu, CpuMs, CpuOfBoth, MibPerSecond, Rate, Served};

/// Everything between these two lines is ours.
const BEGIN: &str = "<!-- benches/run writes what follows -->\n";
const END: &str = "<!-- benches/run has written what is above -->\n";

struct Table {
    about: &'static str,
    columns: &'static [Column],
}

const TABLES: &[Table] = &[
    Table {
        about: "**FastCGI and SCGI**: CPU µs per request, all processes of a server, 64 connections with 12-byte answers, or 8 with\n\
                large bodies; the last column is server and nginx together. The floor does nothing but read and answer: it is a\n\
                limit, no server.",
        columns: &[
            Column { head: "FastCGI kept", case: "fcgi-kept-64-hello", figure: Cpu, digits: 1 },
            Column { head: "served of 64", case: "fcgi-kept-64-hello", figure: Served, digits: 0 },
            Column { head: "FastCGI new", case: "fcgi-new-64-hello", figure: Cpu, digits: 1 },
            Column { head: "10 MiB answer", case: "fcgi-kept-8-10m", figure: Cpu, digits: 0 },
            Column { head: "1 MiB POST", case: "fcgi-kept-8-post1m", figure: Cpu, digits: 0 },
            Column { head: "SCGI", case: "scgi-new-64-hello", figure: Cpu, digits: 1 },
            Column {
                head: "behind nginx, with its own",
                case: "nginx-fcgi-kept-64-hello",
                figure: CpuOfBoth,
                digits: 0,
            },
        ],
    },
    Table {
        about: "**HTTP**: CPU µs per request, kept connections, 12-byte answers. hyper runs the application in its one thread, where a\n\
                blocking one would stop everything; hyper-blocking gives it threads, as all others but the floor do.",
        columns: &[
            Column { head: "1 connection", case: "http-kept-1-hello", figure: Cpu, digits: 1 },
            Column { head: "8", case: "http-kept-8-hello", figure: Cpu, digits: 1 },
            Column { head: "64", case: "http-kept-64-hello", figure: Cpu, digits: 1 },
            Column { head: "requests/s, 64", case: "http-kept-64-hello", figure: Rate, digits: 0 },
            Column { head: "served of 64", case: "http-kept-64-hello", figure: Served, digits: 0 },
        ],
    },
    Table {
        about: "**Running CGI programs**: CPU µs for each, the program's own included, 16 at once; 100 MiB out of one and into one.\n\
                The floor is threads around posix_spawn.",
        columns: &[
            Column { head: "FastCGI: C", case: "fcgi-new-16-program", figure: Cpu, digits: 0 },
            Column { head: "shell", case: "fcgi-new-16-script", figure: Cpu, digits: 0 },
            Column { head: "C programs/s", case: "fcgi-new-16-program", figure: Rate, digits: 0 },
            Column { head: "out, MiB/s", case: "fcgi-new-1-out100m", figure: MibPerSecond, digits: 0 },
            Column { head: "in, MiB/s", case: "fcgi-new-1-in100m", figure: MibPerSecond, digits: 0 },
            Column { head: "HTTP: C", case: "http-kept-16-program", figure: Cpu, digits: 0 },
            Column { head: "C programs/s", case: "http-kept-16-program", figure: Rate, digits: 0 },
            Column { head: "out, MiB/s", case: "http-kept-1-out100m", figure: MibPerSecond, digits: 0 },
            Column { head: "in, MiB/s", case: "http-kept-1-in100m", figure: MibPerSecond, digits: 0 },
        ],
    },
    Table {
        about: "**Folders**, by HTTP: CPU time and rate of files.",
        columns: &[
            Column { head: "1 KiB: CPU µs", case: "http-kept-8-file1k", figure: Cpu, digits: 1 },
            Column { head: "100 KiB: CPU µs", case: "http-kept-8-file100k", figure: Cpu, digits: 1 },
            Column { head: "files/s", case: "http-kept-8-file100k", figure: Rate, digits: 0 },
            Column { head: "100 MiB: CPU ms", case: "http-kept-1-file100m", figure: CpuMs, digits: 1 },
            Column { head: "MiB/s", case: "http-kept-1-file100m", figure: MibPerSecond, digits: 0 },
        ],
    },
    Table {
        about: "**As a CGI program**: one request from start to end. Ours is `cgi-gateway` with the demo, linked statically; the bare\n\
                programs only say hello.",
        columns: &[Column { head: "CPU µs", case: "cgi-spawn", figure: Cpu, digits: 0 }],
    },
];

/// Puts the results into the README.
///
/// # Errors
/// It cannot be read or written, or has lost the lines between which they belong.
pub fn write(results: &Results, readme: &Path) -> anyhow::Result<()> {
    let name = || readme.display().to_string();
    let text = fs::read_to_string(readme).with_context(name)?;
    let lines = || format!("{} has no longer the two lines that say where the results go", name());
    let (before, rest) = text.split_once(BEGIN).with_context(lines)?;
    let (_, after) = rest.split_once(END).with_context(lines)?;
    fs::write(readme, [before, BEGIN, &section(results), END, after].concat()).with_context(name)
}

fn section(results: &Results) -> String {
    let mut out = String::from(
        "\n![CPU time per request, of gatewright and its peers](benches/results/comparison.svg)\n\n",
    );
    for table in TABLES {
        let body = rows(results, table.columns, label);
        if !body.is_empty() {
            let _ = writeln!(out, "{}\n\n{}{body}", table.about, head(table.columns));
        }
    }
    let losses = losses(results);
    if !losses.is_empty() {
        let _ = writeln!(out, "{}\n", wrapped(&format!("What is lost, of the above: {losses}.")));
    }
    let _ = writeln!(out, "{}\n", wrapped(&verdict(results)));
    let machine = &results.machine;
    let loaded = if machine.is_loaded() { ", which others kept busy" } else { "" };
    let _ = writeln!(
        out,
        "Measured {} on {} cores{loaded}: ratios count, not times.\n\
         `benches/run` does it again: [how](benches/README.md).\n",
        machine.date, machine.cores
    );
    out
}

/// In lines of the README's width.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 120;
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 {
            let fits = width + 1 + length <= WIDTH;
            out.push(if fits { ' ' } else { '\n' });
            width = if fits { width + 1 } else { 0 };
        }
        out.push_str(word);
        width += length;
    }
    out
}

fn label(peer: &str) -> String {
    match peer {
        OURS => "**gatewright**".to_owned(),
        "ours-dynamic" => "gatewright, linked dynamically".to_owned(),
        "libfcgi" => "libfcgi (C)".to_owned(),
        "go" => "Go net/http/fcgi".to_owned(),
        "uwsgi" => "uWSGI".to_owned(),
        "fastcgi" | "scgi" => format!("{peer} crate"),
        _ => peer.to_owned(),
    }
}

/// Each column in which another is better, with who it is and by how much.
fn losses(results: &Results) -> String {
    let mut losses = Vec::new();
    for column in TABLES.iter().flat_map(|table| table.columns) {
        let rates = column.figure.is_rate();
        // Who gets more of a busy machine's processors is not faster for it.
        if column.figure == Served || (rates && results.machine.is_loaded()) {
            continue;
        }
        let better: Vec<String> = PEERS
            .iter()
            .map(|peer| peer.name)
            .filter(|peer| ![FLOOR, OURS].contains(peer))
            .filter_map(|peer| {
                let of = |sample: &_| column.figure.of(sample);
                let ratio = results.ratio((column.case, OURS), (column.case, peer), of)?.median;
                let times = if rates { 1.0 / ratio } else { ratio };
                // What is within the noise is no loss.
                (times > 1.05).then(|| format!("{} ×{times:.1}", label(peer)))
            })
            .collect();
        if !better.is_empty() {
            losses.push(format!(
                "`{}` {}({})",
                column.case,
                if rates { "rate " } else { "" },
                better.join(", ")
            ));
        }
    }
    losses.join("; ")
}

fn verdict(results: &Results) -> String {
    let all = targets::all(results);
    let seen: Vec<_> = all.iter().filter(|target| target.seen.is_some()).collect();
    let missed: Vec<&str> =
        seen.iter().filter(|target| target.reached == Some(false)).map(|target| target.what).collect();
    let results = "[The results](benches/results/comparison.md) have all cases and all targets";
    match missed.as_slice() {
        [] => format!("{results}; none is missed."),
        missed => format!("{results}. {} of {} are missed: {}.", missed.len(), seen.len(), missed.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_no_word_is_lost() {
        let text = "word ".repeat(60);
        let wrapped = wrapped(text.trim_end());
        assert!(wrapped.lines().all(|line| line.len() <= 120) && wrapped.lines().count() == 3, "{wrapped}");
        assert_eq!(wrapped.split_whitespace().count(), 60);
    }

    #[test]
    fn the_readme_has_the_place_for_the_results() {
        let readme = include_str!("../../../README.md");
        assert_eq!((readme.matches(BEGIN).count(), readme.matches(END).count()), (1, 1));
    }
}
