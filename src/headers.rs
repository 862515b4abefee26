//! Response headers: an ordered collection that keeps duplicates and spelling, and admits no control characters.
//!
//! [`Headers`] is `wsgiref.headers.Headers`: looked up without regard to case, sent in the order and spelling they were
//! added. The check for control characters (CVE-2026-0865) is always on: a value with a line break can never split a
//! response in two.

use std::fmt;

use crate::proto::{below, same};

/// A header name or value that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// A name holds a control character: 0x00–0x1F or 0x7F.
    Name(Vec<u8>),
    /// A value holds a control character other than a tab.
    Value(Vec<u8>),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, bytes) = match self {
            HeaderError::Name(bytes) => ("name", bytes),
            HeaderError::Value(bytes) => ("value", bytes),
        };
        let shown = bytes.get(..60).unwrap_or(bytes).escape_ascii();
        write!(f, "control characters are not allowed in headers: {part} \"{shown}\"")
    }
}

impl std::error::Error for HeaderError {}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    name: usize,
    value: usize,
}

/// The headers of one response, in order.
///
/// ```
/// use gatewright::headers::Headers;
///
/// let mut headers = Headers::from([("Content-Type", "text/plain")]);
/// headers.set("content-type", "text/html")?;
/// headers.add_header("Content-Disposition", "attachment", &[("filename", "bud.gif")])?;
/// assert_eq!(headers.get("CONTENT-TYPE"), Some(&b"text/html"[..]));
/// assert_eq!(
///     headers.to_bytes(),
///     b"content-type: text/html\r\nContent-Disposition: attachment; filename=\"bud.gif\"\r\n\r\n"
/// );
/// assert!(headers.set("X", "line\r\nSet-Cookie: stolen=1").is_err());
/// # Ok::<(), gatewright::headers::HeaderError>(())
/// ```
///
/// Made from pairs by `From`, headers are checked when the response is started ([`check`](Headers::check)); by
/// [`try_from_pairs`](Headers::try_from_pairs), at once.
///
/// Where wsgiref raises an error for a *look-up* by a name with control characters, `get`, `contains`, `get_all` and
/// `remove` find nothing; [`check_name`] asks wsgiref's question.
#[derive(Clone, Default)]
pub struct Headers {
    slab: Vec<u8>,
    spans: Vec<Span>,
    /// How long the names are that were ever added: what cannot be there need not be looked for.
    lengths: Lengths,
    /// So much of the slab is known to be free of control characters.
    clean: usize,
}

/// A set of lengths of names: most names that are looked for differ from all others by that alone.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lengths(u64);

impl Lengths {
    /// Those of all these names.
    pub(crate) const fn of(names: &[&[u8]]) -> Self {
        let mut lengths = Self(0);
        let mut rest = names;
        while let [name, others @ ..] = rest {
            lengths.add(name);
            rest = others;
        }
        lengths
    }

    const fn add(&mut self, name: &[u8]) {
        self.0 |= Self::place(name);
    }

    /// Whether any has the length of this one.
    pub(crate) const fn has(self, name: &[u8]) -> bool {
        self.0 & Self::place(name) != 0
    }

