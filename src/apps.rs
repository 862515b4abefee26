//! Applications that a gateway can serve without any code.

mod answer;
#[cfg(target_os = "linux")]
mod cgi;
mod demo;
#[cfg(unix)]
mod dir;
mod mounts;

#[cfg(target_os = "linux")]
pub use cgi::{CgiPrograms, LocalRedirect, ProgramLimits, ProgramSettings, Stderr};
pub use demo::{demo_app, demo_text};
#[cfg(unix)]
pub use dir::Dir;
pub use mounts::{MountError, Mounts};
