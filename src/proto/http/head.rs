//! Gathers the head of a request.

use super::error::DecodeError;
use super::request::check_request_line;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the head, its empty line included.
    pub head: usize,
    /// Number of fields.
    pub fields: usize,
}

/// 64 KiB and 100 fields.
impl Default for Limits {
    fn default() -> Self {
        Self { head: 64 << 10, fields: 100 }
    }
}

/// What an end of file means where it is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndOfInput {
    /// Nothing of a request came.
    Empty,
    /// The head is whole, and how much of the body came is for its decoder to know.
    Whole,
}

/// Gathers the head of one request, from input of any slicing: up to and with the empty line behind the fields.
///
/// Lines end in CR LF here, and one empty line before the request is skipped (RFC 9112, section 2.2). What can be
/// refused early is: a first byte that begins no method, a bad request line before its fields are here, a limit as soon
/// as it is passed. The lent buffer grows only by bytes that came.
///
/// ```
/// use gatewright::proto::http::{HeadDecoder, Limits};
///
/// let mut head = Vec::new();
/// let mut input = &b"GET / HTTP/1.0\r\n\r\nnext"[..];
/// assert_eq!(HeadDecoder::new(Limits::default()).decode(&mut input, &mut head), Ok(true));
/// assert_eq!((&head[..], input), (&b"GET / HTTP/1.0\r\n\r\n"[..], &b"next"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct HeadDecoder {
    limits: Limits,
    /// Lines that are whole, the skipped one not among them.
    lines: usize,
    /// Where the line that is being received begins.
    line: usize,
    skipped: bool,
    begun: bool,
    whole: bool,
    failed: Option<DecodeError>,
}

impl HeadDecoder {
    /// A decoder for the next request of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, lines: 0, line: 0, skipped: false, begun: false, whole: false, failed: None }
    }

    /// Reads what is there of the head, and appends it to `head`, which is the same buffer at each call and empty at
    /// the first.
    ///
    /// `input` is moved past what was read. `true` says that the head is whole, and `input` stands at the body, also
    /// when asked again; `false` that all of `input` was read and more is needed.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`], from then on always the same: it is answered, and the connection closed.
    pub fn decode(&mut self, input: &mut &[u8], head: &mut Vec<u8>) -> Result<bool, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let lines = self.lines;
        let mut outcome = self.advance(input, head);
        // Who sends slowly hears early that it is in vain, and who sends all at once hears the same; a whole head is looked
        // at by its parser.
        if outcome != Ok(true) && lines == 0 && self.lines > 0 {
            outcome = check_request_line(head).and(outcome);
        }
        self.failed = outcome.err();
        outcome
    }

    /// What it means that the input ends here.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TruncatedHead`] inside the head, and any earlier error again.
    pub fn end_of_input(&self) -> Result<EndOfInput, DecodeError> {
        match (self.failed, self.whole) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(EndOfInput::Whole),
            (None, false) if !self.has_begun() => Ok(EndOfInput::Empty),
            (None, false) => Err(DecodeError::TruncatedHead),
        }
    }

    /// Whether a byte of the request came; an empty line before it does not count.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    fn advance(&mut self, input: &mut &[u8], head: &mut Vec<u8>) -> Result<bool, DecodeError> {
        while !self.whole {
            let Some(&first) = input.first() else { return Ok(false) };
            if head.is_empty() && !begins_request(first) {
                return Err(match first {
                    b'\n' => DecodeError::BareLf { offset: 0 },
                    byte => DecodeError::NotHttp { byte },
                });
            }
            let line = memchr::memchr(b'\n', input).map(|at| at + 1);
            let room = self.limits.head.saturating_sub(head.len());
            let taken = crate::proto::take(input, line.unwrap_or(input.len()).min(room));
            head.extend_from_slice(taken);
            self.begun |= head.first() != Some(&b'\r');
            match taken.last() {
                Some(b'\n') => self.end_line(head)?,
                Some(_) if input.is_empty() => return Ok(false),
                _ => return Err(self.too_long()),
            }
        }
        Ok(true)
    }

    /// A line came to its LF.
    fn end_line(&mut self, head: &mut Vec<u8>) -> Result<(), DecodeError> {
        let line = head.get(self.line..).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(DecodeError::BareLf { offset: head.len().saturating_sub(1) });
        };
        match (line.is_empty(), self.lines) {
            (true, 0) if self.skipped => return Err(DecodeError::EmptyLines),
            (true, 0) => {
                self.skipped = true;
                head.clear();
                return Ok(());
            }
            (true, _) => self.whole = true,
            (false, lines) if lines > self.limits.fields => {
                return Err(DecodeError::ManyFields { limit: self.limits.fields });
            }
            (false, _) => self.lines += 1,
        }
        self.line = head.len();
        Ok(())
    }

    fn too_long(&self) -> DecodeError {
        let limit = self.limits.head;
        match self.lines {
            0 => DecodeError::LongTarget { limit },
            _ => DecodeError::LongHead { limit },
        }
    }
}

/// The first byte of a method, or of the one empty line before it.
fn begins_request(byte: u8) -> bool {
    byte == b'\r' || crate::headers::is_token_byte(byte)
}
