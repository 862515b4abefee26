//! A request's variables on their way: names and values one behind the other in one piece of memory.

use crate::proto::{NamedPair, PairPlaces, same};

/// Before each pair stand the lengths of its name and of its value.
const LENGTHS: usize = 8;

/// Appends a pair. As in [`Vars`](crate::environ::Vars), what 4 GiB cannot hold is left out.
pub(crate) fn push_pair(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let (Ok(name_len), Ok(value_len)) = (u32::try_from(name.len()), u32::try_from(value.len())) else {
        return;
    };
    block.reserve(LENGTHS.saturating_add(name.len()).saturating_add(value.len()));
    block.extend_from_slice(&(u64::from(name_len) | u64::from(value_len) << 32).to_ne_bytes());
    block.extend_from_slice(name);
    block.extend_from_slice(value);
}

/// The lengths that stand at `at`.
#[inline(always)]
fn lengths_at(block: &[u8], at: usize) -> Option<(usize, usize)> {
    let lengths = u64::from_ne_bytes(*block.get(at..)?.first_chunk()?);
    Some((lengths as u32 as usize, (lengths >> 32) as usize))
}

/// The places of the name and the value that begin at `at`, which moves on behind them.
pub(crate) fn pair_at(block: &[u8], at: &mut usize) -> Option<PairPlaces> {
    let (name_len, value_len) = lengths_at(block, *at)?;
    let name_at = *at + LENGTHS;
    let value_at = name_at + name_len;
    *at = value_at + value_len;
    Some((name_at..value_at, value_at..*at))
}

/// The pair that begins at `at`, if it has this name.
#[inline(always)]
pub(crate) fn pair_named(block: &[u8], at: usize, expected: &[u8]) -> Option<NamedPair> {
    let (name_len, value_len) = lengths_at(block, at)?;
    let name_at = at + LENGTHS;
    let value_at = name_at + name_len;
    let is_it = same(block.get(name_at..value_at)?, expected);
    is_it.then_some(NamedPair { name_at, value_at, value_len, end: value_at + value_len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::repeatable(200))]

        #[test]
        fn pairs_are_found_where_they_were_put(pairs in prop::collection::vec((".{0,40}", ".{0,300}"), 0..8)) {
            let mut block = Vec::new();
            pairs.iter().for_each(|(name, value)| push_pair(&mut block, name.as_bytes(), value.as_bytes()));
            let (mut at, mut named_at) = (0, 0);
            for (name, value) in &pairs {
                let other = format!("{name}x");
                prop_assert!(pair_named(&block, named_at, other.as_bytes()).is_none());
                let named = pair_named(&block, named_at, name.as_bytes()).unwrap();
                let (name_place, value_place) = pair_at(&block, &mut at).unwrap();
                prop_assert_eq!(&block[name_place.clone()], name.as_bytes());
                prop_assert_eq!(&block[value_place.clone()], value.as_bytes());
                prop_assert_eq!((named.name_at, named.value_at), (name_place.start, value_place.start));
                prop_assert_eq!((named.value_len, named.end), (value.len(), at));
                named_at = named.end;
            }
            prop_assert!(pair_at(&block, &mut at).is_none() && pair_named(&block, named_at, b"").is_none());
        }
    }
}
