//! What a request line said that was refused, or did not come whole: for logs alone.

/// The words of a request line, as far as they came. Nothing is promised about any of them but that the method is a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenLine<'h> {
    pub(crate) method: &'h [u8],
    /// What stands between method and version, be it several words; empty where none came.
    pub(crate) target: &'h [u8],
    pub(crate) version: Option<&'h [u8]>,
}

impl<'h> SeenLine<'h> {
    /// Looks for them at the beginning of a head. `None` where there is no method: what came is most likely no HTTP.
    pub(crate) fn of(head: &'h [u8]) -> Option<Self> {
        let end = memchr::memchr2(b'\r', b'\n', head);
        let line = head.get(..end.unwrap_or(head.len()))?;
        let (method, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
        if !crate::headers::is_token(method) {
            return None;
        }
        let rest = rest.get(1..)?;
        let last = memchr::memrchr(b' ', rest).and_then(|blank| rest.split_at_checked(blank));
        // A version that did not come whole could be another one.
        let version = last.and_then(|(_, word)| word.get(1..)).filter(|_| end.is_some());
        Some(match (last, version.filter(|word| word.starts_with(b"HTTP/"))) {
            (Some((target, _)), version @ Some(_)) => Self { method, target, version },
            _ => Self { method, target: rest, version: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::repeatable(512))]

        #[test]
        fn nothing_is_told_that_did_not_come(head in "[A-Z{ ]{0,3} ?[ /a-z\u{0}-\u{ff}]{0,9}( HTTP/1.[01x])?[\r\n]{0,2}[a-z ]{0,3}") {
            let head = head.as_bytes();
            if let Some(SeenLine { method, target, version }) = SeenLine::of(head) {
                let blank = if version.is_some() { &b" "[..] } else { b"" };
                let line = [method, b" ", target, blank, version.unwrap_or_default()].concat();
                prop_assert!(head.starts_with(&line), "{:?}", line.escape_ascii());
                prop_assert!(crate::headers::is_token(method) && !line.contains(&b'\n'));
            }
        }
    }

    #[test]
    fn what_came_is_told_and_no_more() {
        for (head, told) in [
            (&b"GET /a?b HTTP/1.1\r\nX: y\r\n"[..], Some(("GET", "/a?b", Some("HTTP/1.1")))),
            (b"GET /a HTTP/2.0\r\n", Some(("GET", "/a", Some("HTTP/2.0")))),
            (b"GET /a b HTTP/1.1\n", Some(("GET", "/a b", Some("HTTP/1.1")))),
            (b"GET  /a HTTP/1.1\r\n", Some(("GET", " /a", Some("HTTP/1.1")))),
            (b"GET /a\r\n", Some(("GET", "/a", None))),
            (b"GET /a /b\r\n", Some(("GET", "/a /b", None))),
            (b"GET  HTTP/1.1\r\n", Some(("GET", "", Some("HTTP/1.1")))),
            (b"GET HTTP/1.1\r\n", Some(("GET", "HTTP/1.1", None))),
            // Not whole.
            (b"GET /a HTTP/1.", Some(("GET", "/a HTTP/1.", None))),
            (b"GET /lon", Some(("GET", "/lon", None))),
            (b"GET ", Some(("GET", "", None))),
            (b"GET", None),
            (b"", None),
            // Not HTTP.
            (b" / HTTP/1.1\r\n", None),
            (b"\x16\x03\x01 \x02", None),
            (b"{} /a HTTP/1.1\r\n", None),
        ] {
            let seen = SeenLine::of(head).map(|seen| {
                let text = |bytes| std::str::from_utf8(bytes).expect("ASCII");
                (text(seen.method), text(seen.target), seen.version.map(text))
            });
            assert_eq!(seen, told, "{}", head.escape_ascii());
        }
    }
}
