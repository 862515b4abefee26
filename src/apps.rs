//! Applications that a gateway can serve without any code.

#[cfg(unix)]
mod answer;
mod demo;
#[cfg(unix)]
mod dir;

pub use demo::{demo_app, demo_text};
#[cfg(unix)]
pub use dir::Dir;
