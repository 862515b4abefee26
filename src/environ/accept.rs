//! What of a peer's parameters reaches an application.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::spelling::{Name, Spelling, has_nul};
use super::{Known, Vars};
use crate::error::Error;
#[cfg(unix)]
use crate::proto::NamedPair;

/// Gathers a request's parameters from the wire into [`Vars`], by one set of rules for every protocol.
///
/// - A repeated `HTTP_` name is joined with `, ` (HTTP_COOKIE with `; `), which is what front ends mean that send a
///   repeated header as repeated parameters (RFC 3875, section 4.1.18); of other names the last value wins.
/// - A repeated CONTENT_LENGTH must be empty or equal to the first.
/// - Dropped are names and values that no environment can hold: an empty name, a name with `=` or NUL, a value with NUL.
///
/// ```
/// use gatewright::environ::{Collector, Vars};
///
/// let mut vars = Vars::new();
/// let mut collector = Collector::new(&mut vars);
/// for (name, value) in [("HTTP_VIA", "a"), ("X", "1"), ("HTTP_VIA", "b"), ("X", "2")] {
///     collector.push(name.as_bytes(), value.as_bytes())?;
/// }
/// collector.finish();
/// assert_eq!(vars, Vars::from([("HTTP_VIA", "a, b"), ("X", "2")]));
/// # Ok::<(), gatewright::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Collector<'v> {
    vars: &'v mut Vars,
    /// Later values of repeated headers, joined in one go at the end: joining each as it comes would copy the earlier
    /// ones again and again, at a hostile peer's will.
    repeated: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'v> Collector<'v> {
    /// Gathers into `vars`, which should be empty.
    pub fn new(vars: &'v mut Vars) -> Self {
        Self { vars, repeated: Vec::new() }
    }

    /// Gathers what stands in `block` already, which becomes the variables' memory: see
    /// [`push_from_block`](Self::push_from_block). In exchange it becomes what they had.
    #[cfg(unix)]
    pub(crate) fn over(vars: &'v mut Vars, block: &mut Vec<u8>) -> Self {
        vars.adopt(block);
        Self::new(vars)
    }

    /// The block that is gathered from.
    #[cfg(unix)]
    pub(crate) fn block(&self) -> &[u8] {
        self.vars.slab()
    }

    /// Takes the next pair.
    ///
    /// # Errors
    /// Status 400 for a second CONTENT_LENGTH that says something else than the first.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let (name, value) = self.vars.put(name, value);
        self.push_from_block(&name, &value)
    }

    /// Takes pairs from `at` on, which moves on, as long as their names are those of the request before, and says how
    /// many there were, at most `most`. `named` finds a pair at a place if it has the expected name.
    #[cfg(unix)]
    #[inline(always)]
    pub(crate) fn follow(
        &mut self,
        at: &mut usize,
        most: usize,
        named: impl FnMut(&[u8], usize, &[u8]) -> Option<NamedPair>,
    ) -> usize {
        self.vars.follow(at, most, named);
        self.vars.len()
    }

    /// Takes the next pair from where it stands in the block.
    pub(crate) fn push_from_block(&mut self, at: &Range<usize>, to: &Range<usize>) -> Result<(), Error> {
        let slab = self.vars.slab();
        let (Some(name), Some(value)) = (slab.get(at.clone()), slab.get(to.clone())) else { return Ok(()) };
        let spelling = Spelling::of(name);
        if name.is_empty() || spelling.unfit || has_nul(value) {
            report_dropped(log::Level::Warn, name, "no environment can hold it");
            return Ok(());
        }
        let Some(position) = self.vars.position(spelling.tag, name) else {
            self.vars.add(spelling, at, to);
            return Ok(());
        };
        if name.starts_with(b"HTTP_") {
            self.repeated.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if name == b"CONTENT_LENGTH"
            && let Some(first) = self.vars.known(Known::ContentLength)
            && !first.is_empty()
        {
            return match value.is_empty() || first == value {
                true => Ok(()),
                false => Err(Error::bad_request("CONTENT_LENGTH came twice, with different values")),
            };
        }
        self.vars.replace(position, to);
        Ok(())
    }

    /// Joins what was repeated; the variables are complete then.
    pub fn finish(self) {
        let Self { vars, mut repeated } = self;
        vars.note_layout();
        repeated.sort_by(|(one, _), (other, _)| one.cmp(other));
        for group in repeated.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((name, _)) = group.first() else { continue };
            let separator: &[u8] = if name == b"HTTP_COOKIE" { b"; " } else { b", " };
            vars.join(name, separator, group.iter().map(|(_, value)| value.as_slice()));
        }
    }
}

