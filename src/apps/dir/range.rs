//! Range requests (RFC 9110, section 14).

use std::ops::Range;

/// Ranges in one request; one that asks for more gets the whole file.
const MOST: usize = 64;

/// What a Range header asks of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// The whole file: the header is not understood, or more work than it saves.
    Whole,
    /// These parts, in the order asked for; at least one, none of them empty.
    Parts(Vec<Range<u64>>),
    /// Nothing that the file has.
    Unsatisfiable,
}

/// Reads a Range header for a file of `length` bytes.
///
/// A header that is no list of byte ranges is ignored, as section 14.2 allows, and so is one that asks for more bytes than
/// the file has, or for too many parts: nobody needs those but an attacker.
pub(super) fn parse(header: &[u8], length: u64) -> Ranges {
    let Some((unit, list)) = split_once(header, b'=') else { return Ranges::Whole };
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return Ranges::Whole;
    }
    let mut parts: Vec<Range<u64>> = Vec::new();
    let (mut seen, mut bytes) = (0, 0u64);
    for spec in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        seen += 1;
        let Some(part) = one(spec, length) else { return Ranges::Whole };
        if seen > MOST {
            return Ranges::Whole;
        }
        if !part.is_empty() {
            bytes = bytes.saturating_add(part.end - part.start);
            parts.push(part);
        }
    }
    match (seen, parts.is_empty()) {
        (0, _) => Ranges::Whole,
        (_, true) => Ranges::Unsatisfiable,
        _ if bytes > length => Ranges::Whole,
        _ => Ranges::Parts(parts),
    }
}

/// One range, cut at the file's end; empty where the file has none of it, `None` where it is no range.
fn one(spec: &[u8], length: u64) -> Option<Range<u64>> {
    match split_once(spec, b'-')? {
        (b"", suffix) => Some(length.saturating_sub(number(suffix)?)..length),
        (first, b"") => Some(number(first)?.min(length)..length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
        }
    }
}

/// Decimal digits. A number too large to hold is larger than any file, and stays that.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
    }))
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = memchr::memchr(at, bytes)?;
    Some((bytes.get(..position)?, bytes.get(position + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_dropped_ignored_or_refused() {
        let parts =
            |parts: &[(u64, u64)]| Ranges::Parts(parts.iter().map(|(start, end)| *start..*end).collect());
        for (header, expected) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("BYTES = 0-0", parts(&[(0, 1)])),
            ("bytes=2-4", parts(&[(2, 5)])),
            ("bytes=2-", parts(&[(2, 10)])),
            ("bytes=-3", parts(&[(7, 10)])),
            ("bytes=-30", parts(&[(0, 10)])),
            ("bytes=8-99999999999999999999999", parts(&[(8, 10)])),
            ("bytes=0-1, ,4-5,", parts(&[(0, 2), (4, 6)])),
            ("bytes=4-5,0-1", parts(&[(4, 6), (0, 2)])),
            ("bytes=0-1,50-60", parts(&[(0, 2)])),
            ("bytes=0-3,2-5", parts(&[(0, 4), (2, 6)])),
            ("bytes=0-9,0-0", Ranges::Whole),
            ("bytes=0-,0-,0-", Ranges::Whole),
            ("bytes=10-", Ranges::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=10-11,-0", Ranges::Unsatisfiable),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=0-1,5-4", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=,", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=--1", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=1", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes 0-1", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("", Ranges::Whole),
        ] {
            assert_eq!(parse(header.as_bytes(), 10), expected, "{header}");
        }
        for header in ["bytes=0-0", "bytes=0-", "bytes=-1"] {
            assert_eq!(parse(header.as_bytes(), 0), Ranges::Unsatisfiable, "{header} of an empty file");
        }
    }

    #[test]
    fn no_request_gets_more_than_the_file_has() {
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        assert!(matches!(parse(many(MOST).as_bytes(), 1000), Ranges::Parts(parts) if parts.len() == MOST));
        assert_eq!(parse(many(MOST + 1).as_bytes(), 1000), Ranges::Whole);
        assert_eq!(parse(many(11).as_bytes(), 10), Ranges::Whole);
    }
}
