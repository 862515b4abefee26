//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cases::{self, Case};
use crate::peers::{PEERS, Peer};

pub const USAGE: &str = "\
benches/run [OPTIONS]            measure; without options everything, about half an hour
benches/run --list               name the cases and the peers
benches/run --render FILE        write table and picture of an earlier run's JSON

  --quick              a few cases, two short rounds: a minute or so
  --only PEER,PEER     these peers
  --case NAME,NAME     these cases; * stands for anything, as in 'fcgi-kept-*'
  --rounds N           how often each case is measured with each peer (default 5)
  --window MS          how long each time, in milliseconds (default 500)
  --save               write benches/results/, as a run of everything does
  --perf FOLDER        a profile of each peer's process (perf record), for perf report";

pub enum Args {
    Help,
    List,
    /// Who takes part, for `benches/run`.
    Needs(Box<Run>),
    Render(PathBuf),
    Run(Box<Run>),
}

pub struct Run {
    pub peers: Vec<&'static Peer>,
    pub cases: Vec<Case>,
    pub rounds: usize,
    pub window: Duration,
    pub save: bool,
    /// All peers and cases.
    pub everything: bool,
    pub profiles: Option<PathBuf>,
}

/// What `--quick` measures.
const QUICK: &[&str] = &[
    "fcgi-kept-64-hello",
    "fcgi-new-64-hello",
    "fcgi-kept-8-10m",
    "fcgi-kept-8-post1m",
    "scgi-new-64-hello",
    "http-kept-64-hello",
    "nginx-http-kept-64-hello",
    "nginx-fcgi-kept-64-hello",
    "fcgi-new-16-program",
    "http-kept-8-file100k",
    "cgi-spawn",
];

/// Understands the arguments.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Args> {
    let (mut quick, mut save, mut profiles, mut needs) = (false, false, None, false);
    let (mut only, mut wanted, mut rounds, mut window) = (None, None, None, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Args::Help),
            "--list" => return Ok(Args::List),
            "--render" => return Ok(Args::Render(value()?.into())),
            "--needs" => needs = true,
            "--quick" => quick = true,
            "--save" => save = true,
            "--only" => only = Some(value()?),
            "--case" => wanted = Some(value()?),
            "--rounds" => rounds = Some(number(&argument, &value()?, 1..=1000)?),
            "--window" => window = Some(number(&argument, &value()?, 50..=60_000)?),
            "--perf" => profiles = Some(PathBuf::from(value()?)),
            _ => bail!("{argument} is no option; see --help"),
        }
    }
    let everything = !quick && only.is_none() && wanted.is_none();
    let names = wanted.map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = names.or_else(|| quick.then(|| QUICK.iter().map(|name| (*name).to_owned()).collect()));
    let run = Box::new(Run {
        peers: peers(only.as_deref())?,
        cases: pick(names)?,
        rounds: rounds.unwrap_or(if quick { 2 } else { 5 }),
        window: Duration::from_millis(window.unwrap_or(if quick { 200 } else { 500 }) as u64),
        save: save || everything,
        everything,
        profiles,
    });
    Ok(if needs { Args::Needs(run) } else { Args::Run(run) })
}

fn number(flag: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> anyhow::Result<usize> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.with_context(|| {
        format!("{flag} {text}: a number from {} to {} is needed", range.start(), range.end())
    })
}

fn peers(only: Option<&str>) -> anyhow::Result<Vec<&'static Peer>> {
    let Some(only) = only else { return Ok(PEERS.iter().collect()) };
    for name in only.split(',') {
        if !PEERS.iter().any(|peer| peer.name == name) {
            bail!("--only {name}: no such peer; --list names them");
        }
    }
    Ok(PEERS.iter().filter(|peer| only.split(',').any(|name| name == peer.name)).collect())
}

fn pick(names: Option<Vec<String>>) -> anyhow::Result<Vec<Case>> {
    let mut all = cases::all();
    let Some(names) = names else { return Ok(all) };
    for name in &names {
        if !all.iter().any(|case| cases::fits(&case.name, name)) {
            bail!("--case {name}: no such case; --list names them");
        }
    }
    all.retain(|case| names.iter().any(|name| cases::fits(&case.name, name)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> anyhow::Result<Args> {
        parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn quick_names_cases_that_exist() {
        let Ok(Args::Run(run)) = run(&["--quick"]) else { panic!("not a run") };
        assert_eq!(run.cases.len(), QUICK.len());
        assert!(!run.save);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in [
            &["--only", "nobody"][..],
            &["--case", "nothing"],
            &["--rounds", "0"],
            &["--rounds"],
            &["--window", "1"],
            &["more"],
        ] {
            assert!(run(wrong).is_err(), "{wrong:?}");
        }
    }
}
