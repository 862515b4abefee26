//! Wrong usage, in one line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Flags of the command line's contract that this version does not have yet.
const LATER: [&str; 3] = ["--mount", "--listen", "--config"];

/// Exit status for wrong usage or configuration.
pub(super) const WRONG_USAGE: u8 = 2;

/// Parses the arguments behind the program's name. What is wrong with them, or `--help`, is printed, and gives the
/// exit status.
pub(super) fn parse<P: Parser>(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
) -> Result<P, ExitCode> {
    let all = std::iter::once(OsString::from(program)).chain(args);
    P::try_parse_from(all).map_err(|error| {
        if !error.use_stderr() {
            // Help and version go to standard output; nobody is left to tell when that is closed.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        eprintln!("{program}: {}", one_line(&error));
        ExitCode::from(WRONG_USAGE)
    })
}

/// clap's message without its layout: what is wrong, what was meant, and where to read on.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let told = told.join("; ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    match LATER.iter().find(|flag| told.contains(&format!("'{flag}'")) || told.contains(&format!("'{flag}=")))
    {
        Some(flag) => format!("{flag} is not in this version yet; leave it out"),
        None => format!("{told}; see --help"),
    }
}
