//! Records as bytes: each function appends to a buffer, none fails on a peer's account.
//!
//! Nothing is padded: section 3.3 leaves that to the sender, and records of up to [`MAX_CONTENT`] bytes, a multiple of
//! 8, keep those behind them aligned all the same.
//!
//! What an application sends, the answer and its end in one write:
//!
//! ```
//! use gatewright::proto::fcgi::{ProtocolStatus, Stream, encode};
//!
//! let mut out = Vec::new();
//! encode::stream(&mut out, Stream::Stdout, 1, b"hi");
//! encode::stream_end(&mut out, Stream::Stdout, 1);
//! encode::end_request(&mut out, 1, 0, ProtocolStatus::REQUEST_COMPLETE);
//! assert_eq!(out[..10], *b"\x01\x06\x00\x01\x00\x02\x00\x00hi");
//! assert_eq!(out[10..18], *b"\x01\x06\x00\x01\x00\x00\x00\x00");
//! assert_eq!(out[18..], *b"\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
//! ```
//!
//! What a web server sends:
//!
//! ```
//! use gatewright::proto::fcgi::{Role, Stream, encode};
//!
//! let mut out = Vec::new();
//! encode::begin_request(&mut out, 1, Role::RESPONDER, true);
//! encode::params(&mut out, 1, [(&b"A"[..], &b"b"[..])])?;
//! encode::stream_end(&mut out, Stream::Stdin, 1);
//! assert_eq!(out[..16], *b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00");
//! assert_eq!(out[16..28], *b"\x01\x04\x00\x01\x00\x04\x00\x00\x01\x01Ab");
//! assert_eq!(out[28..], *b"\x01\x04\x00\x01\x00\x00\x00\x00\x01\x05\x00\x01\x00\x00\x00\x00");
//! # Ok::<(), gatewright::error::BoxError>(())
//! ```

use super::params::{self, PairTooLong};
use super::record::{
    FLAG_KEEP_CONN, HEADER_LEN, Header, MAX_CONTENT, NULL_REQUEST_ID, ProtocolStatus, RecordType, Role,
    Stream,
};
use super::values::{MAX_CONNS, MAX_REQS, MPXS_CONNS, Names, Values};

/// Appends `content` to a stream, in as many records as it needs (section 5.3).
///
/// Nothing is written for no content: an empty record would end the stream. See [`stream_end`].
pub fn stream(out: &mut Vec<u8>, stream: Stream, id: u16, content: &[u8]) {
    let most = usize::from(MAX_CONTENT);
    out.reserve(content.len().saturating_add(content.len().div_ceil(most).saturating_mul(HEADER_LEN)));
    for content in content.chunks(most) {
        record(out, stream.record_type(), id, content);
    }
}

/// Ends a stream: an empty record (section 3.3).
pub fn stream_end(out: &mut Vec<u8>, stream: Stream, id: u16) {
    out.extend_from_slice(&stream_header(stream, id, 0));
}

/// Only the header of a stream record with `length` bytes of content.
///
/// For a buffer that keeps its first [`HEADER_LEN`] bytes free and has them filled in when its content is known, so
/// that both go out as they lie.
///
/// ```
/// use gatewright::proto::fcgi::{HEADER_LEN, Stream, encode};
///
/// let mut buffer = vec![0; HEADER_LEN];
/// buffer.extend_from_slice(b"hello");
/// buffer[..HEADER_LEN].copy_from_slice(&encode::stream_header(Stream::Stdout, 1, 5));
///
/// let mut expected = Vec::new();
/// encode::stream(&mut expected, Stream::Stdout, 1, b"hello");
/// assert_eq!(buffer, expected);
/// ```
pub const fn stream_header(stream: Stream, id: u16, length: u16) -> [u8; HEADER_LEN] {
    Header::new(stream.record_type(), id, length).encode()
}

/// Appends END_REQUEST (section 5.5), by which an application is done with a request.
pub fn end_request(out: &mut Vec<u8>, id: u16, app_status: u32, protocol_status: ProtocolStatus) {
    let [status3, status2, status1, status0] = app_status.to_be_bytes();
    let body = [status3, status2, status1, status0, protocol_status.0, 0, 0, 0];
    record(out, RecordType::END_REQUEST, id, &body);
}

/// Appends UNKNOWN_TYPE (section 4.2), an application's answer to a management record it does not know.
///
/// ```
/// use gatewright::proto::fcgi::{RecordType, encode};
///
/// let mut out = Vec::new();
/// encode::unknown_type(&mut out, RecordType(42));
/// assert_eq!(out, b"\x01\x0b\x00\x00\x00\x08\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00");
/// ```
pub fn unknown_type(out: &mut Vec<u8>, record_type: RecordType) {
    record(out, RecordType::UNKNOWN_TYPE, NULL_REQUEST_ID, &[record_type.0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Appends GET_VALUES_RESULT (section 4.1) with those of `values` that are set. An application sets what was asked:
/// [`Values::only`].
///
/// ```
/// use gatewright::proto::fcgi::{Values, encode};
///
/// let mut out = Vec::new();
/// encode::get_values_result(&mut out, Values { max_reqs: Some(64), ..Values::default() });
/// assert_eq!(out, b"\x01\x0a\x00\x00\x00\x11\x00\x00\x0d\x02FCGI_MAX_REQS64");
/// ```
pub fn get_values_result(out: &mut Vec<u8>, values: Values) {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let flag = values.mpxs_conns.map(|set| String::from(if set { "1" } else { "0" }));
    let pairs =
        [(MAX_CONNS, number(values.max_conns)), (MAX_REQS, number(values.max_reqs)), (MPXS_CONNS, flag)];
    let pairs = pairs.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes())));
    management_pairs(out, RecordType::GET_VALUES_RESULT, pairs);
}