    /// Long ones share the last place.
    const fn place(name: &[u8]) -> u64 {
        1 << if name.len() < 63 { name.len() } else { 63 }
    }
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { slab: Vec::new(), spans: Vec::new(), lengths: Lengths(0), clean: 0 }
    }

    /// Headers from pairs, each checked.
    ///
    /// # Errors
    /// The first name or value with a control character.
    pub fn try_from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, HeaderError> {
        let headers: Self = pairs.into_iter().collect();
        headers.check()?;
        Ok(headers)
    }

    /// Whether all names and values may be sent.
    ///
    /// # Errors
    /// The first name or value with a control character.
    pub fn check(&self) -> Result<(), HeaderError> {
        // Most have none at all, and all of them are looked at at once.
        if !has_control(self.slab.get(self.clean..).unwrap_or_default()) {
            return Ok(());
        }
        self.iter().try_for_each(|(name, value)| check_name(name).and_then(|()| check_value(value)))
    }

    /// The same, and what was found is kept: a later check looks at what was added since.
    pub(crate) fn check_for_good(&mut self) -> Result<(), HeaderError> {
        self.check()?;
        self.clean = self.slab.len();
        Ok(())
    }

    /// How many headers there are, duplicates counted.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The value of the first header of that name, in any spelling.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let found = self.candidates(name).iter().find(|span| same_name(self.name_of(span), name));
        found.map(|span| self.value_of(span))
    }

    /// Whether there is a header of that name, be its value empty.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// The values of all headers of that name, in order.
    pub fn get_all<'h>(&'h self, name: impl AsRef<[u8]> + 'h) -> impl Iterator<Item = &'h [u8]> {
        let candidates = self.candidates(name.as_ref()).iter();
        let named = move |span: &&Span| same_name(self.name_of(span), name.as_ref());
        candidates.filter(named).map(|span| self.value_of(span))
    }

    /// Names in order, as spelt, duplicates kept.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(name, _)| name)
    }

    /// Values in order.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(_, value)| value)
    }

    /// Names and values in order: wsgiref's `items()`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.spans.iter().map(|span| (self.name_of(span), self.value_of(span)))
    }

    /// Replaces all headers of that name by one at the end, spelt as given now: wsgiref's `headers[name] = value`.
    ///
    /// # Errors
    /// A control character. As in wsgiref, one in the value comes to light after the old headers are gone.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        check_name(name.as_ref())?;
        self.remove(name.as_ref());
        self.append(name, value)
    }

    /// Adds a header at the end, whether or not the name exists.
    ///
    /// # Errors
    /// A control character in the name or the value.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        check_name(name)?;
        check_value(value)?;
        let is_clean = self.clean == self.slab.len();
        self.push(name, value);
        if is_clean {
            self.clean = self.slab.len();
        }
        Ok(())
    }

    /// Removes all headers of that name; a missing one is no error.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        let (name, slab) = (name.as_ref(), &self.slab);
        self.spans.retain(|span| !same_name(slice(slab, span.start, span.name), name));
    }

    /// The first value of that name; where there is none, the header is appended first.
    ///
    /// # Errors
    /// A control character in the name, or in a value that would be appended.
    pub fn set_default(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<&[u8], HeaderError> {
        let name = name.as_ref();
        check_name(name)?;
        let found = self.spans.iter().position(|span| same_name(self.name_of(span), name));
        let position = match found {
            Some(position) => position,
            None => {
                self.append(name, value)?;
                self.spans.len() - 1
            }
        };
        Ok(self.spans.get(position).map_or(&[], |span| self.value_of(span)))
    }

    /// Appends a header with MIME parameters: `add_header("Content-Disposition", "attachment", &[("filename", "a")])`.
    ///
    /// The header does not replace others of its name. See [`add_header_with`](Headers::add_header_with) for values and
    /// parameters that may be absent.
    ///
    /// # Errors
    /// A control character in a name or value.
    pub fn add_header(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        params: &[(&str, &str)],
    ) -> Result<(), HeaderError> {
        let params = params.iter().map(|(name, value)| (*name, Some(*value)));
        self.add_header_with(name, Some(value), params)
    }

    /// Appends a header whose value, and whose parameters' values, may be absent.
    ///
    /// Parts are joined by `; `: the value if there is one, then each parameter as `name="value"`, with `_` in its name
    /// written as `-` and `\` and `"` in its value escaped, or as the bare name when its value is absent or empty.
    ///
    /// ```
    /// use gatewright::headers::Headers;
    ///
    /// let mut headers = Headers::new();
    /// headers.add_header_with("X", None::<&str>, [("max_age", Some("1")), ("private", None)])?;
    /// assert_eq!(headers.get("X"), Some(&b"max-age=\"1\"; private"[..]));
    /// # Ok::<(), gatewright::headers::HeaderError>(())
    /// ```
    ///
    /// # Errors
    /// A control character in a name or value.
    pub fn add_header_with<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        name: impl AsRef<[u8]>,
        value: Option<impl AsRef<[u8]>>,
        params: impl IntoIterator<Item = (N, Option<V>)>,
    ) -> Result<(), HeaderError> {
        let mut whole = Vec::new();
        let mut first = true;
        if let Some(value) = value {
            check_value(value.as_ref())?;
            whole.extend_from_slice(value.as_ref());
            first = false;
        }
        for (param, value) in params {
            if !first {
                whole.extend_from_slice(b"; ");
            }
            first = false;
            append_param(&mut whole, param.as_ref(), value.as_ref().map(AsRef::as_ref))?;
        }
        self.append(name, whole)
    }

    /// The wire form: `name: value` CR LF for each, then CR LF.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.slab.len() + 4 * self.spans.len() + 2);
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends the wire form to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Removes all headers and keeps the memory.
    pub fn clear(&mut self) {
        self.slab.clear();
        self.spans.clear();
        (self.lengths, self.clean) = (Lengths::default(), 0);
    }

    /// Adds a header at the end. As with pairs, it is checked when the response is started.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.slab.capacity() == 0 {
            // Most heads fit, and need not grow piece by piece.
            self.slab = Vec::with_capacity(192);
            self.spans = Vec::with_capacity(8);
        }
        let start = self.slab.len();
        self.slab.extend_from_slice(name);
        self.slab.extend_from_slice(value);
        self.lengths.add(name);
        self.spans.push(Span { start, name: name.len(), value: value.len() });
    }

    /// Where a header of that name is, if there is one.
    fn candidates(&self, name: &[u8]) -> &[Span] {
        if self.lengths.has(name) { &self.spans } else { &[] }
    }

    fn name_of(&self, span: &Span) -> &[u8] {
        slice(&self.slab, span.start, span.name)
    }

    fn value_of(&self, span: &Span) -> &[u8] {
        slice(&self.slab, span.start + span.name, span.value)
    }
}

