//! The CGI variables of one request: byte strings in the order they came, in one slab of memory.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::OnceLock;

use hashbrown::HashTable;

use super::known::Known;
use super::layout::{Layout, Seen};
#[cfg(unix)]
use super::spelling::has_nul;
use super::spelling::{Name, Spelling};
#[cfg(unix)]
use crate::proto::NamedPair;

/// Up to this many variables a scan over their tags is faster than an index.
pub(super) const SCAN: usize = 32;

/// Where one variable lies in the slab: its value need not stand beside its name.
#[derive(Clone, Copy)]
struct Span {
    name: Piece,
    value: Piece,
    tag: u32,
    known: Option<Known>,
}

/// A part of the slab: from where, and how long. Half the size of a range, since all places are looked through.
#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    len: u32,
}

impl Piece {
    fn new(range: &Range<usize>) -> Option<Self> {
        let (start, len) = (u32::try_from(range.start).ok()?, u32::try_from(range.len()).ok()?);
        Some(Self { start, len })
    }

    fn of(self, slab: &[u8]) -> &[u8] {
        let start = self.start as usize;
        slab.get(start..start + self.len as usize).unwrap_or_default()
    }
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
    /// Made for the first variable, and kept.
    finder: Option<Box<Finder>>,
}

/// How variables are found. In memory of its own: a request is handed on several times.
#[derive(Clone)]
struct Finder {
    /// Position + 1 of each known name; 0 is absent.
    known: [u32; Known::ALL.len()],
    seen: Seen,
    /// Positions by hash; filled only past [`SCAN`] variables.
    index: HashTable<u32>,
    wsgi_names: bool,
    odd_headers: bool,
    /// What the names of the request before were, which mostly are those of the next.
    layout: Layout,
    /// Whether all variables so far are the layout's first ones.
    follows: bool,
}

impl Finder {
    const fn new() -> Self {
        Self {
            known: [0; Known::ALL.len()],
            seen: Seen::new(),
            index: HashTable::new(),
            wsgi_names: false,
            odd_headers: false,
            layout: Layout::new(),
            follows: true,
        }
    }

    fn boxed() -> Box<Self> {
        Box::new(Self::new())
    }

    /// Forgets all variables, but not what their names were.
    fn clear(&mut self) {
        self.known = [0; Known::ALL.len()];
        self.seen = Seen::new();
        self.index.clear();
        (self.wsgi_names, self.odd_headers, self.follows) = (false, false, true);
    }

    /// A variable stands at this position.
    #[inline(always)]
    fn note(&mut self, known: Option<Known>, position: usize) {
        if let Some(known) = known {
            self.known[known as usize] = position as u32 + 1;
        }
    }
}

impl Vars {
    /// No variables, and no memory taken yet.
    pub const fn new() -> Self {
        Self { slab: Vec::new(), spans: Vec::new(), finder: None }
    }

    /// No variables, and room for so many, and for so many bytes of names and values.
    pub(super) fn with_room(count: usize, bytes: usize) -> Self {
        Self { slab: Vec::with_capacity(bytes), spans: Vec::with_capacity(count), ..Self::new() }
    }

