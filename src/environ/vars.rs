//! The CGI variables of one request: byte strings in the order they came, in one slab of memory.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use hashbrown::HashTable;

/// Up to this many variables a scan over their hashes is faster than an index.
const SCAN: usize = 32;

/// The names that nearly every application or gateway reads; [`Vars::known`] finds them without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Known {
    AuthType,
    ContentLength,
    ContentType,
    GatewayInterface,
    Https,
    HttpHost,
    PathInfo,
    QueryString,
    RemoteAddr,
    RemoteUser,
    RequestMethod,
    RequestUri,
    ScriptName,
    ServerName,
    ServerPort,
    ServerProtocol,
    ServerSoftware,
}

impl Known {
    /// All of them, in the order of their declaration.
    pub const ALL: [Known; 17] = [
        Known::AuthType,
        Known::ContentLength,
        Known::ContentType,
        Known::GatewayInterface,
        Known::Https,
        Known::HttpHost,
        Known::PathInfo,
        Known::QueryString,
        Known::RemoteAddr,
        Known::RemoteUser,
        Known::RequestMethod,
        Known::RequestUri,
        Known::ScriptName,
        Known::ServerName,
        Known::ServerPort,
        Known::ServerProtocol,
        Known::ServerSoftware,
    ];

    /// The variable's name, as it stands in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Known::AuthType => "AUTH_TYPE",
            Known::ContentLength => "CONTENT_LENGTH",
            Known::ContentType => "CONTENT_TYPE",
            Known::GatewayInterface => "GATEWAY_INTERFACE",
            Known::Https => "HTTPS",
            Known::HttpHost => "HTTP_HOST",
            Known::PathInfo => "PATH_INFO",
            Known::QueryString => "QUERY_STRING",
            Known::RemoteAddr => "REMOTE_ADDR",
            Known::RemoteUser => "REMOTE_USER",
            Known::RequestMethod => "REQUEST_METHOD",
            Known::RequestUri => "REQUEST_URI",
            Known::ScriptName => "SCRIPT_NAME",
            Known::ServerName => "SERVER_NAME",
            Known::ServerPort => "SERVER_PORT",
            Known::ServerProtocol => "SERVER_PROTOCOL",
            Known::ServerSoftware => "SERVER_SOFTWARE",
        }
    }

    /// The known name that `name` is, if it is one.
    pub fn find(name: &[u8]) -> Option<Known> {
        Some(match name {
            b"AUTH_TYPE" => Known::AuthType,
            b"CONTENT_LENGTH" => Known::ContentLength,
            b"CONTENT_TYPE" => Known::ContentType,
            b"GATEWAY_INTERFACE" => Known::GatewayInterface,
            b"HTTPS" => Known::Https,
            b"HTTP_HOST" => Known::HttpHost,
            b"PATH_INFO" => Known::PathInfo,
            b"QUERY_STRING" => Known::QueryString,
            b"REMOTE_ADDR" => Known::RemoteAddr,
            b"REMOTE_USER" => Known::RemoteUser,
            b"REQUEST_METHOD" => Known::RequestMethod,
            b"REQUEST_URI" => Known::RequestUri,
            b"SCRIPT_NAME" => Known::ScriptName,
            b"SERVER_NAME" => Known::ServerName,
            b"SERVER_PORT" => Known::ServerPort,
            b"SERVER_PROTOCOL" => Known::ServerProtocol,
            b"SERVER_SOFTWARE" => Known::ServerSoftware,
            _ => return None,
        })
    }
}

/// Where one variable lies in the slab: its value directly follows its name, unless it was replaced later.
#[derive(Clone, Copy)]
struct Span {
    name: usize,
    name_len: usize,
    value: usize,
    value_len: usize,
    hash: u64,
    known: Option<Known>,
}

