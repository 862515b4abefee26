//! Cuts input of any slicing into records: what both decoders stand on.

use super::record::{HEADER_LEN, Header};
use crate::proto::take;

/// A piece of a record.
pub(super) enum Part<'a> {
    /// The header, whole.
    Header(Header),
    /// Some of the content, never empty.
    Content(&'a [u8]),
}

/// Where in a record the input stands. Padding is dropped here.
#[derive(Debug, Default)]
pub(super) struct Framer {
    header: Gather,
    content_left: u16,
    padding_left: u8,
    /// Bytes of whole and begun parts that were read since the beginning.
    position: u64,
    /// Where the current record begins.
    record_start: u64,
}

impl Framer {
    /// The next part, or `None` when all of `input` is used up.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Part<'a>> {
        while !input.is_empty() {
            if self.content_left > 0 {
                let content = self.take(input, usize::from(self.content_left));
                self.content_left = self.content_left.saturating_sub(length(content));
                return Some(Part::Content(content));
            }
            if self.padding_left > 0 {
                let padding = self.take(input, usize::from(self.padding_left));
                let skipped = u8::try_from(padding.len()).unwrap_or(u8::MAX);
                self.padding_left = self.padding_left.saturating_sub(skipped);
                continue;
            }
            if self.header.is_empty() {
                self.record_start = self.position;
            }
            let bytes = self.take(input, self.header.room());
            if let Some(bytes) = self.header.push(bytes) {
                let header = Header::decode(bytes);
                self.content_left = header.content_length;
                self.padding_left = header.padding_length;
                return Some(Part::Header(header));
            }
        }
        None
    }

    /// How much content of the current record is still to come.
    pub(super) fn content_left(&self) -> u16 {
        self.content_left
    }

    /// The offset of the current record in all that was read.
    pub(super) fn record_start(&self) -> u64 {
        self.record_start
    }

    /// Whether some, but not all, of a record was read.
    pub(super) fn is_inside_record(&self) -> bool {
        !self.header.is_empty() || self.content_left > 0 || self.padding_left > 0
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
        let taken = take(input, at_most);
        self.position = self.position.saturating_add(u64::try_from(taken.len()).unwrap_or(u64::MAX));
        taken
    }
}

/// The length of what was cut to a 16-bit length.
fn length(content: &[u8]) -> u16 {
    u16::try_from(content.len()).unwrap_or(u16::MAX)
}

/// Eight bytes that may come one by one: a header, and the fixed bodies, which are as long.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: [u8; HEADER_LEN],
    have: usize,
}

impl Gather {
    pub(super) fn is_empty(&self) -> bool {
        self.have == 0
    }

    pub(super) fn room(&self) -> usize {
        HEADER_LEN.saturating_sub(self.have)
    }

    /// Adds `data`, no more than there is room for; gives all eight bytes, and is empty again, once they are there.
    pub(super) fn push(&mut self, data: &[u8]) -> Option<[u8; HEADER_LEN]> {
        if let (0, Ok(whole)) = (self.have, data.try_into()) {
            return Some(whole);
        }
        for (slot, byte) in self.bytes.iter_mut().skip(self.have).zip(data) {
            *slot = *byte;
            self.have += 1;
        }
        if self.have < HEADER_LEN {
            return None;
        }
        self.have = 0;
        Some(self.bytes)
    }
}
