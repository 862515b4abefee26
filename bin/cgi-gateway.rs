//! `cgi-gateway`: one request over standard input and output. See [`gatewright::cli::cgi`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewright::cli::cgi::main()
}
