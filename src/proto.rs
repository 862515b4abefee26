//! The wire protocols as sans-IO codecs: bytes in, events out, and back. No socket, no clock, and no allocation by a
//! length that a peer only claims.

use std::ops::Range;

pub mod cgi;
pub mod fcgi;
pub mod http;
pub mod scgi;

/// Where the name and the value of a pair stand in their block.
pub(crate) type PairPlaces = (Range<usize>, Range<usize>);

/// A pair in a block, where one of a certain name was expected.
#[cfg(unix)]
pub(crate) struct NamedPair {
    pub(crate) name_at: usize,
    pub(crate) value_at: usize,
    pub(crate) value_len: usize,
    /// Where the next one begins.
    pub(crate) end: usize,
}

/// Whether two names are the same; most are too short for the call that compares long ones.
#[inline(always)]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    if let (Some(first), Some(last)) = (one.first_chunk::<16>(), one.last_chunk::<16>())
        && one.len() <= 32
    {
        return other.first_chunk() == Some(first) && other.last_chunk() == Some(last);
    }
    if let (Some(first), Some(last)) = (one.first_chunk::<8>(), one.last_chunk::<8>())
        && one.len() <= 16
    {
        return other.first_chunk() == Some(first) && other.last_chunk() == Some(last);
    }
    if let (Some(first), Some(last)) = (one.first_chunk::<4>(), one.last_chunk::<4>())
        && one.len() <= 8
    {
        return other.first_chunk() == Some(first) && other.last_chunk() == Some(last);
    }
    one == other
}

/// Not 0 if a byte of the word is less than `bound`, which is 128 at most.
pub(crate) const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(u64::from_ne_bytes([bound; 8])) & !word & u64::from_ne_bytes([0x80; 8])
}

/// Takes at most `at_most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let whole = *input;
    let (taken, rest) = whole.split_at_checked(at_most).unwrap_or((whole, &[]));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_or_not_whatever_their_length() {
        for length in 0..70 {
            let name = vec![b'A'; length];
            assert!(same(&name, &name.clone()));
            assert!(!same(&name, &vec![b'A'; length + 1]));
            for at in 0..length {
                let mut other = name.clone();
                other[at] = b'B';
                assert!(!same(&name, &other), "{at} of {length}");
            }
        }
    }
}
