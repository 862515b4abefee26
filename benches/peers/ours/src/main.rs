//! The comparison's application on gatewright, as any user would write it: `ours fcgi --socket ADDR`, `ours scgi …`.

use std::io;
use std::process::ExitCode;

use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;

fn main() -> ExitCode {
    gatewright::cli::run(answer)
}

fn answer(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let headers = [("Content-Type", answers::CONTENT_TYPE)];
    let fixed = answers::fixed(environ.get("REQUEST_URI").unwrap_or_default());
    match fixed {
        Some(body) => respond.start("200 OK", headers)?.send(body),
        None => {
            let length = io::copy(&mut environ.input, &mut io::sink())?;
            respond.start("200 OK", headers)?.send(length.to_string())
        }
    }
}
