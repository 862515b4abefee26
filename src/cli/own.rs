//! The `main` of a program with one application: one binary for every gateway.

use std::path::Path;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::Arc;

#[cfg(unix)]
use super::serve;
use super::{cgi, usage};
use crate::app::Application;
use crate::environ::read_environ;
#[cfg(unix)]
use crate::server::Protocol;

/// Runs an application as whatever the program was started as; the result is the exit status.
///
/// - Started by a web server as a CGI program, that is with GATEWAY_INTERFACE or REQUEST_METHOD in its environment, it
///   answers that request, under IIS too. The command line is not looked
///   at: a client may have written it (RFC 3875, section 4.4).
/// - `PROGRAM fcgi --socket ADDR` serves FastCGI, `PROGRAM scgi --socket ADDR` SCGI, with the flags of
///   `fcgi-gateway`; `PROGRAM http` serves HTTP, with those of `http-gateway`.
/// - Else it says how it is started.
///
/// ```no_run
/// use gatewright::app::{AppResult, Responder};
/// use gatewright::environ::Environ;
///
/// fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
///     respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello, world!\n")
/// }
///
/// fn main() -> std::process::ExitCode {
///     gatewright::cli::run(hello)
/// }
/// ```
pub fn run(app: impl Application + 'static) -> ExitCode {
    let environ = read_environ();
    if cgi::is_request(&environ) {
        return cgi::own(environ, &app);
    }
    match std::env::args_os().nth(1) {
        #[cfg(unix)]
        Some(word) if word == "fcgi" => {
            serve::own(&format!("{} fcgi", name()), Protocol::FastCgi, Arc::new(app))
        }
        #[cfg(unix)]
        Some(word) if word == "scgi" => {
            serve::own(&format!("{} scgi", name()), Protocol::Scgi, Arc::new(app))
        }
        #[cfg(unix)]
        Some(word) if word == "http" => serve::own_http(&format!("{} http", name()), Arc::new(app)),
        _ => explain(),
    }
}

/// The program's name, as it was started.
fn name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().unwrap_or("PROGRAM".as_ref()).to_string_lossy().into_owned()
}

fn explain() -> ExitCode {
    let name = name();
    let ways = format!(
        "start it as {name} fcgi --socket ADDR, {name} scgi --socket ADDR or {name} http, or let a web server run it as CGI"
    );
    if std::env::args_os().nth(1).is_some_and(|word| word == "--help" || word == "-h") {
        println!("{ways}; {name} fcgi --help lists the flags");
        return ExitCode::SUCCESS;
    }
    usage::wrong(&name, &ways)
}