/// Removes what no application should see: the safe policy's rule for every front, the process environment of a CGI
/// program included.
///
/// - HTTP_PROXY, which HTTP clients inside an application would obey ("httpoxy", CVE-2016-5386);
/// - HTTP_CONTENT_TYPE and HTTP_CONTENT_LENGTH, doubles of the two variables without `HTTP_`;
/// - an `HTTP_` name that differs from an earlier one only by `_`, `-` or `.`: two headers that would be taken for one;
/// - CONTENT_LENGTH, CONTENT_TYPE, AUTH_TYPE, REMOTE_USER, REMOTE_IDENT, PATH_TRANSLATED and HTTPS when empty, since
///   web servers send them so to say that they are absent.
///
/// What is dropped is logged once per name.
pub fn sanitise(vars: &mut Vars) {
    sanitise_except::<&str>(vars, &[]);
}

/// [`sanitise`], without touching the variables that `keep` names exactly.
///
/// ```
/// use gatewright::environ::{Vars, sanitise_except};
///
/// let mut vars = Vars::from([("HTTP_PROXY", "a"), ("HTTP_CONTENT_TYPE", "b")]);
/// sanitise_except(&mut vars, &["HTTP_PROXY"]);
/// assert_eq!(vars, Vars::from([("HTTP_PROXY", "a")]));
/// ```
pub fn sanitise_except<N: AsRef<str>>(vars: &mut Vars, keep: &[N]) {
    let dropped = |name: &[u8]| !keep.iter().any(|kept| kept.as_ref().as_bytes() == name);
    const PROXY: Name = Name::of("HTTP_PROXY");
    if vars.may_have(&PROXY) && dropped(PROXY.text()) && vars.remove(PROXY.text()) {
        report_dropped(
            log::Level::Warn,
            PROXY.text(),
            "HTTP clients would take the client's word for their proxy (httpoxy); --keep-variable keeps it",
        );
    }
    const DOUBLES: [Name; 2] = [Name::of("HTTP_CONTENT_TYPE"), Name::of("HTTP_CONTENT_LENGTH")];
    for double in &DOUBLES {
        if vars.may_have(double) && dropped(double.text()) && vars.remove(double.text()) {
            // No cause for worry: nginx sends them with every request that has a body.
            report_dropped(
                log::Level::Debug,
                double.text(),
                "it doubles the variable without HTTP_; --keep-variable keeps it",
            );
        }
    }
    const NAMELESS: Name = Name::of("");
    if vars.may_have(&NAMELESS) {
        vars.remove(NAMELESS.text());
    }
    const EMPTY_IS_ABSENT: [Name; 7] = [
        Name::of("CONTENT_LENGTH"),
        Name::of("CONTENT_TYPE"),
        Name::of("AUTH_TYPE"),
        Name::of("REMOTE_USER"),
        Name::of("REMOTE_IDENT"),
        Name::of("PATH_TRANSLATED"),
        Name::of("HTTPS"),
    ];
    for name in &EMPTY_IS_ABSENT {
        if dropped(name.text()) {
            vars.remove_empty(name);
        }
    }
    if vars.has_odd_headers() {
        drop_aliases(vars, dropped);
    }
}

fn drop_aliases(vars: &mut Vars, dropped: impl Fn(&[u8]) -> bool) {
    let mut seen = HashSet::new();
    vars.retain(|name, _| {
        if !name.starts_with(b"HTTP_") {
            return true;
        }
        let plain: Vec<u8> =
            name.iter().map(|byte| if matches!(byte, b'-' | b'.') { b'_' } else { *byte }).collect();
        let kept = seen.insert(plain) || !dropped(name);
        if !kept {
            report_dropped(
                log::Level::Warn,
                name,
                "it differs from an earlier header only by '_', '-' or '.'; --keep-variable keeps it",
            );
        }
        kept
    });
}

