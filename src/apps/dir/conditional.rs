//! Validators and conditional requests (RFC 9110, sections 8.8 and 13).

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::environ::Environ;
use crate::util::format_date_time;

/// An entity tag and a date, by which a client recognises what it has.
#[derive(Debug)]
pub(super) struct Validators {
    /// As a weak one, whether it is weak or not.
    tag: Vec<u8>,
    weak: bool,
    /// Whole seconds since 1970; what a file system dates into the future is modified now.
    modified: i64,
    /// Whether the date alone tells this file from an earlier one.
    old: bool,
}

impl Validators {
    /// Those of a file, or of its encoded neighbour, whose tag is another one.
    pub(super) fn new(metadata: &Metadata, encoding: Option<&str>, now: SystemTime) -> Self {
        // Clocks of file systems tick every few milliseconds: what was written a moment ago may be written once more
        // with the same time and length.
        const SETTLED: Duration = Duration::from_secs(2);
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let old = now.duration_since(modified).is_ok_and(|age| age >= SETTLED);
        let (seconds, nanos) = since_1970(modified);
        let mut tag = Vec::with_capacity(48);
        tag.extend_from_slice(b"W/\"");
        push_hex(&mut tag, seconds.cast_unsigned());
        tag.push(b'.');
        push_hex(&mut tag, nanos.into());
        tag.push(b'-');
        push_hex(&mut tag, metadata.len());
        if let Some(encoding) = encoding {
            tag.push(b'-');
            tag.extend_from_slice(encoding.as_bytes());
        }
        tag.push(b'"');
        Self { tag, weak: !old, modified: seconds.min(since_1970(now).0), old }
    }

    pub(super) fn etag(&self) -> &[u8] {
        if self.weak { &self.tag } else { self.opaque() }
    }

    fn opaque(&self) -> &[u8] {
        self.tag.strip_prefix(b"W/").unwrap_or(&self.tag)
    }

    pub(super) fn last_modified(&self) -> String {
        format_date_time(self.modified as f64)
    }

    fn is_named(&self, list: &[u8], strongly: bool) -> bool {
        list.trim_ascii() == b"*"
            || Tags(list).any(|(weak, tag)| tag == self.opaque() && !(strongly && (weak || self.weak)))
    }

    /// What the request's conditions make of an answer that would be 200, in the order of RFC 9110, section 13.2.2.
    pub(super) fn decide(&self, environ: &Environ<'_>) -> Decision {
        if let Some(list) = environ.get("HTTP_IF_MATCH") {
            if !self.is_named(list, true) {
                return Decision::Failed;
            }
        } else if let Some(date) = environ.get("HTTP_IF_UNMODIFIED_SINCE").and_then(date)
            && self.modified > date
        {
            return Decision::Failed;
        }
        if let Some(list) = environ.get("HTTP_IF_NONE_MATCH") {
            return if self.is_named(list, false) { Decision::NotModified } else { Decision::Serve };
        }
        match environ.get("HTTP_IF_MODIFIED_SINCE").and_then(date) {
            Some(date) if self.modified <= date => Decision::NotModified,
            _ => Decision::Serve,
        }
    }

    /// Whether a Range header counts: If-Range names what is here by a strong validator, or there is none.
    pub(super) fn range_counts(&self, environ: &Environ<'_>) -> bool {
        let Some(value) = environ.get("HTTP_IF_RANGE").map(<[u8]>::trim_ascii) else { return true };
        if value.ends_with(b"\"") {
            return value != b"*" && self.is_named(value, true);
        }
        self.old && date(value) == Some(self.modified)
    }
}

/// What comes of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Serve,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// The entity tags of a list, as far as it is one: whether each is weak, and its opaque part in quotes.
struct Tags<'l>(&'l [u8]);

impl<'l> Iterator for Tags<'l> {
    type Item = (bool, &'l [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let [b',' | b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let weak = self.0.starts_with(b"W/");
        let quoted = if weak { self.0.get(2..)? } else { self.0 };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', inner)? + 2;
        self.0 = quoted.get(end..)?;
        Some((weak, quoted.get(..end)?))
    }
}

/// An HTTP date in any of its three forms (RFC 9110, section 5.6.7), in seconds since 1970.
fn date(value: &[u8]) -> Option<i64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?.trim()).ok()?;
    Some(since_1970(time).0)
}

/// A number as `{:x}` shows it.
fn push_hex(text: &mut Vec<u8>, number: u64) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    text.extend((0..digits).rev().map(|at| match (number >> (4 * at)) as u8 & 15 {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' - 10 + digit,
    }));
}

