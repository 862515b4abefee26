//! The smallest application, in one binary for every gateway:
//!
//! ```sh
//! REQUEST_METHOD=GET target/debug/examples/hello          # as a web server would start it: CGI
//! target/debug/examples/hello fcgi --socket 127.0.0.1:9000  # FastCGI
//! target/debug/examples/hello scgi --socket 127.0.0.1:9000  # SCGI
//! target/debug/examples/hello http                          # HTTP, on http://127.0.0.1:8000/
//! ```

use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;

fn hello(_: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    respond.start("200 OK", [("Content-Type", "text/plain")])?.send("Hello, world!\n")
}

fn main() -> std::process::ExitCode {
    gatewright::cli::run(hello)
}