/// A request's CGI variables: names and values as bytes, in order, each name once.
///
/// A *native string* of PEP 3333 is a text whose code points are bytes (latin-1); here it is those bytes. Setting a
/// name that exists replaces its value in place, any other name is appended, as in Python's `dict`. One variable costs
/// no allocation: names and values share one slab, and [`clear`](Vars::clear) keeps the memory for the next request.
/// A look-up takes the same short time however many variables a hostile peer sends.
///
/// ```
/// use gatewright::environ::{Known, Vars};
///
/// let mut vars = Vars::new();
/// vars.set("PATH_INFO", b"/caf\xe9");
/// vars.set("X_LIMIT", "10");
/// vars.set("PATH_INFO", "/tea");
/// assert_eq!(vars.known(Known::PathInfo), Some(&b"/tea"[..]));
/// assert_eq!(vars.get("X_LIMIT"), Some(&b"10"[..]));
/// let names: Vec<_> = vars.iter().map(|(name, _)| name).collect();
/// assert_eq!(names, [&b"PATH_INFO"[..], b"X_LIMIT"]);
/// ```
#[derive(Clone)]
pub struct Vars {
    slab: Vec<u8>,
    spans: Vec<Span>,
    /// Position + 1 of each known name; 0 is absent.
    known: [u32; Known::ALL.len()],
    /// Positions by hash; filled only past [`SCAN`] variables.
    index: HashTable<u32>,
    wsgi_names: bool,
}

impl Vars {
    /// No variables, and no memory taken yet.
    pub const fn new() -> Self {
        Self {
            slab: Vec::new(),
            spans: Vec::new(),
            known: [0; Known::ALL.len()],
            index: HashTable::new(),
            wsgi_names: false,
        }
    }

    /// No variables, and room for so many, and for so many bytes of names and values.
    pub(super) fn with_room(count: usize, bytes: usize) -> Self {
        Self { slab: Vec::with_capacity(bytes), spans: Vec::with_capacity(count), ..Self::new() }
    }

