//! `scgi-gateway`: a server on sockets. See [`gatewright::cli::serve`].

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    gatewright::cli::serve::scgi()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("scgi-gateway needs a unix system; under IIS use cgi-gateway");
    ExitCode::from(2)
}
