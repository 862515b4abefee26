//! `fcgi-gateway`: a server on sockets. See [`gatewright::cli::serve`].

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    gatewright::cli::serve::fcgi()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("fcgi-gateway needs a unix system; under IIS use cgi-gateway");
    ExitCode::from(2)
}
