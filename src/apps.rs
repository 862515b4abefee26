//! Applications that a gateway can serve without any code.

mod answer;
mod demo;
#[cfg(unix)]
mod dir;
mod mounts;

pub use demo::{demo_app, demo_text};
#[cfg(unix)]
pub use dir::Dir;
pub use mounts::{MountError, Mounts};
