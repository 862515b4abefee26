//! What is spoken with a peer: requests as bytes, and answers that are checked as they come.
//!
//! A further protocol is one more file here with a [`Protocol`] and its [`Answer`], and a line in
//! [`Front`](crate::cases::Front).

mod fcgi;
mod http;
mod page;
mod scgi;

use std::path::Path;

pub use fcgi::Fcgi;
pub use http::Http;
pub use scgi::Scgi;

/// What is asked of an application, and what it should answer.
#[derive(Debug)]
pub struct Ask {
    /// Its part of a case's name.
    pub name: &'static str,
    /// REQUEST_URI.
    pub path: &'static str,
    /// Bytes of the request's body; a request without one is a GET.
    pub upload: usize,
    /// Bytes of the answer's body.
    pub length: usize,
    /// How the answer's body begins.
    pub start: &'static [u8],
}

/// Requests in one protocol.
pub trait Protocol {
    /// The whole request. `keep` asks for the connection to be kept; `root` is the folder of what is asked for, where the
    /// peer serves one.
    fn request(&self, ask: &Ask, keep: bool, root: Option<&Path>) -> Vec<u8>;

    /// A parser for a connection's answers.
    fn answer(&self) -> Box<dyn Answer>;
}

/// The answers of one connection, one after the other.
pub trait Answer {
    /// Takes bytes. True: the answer is whole, and the connection may be used again.
    ///
    /// # Errors
    /// It is not the answer that was asked for.
    fn feed(&mut self, bytes: &[u8], ask: &Ask) -> Result<bool, String>;

    /// The connection has ended.
    ///
    /// # Errors
    /// The answer is not whole.
    fn end(&mut self, ask: &Ask) -> Result<(), String>;

    /// Another answer begins, on this connection or a new one.
    fn reset(&mut self);
}

/// What nginx sends with its stock parameters and a browser's usual headers; for what lies in a folder with its place.
pub fn parameters(ask: &Ask, root: Option<&Path>) -> Vec<(&'static str, String)> {
    let post = ask.upload > 0;
    let length = if post { ask.upload.to_string() } else { String::new() };
    let mut pairs = vec![("CONTENT_LENGTH", length), ("REQUEST_URI", ask.path.to_owned())];
    pairs.extend([("SCRIPT_NAME", ask.path.to_owned()), ("DOCUMENT_URI", ask.path.to_owned())]);
    let fixed = [
        ("QUERY_STRING", ""),
        ("REQUEST_METHOD", if post { "POST" } else { "GET" }),
        ("CONTENT_TYPE", if post { "application/octet-stream" } else { "" }),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx/1.22.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "40312"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "localhost"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_CONNECTION", "keep-alive"),
        ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("HTTP_ACCEPT_LANGUAGE", "en-GB,en;q=0.5"),
        ("HTTP_ACCEPT_ENCODING", "gzip, deflate"),
        ("HTTP_CACHE_CONTROL", "no-cache"),
    ];
    let folder = root.unwrap_or(Path::new("/usr/share/nginx/html")).display();
    pairs.push(("DOCUMENT_ROOT", folder.to_string()));
    if root.is_some() {
        pairs.push(("SCRIPT_FILENAME", format!("{folder}{}", ask.path)));
    }
    pairs.extend(fixed.map(|(name, value)| (name, value.to_owned())));
    pairs
}

/// The request's body.
fn upload(ask: &Ask) -> Vec<u8> {
    vec![b'x'; ask.upload]
}
