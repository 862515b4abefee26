//! The names of the request before: a web server sends the same ones in the same order again and again.

// Only servers follow it, and those are for unix.
#![cfg_attr(not(unix), allow(dead_code))]

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

    /// The names that are expected, in their order, with tag and number.
    #[inline(always)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&[u8], u32, Option<Known>)> {
        self.spots.iter().map(|spot| {
            let start = usize::from(spot.start);
            let name = self.names.get(start..start + usize::from(spot.len)).unwrap_or_default();
            (name, spot.tag, spot.known)
        })
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
            if start + name.len() > MOST || name.is_empty() || spelling.odd || spelling.unfit {
                break;
            }
            self.names.extend_from_slice(name);
            self.seen.add(tag);
            self.spots.push(Spot { start: start as u16, len: name.len() as u16, tag, known });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_ends_before_a_name_that_needs_a_look_and_when_it_is_full() {
        let long = [b'L'; MOST];
        let learnt = |names: &[&[u8]]| -> Vec<Vec<u8>> {
            let mut layout = Layout::new();
            layout.learn([(&b"BEFORE"[..], 0, None)].into_iter());
            layout.learn(names.iter().map(|name| (*name, Spelling::of(name).tag, Known::find(name))));
            for (name, tag, known) in layout.names() {
                assert!(layout.seen().may_have(tag));
                assert_eq!((tag, known), (Spelling::of(name).tag, Known::find(name)));
            }
            layout.names().map(|(name, ..)| name.to_vec()).collect()
        };
        assert_eq!(learnt(&[b"PATH_INFO", b"B", b"HTTP_X-Y", b"C"]), [&b"PATH_INFO"[..], b"B"]);
        assert_eq!(learnt(&[b"A", b"B=", b"C"]), [b"A"]);
        assert_eq!(learnt(&[b"A", &long, b"B"]), [b"A"]);
        assert_eq!(learnt(&[&long, b"A"]), [long]);
    }
}
