//! The recorded kinds of `stdout`, and streams that can still be read while a handler owns them.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use serde_json::{Value, json};

use super::super::convert::hex;
use super::super::run::{Checked, fail};
use super::errors;

/// How a recorded stdout behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Takes everything. Python's raw streams may say so by returning none: here the count is the only way.
    Full,
    /// Takes so many bytes of each write.
    Partial(usize),
    /// Fails with this kind of error after so many good writes.
    Breaks(&'static str, usize),
    /// Every flush fails with this kind of error.
    FlushBreaks(&'static str),
}

/// A stdout that remembers each call.
pub(crate) struct Stdout {
    manner: Manner,
    wire: Rc<RefCell<Wire>>,
}

/// The bytes that arrived, and the calls that brought them as they are recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wire {
    pub(crate) bytes: Vec<u8>,
    pub(crate) calls: Vec<Value>,
    writes: usize,
}

impl Stdout {
    /// The recorded kind, and what arrives there.
    pub(crate) fn new(kind: &Value) -> Checked<(Self, Rc<RefCell<Wire>>)> {
        let parts: Vec<&str> = kind.as_str().unwrap_or("full").split(':').collect();
        let manner = match parts.as_slice() {
            ["full" | "none"] => Some(Manner::Full),
            ["partial", count] => count.parse().ok().map(Manner::Partial),
            ["raise", name, good] => {
                good.parse().ok().and_then(|good| Some(Manner::Breaks(errors::io_name(name)?, good)))
            }
            ["flushraise", name] => errors::io_name(name).map(Manner::FlushBreaks),
            _ => None,
        };
        let Some(manner) = manner else { return fail(format!("no stdout is {kind}")) };
        let wire = Rc::default();
        Ok((Self { manner, wire: Rc::clone(&wire) }, wire))
    }
}

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        let taken = match self.manner {
            Manner::Breaks(name, good) if wire.writes >= good => {
                return Err(errors::io(name, "stdout failed"));
            }
            Manner::Partial(count) => data.get(..count).unwrap_or(data),
            _ => data,
        };
        wire.writes += 1;
        wire.bytes.extend_from_slice(taken);
        wire.calls.push(json!(["write", hex(taken)]));
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Manner::FlushBreaks(name) = self.manner {
            return Err(errors::io(name, "stdout failed"));
        }
        self.wire.borrow_mut().calls.push(json!(["flush"]));
        Ok(())
    }
}

/// A stderr.
#[derive(Clone, Default)]
pub(crate) struct Stderr(pub(crate) Rc<RefCell<Vec<u8>>>);

impl Write for Stderr {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
