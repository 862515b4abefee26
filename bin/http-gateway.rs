//! `http-gateway`: an HTTP/1.1 origin server. See [`gatewright::cli::serve`].

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    gatewright::cli::serve::http()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("http-gateway needs a unix system; under IIS use cgi-gateway");
    ExitCode::from(2)
}
