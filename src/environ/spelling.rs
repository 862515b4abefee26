//! Names and values looked through, eight bytes at a time.

use crate::proto::below;

/// What one look at a name tells.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    /// Tells most names apart, and costs next to nothing. A peer can make names that have the same: where that would cost,
    /// in an environment of many variables, an index rules whose hash nobody can foresee.
    pub(super) tag: u32,
    /// Whether there is a NUL or `=`, which no environment can hold.
    pub(super) unfit: bool,
    /// Whether there is a `-` or `.`, by which two headers' names differ that are taken for one.
    pub(super) odd: bool,
}

impl Spelling {
    /// Names are short: eight bytes at a time they are looked through before a search made for long texts has begun.
    #[inline(always)]
    pub(super) const fn of(name: &[u8]) -> Self {
        let (first, last) = ends(name);
        let mut suspicious = 0;
        let mut words = [first, last];
        let mut rest = name;
        loop {
            let mut each = 0;
            while each < words.len() {
                suspicious |= below(words[each], b'0') | below(words[each] ^ EQUALS, 1);
                each += 1;
            }
            // What lies between the ends of long names.
            if rest.len() <= 16 {
                break;
            }
            rest = rest.split_at(8).1;
            words = [first, ends(rest).0];
        }
        const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
        const LAST: u64 = 0xc2b2_ae3d_27d4_eb4f;
        let mixed = (first ^ name.len() as u64).wrapping_mul(FIRST) ^ last.wrapping_mul(LAST);
        let tag = ((mixed ^ mixed >> 29).wrapping_mul(FIRST) >> 32) as u32;
        let (mut unfit, mut odd) = (false, false);
        if suspicious != 0 {
            let mut at = 0;
            while at < name.len() {
                unfit |= matches!(name[at], 0 | b'=');
                odd |= matches!(name[at], b'-' | b'.');
                at += 1;
            }
        }
        Self { tag, unfit, odd }
    }
}

/// A name that is looked for in each request: its tag is known beforehand.
pub(super) struct Name {
    text: &'static str,
    pub(super) tag: u32,
}

impl Name {
    pub(super) const fn of(text: &'static str) -> Self {
        Self { text, tag: Spelling::of(text.as_bytes()).tag }
    }

    pub(super) const fn text(&self) -> &'static [u8] {
        self.text.as_bytes()
    }
}

/// Its first and its last eight bytes, which may be the same ones; a shorter text is repeated until it fills eight.
#[inline]
const fn ends(text: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let word = (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64;
        return (word, word);
    }
    let word = match *text {
        [] => u64::MAX,
        [one] => u64::from_le_bytes([one; 8]),
        [one, two] => u64::from_le_bytes([one, two, one, two, one, two, one, two]),
        [one, two, three, ..] => u64::from_le_bytes([one, two, three, one, two, three, one, two]),
    };
    (word, word)
}

/// Eight `=`.
const EQUALS: u64 = u64::from_ne_bytes([b'='; 8]);

/// Whether there is a NUL in a value; most values are short, too.
#[inline(always)]
pub(super) fn has_nul(value: &[u8]) -> bool {
    if value.len() > 16 {
        return memchr::memchr(0, value).is_some();
    }
    let (first, last) = ends(value);
    below(first, 1) | below(last, 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_no_name_or_value_may_have_are_found_wherever_they_are() {
        for length in 0..70 {
            let plain = vec![b'A'; length];
            let spelling = Spelling::of(&plain);
            assert_eq!((spelling.unfit, spelling.odd, has_nul(&plain)), (false, false, false), "{length}");
            for at in 0..length {
                for (byte, expected) in [
                    (0, (true, false, true)),
                    (b'=', (true, false, false)),
                    (b'-', (false, true, false)),
                    (b'.', (false, true, false)),
                    (b'/', (false, false, false)),
                    (1, (false, false, false)),
                    (0xff, (false, false, false)),
                    (0x80, (false, false, false)),
                ] {
                    let mut name = plain.clone();
                    name[at] = byte;
                    let spelling = Spelling::of(&name);
                    let found = (spelling.unfit, spelling.odd, has_nul(&name));
                    assert_eq!(found, expected, "{byte} at {at} of {length}");
                }
            }
        }
    }
}
