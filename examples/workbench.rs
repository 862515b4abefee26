//! An application to try gateways and web servers with: each path does one thing that goes wrong somewhere.
//!
//! ```text
//! workbench                  as a CGI program
//! workbench fcgi [FLAGS]     as a FastCGI responder, with the flags of fcgi-gateway
//! workbench scgi [FLAGS]     as an SCGI server, with those of scgi-gateway
//! workbench http [FLAGS]     as an HTTP server, with those of http-gateway
//! ```
//!
//! | PATH_INFO | answer |
//! |---|---|
//! | `/echo` | the request's body, once it is whole |
//! | `/stream` | the same, piece by piece as it comes; web servers may not bear that with a large body |
//! | `/big?bytes=N` | N bytes with a Content-Length, in pieces: lines that say where they stand |
//! | `/headers` | repeated headers |
//! | `/redirect` | 302 to `/elsewhere` at another host |
//! | `/beyond?bytes=N&length=L` | `/big`, promising L, fewer than N |
//! | `/endless` | lines until the client has gone; its beginning and end are told on standard error |
//! | `/fail-before`, `/panic-before` | none: an error, or a panic, before any output |
//! | `/fail-after?bytes=N`, `/panic-after?bytes=N` | the same after N bytes of `/big`; `&length=L` promises L |
//! | anything else | the environment, a line `NAME=value` for each variable, with `%XX` for what is not plain ASCII |

use std::io::{self, Read, Write};
use std::process::ExitCode;

use gatewright::app::{AppResult, Application, Responder};
use gatewright::environ::Environ;
use gatewright::validate::validator;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

fn main() -> ExitCode {
    gatewright::cli::run(workbench)
}

fn workbench(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let path = environ.path_info().to_owned();
    let first = path.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
    match first {
        b"endless" => endless(respond),
        b"beyond" => begin(environ, respond),
        b"fail-before" => Err("failed before any output".into()),
        b"panic-before" => panic!("panicked before any output"),
        b"fail-after" => {
            begin(environ, respond)?;
            Err("failed after some output".into())
        }
        b"panic-after" => {
            begin(environ, respond)?;
            panic!("panicked after some output");
        }
        // A request of a web server that was set up well; tests send others, too.
        _ if ["SERVER_PORT", "SCRIPT_NAME"].iter().all(|name| environ.vars.contains(name)) => {
            validator(well_behaved).call(environ, respond)
        }
        _ => well_behaved(environ, respond),
    }
}

/// All that breaks no rule of PEP 3333: the validator is always around it, and sees what web server and gateway do as well.
fn well_behaved(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    match environ.path_info().split(|byte| *byte == b'/').nth(1).unwrap_or_default() {
        b"echo" => echo(environ, respond),
        b"stream" => stream(environ, respond),
        b"big" => big(environ, respond),
        b"headers" => headers(respond),
        b"redirect" => redirect(respond),
        _ => environment(environ, respond),
    }
}

/// What a line of the environment shows as `%XX`: everything but printable ASCII, and `%` itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

fn environment(environ: &Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut text = String::new();
    let mut line = |name: &[u8], value: &[u8]| {
        text.extend(percent_encode(name, ESCAPED));
        text.push('=');
        text.extend(percent_encode(value, ESCAPED));
        text.push('\n');
    };
    environ.vars.iter().for_each(|(name, value)| line(name, value));
    let wsgi = &environ.wsgi;
    line(b"wsgi.url_scheme", environ.url_scheme().as_bytes());
    line(b"wsgi.multithread", wsgi.multithread.to_string().as_bytes());
    line(b"wsgi.multiprocess", wsgi.multiprocess.to_string().as_bytes());
    line(b"wsgi.run_once", wsgi.run_once.to_string().as_bytes());
    respond.start("200 OK", [("Content-Type", "text/plain; charset=us-ascii")])?.send(text)
}

fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut body = Vec::new();
    environ.input.read_to_end(&mut body)?;
    respond.start("200 OK", [("Content-Type", "application/octet-stream")])?.send(body)
}

fn stream(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut body = respond.start("200 OK", [("Content-Type", "application/octet-stream")])?;
    io::copy(&mut environ.input, &mut body)?;
    Ok(())
}

fn big(environ: &Environ<'_>, respond: Responder<'_>) -> AppResult {
    let bytes = number(environ, "bytes").unwrap_or(10 * 1024 * 1024);
    let length = bytes.to_string();
    let headers = [("Content-Type", "text/plain"), ("Content-Length", length.as_str())];
    let mut body = respond.start("200 OK", headers)?;
    write_lines(&mut body, bytes)
}

fn headers(respond: Responder<'_>) -> AppResult {
    let headers = [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "first=1"),
        ("X-Twice", "b"),
        ("Set-Cookie", "second=2; Path=/"),
        ("X-Twice", "a"),
        ("Set-Cookie", "first=3"),
    ];
    respond.start("200 OK", headers)?.send("see the headers\n")
}

fn endless(respond: Responder<'_>) -> AppResult {
    let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
    eprintln!("workbench: endless has begun");
    let ended = write_lines(&mut body, u64::MAX);
    eprintln!("workbench: endless has ended");
    ended
}

fn redirect(respond: Responder<'_>) -> AppResult {
    let headers = [("Location", "http://elsewhere.example/elsewhere"), ("Content-Type", "text/plain")];
    respond.start("302 Found", headers)?.send("elsewhere\n")
}

/// Starts an answer, sends some of it, and leaves it there.
fn begin(environ: &Environ<'_>, respond: Responder<'_>) -> AppResult {
    let bytes = number(environ, "bytes").unwrap_or(100_000);
    let length = number(environ, "length").map(|length| length.to_string());
    let mut headers = vec![("Content-Type", "text/plain")];
    headers.extend(length.as_deref().map(|length| ("Content-Length", length)));
    let mut body = respond.start("200 OK", headers)?;
    write_lines(&mut body, bytes)?;
    Ok(body.flush()?)
}

/// Writes `bytes` bytes: lines of 16, each with its own offset, so that a piece lost, doubled or moved shows.
fn write_lines(out: &mut impl Write, bytes: u64) -> AppResult {
    const LINES: u64 = 512;
    let mut at = 0;
    while at < bytes {
        let piece: String = (0..LINES).map(|line| format!("{:015x}\n", at + 16 * line)).collect();
        let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(piece.len());
        out.write_all(&piece.as_bytes()[..wanted])?;
        at += wanted as u64;
    }
    Ok(())
}

/// The number that the query gives to `name`.
fn number(environ: &Environ<'_>, name: &str) -> Option<u64> {
    let query = std::str::from_utf8(environ.query_string()).ok()?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}
