//! One application, every gateway.

pub mod app;
pub mod apps;
#[cfg(feature = "cli")]
pub mod cli;
pub mod environ;
pub mod error;
pub mod handlers;
pub mod headers;
pub mod proto;
#[cfg(unix)]
pub mod server;
#[cfg(unix)]
#[allow(unsafe_code)]
mod sys;
pub mod util;
