//! The handler ladder.

pub mod base;
mod cgi;
mod engine;
mod head;
pub mod iis;
mod outcome;
mod panics;
mod policy;
mod server;
mod simple;
mod streams;

pub use base::{Attributes, BaseHandler, OsEnviron, Supply};
pub use cgi::{Cgi, CgiHandler, process_streams};
pub use head::Head;
pub use iis::{IisCgi, IisCgiHandler};
pub use outcome::{End, Outcome};
pub use panics::capture_panics;
pub use policy::Policy;
pub use server::{SERVER_SOFTWARE, ServerHandler};
pub use simple::{BaseCgi, BaseCgiHandler, Simple, SimpleHandler};
pub use streams::{Output, Scratch, Streams, plain_streams};
