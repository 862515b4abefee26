//! One application, every gateway.

pub mod environ;
pub mod error;
pub mod headers;
pub mod proto;
pub mod util;
