//! One application, every gateway.

pub mod app;
pub mod apps;
pub mod environ;
pub mod error;
pub mod handlers;
pub mod headers;
pub mod proto;
pub mod util;
