//! Counts what the allocator is asked for per request, once everything has warmed up, and fails where that is more than
//! it should be. `allocations --backtrace` names each place.

mod counter;

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use compare::cases::{Front, HELLO_12};
use compare::connect::Address;
use compare::load::{Load, Plan};
use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;
use gatewright::server::{Protocol, Server, SocketRights, Stop};

use counter::{Counter, Counts};

#[global_allocator]
static ALLOCATOR: Counter = Counter;

struct Case {
    name: &'static str,
    front: Front,
    keep: bool,
    connections: usize,
    /// The most that is allowed, in calls per request; none where it is only told.
    limit: Option<u64>,
}

/// Both are the list of headers that the application gives to `start`: names and values, and where they stand.
const KEPT: u64 = 2;

const CASES: &[Case] = &[
    Case {
        name: "FastCGI, 1 kept connection",
        front: Front::Fcgi,
        keep: true,
        connections: 1,
        limit: Some(KEPT),
    },
    Case {
        name: "FastCGI, 64 kept connections",
        front: Front::Fcgi,
        keep: true,
        connections: 64,
        limit: Some(KEPT),
    },
    Case {
        name: "FastCGI, new connections, 8 at once",
        front: Front::Fcgi,
        keep: false,
        connections: 8,
        limit: None,
    },
    Case { name: "SCGI, 8 at once", front: Front::Scgi, keep: false, connections: 8, limit: None },
    Case {
        name: "HTTP, 1 kept connection",
        front: Front::Http,
        keep: true,
        connections: 1,
        limit: Some(KEPT),
    },
    Case {
        name: "HTTP, 64 kept connections",
        front: Front::Http,
        keep: true,
        connections: 64,
        limit: Some(KEPT),
    },
];

const WARM_UP: u64 = 5_000;
const REQUESTS: u64 = 20_000;
/// Enough to see what happens each time.
const TRACED: u64 = 2_000;

/// What may come on top, per request: growth that ends, and what the system's threads cost now and then.
const SLACK: f64 = 0.1;

fn main() -> ExitCode {
    counter::leave_this_thread_out();
    // Backtraces shorten what is in the working directory, and nothing is in this one.
    if let Err(error) = std::env::set_current_dir("/") {
        eprintln!("allocations: /: {error}");
        return ExitCode::FAILURE;
    }
    let backtraces = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--backtrace" => true,
        _ => {
            eprintln!("write allocations, or allocations --backtrace");
            return ExitCode::from(2);
        }
    };
    match run(backtraces) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("allocations: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all cases keep to their limits.
fn run(backtraces: bool) -> anyhow::Result<bool> {
    let mut good = true;
    let mut out = io::stdout();
    for case in CASES {
        let (counts, requests, traces) = measure(case, backtraces)?;
        let calls = counts.calls as f64 / requests as f64;
        let bytes = counts.bytes as f64 / requests as f64;
        let verdict = match case.limit {
            None => String::new(),
            Some(limit) if calls <= limit as f64 + SLACK => format!(", of {limit} allowed"),
            Some(limit) => {
                good = false;
                format!(": MORE than the {limit} allowed; --backtrace names them")
            }
        };
        writeln!(out, "{}: {calls:.2} allocations per request ({bytes:.0} bytes){verdict}", case.name)?;
        tell(&mut out, &traces, requests)?;
    }
    Ok(good)
}

fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", [("Content-Type", answers::CONTENT_TYPE)])?.send(answers::HELLO)
}

fn measure(case: &Case, backtraces: bool) -> anyhow::Result<(Counts, u64, Vec<Backtrace>)> {
    let folder = Folder::new()?;
    let path = folder.0.join("s");
    let mut server = Server::new(match case.front {
        Front::Scgi => Protocol::Scgi,
        Front::Http => Protocol::Http,
        _ => Protocol::FastCgi,
    });
    server.bind(&format!("unix:{}", path.display()).parse()?, &SocketRights::default())?;
    let stop = Stop::new();
    let running = thread::spawn({
        let stop = stop.clone();
        move || server.serve(Arc::new(hello), &stop)
    });
    let result = drive(case, &path, backtraces);
    stop.stop();
    running.join().map_err(|_| anyhow::anyhow!("the server panicked"))?.context("the server")?;
    result
}

fn drive(case: &Case, path: &Path, backtraces: bool) -> anyhow::Result<(Counts, u64, Vec<Backtrace>)> {
    let protocol = case.front.protocol();
    let (connections, keep) = (case.connections, case.keep);
    let address = Address::Unix(path.to_owned());
    let plan =
        Plan { address: &address, protocol, ask: &HELLO_12, root: None, connections, keep, once: false };
    let mut load = Load::new(plan)?;
    let mut ask = |requests: u64| {
        load.forget();
        load.run(Duration::from_secs(20), |load| load.seen().answers >= requests)?;
        let seen = load.seen();
        if seen.answers < requests || !seen.errors.is_empty() {
            bail!("{} answers of {requests}, errors: {:?}", seen.answers, seen.errors);
        }
        Ok(seen.answers)
    };
    ask(WARM_UP)?;
    counter::begin(backtraces);
    let asked = ask(if backtraces { TRACED } else { REQUESTS });
    let (counts, traces) = counter::end();
    Ok((counts, asked?, traces))
}

/// Names the places, the most frequent first.
fn tell(out: &mut impl Write, traces: &[Backtrace], requests: u64) -> io::Result<()> {
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    for trace in traces {
        *places.entry(place(trace)).or_default() += 1;
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (place, count) in places {
        writeln!(out, "  {:.2} per request:{place}", count as f64 / requests as f64)?;
    }
    Ok(())
}

/// The innermost places in this repository: in the library, or in the application above.
fn place(trace: &Backtrace) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    let text = trace.to_string();
    let mut lines = text.lines().map(str::trim);
    let mut found = String::new();
    let mut count = 0;
    let mut function = "";
    // A function's line, then the line of its place.
    while let Some(line) = lines.next().filter(|_| count < 4) {
        let Some(at) = line.strip_prefix("at ") else {
            function = line.split_once(": ").map_or(line, |(_, function)| function);
            continue;
        };
        let Ok(at) = Path::new(at.trim_start_matches('.')).strip_prefix(root) else { continue };
        let at = at.to_string_lossy();
        if !at.contains("allocations/src/counter.rs") && !function.starts_with("__rust") {
            let function = function.split('<').next().unwrap_or(function);
            found.push_str(&format!("\n    {at} {function}"));
            count += 1;
        }
    }
    if found.is_empty() { format!("\n{text}") } else { found }
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("gwa-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
