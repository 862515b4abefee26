//! HTTP: what a server makes of a request before an application sees it.
//!
//! [`Request`](crate::proto::http::Request) is what the client wrote; [`Site::environ`] makes variables of it, of the
//! connection's two ends, and of what trusted proxies say about the client.

mod environ;
mod forwarded;

pub use environ::{Ends, ServerName, Site, SiteError};
pub use forwarded::TrustedProxies;
