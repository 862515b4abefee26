//! Several applications in one program, each under a path of its own, under any gateway:
//!
//! ```sh
//! cargo run --example mounts -- scgi --socket unix:/tmp/site.sock
//! ```

use std::process::ExitCode;

use gatewright::app::{AppResult, Responder, app};
use gatewright::apps::{Dir, Mounts, demo_app};
use gatewright::cli;
use gatewright::environ::Environ;

fn hello(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let name = environ.path_info().strip_prefix(b"/").filter(|name| !name.is_empty()).unwrap_or(b"world");
    let text = format!("Hello, {}!\n", String::from_utf8_lossy(name));
    respond.start("200 OK", [("Content-Type", "text/plain; charset=utf-8")])?.send(text)
}

fn site() -> Result<Mounts, Box<dyn std::error::Error>> {
    let files = Dir::new("examples")?.listing(true);
    Ok(Mounts::new().mount("/", app(hello))?.mount("/demo", app(demo_app))?.mount("/files/", files)?)
}

fn main() -> ExitCode {
    match site() {
        Ok(site) => cli::run(site),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
