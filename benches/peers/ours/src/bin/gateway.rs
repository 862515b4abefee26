//! The gateways' own programs, with symbols for profilers: by the name that it is started by, one of theirs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use gatewright::cli::{cgi, serve};

fn main() -> ExitCode {
    let started_as = std::env::args_os().next().unwrap_or_default();
    match Path::new(&started_as).file_name().and_then(OsStr::to_str) {
        Some("cgi-gateway") => cgi::main(),
        Some("fcgi-gateway") => serve::fcgi(),
        Some("scgi-gateway") => serve::scgi(),
        Some("http-gateway") => serve::http(),
        _ => {
            eprintln!(
                "the comparison starts this as cgi-gateway, fcgi-gateway, scgi-gateway or http-gateway"
            );
            ExitCode::from(2)
        }
    }
}