    /// The value of `name`, if it is set. Names are compared byte for byte.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        if let Some(known) = Known::find(name) {
            return self.known(known);
        }
        let position = self.position(hash(name), name)?;
        self.spans.get(position).map(|span| self.value_of(span))
    }

    /// The value of a known name, without a search.
    pub fn known(&self, name: Known) -> Option<&[u8]> {
        let position = *self.known.get(name as usize)?;
        let span = self.spans.get(usize::try_from(position.checked_sub(1)?).ok()?)?;
        Some(self.value_of(span))
    }

    /// Whether `name` is set, to whatever value.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`: replaces its value where it stands, or appends it.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let (hash, known, found) = self.find(name);
        if let Some(span) = found.and_then(|position| self.spans.get_mut(position)) {
            replace(&mut self.slab, span, value);
            return;
        }
        self.append(hash, known, name, value);
    }

    /// What a name is, and where it stands.
    fn find(&self, name: &[u8]) -> (u64, Option<Known>, Option<usize>) {
        let hash = hash(name);
        let known = Known::find(name);
        let found = match known {
            Some(known) => match self.known[known as usize] {
                0 => None,
                position => usize::try_from(position - 1).ok(),
            },
            None => self.position(hash, name),
        };
        (hash, known, found)
    }

    /// Sets `name` only where it is absent; tells whether it did.
    pub fn set_default(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> bool {
        let (hash, known, found) = self.find(name.as_ref());
        if found.is_none() {
            self.append(hash, known, name.as_ref(), value.as_ref());
        }
        found.is_none()
    }

    /// Removes `name`; tells whether it was there. The order of the others stays.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        let Some(position) = self.position(hash(name), name) else { return false };
        self.spans.remove(position);
        self.reindex();
        true
    }

    /// Keeps only the variables for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let slab = &self.slab;
        let before = self.spans.len();
        self.spans.retain(|span| {
            keep(slice(slab, span.name, span.name_len), slice(slab, span.value, span.value_len))
        });
        if self.spans.len() != before {
            self.reindex();
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.spans.iter().map(|span| (slice(&self.slab, span.name, span.name_len), self.value_of(span)))
    }

    /// How many variables there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Removes all, and keeps the memory for the next request.
    pub fn clear(&mut self) {
        self.slab.clear();
        self.spans.clear();
        self.known = [0; Known::ALL.len()];
        self.index.clear();
        self.wsgi_names = false;
    }

    /// Gives memory back that is beyond `bytes`: one huge request must not keep its size for ever.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.slab.shrink_to(bytes);
        self.spans.shrink_to(bytes / size_of::<Span>());
        let spans = &self.spans;
        self.index.shrink_to(bytes / size_of::<Span>(), |at| hash_at(spans, *at));
    }

    /// Sets every variable of `other`, in its order.
    pub fn update(&mut self, other: &Vars) {
        if self.is_empty() {
            // What was removed may have left bytes behind.
            self.slab.clear();
            self.slab.extend_from_slice(&other.slab);
            self.spans.extend_from_slice(&other.spans);
            self.known = other.known;
            self.wsgi_names = other.wsgi_names;
            self.index.clone_from(&other.index);
            return;
        }
        for (name, value) in other.iter() {
            self.set(name, value);
        }
    }

    /// Appends further values to `name`'s own, each behind `separator`. Absent names stay absent.
    pub(crate) fn join<'v>(&mut self, name: &[u8], separator: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        let Some(position) = self.position(hash(name), name) else { return };
        let Some(span) = self.spans.get_mut(position) else { return };
        let start = self.slab.len();
        self.slab.extend_from_within(span.value..span.value + span.value_len);
        for value in values {
            self.slab.extend_from_slice(separator);
            self.slab.extend_from_slice(value);
        }
        (span.value, span.value_len) = (start, self.slab.len() - start);
    }

    /// Whether a name starting with `wsgi.` was ever set: such names are the gateway's own.
    pub(crate) fn has_wsgi_names(&self) -> bool {
        self.wsgi_names
    }

    fn append(&mut self, hash: u64, known: Option<Known>, name: &[u8], value: &[u8]) {
        let Ok(next) = u32::try_from(self.spans.len() + 1) else { return };
        let start = self.slab.len();
        self.slab.extend_from_slice(name);
        self.slab.extend_from_slice(value);
        self.spans.push(Span {
            name: start,
            name_len: name.len(),
            value: start + name.len(),
            value_len: value.len(),
            hash,
            known,
        });
        self.wsgi_names |= name.starts_with(b"wsgi.");
        if let Some(known) = known {
            self.known[known as usize] = next;
        }
        match self.spans.len() {
            len if len == SCAN + 1 => self.reindex(),
            len if len > SCAN => {
                let spans = &self.spans;
                self.index.insert_unique(hash, next - 1, |at| hash_at(spans, *at));
            }
            _ => {}
        }
    }

    fn position(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let matches = |span: &Span| span.hash == hash && slice(&self.slab, span.name, span.name_len) == name;
        if self.spans.len() <= SCAN {
            return self.spans.iter().position(matches);
        }
        let found = self.index.find(hash, |at| {
            usize::try_from(*at).is_ok_and(|position| self.spans.get(position).is_some_and(matches))
        })?;
        usize::try_from(*found).ok()
    }

    fn reindex(&mut self) {
        self.known = [0; Known::ALL.len()];
        self.index.clear();
        let spans = &self.spans;
        for (position, span) in (0u32..).zip(spans) {
            if let Some(known) = span.known {
                self.known[known as usize] = position + 1;
            }
            if spans.len() > SCAN {
                self.index.insert_unique(span.hash, position, |at| hash_at(spans, *at));
            }
        }
    }

    fn value_of(&self, span: &Span) -> &[u8] {
        slice(&self.slab, span.value, span.value_len)
    }
}

/// Writes `value` over the old one where it fits, else at the slab's end.
fn replace(slab: &mut Vec<u8>, span: &mut Span, value: &[u8]) {
    let fits = value.len() <= span.value_len;
    if let (true, Some(place)) = (fits, slab.get_mut(span.value..span.value + value.len())) {
        place.copy_from_slice(value);
    } else {
        span.value = slab.len();
        slab.extend_from_slice(value);
    }
    span.value_len = value.len();
}