    /// The value of `name`, if it is set. Names are compared byte for byte.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let position = self.position(Spelling::of(name).tag, name)?;
        self.spans.get(position).map(|span| span.value.of(&self.slab))
    }

    /// The value of a known name, without a search.
    pub fn known(&self, name: Known) -> Option<&[u8]> {
        let position = *self.finder.as_ref()?.known.get(name as usize)?;
        let span = self.spans.get(usize::try_from(position.checked_sub(1)?).ok()?)?;
        Some(span.value.of(&self.slab))
    }

    /// Whether `name` is set, to whatever value.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`: replaces its value where it stands, or appends it.
    ///
    /// All names and values together may have 4 GiB; what would exceed them is not set.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let spelling = Spelling::of(name);
        let found = self.position(spelling.tag, name);
        let Some(position) = found else { return self.append(spelling, name, value) };
        let Some(span) = self.spans.get_mut(position) else { return };
        let start = span.value.start as usize;
        let place = self.slab.get_mut(start..start + value.len());
        if let (true, Some(place)) = (value.len() <= span.value.len as usize, place) {
            place.copy_from_slice(value);
            span.value.len = value.len() as u32;
        } else {
            let start = self.slab.len();
            self.slab.extend_from_slice(value);
            self.replace(position, &(start..start + value.len()));
        }
    }

    /// Sets `name` only where it is absent; tells whether it did.
    pub fn set_default(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> bool {
        let (name, value) = (name.as_ref(), value.as_ref());
        let spelling = Spelling::of(name);
        let absent = self.position(spelling.tag, name).is_none();
        if absent {
            self.append(spelling, name, value);
        }
        absent
    }

    /// Removes `name`; tells whether it was there. The order of the others stays.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        let Some(position) = self.position(Spelling::of(name).tag, name) else { return false };
        self.remove_at(position);
        true
    }

    fn remove_at(&mut self, position: usize) {
        let indexed = self.spans.len() > SCAN;
        self.spans.remove(position);
        if indexed {
            return self.reindex();
        }
        if let Some(finder) = &mut self.finder {
            let removed = position as u32 + 1;
            for place in &mut finder.known {
                *place = if *place == removed { 0 } else { *place - u32::from(*place > removed) };
            }
        }
    }

    /// Keeps only the variables for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let before = self.spans.len();
        let slab = &self.slab;
        self.spans.retain(|span| keep(span.name.of(slab), span.value.of(slab)));
        if self.spans.len() != before {
            self.reindex();
        }
    }

    /// Removes `name` if it is set to nothing.
    pub(super) fn remove_empty(&mut self, name: &Name) {
        if let Some(position) = self.position(name.tag, name.text())
            && self.spans.get(position).is_some_and(|span| span.value.len == 0)
        {
            self.remove_at(position);
        }
    }

    /// `false` for a name that is surely not set.
    #[inline]
    pub(super) fn may_have(&self, name: &Name) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.seen.may_have(name.tag))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.spans.iter().map(|span| (span.name.of(&self.slab), span.value.of(&self.slab)))
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
        if let Some(finder) = &mut self.finder {
            finder.clear();
        }
    }

    /// Gives memory back that is beyond `bytes`: one huge request must not keep its size for ever.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.slab.shrink_to(bytes);
        self.spans.shrink_to(bytes / size_of::<Span>());
        let (slab, spans) = (&self.slab, &self.spans);
        if let Some(finder) = &mut self.finder {
            finder.index.shrink_to(bytes / size_of::<Span>(), |at| hash_at(slab, spans, *at));
        }
    }

    /// Sets every variable of `other`, in its order.
    pub fn update(&mut self, other: &Vars) {
        if self.is_empty() {
            // What was removed may have left bytes behind.
            self.slab.clear();
            self.slab.extend_from_slice(&other.slab);
            self.spans.extend_from_slice(&other.spans);
            self.finder.clone_from(&other.finder);
            return;
        }
        for (name, value) in other.iter() {
            self.set(name, value);
        }
    }

    /// Appends further values to `name`'s own, each behind `separator`. Absent names stay absent.
    pub(crate) fn join<'v>(&mut self, name: &[u8], separator: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        let Some(position) = self.position(Spelling::of(name).tag, name) else { return };
        let Some(Piece { start: first, len }) = self.spans.get(position).map(|span| span.value) else {
            return;
        };
        let (first, start) = (first as usize, self.slab.len());
        self.slab.extend_from_within(first..first + len as usize);
        for value in values {
            self.slab.extend_from_slice(separator);
            self.slab.extend_from_slice(value);
        }
        self.replace(position, &(start..self.slab.len()));
    }

    /// Whether a header was ever set whose name has `-` or `.`.
    pub(super) fn has_odd_headers(&self) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.odd_headers)
    }

    /// Whether a name starting with `wsgi.` was ever set: such names are the gateway's own.
    pub(crate) fn has_wsgi_names(&self) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.wsgi_names)
    }

    /// Begins anew, on memory that names and values stand in already; `block` becomes the memory that was used so far.
    #[cfg(unix)]
    pub(super) fn adopt(&mut self, block: &mut Vec<u8>) {
        self.clear();
        std::mem::swap(&mut self.slab, block);
    }

    /// The memory that names and values stand in.
    pub(super) fn slab(&self) -> &[u8] {
        &self.slab
    }

    /// Puts a name and a value behind what is there, of which no variable knows yet.
    pub(super) fn put(&mut self, name: &[u8], value: &[u8]) -> (Range<usize>, Range<usize>) {
        let start = self.slab.len();
        self.slab.extend_from_slice(name);
        let middle = self.slab.len();
        self.slab.extend_from_slice(value);
        (start..middle, middle..self.slab.len())
    }

    fn append(&mut self, spelling: Spelling, name: &[u8], value: &[u8]) {
        let (at, to) = self.put(name, value);
        self.add(spelling, &at, &to);
    }

    /// Adds what begins at `at` of the slab, which moves on, as long as the names are those of the time before. That they
    /// are distinct and fit to be names is known of those. `named` finds a pair of the name that is expected.
    #[cfg(unix)]
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        at: &mut usize,
        most: usize,
        mut named: impl FnMut(&[u8], usize, &[u8]) -> Option<NamedPair>,
    ) {
        let Some(finder) = self.finder.as_mut().filter(|_| self.spans.is_empty()) else { return };
        if u32::try_from(self.slab.len()).is_err() {
            return;
        }
        let Finder { known: positions, seen, layout, .. } = &mut **finder;
        let (slab, spans) = (&self.slab[..], &mut self.spans);
        *seen = layout.seen();
        for (name, tag, known) in layout.names().take(most) {
            let Some(found) = named(slab, *at, name) else { return };
            let start = found.value_at;
            if slab.get(start..start + found.value_len).is_none_or(has_nul) {
                return;
            }
            // All of it is less than the slab's length.
            let piece = |start: usize, len: usize| Piece { start: start as u32, len: len as u32 };
            let (name, value) = (piece(found.name_at, name.len()), piece(start, found.value_len));
            spans.push(Span { name, value, tag, known });
            if let Some(known) = known {
                positions[known as usize] = spans.len() as u32;
            }
            *at = found.end;
        }
    }

    /// The variables are complete: the next ones will mostly have the same names.
    pub(super) fn note_layout(&mut self) {
        let (slab, spans) = (&self.slab, &self.spans);
        if let Some(finder) = self.finder.as_mut().filter(|finder| !finder.follows)
            && spans.len() <= SCAN
        {
            finder.layout.learn(spans.iter().map(|span| (span.name.of(slab), span.tag, span.known)));
        }
    }

    /// Has a variable stand where its name and value already are.
    #[inline(always)]
    pub(super) fn add(&mut self, spelling: Spelling, name: &Range<usize>, value: &Range<usize>) {
        let (Some(name), Some(value)) = (Piece::new(name), Piece::new(value)) else { return };
        let (tag, text) = (spelling.tag, name.of(&self.slab));
        let known = Known::by_tag(tag, text);
        let finder = self.finder.get_or_insert_with(Finder::boxed);
        if spelling.odd {
            finder.wsgi_names |= text.starts_with(b"wsgi.");
            finder.odd_headers |= text.starts_with(b"HTTP_");
        }
        finder.follows = false;
        finder.seen.add(tag);
        finder.note(known, self.spans.len());
        self.spans.push(Span { name, value, tag, known });
        if self.spans.len() > SCAN {
            self.add_to_index();
        }
    }

    #[cold]
    fn add_to_index(&mut self) {
        if self.spans.len() == SCAN + 1 {
            return self.reindex();
        }
        let (slab, spans) = (&self.slab, &self.spans);
        let (Some(last), Some(finder)) = (spans.last(), &mut self.finder) else { return };
        let position = spans.len() as u32 - 1;
        finder.index.insert_unique(hash(last.name.of(slab)), position, |at| hash_at(slab, spans, *at));
    }

    /// Has a variable's value stand somewhere else.
    pub(super) fn replace(&mut self, position: usize, value: &Range<usize>) {
        if let (Some(span), Some(value)) = (self.spans.get_mut(position), Piece::new(value)) {
            span.value = value;
        }
    }

    #[inline]
    pub(super) fn position(&self, tag: u32, name: &[u8]) -> Option<usize> {
        let finder = self.finder.as_ref()?;
        if finder.seen.may_have(tag) { self.search(finder, tag, name) } else { None }
    }

    fn search(&self, finder: &Finder, tag: u32, name: &[u8]) -> Option<usize> {
        if let Some(known) = Known::by_tag(tag, name) {
            return usize::try_from(finder.known[known as usize].checked_sub(1)?).ok();
        }
        let matches = |span: &Span| span.tag == tag && span.name.of(&self.slab) == name;
        if self.spans.len() <= SCAN {
            return self.spans.iter().position(matches);
        }
        let found = finder.index.find(hash(name), |at| {
            usize::try_from(*at).is_ok_and(|position| self.spans.get(position).is_some_and(matches))
        })?;
        usize::try_from(*found).ok()
    }

    fn reindex(&mut self) {
        let Some(finder) = &mut self.finder else { return };
        finder.known = [0; Known::ALL.len()];
        finder.index.clear();
        let (slab, spans) = (&self.slab, &self.spans);
        for (position, span) in spans.iter().enumerate() {
            finder.note(span.known, position);
            if spans.len() > SCAN {
                let hash = hash(span.name.of(slab));
                finder.index.insert_unique(hash, position as u32, |at| hash_at(slab, spans, *at));
            }
        }
    }
}

fn hash_at(slab: &[u8], spans: &[Span], at: u32) -> u64 {
    usize::try_from(at).ok().and_then(|at| spans.get(at)).map_or(0, |span| hash(span.name.of(slab)))
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
    fn names_with_one_tag_are_told_apart() {
        let name = |n: u8| [&b"ABCDEFGH"[..], &[n; 8], b"IJKLMNOP"].concat();
        let vars: Vars = (b'a'..=b'z').map(|n| (name(n), [n])).collect();
        assert_eq!(Spelling::of(&name(b'a')).tag, Spelling::of(&name(b'b')).tag);
        for n in b'a'..=b'z' {
            assert_eq!(vars.get(name(n)), Some(&[n][..]));
        }
        assert!(!vars.contains(name(b'0')));
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
