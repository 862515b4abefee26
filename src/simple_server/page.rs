//! Error pages, and the log's times.

use std::time::SystemTime;

use crate::proto::http::DecodeError;
use crate::util::{format_date_time, python_repr};

/// Why a request is answered by the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No request at all: nothing is answered.
    Nothing,
    LongLine,
    Version(Vec<u8>),
    LaterVersion(Vec<u8>),
    Syntax(Vec<u8>),
    OldMethod(Vec<u8>),
    LongHeader,
    ManyHeaders,
    Strict(DecodeError),
}

/// The longest line, and the most headers, that are read.
pub(super) const MAX_LINE: u64 = 65536;
pub(super) const MAX_HEADERS: usize = 100;

impl Refusal {
    /// Status code, message, and what explains it; `None` when nothing is answered.
    pub(super) fn words(&self) -> Option<(u16, String, String)> {
        let latin1 = |text: &[u8]| text.iter().copied().map(char::from).collect::<String>();
        let (code, message, explain) = match self {
            Self::Nothing => return None,
            Self::LongLine => (414, "URI Too Long".to_owned(), "URI is too long".to_owned()),
            Self::Version(word) => {
                (400, format!("Bad request version ({})", python_repr(word)), SYNTAX.to_owned())
            }
            Self::LaterVersion(number) => (
                505,
                format!("Invalid HTTP version ({})", latin1(number)),
                "Cannot fulfill request".to_owned(),
            ),
            Self::Syntax(line) => {
                (400, format!("Bad request syntax ({})", python_repr(line)), SYNTAX.to_owned())
            }
            Self::OldMethod(method) => {
                (400, format!("Bad HTTP/0.9 request type ({})", python_repr(method)), SYNTAX.to_owned())
            }
            Self::LongHeader => {
                let explain = format!("got more than {MAX_LINE} bytes when reading header line");
                (431, "Line too long".to_owned(), explain)
            }
            Self::ManyHeaders => {
                (431, "Too many headers".to_owned(), format!("got more than {MAX_HEADERS} headers"))
            }
            Self::Strict(error) => {
                let status = error.status();
                (status, crate::error::reason(status).to_owned(), error.to_string())
            }
        };
        Some((code, message, explain))
    }
}

const SYNTAX: &str = "Bad request syntax or unsupported method";

/// The page that wsgiref's server answers with: what clients were seen to get, to the byte.
pub(super) fn html(code: u16, message: &str, explain: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (message, explain) = (escape(message), escape(explain));
    let indented = |depth: usize, line: &str| format!("{}{line}\n", "    ".repeat(depth));
    [
        indented(0, "<!DOCTYPE HTML>"),
        indented(0, "<html lang=\"en\">"),
        indented(1, "<head>"),
        indented(2, "<meta charset=\"utf-8\">"),
        indented(2, "<style type=\"text/css\">"),
        indented(3, ":root {"),
        indented(4, "color-scheme: light dark;"),
        indented(3, "}"),
        indented(2, "</style>"),
        indented(2, "<title>Error response</title>"),
        indented(1, "</head>"),
        indented(1, "<body>"),
        indented(2, "<h1>Error response</h1>"),
        indented(2, &format!("<p>Error code: {code}</p>")),
        indented(2, &format!("<p>Message: {message}.</p>")),
        indented(2, &format!("<p>Error code explanation: {code} - {explain}.</p>")),
        indented(1, "</body>"),
        indented(0, "</html>"),
    ]
    .concat()
}

/// A time as the Date header has it.
pub(super) fn date(now: SystemTime) -> String {
    format_date_time(crate::handlers::base::seconds(now))
}

/// A time as the access log has it: `21/Nov/2026 14:30:00`, in UTC.
pub(super) fn log_time(now: SystemTime) -> String {
    let date = date(now);
    let mut words = date.split_ascii_whitespace().skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, time) = (word(), word(), word(), word());
    format!("{day}/{month}/{year} {time}")
}

/// A message as a line of the log may hold it: control characters and backslashes as escapes.
pub(super) fn loggable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_in_the_log_are_utc() {
        assert_eq!(log_time(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), "14/Nov/2023 22:13:20");
    }

    #[test]
    fn pages_show_nothing_as_markup() {
        assert!(html(400, "<script>", "a & b").contains("Message: &lt;script&gt;.</p>"));
        assert!(html(400, "", "a & b").contains("400 - a &amp; b.</p>"));
    }

    #[test]
    fn a_log_line_stays_one_line() {
        assert_eq!(loggable("a\n\x1b[31m\\\u{85}\u{e9}"), "a\\x0a\\x1b[31m\\\\\\x85\u{e9}");
    }
}