fn slice(slab: &[u8], start: usize, len: usize) -> &[u8] {
    slab.get(start..start + len).unwrap_or_default()
}

fn hash_at(spans: &[Span], at: u32) -> u64 {
    usize::try_from(at).ok().and_then(|at| spans.get(at)).map_or(0, |span| span.hash)
}

/// Seeded once per process, so that a peer cannot prepare names that collide.
fn hash(name: &[u8]) -> u64 {
    static SEED: OnceLock<foldhash::fast::FixedState> = OnceLock::new();
    let state = SEED.get_or_init(|| {
        let random = std::hash::RandomState::new().build_hasher().finish();
        foldhash::fast::FixedState::with_seed(random)
    });
    let mut hasher = state.build_hasher();
    hasher.write(name);
    hasher.finish()
}

impl Default for Vars {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the variables with their bytes escaped, `{"NAME": "value"}`.
impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_map().entries(self.iter().map(|(name, value)| (shown(name), shown(value)))).finish()
    }
}

impl PartialEq for Vars {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Vars {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Extend<(N, V)> for Vars {
    fn extend<T: IntoIterator<Item = (N, V)>>(&mut self, pairs: T) {
        for (name, value) in pairs {
            self.set(name, value);
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Vars {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut vars = Vars::new();
        vars.extend(pairs);
        vars
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const COUNT: usize> From<[(N, V); COUNT]> for Vars {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn known_names_and_their_spelling_agree() {
        for (position, known) in Known::ALL.into_iter().enumerate() {
            assert_eq!(Known::find(known.name().as_bytes()), Some(known));
            assert_eq!(known as usize, position);
        }
        assert_eq!(Known::find(b"path_info"), None);
    }

    #[test]
    fn a_replaced_value_keeps_its_place_in_the_order() {
        let mut vars = Vars::from([("A", "1"), ("PATH_INFO", "/x"), ("B", "2")]);
        vars.set("PATH_INFO", "/a much longer path than before");
        vars.set("A", "");
        let all: Vec<_> = vars.iter().collect();
        assert_eq!(
            all,
            [(&b"A"[..], &b""[..]), (b"PATH_INFO", b"/a much longer path than before"), (b"B", b"2")]
        );
    }

    #[test]
    fn clear_keeps_the_memory() {
        let mut vars: Vars = (0..100).map(|n| (format!("NAME_{n}"), "value")).collect();
        let (slab, spans) = (vars.slab.capacity(), vars.spans.capacity());
        vars.clear();
        assert!(vars.is_empty() && !vars.contains("NAME_1"));
        assert_eq!((vars.slab.capacity(), vars.spans.capacity()), (slab, spans));
    }

    proptest! {
        #![proptest_config(crate::repeatable(256))]

        #[test]
        fn behaves_as_an_ordered_dict(ops in prop::collection::vec((0u8..3, 0u8..60, any::<u8>()), 0..300)) {
            let (mut vars, mut order, mut dict) = (Vars::new(), Vec::new(), HashMap::new());
            for (op, name, value) in ops {
                let name = match name {
                    0 => "PATH_INFO".to_owned(),
                    1 => "CONTENT_LENGTH".to_owned(),
                    n => format!("N{n}"),
                };
                if op == 0 {
                    prop_assert_eq!(vars.remove(&name), dict.remove(&name).is_some());
                    order.retain(|known| *known != name);
                } else {
                    let value = vec![value; usize::from(value) % 40];
                    vars.set(&name, &value);
                    if dict.insert(name.clone(), value).is_none() {
                        order.push(name);
                    }
                }
            }
            let expected: Vec<_> = order.iter().map(|name| (name.as_bytes(), dict[name].as_slice())).collect();
            prop_assert_eq!(vars.iter().collect::<Vec<_>>(), expected);
            for (name, value) in &dict {
                prop_assert_eq!(vars.get(name), Some(value.as_slice()));
            }
            let mut copy = Vars::new();
            copy.update(&vars);
            prop_assert_eq!(copy, vars);
        }
    }
}
