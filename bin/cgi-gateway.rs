//! `cgi-gateway`: one request over standard input and output. See [`gatewright::cli::cgi`].

use std::process::ExitCode;

#[cfg(unix)]
#[global_allocator]
static MEMORY: gatewright::cli::Arena = gatewright::cli::Arena::new();

fn main() -> ExitCode {
    gatewright::cli::cgi::main()
}
