//! What a line says.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::environ::Environ;
use crate::handlers::{End, Outcome};
use crate::util::{Time, month_name, quote_path, time_of};

/// So much of one value is logged.
const MOST: usize = 8 * 1024;

/// The form of an access log's lines. All times are UTC, and say when the request began.
///
/// Values come from clients, and may be any bytes. In the first two forms what is not printable ASCII is written as `\xHH`,
/// and so are `"` and `\`; in JSON all text stands as JSON writes it, and bytes that are no UTF-8 as the four characters
/// `\xHH`. Values of more than 8 KiB are cut there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The Common Log Format: `192.0.2.7 - user [21/Nov/2026:14:05:09 +0000] "GET /app/x?q HTTP/1.1" 200 1234`. A status
    /// of 000 is that of a request that got no answer.
    Common,
    /// The same, and then Referer and User-Agent, each in quotes.
    #[default]
    Combined,
    /// One JSON object a line: `time`, `remote_addr`, `remote_user`, `host`, `method`, `target`, `protocol`, `status`,
    /// `bytes` (of the body), `seconds` (taken), `end` (`answered`, `truncated`, `client gone`, `unanswered`),
    /// `referer`, `user_agent`. What is not known is `null`.
    Json,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "common" => Ok(Format::Common),
            "combined" => Ok(Format::Combined),
            "json" => Ok(Format::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// There is no such [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write common, combined or json")
    }
}

impl std::error::Error for UnknownFormat {}

impl Format {
    /// Appends the line to `out`. Writing to memory cannot fail.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        request: &Environ<'_>,
        outcome: &Outcome,
        began: SystemTime,
        took: Duration,
    ) {
        let since = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Format::Json => json(out, request, outcome, since, took),
            Format::Common => common(out, request, outcome, since),
            Format::Combined => {
                common(out, request, outcome, since);
                for name in ["Referer", "User-Agent"] {
                    out.extend_from_slice(b" \"");
                    plain(out, request.header(name), b"");
                    out.push(b'"');
                }
            }
        }
        out.push(b'\n');
    }
}

fn common(out: &mut Vec<u8>, request: &Environ<'_>, outcome: &Outcome, since: Duration) {
    plain(out, request.remote_addr(), b" ");
    out.extend_from_slice(b" - ");
    plain(out, request.remote_user(), b" ");
    let Time { year, month, day_of_month, hour, minute, second, .. } = time_of(since.as_secs() as f64);
    let month = month_name(month);
    let _ = write!(out, " [{day_of_month:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"");
    plain(out, Some(request.method()), b" ");
    out.push(b' ');
    plain(out, Some(&target(request)), b" ");
    if let Some(protocol) = request.get("SERVER_PROTOCOL") {
        out.push(b' ');
        plain(out, Some(protocol), b" ");
    }
    let _ = write!(out, "\" {:03} ", outcome.status.unwrap_or(0));
    match outcome.body_bytes {
        0 => out.push(b'-'),
        bytes => drop(write!(out, "{bytes}")),
    }
}

/// The target as the client sent it, where the web server says that; else made of the decoded parts.
fn target<'e>(request: &'e Environ<'_>) -> Cow<'e, [u8]> {
    if let Some(target) = request.get("REQUEST_URI").filter(|target| !target.is_empty()) {
        return Cow::Borrowed(target);
    }
    let mut target = quote_path(&[request.script_name(), request.path_info()].concat()).into_bytes();
    if !request.query_string().is_empty() {
        target.push(b'?');
        target.extend_from_slice(request.query_string());
    }
    Cow::Owned(target)
}

/// A value as printable ASCII, a hyphen for none.
fn plain(out: &mut Vec<u8>, value: Option<&[u8]>, also: &[u8]) {
    let value = cut(value.unwrap_or_default());
    if value.is_empty() {
        out.push(b'-');
    }
    for byte in value {
        match byte {
            b'"' | b'\\' => hex(out, *byte),
            b' '..=b'~' if !also.contains(byte) => out.push(*byte),
            _ => hex(out, *byte),
        }
    }
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    let _ = write!(out, "\\x{byte:02X}");
}

fn cut(value: &[u8]) -> &[u8] {
    value.get(..MOST).unwrap_or(value)
}

fn json(out: &mut Vec<u8>, request: &Environ<'_>, outcome: &Outcome, since: Duration, took: Duration) {
    let Time { year, month, day_of_month, hour, minute, second, .. } = time_of(since.as_secs() as f64);
    let _ = write!(
        out,
        "{{\"time\":\"{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z\"",
        since.subsec_millis()
    );
    let protocol = request.get("SERVER_PROTOCOL");
    let target = target(request);
    for (name, value) in [
        ("remote_addr", request.remote_addr()),
        ("remote_user", request.remote_user()),
        ("host", request.header("Host")),
        ("method", Some(request.method())),
        ("target", Some(&*target)),
        ("protocol", protocol),
    ] {
        member(out, name, value);
    }
    match outcome.status {
        Some(status) => drop(write!(out, ",\"status\":{status}")),
        None => out.extend_from_slice(b",\"status\":null"),
    }
    let end = match outcome.end {
        End::Answered => "answered",
        End::Truncated => "truncated",
        End::ClientGone => "client gone",
        End::Unanswered => "unanswered",
    };
    let (bytes, seconds) = (outcome.body_bytes, took.as_secs_f64());
    let _ = write!(out, ",\"bytes\":{bytes},\"seconds\":{seconds:.6},\"end\":\"{end}\"");
    member(out, "referer", request.header("Referer"));
    member(out, "user_agent", request.header("User-Agent"));
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let _ = write!(out, ",\"{name}\":");
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    for chunk in cut(value).utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => drop(write!(out, "\\{c}")),
                // Line ends of Unicode too: some readers of lines know them.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    drop(write!(out, "\\u{:04x}", u32::from(c)));
                }
                c => drop(write!(out, "{c}")),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\\\x{byte:02X}");
        }
    }
    out.push(b'"');
}