/// Appends BEGIN_REQUEST (section 5.1), by which a web server opens a request.
pub fn begin_request(out: &mut Vec<u8>, id: u16, role: Role, keep_conn: bool) {
    let [role1, role0] = role.0.to_be_bytes();
    let flags = if keep_conn { FLAG_KEEP_CONN } else { 0 };
    record(out, RecordType::BEGIN_REQUEST, id, &[role1, role0, flags, 0, 0, 0, 0, 0]);
}

/// Appends the whole PARAMS stream with its end (section 5.2).
///
/// Records are cut between pairs, since many applications cannot read one that straddles them; only a pair that no
/// record holds is cut.
///
/// # Errors
///
/// [`PairTooLong`]; nothing is appended then.
pub fn params<'p>(
    out: &mut Vec<u8>,
    id: u16,
    pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
) -> Result<(), PairTooLong> {
    let begin = out.len();
    let outcome = params_records(out, id, pairs);
    if outcome.is_err() {
        out.truncate(begin);
    }
    outcome
}

fn params_records<'p>(
    out: &mut Vec<u8>,
    id: u16,
    pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
) -> Result<(), PairTooLong> {
    let most = usize::from(MAX_CONTENT);
    let mut record = OpenRecord::new(out);
    for (name, value) in pairs {
        let size = params::encoded_len(name, value).ok_or(PairTooLong)?;
        if record.content_len(out) > 0 && size > most.saturating_sub(record.content_len(out)) {
            record.close(out, RecordType::PARAMS, id);
            record = OpenRecord::new(out);
        }
        if size <= most {
            params::encode(out, name, value)?;
            continue;
        }
        let mut pair = Vec::new();
        params::encode(&mut pair, name, value)?;
        out.truncate(record.start);
        stream(out, Stream::Params, id, &pair);
        record = OpenRecord::new(out);
    }
    let ended = record.content_len(out) == 0;
    record.close(out, RecordType::PARAMS, id);
    if !ended {
        stream_end(out, Stream::Params, id);
    }
    Ok(())
}

/// Appends one name-value pair (section 3.4) as bytes of a stream, without a record around it.
///
/// ```
/// use gatewright::proto::fcgi::encode;
///
/// let mut block = Vec::new();
/// encode::pair(&mut block, b"LONG", &[b'x'; 128])?;
/// assert_eq!(block[..9], *b"\x04\x80\x00\x00\x80LONG");
/// # Ok::<(), gatewright::error::BoxError>(())
/// ```
///
/// # Errors
///
/// [`PairTooLong`]; nothing is appended then.
pub fn pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), PairTooLong> {
    params::encode(out, name, value)
}

/// Appends ABORT_REQUEST (section 5.4), by which a web server gives a request up.
pub fn abort_request(out: &mut Vec<u8>, id: u16) {
    record(out, RecordType::ABORT_REQUEST, id, &[]);
}

/// Appends GET_VALUES (section 4.1), by which a web server asks for variables.
///
/// ```
/// use gatewright::proto::fcgi::{Names, encode};
///
/// let mut out = Vec::new();
/// encode::get_values(&mut out, Names { mpxs_conns: true, ..Names::default() });
/// assert_eq!(out, b"\x01\x09\x00\x00\x00\x11\x00\x00\x0f\x00FCGI_MPXS_CONNS");
/// ```
pub fn get_values(out: &mut Vec<u8>, names: Names) {
    let names = [(MAX_CONNS, names.max_conns), (MAX_REQS, names.max_reqs), (MPXS_CONNS, names.mpxs_conns)];
    let pairs = names.iter().filter_map(|(name, asked)| asked.then_some((*name, &b""[..])));
    management_pairs(out, RecordType::GET_VALUES, pairs);
}

fn management_pairs<'p>(
    out: &mut Vec<u8>,
    record_type: RecordType,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>,
) {
    let record = OpenRecord::new(out);
    for (name, value) in pairs {
        // Known names and their values are a few bytes long.
        let _ = params::encode(out, name, value);
    }
    record.close(out, record_type, NULL_REQUEST_ID);
}

/// Appends a record; `content` is at most [`MAX_CONTENT`] bytes.
fn record(out: &mut Vec<u8>, record_type: RecordType, id: u16, content: &[u8]) {
    let record = OpenRecord::new(out);
    out.extend_from_slice(content);
    record.close(out, record_type, id);
}

/// A record at the end of a buffer, the header of which is filled in once its content is there.
struct OpenRecord {
    start: usize,
}

impl OpenRecord {
    fn new(out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        Self { start }
    }

    fn content_len(&self, out: &[u8]) -> usize {
        out.len().saturating_sub(self.start.saturating_add(HEADER_LEN))
    }

    /// The content is at most [`MAX_CONTENT`] bytes.
    fn close(self, out: &mut [u8], record_type: RecordType, id: u16) {
        let length = u16::try_from(self.content_len(out)).unwrap_or(u16::MAX);
        let header = out.get_mut(self.start..).and_then(|record| record.first_chunk_mut());
        if let Some(bytes) = header {
            *bytes = Header::new(record_type, id, length).encode();
        }
    }
}
