//! The names of the request before: a web server sends the same ones in the same order again and again.

use super::known::Known;
use super::spelling::Spelling;

/// Longer names together are not worth the memory.
const MOST: usize = 2048;

/// Which tags there may be: whoever asks for a name that is not there mostly learns it here.
#[derive(Clone, Copy)]
pub(super) struct Seen([u64; 4]);

impl Seen {
    pub(super) const fn new() -> Self {
        Self([0; 4])
    }

    pub(super) fn add(&mut self, tag: u32) {
        self.0[(tag >> 30) as usize] |= 1 << (tag >> 24 & 63);
    }

    #[inline]
    pub(super) fn may_have(&self, tag: u32) -> bool {
        self.0[(tag >> 30) as usize] >> (tag >> 24 & 63) & 1 == 1
    }
}

/// A sequence of distinct names, none of which needs a second look, and what was found out about each.
#[derive(Clone)]
pub(super) struct Layout {
    names: Vec<u8>,
    spots: Vec<Spot>,
    seen: Seen,
}

#[derive(Clone, Copy)]
struct Spot {
    start: u16,
    len: u16,
    tag: u32,
    known: Option<Known>,
}

impl Layout {
    pub(super) const fn new() -> Self {
        Self { names: Vec::new(), spots: Vec::new(), seen: Seen::new() }
    }

    /// Tag and number of the name at `place`, if it is this one.
    #[inline(always)]
    pub(super) fn expects(&self, place: usize, name: &[u8]) -> Option<(u32, Option<Known>)> {
        let spot = self.spots.get(place)?;
        let start = usize::from(spot.start);
        let expected = self.names.get(start..start + usize::from(spot.len))?;
        same(expected, name).then_some((spot.tag, spot.known))
    }

    /// Their tags.
    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// Expects these names from now on, which are distinct. One that has to be looked at each time ends them.
    pub(super) fn learn<'n>(&mut self, names: impl Iterator<Item = (&'n [u8], u32, Option<Known>)>) {
        self.names.clear();
        self.spots.clear();
        self.seen = Seen::new();
        for (name, tag, known) in names {
            let start = self.names.len();
            let spelling = Spelling::of(name);
            if start + name.len() > MOST || spelling.odd || spelling.unfit {
                break;
            }
            self.names.extend_from_slice(name);
            self.seen.add(tag);
            self.spots.push(Spot { start: start as u16, len: name.len() as u16, tag, known });
        }
    }
}

/// Whether two names are the same; most are too short for the call that compares long ones.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
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
    one == other
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

    #[test]
    fn a_layout_ends_before_a_name_that_needs_a_look_and_when_it_is_full() {
        let mut layout = Layout::new();
        let long = [b'L'; MOST];
        let learn = |layout: &mut Layout, names: &[&[u8]]| {
            layout.learn(names.iter().map(|name| (*name, Spelling::of(name).tag, Known::find(name))));
        };
        learn(&mut layout, &[b"PATH_INFO", b"B", b"HTTP_X-Y", b"C"]);
        assert_eq!(layout.expects(0, b"PATH_INFO").unwrap().1, Some(Known::PathInfo));
        assert_eq!(layout.expects(1, b"B"), Some((Spelling::of(b"B").tag, None)));
        assert!(layout.expects(0, b"B").is_none() && layout.expects(1, b"PATH_INFO").is_none());
        assert!(layout.expects(2, b"HTTP_X-Y").is_none() && layout.expects(3, b"C").is_none());
        learn(&mut layout, &[b"A", &long, b"B"]);
        assert!(layout.expects(0, b"A").is_some() && layout.expects(1, &long).is_none());
        learn(&mut layout, &[&long, b"A"]);
        assert!(layout.expects(0, &long).is_some() && layout.expects(1, b"A").is_none());
    }
}