/// Says once per name that a parameter was dropped. The names are a peer's, so the memory of them is bounded.
pub(crate) fn report_dropped(level: log::Level, name: &[u8], why: &str) {
    const REMEMBERED: usize = 256;
    static REPORTED: OnceLock<Mutex<HashSet<Vec<u8>>>> = OnceLock::new();
    if !log::log_enabled!(level) {
        return;
    }
    let name = name.get(..64).unwrap_or(name);
    let mut reported = REPORTED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if reported.len() < REMEMBERED && reported.insert(name.to_vec()) {
        log::log!(level, "parameter {} is dropped: {why}", name.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(pairs: &[(&str, &str)]) -> Result<Vars, Error> {
        let mut vars = Vars::new();
        let mut collector = Collector::new(&mut vars);
        for (name, value) in pairs {
            collector.push(name.as_bytes(), value.as_bytes())?;
        }
        collector.finish();
        Ok(vars)
    }

    #[test]
    fn repeated_headers_are_joined_in_order() {
        let vars = collect(&[
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_B", "1"),
            ("HTTP_A", "x"),
            ("HTTP_B", "2"),
            ("HTTP_COOKIE", "b=2"),
            ("HTTP_B", "3"),
        ]);
        let expected = Vars::from([("HTTP_COOKIE", "a=1; b=2"), ("HTTP_B", "1, 2, 3"), ("HTTP_A", "x")]);
        assert_eq!(vars.unwrap(), expected);
    }

    #[test]
    fn what_no_environment_can_hold_is_dropped() {
        let vars =
            collect(&[("", "x"), ("A=B", "x"), ("A\0", "x"), ("B", "a\0b"), ("C-d.e", "\n\x01")]).unwrap();
        assert_eq!(vars, Vars::from([("C-d.e", "\n\x01")]));
    }

    #[test]
    fn a_second_content_length_must_agree() {
        let length = |first, second| collect(&[("CONTENT_LENGTH", first), ("CONTENT_LENGTH", second)]);
        assert_eq!(length("5", "5").unwrap().get("CONTENT_LENGTH"), Some(&b"5"[..]));
        assert_eq!(length("5", "").unwrap().get("CONTENT_LENGTH"), Some(&b"5"[..]));
        assert_eq!(length("", "5").unwrap().get("CONTENT_LENGTH"), Some(&b"5"[..]));
        assert_eq!(length("5", "6").unwrap_err().status(), 400);
    }

    #[test]
    fn sanitising_drops_dangerous_and_absent_variables() {
        let mut vars = Vars::from([
            ("HTTP_PROXY", "evil:1"),
            ("HTTP_CONTENT_TYPE", "a"),
            ("HTTP_CONTENT_LENGTH", "1"),
            ("CONTENT_LENGTH", ""),
            ("HTTPS", ""),
            ("PATH_INFO", ""),
            ("HTTP_X_REAL", "1"),
            ("HTTP_X-REAL", "2"),
            ("HTTP_Y.A", "3"),
            ("HTTP_Y_A", "4"),
            ("X-Y", "5"),
            ("X_Y", "6"),
        ]);
        sanitise(&mut vars);
        let expected =
            [("PATH_INFO", ""), ("HTTP_X_REAL", "1"), ("HTTP_Y.A", "3"), ("X-Y", "5"), ("X_Y", "6")];
        assert_eq!(vars, Vars::from(expected));
    }

    #[test]
    fn a_thousand_repeats_cost_no_more_than_their_bytes() {
        let pairs: Vec<_> =
            (0..4096).map(|n| if n % 2 == 0 { ("HTTP_A", "xxxx") } else { ("HTTP_B", "yyyy") }).collect();
        let vars = collect(&pairs).unwrap();
        assert_eq!(vars.get("HTTP_A").map(<[u8]>::len), Some(2048 * 6 - 2));
    }
}
