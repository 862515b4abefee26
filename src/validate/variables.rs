//! The server's part of the bargain: the environ.

use super::rule::{Rule, Violation, quoted};
use super::{Strictness, warn};
use crate::environ::{Environ, Known, Role, Scheme, Vars, content_length};
use crate::util::is_blank_to_python;

/// The first rule that an environ breaks, in wsgiref's order.
pub(super) fn check(environ: &Environ<'_>, strictness: Strictness) -> Result<(), Violation> {
    let vars = &environ.vars;
    required(vars, strictness)?;
    for name in ["HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
        if let Some(value) = vars.get(name) {
            return Err(Violation::new(Rule::DoubledHeader, format!("{name} is {}", quoted(value))));
        }
    }
    if strictness.is_wsgiref() {
        if vars.known(Known::QueryString).is_none() {
            warn("QUERY_STRING is missing: programs that expect CGI's variables may fail");
        }
    } else {
        reserved_names(vars)?;
    }
    scheme(environ.wsgi.url_scheme.as_ref())?;
    method(environ.method(), strictness);
    path(Rule::ScriptName, Known::ScriptName, vars, strictness)?;
    path(Rule::PathInfo, Known::PathInfo, vars, strictness)?;
    length(vars, strictness)?;
    root(environ)?;
    if strictness.is_wsgiref() { Ok(()) } else { port(vars) }
}

fn required(vars: &Vars, strictness: Strictness) -> Result<(), Violation> {
    let always = [Known::RequestMethod, Known::ServerName, Known::ServerPort];
    let also = [Known::ServerProtocol];
    let also = if strictness.is_wsgiref() { &[][..] } else { &also[..] };
    for name in always.iter().chain(also) {
        let seen = match vars.known(*name) {
            None => "is missing",
            Some(b"") if !strictness.is_wsgiref() => "is empty",
            Some(_) => continue,
        };
        return Err(Violation::new(Rule::Required, format!("{} {seen}", name.name())));
    }
    Ok(())
}

fn reserved_names(vars: &Vars) -> Result<(), Violation> {
    const OWN: [&str; 9] = [
        "wsgi.version",
        "wsgi.url_scheme",
        "wsgi.input",
        "wsgi.errors",
        "wsgi.multithread",
        "wsgi.multiprocess",
        "wsgi.run_once",
        "wsgi.file_wrapper",
        "wsgi.input_terminated",
    ];
    if !vars.has_wsgi_names() {
        return Ok(());
    }
    match OWN.iter().find(|name| vars.contains(name)) {
        Some(name) => Err(Violation::new(Rule::ReservedName, format!("a variable named {name}"))),
        None => Ok(()),
    }
}

fn scheme(scheme: Option<&Scheme>) -> Result<(), Violation> {
    match scheme.map(Scheme::as_str) {
        Some("http" | "https") => Ok(()),
        Some(other) => Err(Violation::new(Rule::UrlScheme, quoted(other.as_bytes()))),
        None => Err(Violation::new(Rule::UrlScheme, "wsgi.url_scheme is missing")),
    }
}

fn method(method: &[u8], strictness: Strictness) {
    const KNOWN: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"OPTIONS", b"PATCH", b"PUT", b"DELETE", b"TRACE"];
    let known = KNOWN.contains(&method) || (!strictness.is_wsgiref() && method == b"CONNECT");
    if !known {
        warn(&format!("unknown REQUEST_METHOD {}", quoted(method)));
    }
}

fn path(rule: Rule, name: Known, vars: &Vars, strictness: Strictness) -> Result<(), Violation> {
    match vars.known(name) {
        // wsgiref's own mistake: it reads a variable for its message that PEP 3333 allows to be absent.
        None if strictness.is_wsgiref() => Err(Violation::new(rule, format!("{} is missing", name.name()))),
        None | Some(b"" | [b'/', ..]) => Ok(()),
        Some(other) => Err(Violation::new(rule, format!("{} is {}", name.name(), quoted(other)))),
    }
}

fn length(vars: &Vars, strictness: Strictness) -> Result<(), Violation> {
    let value = vars.known(Known::ContentLength).unwrap_or_default();
    let good = if strictness.is_wsgiref() {
        value.is_empty() || is_count_to_python(value)
    } else {
        content_length(value).is_ok()
    };
    if good { Ok(()) } else { Err(Violation::new(Rule::ContentLength, quoted(value))) }
}

/// Whether Python's `int` reads it, and as no negative number: blanks around it, a sign, and single `_` between digits.
fn is_count_to_python(value: &[u8]) -> bool {
    // Four characters are blanks to Python's texts and not to its numbers.
    let is_blank = |byte: u8| is_blank_to_python(byte) && !matches!(byte, 0x1c..=0x1f);
    let mut text = value;
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = digits
        .split(|byte| *byte == b'_')
        .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    number && !(negative && digits.iter().any(|byte| matches!(byte, b'1'..=b'9')))
}

/// A FastCGI authorizer is told no paths at all (FastCGI 1.0, section 6.3).
fn root(environ: &Environ<'_>) -> Result<(), Violation> {
    match environ.script_name() {
        b"" if environ.vars.known(Known::PathInfo).is_none() && environ.wsgi.role != Role::Authorizer => {
            Err(Violation::new(Rule::NoPath, "SCRIPT_NAME is empty, PATH_INFO is missing"))
        }
        b"/" => Err(Violation::new(Rule::RootScriptName, "SCRIPT_NAME is \"/\"")),
        _ => Ok(()),
    }
}

fn port(vars: &Vars) -> Result<(), Violation> {
    let value = vars.known(Known::ServerPort).unwrap_or_default();
    match content_length(value) {
        Ok(Some(1..=65535)) => Ok(()),
        _ => Err(Violation::new(Rule::ServerPort, quoted(value))),
    }
}
