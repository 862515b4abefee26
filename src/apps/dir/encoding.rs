//! Which encoding of a file a client takes (RFC 9110, section 12.5.3).

/// An encoding that a file may have beside it, and the end of that neighbour's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// As Content-Encoding says it.
    pub(super) name: &'static str,
    pub(super) suffix: &'static [u8],
}

const BROTLI: Encoding = Encoding { name: "br", suffix: b".br" };
const GZIP: Encoding = Encoding { name: "gzip", suffix: b".gz" };

/// Quality values in thousandths; as many as three decimals say.
const FULL: u16 = 1000;

/// The encodings that the client likes at least as much as the plain file, best first; Brotli, which is smaller, before
/// gzip where it likes both the same.
pub(super) fn accepted(header: Option<&[u8]>) -> impl Iterator<Item = Encoding> {
    let [any, identity, brotli, gzip] = header.map_or([None; 4], qualities);
    let liked = |quality: Option<u16>| quality.or(any).filter(|liking| *liking > 0);
    let mut both = [(liked(brotli), BROTLI), (liked(gzip), GZIP)];
    // Sorting keeps the order of equals.
    both.sort_by_key(|(liking, _)| std::cmp::Reverse(*liking));
    both.into_iter().filter(move |(liking, _)| *liking > Some(0) && *liking >= identity).map(|(_, one)| one)
}

/// The qualities of `*`, `identity`, Brotli and gzip, each where it first stands in the list.
fn qualities(header: &[u8]) -> [Option<u16>; 4] {
    const NAMES: [&[&[u8]]; 4] = [&[b"*"], &[b"identity"], &[b"br"], &[b"gzip", b"x-gzip"]];
    let mut qualities = [None; 4];
    for member in header.split(|byte| *byte == b',') {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let is_named = |names: &[&[u8]]| names.iter().any(|name| coding.eq_ignore_ascii_case(name));
        if let Some((quality, _)) = qualities.iter_mut().zip(NAMES).find(|(_, names)| is_named(names)) {
            quality.get_or_insert_with(|| parts.next().map_or(FULL, weight));
        }
    }
    qualities
}

/// `q=0.5` as 500. What is no weight is taken for an encoding that is not wanted.
fn weight(parameter: &[u8]) -> u16 {
    let value = match parameter {
        [b'q' | b'Q', rest @ ..] => rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start),
        _ => None,
    };
    match value {
        Some([b'1']) => FULL,
        Some([b'1', b'.', zeros @ ..]) if zeros.len() <= 3 && zeros.iter().all(|digit| *digit == b'0') => {
            FULL
        }
        Some([b'0', b'.', digits @ ..]) if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let digit = |at| digits.get(at).map_or(0, |digit: &u8| u16::from(digit.saturating_sub(b'0')));
            digit(0) * 100 + digit(1) * 10 + digit(2)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_decides_and_between_equals_the_smaller() {
        for (header, expected) in [
            (None, &[][..]),
            (Some(""), &[]),
            (Some("gzip"), &["gzip"]),
            (Some("x-gzip"), &["gzip"]),
            (Some("GZIP;Q=1.000"), &["gzip"]),
            (Some("gzip, deflate, br, zstd"), &["br", "gzip"]),
            (Some("br;q=0.5, gzip;q=0.8"), &["gzip", "br"]),
            (Some("br ; q=0.5,gzip ; q = 0.5"), &["br", "gzip"]),
            (Some("gzip;q=0"), &[]),
            (Some("gzip;q=0.000, br"), &["br"]),
            (Some("gzip;q=0.001"), &["gzip"]),
            (Some("gzip;q=0.0001"), &[]),
            (Some("gzip;q=2"), &[]),
            (Some("gzip;level=1"), &[]),
            (Some("*"), &["br", "gzip"]),
            (Some("*;q=0"), &[]),
            (Some("*;q=0, gzip"), &["gzip"]),
            (Some("gzip;q=0, *"), &["br"]),
            (Some("identity, gzip;q=0.5"), &[]),
            (Some("identity;q=0.5, gzip"), &["gzip"]),
            (Some("identity;q=0"), &[]),
            (Some("gzipped"), &[]),
        ] {
            let names: Vec<&str> =
                accepted(header.map(str::as_bytes)).map(|encoding| encoding.name).collect();
            assert_eq!(names, expected, "{header:?}");
        }
    }
}
