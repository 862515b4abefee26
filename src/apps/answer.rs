//! Short answers that applications of this house have in common.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::app::{AppResult, Responder};
use crate::environ::Environ;
use crate::headers::Headers;
use crate::util::quote_path;

/// What no query has in a URL: control characters, blanks, and what is not ASCII, which is quoted anyway.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'#');

/// A page that is nothing but its status.
pub(super) fn plain(respond: Responder<'_>, status: &str, more: &[(&str, &str)]) -> AppResult {
    let mut headers = Headers::from([("Content-Type", "text/plain; charset=utf-8")]);
    for (name, value) in more {
        headers.append(name, value)?;
    }
    respond.start(status, headers)?.send(format!("{status}\n"))
}

/// Sends the client to the same path with a slash behind it, the query included.
///
/// The URL is a path alone, so that the client stays with scheme and host, whatever the web server in front made of
/// them; and it never begins with two slashes, which would name a host.
pub(super) fn add_slash(environ: &Environ<'_>, respond: Responder<'_>) -> AppResult {
    let path = [environ.script_name(), environ.path_info()].concat();
    let mut location = String::from("/");
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        location.push_str(&quote_path(name));
        location.push('/');
    }
    let query = environ.query_string();
    if !query.is_empty() {
        location.push('?');
        location.push_str(&Cow::from(percent_encode(query, QUERY)));
    }
    plain(respond, "301 Moved Permanently", &[("Location", &location)])
}
