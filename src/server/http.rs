//! HTTP: what a server makes of a request before an application sees it.
//!
//! A [`Server`](super::Server) for [`Protocol::Http`](super::Protocol::Http) is an HTTP/1.1 origin server: connections stay
//! open, requests may follow each other without waiting, bodies are chunked both ways, `100 Continue` is sent when the
//! body is first read.
//!
//! [`Request`](crate::proto::http::Request) is what the client wrote; [`Site::environ`] makes variables of it, of the
//! connection's two ends, and of what trusted proxies say about the client.

mod body;
mod connection;
mod environ;
mod forwarded;
mod handler;
mod outgoing;
mod rest;

pub(super) use connection::Connection;
pub use environ::{Ends, ServerName, Site, SiteError};
pub use forwarded::TrustedProxies;
