//! One application, every gateway.

pub mod error;
pub mod proto;