fn append_param(whole: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) -> Result<(), HeaderError> {
    check_name(name)?;
    whole.extend(name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }));
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(()) };
    check_value(value)?;
    whole.extend_from_slice(b"=\"");
    for byte in value {
        if matches!(byte, b'\\' | b'"') {
            whole.push(b'\\');
        }
        whole.push(*byte);
    }
    whole.push(b'"');
    Ok(())
}

/// Whether `name` is a token, as every header's name has to be (RFC 9110, section 5.6.2).
pub(crate) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a token may have this byte.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    static TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
            byte += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// Whether there is any control character: 0x00–0x1F, 0x7F. Eight are looked at at once.
pub(crate) fn has_control(bytes: &[u8]) -> bool {
    const DELETES: u64 = u64::from_ne_bytes([0x7f; 8]);
    let controls = |word: u64| below(word, 0x20) | below(word ^ DELETES, 1);
    let found = match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(last), _, _) => {
            let words = bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
            words.fold(controls(u64::from_ne_bytes(*last)), |found, word| found | controls(word))
        }
        (None, Some(first), Some(last)) => {
            let (first, last) = (u32::from_ne_bytes(*first), u32::from_ne_bytes(*last));
            controls(u64::from(first) << 32 | u64::from(last))
        }
        _ => bytes.iter().fold(0, |found, byte| found | controls(u64::from_ne_bytes([*byte; 8]))),
    };
    found != 0
}

/// Whether a header name, or a parameter's, has no control character: 0x00–0x1F, 0x7F.
///
/// # Errors
/// [`HeaderError::Name`] with the name.
pub fn check_name(name: &[u8]) -> Result<(), HeaderError> {
    if has_control(name) { Err(HeaderError::Name(name.to_vec())) } else { Ok(()) }
}

/// Whether a header value, or a parameter's, has no control character other than the tab.
///
/// # Errors
/// [`HeaderError::Value`] with the value.
pub fn check_value(value: &[u8]) -> Result<(), HeaderError> {
    let bad = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if has_control(value) && value.iter().any(bad) { Err(HeaderError::Value(value.to_vec())) } else { Ok(()) }
}

/// Latin-1 text compared without regard to case, as Python lower-cases it.
#[inline]
fn same_name(one: &[u8], other: &[u8]) -> bool {
    // Mostly they are spelt alike, or not of one length.
    one.len() == other.len() && (same(one, other) || same_but_for_case(one, other))
}

fn same_but_for_case(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| latin1_lower(*one) == latin1_lower(*other))
}

fn latin1_lower(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 0x20,
        _ => byte,
    }
}

fn slice(slab: &[u8], start: usize, len: usize) -> &[u8] {
    slab.get(start..start + len).unwrap_or_default()
}

/// The text form, latin-1 read as Unicode.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().into_iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

/// wsgiref's form: `Headers([('x', 'y')])`.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers([")?;
        for (position, (name, value)) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}({}, {})",
                crate::util::python_repr(name),
                crate::util::python_repr(value)
            )?;
        }
        f.write_str("])")
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for Headers {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> From<Vec<(N, V)>> for Headers {
    fn from(pairs: Vec<(N, V)>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> From<&[(N, V)]> for Headers {
    fn from(pairs: &[(N, V)]) -> Self {
        pairs.iter().map(|(name, value)| (name, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_are_those_of_rfc_9110() {
        for byte in 0..=255u8 {
            let listed = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token_byte(byte), listed, "{byte:#x}");
        }
    }

    #[test]
    fn a_failed_set_by_value_has_already_removed_the_old_header() {
        let mut headers = Headers::from([("X", "old")]);
        assert!(headers.set("x", "bad\r\n").is_err());
        assert!(headers.is_empty());
        let mut headers = Headers::from([("X", "old")]);
        assert!(headers.set("x\n", "good").is_err());
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn control_characters_are_found_wherever_they_are() {
        for length in 0..40 {
            for byte in 0..=255u8 {
                assert!(!has_control(&vec![b'~'; length]));
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(has_control(&text), byte.is_ascii_control(), "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn pairs_with_control_characters_are_found_by_check() {
        assert!(Headers::from([("X", "a\tb")]).check().is_ok());
        assert!(Headers::from([("X", "a\nb")]).check().is_err());
        assert!(Headers::try_from_pairs([("X\0", "a")]).is_err());
    }
}
