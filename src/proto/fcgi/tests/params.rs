//! Name-value pairs.

use super::*;
use crate::error::{Error, Fault};
use proptest::collection::vec;
use proptest::prelude::*;

type Items<'a> = Vec<Result<(&'a [u8], &'a [u8]), PairError>>;

#[test]
fn pairs_come_in_order_with_repeats_and_empty_names_and_values() {
    let block =
        [pair(b"B", b"1"), pair(b"A", b""), pair(b"", b"x"), pair(b"", b""), pair(b"B", b"2")].concat();
    let items: Items<'_> = Pairs::new(&block).collect();
    let expected: Items<'_> =
        vec![Ok((b"B", b"1")), Ok((b"A", b"")), Ok((b"", b"x")), Ok((b"", b"")), Ok((b"B", b"2"))];
    assert_eq!(items, expected);
}

#[test]
fn an_empty_block_has_no_pairs() {
    assert_eq!(Pairs::new(b"").next(), None);
}

#[test]
fn lengths_from_128_take_four_bytes() {
    for (length, lengths) in
        [(127, &b"\x7f\x00"[..]), (128, b"\x80\x00\x00\x80\x00"), (70_000, b"\x80\x01\x11\x70\x00")]
    {
        let name = vec![b'n'; length];
        let block = pair(&name, b"");
        assert_eq!(block, [lengths, &name].concat());
        assert_eq!(Pairs::new(&block).next(), Some(Ok((&name[..], &b""[..]))));
    }
}

#[test]
fn the_long_form_of_a_short_length_is_understood() {
    let block = b"\x80\x00\x00\x01\x80\x00\x00\x02Abc";
    assert_eq!(Pairs::new(block).collect::<Items<'_>>(), [Ok((&b"A"[..], &b"bc"[..]))]);
}

#[test]
fn a_pair_past_the_end_is_the_last_item_and_an_error() {
    let whole = [pair(b"A", b"b"), pair(&[b'n'; 130], b"value")].concat();
    for cut in 0..whole.len() {
        let items: Items<'_> = Pairs::new(&whole[..cut]).collect();
        let left = cut.saturating_sub(9);
        match (cut, &items[..]) {
            (0, []) | (4, [Ok(_)]) => {}
            (1, [Err(PairError::Lengths { offset: 0 })]) => {}
            (2..4, [Err(PairError::Content { offset: 0, needed: 2, .. })]) => {}
            (5..9, [Ok(_), Err(PairError::Lengths { offset: 4 })]) => {}
            (9.., [Ok(_), Err(error)]) => {
                assert_eq!(*error, PairError::Content { offset: 4, needed: 135, left });
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_largest_lengths_are_no_overflow() {
    let block = b"\xff\xff\xff\xff\xff\xff\xff\xffxyz";
    let error = PairError::Content { offset: 0, needed: 0xffff_fffe, left: 3 };
    assert_eq!(Pairs::new(block).collect::<Items<'_>>(), [Err(error)]);
}

#[test]
fn the_error_is_the_peers_and_says_where() {
    let error = Error::from(PairError::Content { offset: 4, needed: 135, left: 3 });
    assert_eq!((error.fault(), error.status()), (Fault::Peer, 400));
    assert_eq!(
        error.to_string(),
        "the name-value pair at byte 4 of PARAMS runs past the end: it needs 135 bytes, 3 are left"
    );
    let error = PairError::Lengths { offset: 7 };
    assert_eq!(error.to_string(), "the name-value pair at byte 7 of PARAMS ends inside its lengths");
}

proptest! {
    #![proptest_config(crate::repeatable(500))]

    #[test]
    fn pairs_are_read_back(pairs in vec((vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..200)), 0..10)) {
        let block: Vec<u8> = pairs.iter().flat_map(|(name, value)| pair(name, value)).collect();
        let items: Result<Vec<_>, _> = Pairs::new(&block).collect();
        let expected: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(items, Ok(expected));
    }

    #[test]
    fn any_bytes_are_pairs_that_fill_the_block_or_an_error_at_the_end(block in vec(any::<u8>(), 0..300)) {
        let items: Items<'_> = Pairs::new(&block).collect();
        let fine = items.iter().flatten().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
        prop_assert!(fine <= block.len());
        let errors = items.iter().filter(|item| item.is_err()).count();
        prop_assert!(errors == 0 || (errors == 1 && items.last().unwrap().is_err()));
    }
}
