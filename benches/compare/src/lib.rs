//! The comparison: starts each peer, asks it, meters it, ends it, in interleaved rounds. See `../README.md`.

mod args;
pub mod cases;
pub mod connect;
mod group;
pub mod histogram;
mod idle;
mod lateness;
pub mod load;
mod machine;
mod measure;
mod meter;
mod nginx;
mod peers;
mod picture;
mod process;
pub mod protocol;
mod readme;
mod report;
mod results;
mod signals;
mod spawn;
mod targets;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use args::{Args, Run};
use cases::{App, Case, Measure, Via};
use measure::Setup;
use peers::{FLOOR, Folders, OURS, PEERS, Peer};
use results::{Results, Sample};

/// The program.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match args::parse(std::env::args().skip(1))? {
        Args::Help => println!("{}", args::USAGE),
        Args::List => list(),
        Args::Needs(run) => needs(&run),
        Args::Render(file) => {
            let results: Results =
                serde_json::from_slice(&fs::read(&file).with_context(|| file.display().to_string())?)?;
            publish(&results, &benches())?;
        }
        Args::Run(run) => compare(*run)?,
    }
    Ok(())
}

fn list() {
    println!("cases:");
    cases::all().iter().for_each(|case| println!("  {}", case.name));
    println!("peers:");
    for Peer { name, about, serves, .. } in PEERS {
        let serves: Vec<String> = serves
            .iter()
            .map(|(app, fronts)| {
                let fronts: Vec<String> = fronts.iter().map(ToString::to_string).collect();
                format!("{}{}", app.prefix(), fronts.join(", "))
            })
            .collect();
        println!("  {name:14} {about} ({})", serves.join("; "));
    }
}

/// A line for each peer that takes part and each way in which it does, for `run`, which installs and builds them.
fn needs(run: &Run) {
    let mut lines: Vec<String> = Vec::new();
    for (case, peer) in run.cases.iter().flat_map(|case| run.peers.iter().map(move |peer| (case, peer))) {
        if takes_part(case, peer) {
            lines.push(format!("{} {}{}", peer.name, case.app.prefix(), case.front));
            lines.extend((case.via == Via::Nginx).then(|| "nginx between".to_owned()));
        }
    }
    lines.sort();
    lines.dedup();
    lines.extend(run.everything.then(|| "everything".to_owned()));
    println!("{}", lines.join("\n"));
}

fn takes_part(case: &Case, peer: &Peer) -> bool {
    // Who else has such a time-out has no flag for it.
    peer.takes_part(case.app, case.front) && (case.measure != Measure::Lateness || peer.name == OURS)
}

/// The folder that this program was built in.
fn benches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn compare(run: Run) -> anyhow::Result<()> {
    signals::watch()?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let temporary = Temporary::new()?;
    let benches = benches();
    let built = std::env::current_exe()?.parent().context("no folder")?.to_owned();
    let setup = Setup {
        folders: Folders { built, benches: benches.clone(), served: temporary.0.join("www") },
        temporary: temporary.0.join("s"),
        window: run.window,
        profiles: run.profiles.clone(),
    };
    fs::create_dir(&setup.temporary)?;
    let serves = |app| run.cases.iter().any(|case| case.app == app);
    setup.folders.fill(serves(App::Programs), serves(App::Files))?;
    let mut results =
        Results { rounds: run.rounds, window_ms: run.window.as_millis() as u64, ..Results::default() };
    results.machine = machine::describe(&benches);
    rounds(&setup, &run, &mut results)?;
    if run.everything {
        results.allocations = Some(allocations(&setup.folders.built)?);
    }
    results.machine.load_average[1] = machine::load_average();
    // Whoever reads this may have had enough.
    let _ = writeln!(io::stdout(), "{}", report::tables(&results));
    if run.save {
        publish(&results, &benches)?;
    } else {
        let folder = benches.join("target/last");
        report::write(&results, &folder)?;
        eprintln!("written to {}", folder.display());
    }
    // A wrong answer of another's is a result; its own table tells.
    let strict = |sample: &Sample| [FLOOR, OURS].contains(&sample.peer.as_str());
    let wrong = |sample: &&Sample| sample.failed.is_some() || (strict(sample) && !sample.errors.is_empty());
    match results.samples.iter().filter(wrong).count() {
        0 => Ok(()),
        count => bail!("measurements that failed or met wrong answers: {count}; see the notes in the tables"),
    }
}

/// Writes `results/`, and the project's README what is in it about speed.
fn publish(results: &Results, benches: &Path) -> anyhow::Result<()> {
    let (folder, readme) = (benches.join("results"), benches.join("../README.md"));
    report::write(results, &folder)?;
    readme::write(results, &readme)?;
    eprintln!("written to {} and {}", folder.display(), readme.display());
    Ok(())
}

/// What the count of allocations says; a limit that is not kept is in its words.
fn allocations(built: &Path) -> anyhow::Result<String> {
    let output = Command::new(built.join("allocations")).output().context("allocations")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &errors)
}

fn rounds(setup: &Setup, run: &Run, results: &mut Results) -> anyhow::Result<()> {
    let pairs: usize =
        run.cases.iter().map(|case| run.peers.iter().filter(|peer| takes_part(case, peer)).count()).sum();
    if pairs == 0 {
        bail!("none of these peers takes part in any of these cases; --list names what each speaks");
    }
    let mut done = 0;
    for round in 0..run.rounds {
        for case in &run.cases {
            // Another order each time: who comes first must not matter.
            let mut order = run.peers.clone();
            order.rotate_left(round % run.peers.len());
            for peer in order.into_iter().filter(|peer| takes_part(case, peer)) {
                let sample = measure::measure(setup, case, peer, round == 0);
                if signals::received() {
                    bail!("interrupted");
                }
                let sample = sample.unwrap_or_else(|error| Sample::failed(&error));
                done += 1;
                tell(done, pairs * run.rounds, case, peer, &sample);
                results.samples.push(Sample {
                    case: case.name.clone(),
                    peer: peer.name.to_owned(),
                    round,
                    ..sample
                });
            }
        }
    }
    Ok(())
}

fn tell(done: usize, all: usize, case: &Case, peer: &Peer, sample: &Sample) {
    let name = &case.name;
    match &sample.failed {
        Some(error) => eprintln!("[{done}/{all}] {name} {}: FAILED: {error}", peer.name),
        None => {
            let errors: u64 = sample.errors.values().sum();
            let errors = if errors > 0 {
                format!(", {errors} errors: {:?}", sample.errors.keys())
            } else {
                String::new()
            };
            let cpu = sample.cpu_us.unwrap_or_default();
            let more: String =
                sample.more.iter().map(|(name, value)| format!(", {name} {value:.1}")).collect();
            eprintln!("[{done}/{all}] {name} {}: {:.0}/s, {cpu:.1} µs{more}{errors}", peer.name, sample.rate);
        }
    }
}

/// A folder that goes when the comparison ends.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> anyhow::Result<Self> {
        // Short: a socket's path has little room.
        let path = std::env::temp_dir().join(format!("gwb-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