/// Whole seconds, rounded down, and the rest.
pub(super) fn since_1970(time: SystemTime) -> (i64, u32) {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos()),
        Err(before) => match (before.duration(), before.duration().subsec_nanos()) {
            (whole, 0) => (-seconds(whole), 0),
            (more, nanos) => (-seconds(more) - 1, 1_000_000_000 - nanos),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environ::{Errors, Input, Vars};

    const STRONG: &str = "\"a\"";

    fn validators(weak: bool) -> Validators {
        Validators { tag: format!("W/{STRONG}").into_bytes(), weak, modified: 784_111_777, old: !weak }
    }

    fn with<T>(headers: &[(&str, &str)], ask: impl FnOnce(&Environ<'_>) -> T) -> T {
        let mut errors = Vec::new();
        let mut vars = Vars::new();
        for (name, value) in headers {
            vars.set(format!("HTTP_{}", name.to_uppercase().replace('-', "_")), value);
        }
        ask(&Environ::new(vars, Input::Empty, Errors::new(&mut errors)))
    }

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn conditions_decide_in_the_order_of_the_standard() {
        use Decision::{Failed, NotModified, Serve};
        for (headers, expected) in [
            (&[][..], Serve),
            (&[("If-Match", STRONG)], Serve),
            (&[("If-Match", "*")], Serve),
            (&[("If-Match", "\"b\", \"a\"")], Serve),
            (&[("If-Match", "\"b,\",\t\"a\"")], Serve),
            (&[("If-Match", "W/\"a\"")], Failed),
            (&[("If-Match", "\"b\"")], Failed),
            (&[("If-Match", "a")], Failed),
            (&[("If-Match", "")], Failed),
            (&[("If-Match", STRONG), ("If-Unmodified-Since", EARLIER)], Serve),
            (&[("If-Unmodified-Since", EARLIER)], Failed),
            (&[("If-Unmodified-Since", THEN)], Serve),
            (&[("If-Unmodified-Since", "yesterday")], Serve),
            (&[("If-None-Match", STRONG)], NotModified),
            (&[("If-None-Match", "W/\"a\"")], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "\"b\"")], Serve),
            (&[("If-None-Match", "\"a")], Serve),
            (&[("If-None-Match", "\"b\""), ("If-Modified-Since", LATER)], Serve),
            (&[("If-Match", "\"b\""), ("If-None-Match", STRONG)], Failed),
            (&[("If-Match", STRONG), ("If-None-Match", STRONG)], NotModified),
            (&[("If-Modified-Since", EARLIER)], Serve),
            (&[("If-Modified-Since", THEN)], NotModified),
            (&[("If-Modified-Since", LATER)], NotModified),
            (&[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[("If-Modified-Since", "784111777")], Serve),
            (&[("If-Modified-Since", "")], Serve),
            (&[("If-Unmodified-Since", THEN), ("If-Modified-Since", THEN)], NotModified),
        ] {
            assert_eq!(with(headers, |environ| validators(false).decide(environ)), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_weak_validator_does_for_a_copy_but_for_no_part() {
        assert_eq!(validators(true).etag(), b"W/\"a\"");
        let decide = |header| with(&[header], |environ| validators(true).decide(environ));
        assert_eq!(decide(("If-None-Match", "W/\"a\"")), Decision::NotModified);
        assert_eq!(decide(("If-Match", "\"a\"")), Decision::Failed);
        for (value, strong, weak) in [
            (STRONG, true, false),
            ("W/\"a\"", false, false),
            ("\"b\"", false, false),
            ("*", false, false),
            (THEN, true, false),
            (LATER, false, false),
            ("", false, false),
        ] {
            let counts =
                |weak| with(&[("If-Range", value)], |environ| validators(weak).range_counts(environ));
            assert_eq!((counts(false), counts(true)), (strong, weak), "{value}");
        }
        assert!(with(&[], |environ| validators(true).range_counts(environ)));
    }

    #[test]
    fn tags_have_their_numbers_in_hexadecimal() {
        for number in [0, 1, 9, 10, 15, 16, 0x1f0, 0x1234_5678_9abc_def0, u64::MAX] {
            let mut text = b"-".to_vec();
            push_hex(&mut text, number);
            assert_eq!(text, format!("-{number:x}").into_bytes());
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        let before = |nanos| UNIX_EPOCH - Duration::from_nanos(nanos);
        assert_eq!(since_1970(before(0)), (0, 0));
        assert_eq!(since_1970(before(1)), (-1, 999_999_999));
        assert_eq!(since_1970(before(1_000_000_000)), (-1, 0));
        assert_eq!(since_1970(before(1_500_000_000)), (-2, 500_000_000));
    }
}
