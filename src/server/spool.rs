//! Bytes that wait for their reader: in memory, and past a limit in a file without a name.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::spool::{Kept, Store};

/// Memory comes in pieces of this size, so that it grows no larger than what waits.
const PIECE: usize = 32 * 1024;

/// First in, first out. What was read is forgotten.
#[derive(Default)]
pub(super) struct Spool {
    /// Each but the last is full.
    memory: VecDeque<Vec<u8>>,
    in_memory: usize,
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
        (self.in_memory as u64).saturating_add(in_file)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `data`; at most `in_memory` bytes stay in memory.
    pub(super) fn write(&mut self, data: &[u8], in_memory: usize, store: &Store) -> Result<(), Error> {
        if self.file.is_none() && self.in_memory + data.len() <= in_memory {
            self.remember(data);
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

    fn remember(&mut self, mut data: &[u8]) {
        self.in_memory += data.len();
        while !data.is_empty() {
            let last = match self.memory.pop_back() {
                Some(last) if last.len() < PIECE => self.memory.push_back_mut(last),
                full => {
                    self.memory.extend(full);
                    self.memory.push_back_mut(Vec::with_capacity(PIECE))
                }
            };
            let (now, later) = data.split_at_checked(PIECE - last.len()).unwrap_or((data, &[]));
            last.extend_from_slice(now);
            data = later;
        }
    }

    /// Puts what waits first in the place of what was in `into`, at least a byte of it if any waits, at most a piece.
    pub(super) fn read(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        if let Some(piece) = self.memory.pop_front() {
            self.in_memory -= piece.len();
            *into = piece;
            return Ok(());
        }
        let Some(overflow) = &mut self.file else { return Ok(()) };
        let left = usize::try_from(overflow.written - overflow.read).unwrap_or(usize::MAX);
        into.resize(left.min(2 * PIECE), 0);
        overflow.file.file().read_exact_at(into, overflow.read).inspect_err(|_| into.clear())?;
        overflow.read += into.len() as u64;
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
        let (mut out, mut block, mut sent, mut filed) = (Vec::new(), Vec::new(), 0, false);
        for (step, piece) in data.chunks(7_001).enumerate() {
            spool.write(piece, 80_000, &store).unwrap();
            sent += piece.len();
            if step % 8 == 0 {
                spool.read(&mut block).unwrap();
                out.extend_from_slice(&block);
            }
            assert_eq!(spool.len(), (sent - out.len()) as u64);
            let taken: usize = spool.memory.iter().map(Vec::capacity).sum();
            assert!(taken <= 80_000 + PIECE, "{taken}");
            filed |= spool.file.is_some();
        }
        while !spool.is_empty() {
            spool.read(&mut block).unwrap();
            out.extend_from_slice(&block);
        }
        assert!(filed);
        assert!(out == data && spool.file.is_none());
        assert_eq!(store.used(), 0);
    }
}
