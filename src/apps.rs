//! Applications that a gateway can serve without any code.

#[cfg(target_os = "linux")]
mod cgi;
mod demo;

#[cfg(target_os = "linux")]
pub use cgi::{CgiPrograms, LocalRedirect, ProgramLimits, ProgramSettings, Stderr};
pub use demo::{demo_app, demo_text};
