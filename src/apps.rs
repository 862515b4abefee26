//! Applications that a gateway can serve without any code.

mod demo;

pub use demo::{demo_app, demo_text};
