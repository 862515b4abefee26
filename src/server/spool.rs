//! Bytes that wait for their reader: in memory, and past a limit in a file without a name.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::spool::{Kept, Store};

/// First in, first out. What was read is forgotten.
#[derive(Default)]
pub(super) struct Spool {
    memory: VecDeque<u8>,
    file: Option<Overflow>,
}

/// What came when the memory was full, and all that came later until that was read.
struct Overflow {
    file: Kept,
    read: u64,
    written: u64,
}

impl Spool {
    /// How many bytes wait.
    pub(super) fn len(&self) -> u64 {
        let in_file = self.file.as_ref().map_or(0, |overflow| overflow.written - overflow.read);
        (self.memory.len() as u64).saturating_add(in_file)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `data`; at most `in_memory` bytes stay in memory.
    pub(super) fn write(&mut self, data: &[u8], in_memory: usize, store: &Store) -> Result<(), Error> {
        if self.file.is_none() && self.memory.len() + data.len() <= in_memory {
            self.memory.extend(data);
            return Ok(());
        }
        let overflow = match &mut self.file {
            Some(overflow) => overflow,
            none => none.insert(Overflow { file: store.open()?, read: 0, written: 0 }),
        };
        overflow.file.append(data)?;
        overflow.written += data.len() as u64;
        Ok(())
    }

    /// Moves up to `most` bytes to the end of `into`.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, most: usize) -> io::Result<()> {
        if !self.memory.is_empty() {
            let count = most.min(self.memory.len());
            let (front, back) = self.memory.as_slices();
            let (front, back) =
                (front.get(..count).unwrap_or(front), back.get(..count.saturating_sub(front.len())));
            into.extend_from_slice(front);
            into.extend_from_slice(back.unwrap_or_default());
            self.memory.drain(..count);
            return Ok(());
        }
        let Some(overflow) = &mut self.file else { return Ok(()) };
        let left = usize::try_from(overflow.written - overflow.read).unwrap_or(usize::MAX);
        let start = into.len();
        into.resize(start + most.min(left), 0);
        let place = into.get_mut(start..).unwrap_or_default();
        overflow.file.file().read_exact_at(place, overflow.read)?;
        overflow.read += place.len() as u64;
        if overflow.read == overflow.written {
            self.file = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_over_memory_and_file() {
        let (mut spool, store) = (Spool::default(), Store::default());
        let data: Vec<u8> = (0..60_000u32).flat_map(u32::to_le_bytes).collect();
        let (mut out, mut sent) = (Vec::new(), 0);
        for (step, piece) in data.chunks(7_001).enumerate() {
            spool.write(piece, 20_000, &store).unwrap();
            sent += piece.len();
            if step % 3 == 0 {
                spool.read(&mut out, 9_000).unwrap();
            }
            assert_eq!(spool.len(), (sent - out.len()) as u64);
            assert!(spool.memory.len() <= 20_000);
        }
        while !spool.is_empty() {
            spool.read(&mut out, 100_000).unwrap();
        }
        assert!(out == data && spool.file.is_none());
        assert_eq!(store.used(), 0);
    }
}
