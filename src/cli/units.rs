//! How durations and sizes are written on the command line; in both, 0 means none.

use std::str::FromStr;
use std::time::Duration;

/// Where flags with units stand in `--help`.
pub(super) const LIMITS: &str =
    "Limits and time-outs (sizes as in 64K or 1G, times as in 500ms, 30s or 2m; 0 means none)";

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, as in `500ms`, `30s`, `2m`.
///
/// # Errors
/// What to write instead.
#[cfg_attr(not(unix), allow(dead_code, reason = "what takes times are servers"))]
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    // A number alone is refused, not guessed: nginx and Apache disagree about its unit.
    let write = "write a number and its unit, as in 500ms, 30s or 2m; 0 means none";
    match split(text) {
        Some((0, "")) => Ok(Duration::ZERO),
        Some((number, unit)) => {
            let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(write)?;
            number
                .checked_mul(*millis)
                .map(Duration::from_millis)
                .ok_or_else(|| "that is too long".to_owned())
        }
        None => Err(write.to_owned()),
    }
}

/// Reads a whole number.
///
/// # Errors
/// What to write instead.
#[cfg_attr(not(unix), allow(dead_code, reason = "what takes numbers are servers"))]
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ if is_number => Err("that is too large".to_owned()),
        _ => Err("write a whole number, as in 64; 0 means none".to_owned()),
    }
}

/// Reads a size in bytes: a whole number, alone or with `K`, `M`, `G` or `T`, powers of 1024.
///
/// # Errors
/// What to write instead.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("K", 1 << 10),
        ("k", 1 << 10),
        ("M", 1 << 20),
        ("m", 1 << 20),
        ("G", 1 << 30),
        ("g", 1 << 30),
        ("T", 1 << 40),
        ("t", 1 << 40),
    ];
    let write = "write a number of bytes, or one with K, M or G, as in 64K or 1G; 0 means none";
    let (number, unit) = split(text).ok_or(write)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(write)?;
    number.checked_mul(*bytes).ok_or_else(|| "that is too large".to_owned())
}

/// A number and what stands behind it; `None` for what does not begin with digits, or with too many.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn numbers_are_whole() {
        assert_eq!((number("0"), number("064")), (Ok(0_u32), Ok(64_u32)));
        for text in ["", "-1", "+1", "1.5", "1K", " 1", "0x10", "٣"] {
            assert!(number::<u32>(text).unwrap_err().contains("64"), "{text}");
        }
        assert_eq!(number::<u32>("4294967296"), Err("that is too large".to_owned()));
    }

    #[test]
    fn what_is_no_duration_is_told_what_one_looks_like() {
        for text in
            ["", "30", "s", "-1s", "+1s", "1.5s", "30 s", "30S", "1w", "99999999999999999999s", "3m20s", "٣s"]
        {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
        assert_eq!(duration("18446744073709551615d"), Err("that is too long".to_owned()));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("3M", 3 << 20),
            ("1G", 1 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_what_one_looks_like() {
        for text in
            ["", "K", "-1", "+1", "1.5G", "64 K", "64KB", "64KiB", "1P", "18446744073709551616", "0x10"]
        {
            assert!(size(text).unwrap_err().contains("64K"), "{text}");
        }
        assert_eq!(size("18446744073709551615K"), Err("that is too large".to_owned()));
    }
}
