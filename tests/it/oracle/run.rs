//! Runs the cases of a section and holds their verdicts against the lists.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::fixture::{self, Case};
use super::lists::{Kind, Lists};

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The library does what was recorded.
    Pass,
    /// It does something else: what.
    Fail(String),
    /// The case cannot be put to the library: why. Given only after the conversion was really tried.
    Impossible(String),
}

/// A value, or the verdict that ends the case: what a case's function returns, so that `?` works in it.
pub(crate) type Checked<T = ()> = Result<T, Verdict>;

impl From<Checked> for Verdict {
    fn from(checked: Checked) -> Self {
        checked.map_or_else(|verdict| verdict, |()| Verdict::Pass)
    }
}

/// A failure with this message.
pub(crate) fn fail<T>(message: impl Into<String>) -> Checked<T> {
    Err(Verdict::Fail(message.into()))
}

/// A case that cannot be put to the library.
pub(crate) fn impossible<T>(reason: impl Into<String>) -> Checked<T> {
    Err(Verdict::Impossible(reason.into()))
}

/// Fails the case unless our result is the recorded one.
pub(crate) fn equal<O: PartialEq<R> + fmt::Debug, R: fmt::Debug>(
    what: &str,
    ours: O,
    recorded: R,
) -> Checked {
    if ours == recorded { Ok(()) } else { fail(format!("{what} is {ours:?}, recorded was {recorded:?}")) }
}

/// The same for JSON values, which it shows as JSON.
pub(crate) fn same(what: &str, ours: impl Into<Value>, recorded: &Value) -> Checked {
    let ours = ours.into();
    if ours == *recorded { Ok(()) } else { fail(format!("{what} is {ours}, recorded was {recorded}")) }
}

/// Runs every case of `file/section`, prints the counts, and panics with every case that is neither on a list nor
/// passes, every listed case whose verdict is not its list's, and every list entry for this section that is stale.
pub(crate) fn run_section<V: Into<Verdict>>(
    file: &str,
    section: &str,
    lists: &Lists,
    run: impl Fn(&Case) -> V,
) {
    let mut report = judge(fixture::section(file, section), lists, run);
    let section = format!("{file}/{section}");
    let stale = lists.entries().filter(|(_, entry)| entry.holds_in(&section) && !entry.is_used());
    report.failures.extend(stale.map(|(kind, entry)| format!("{kind} \"{}\" matches no case", entry.rule)));
    println!("oracle {section}: {report}");
    let Report { failures, .. } = report;
    assert!(failures.is_empty(), "oracle {section}: {} failed\n{}", failures.len(), failures.join("\n"));
}

/// Counts of a section, and what went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    passed: usize,
    impossible: usize,
    dynamic: usize,
    defects: usize,
    waiting: usize,
    failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { passed, impossible, dynamic, defects, waiting, .. } = self;
        write!(
            f,
            "{passed} passed, {impossible} impossible, {dynamic} dynamic, {defects} defects, {waiting} waiting"
        )
    }
}

fn judge<V: Into<Verdict>>(cases: &[Case], lists: &Lists, run: impl Fn(&Case) -> V) -> Report {
    let mut report = Report::default();
    for case in cases {
        // Listed cases run as well: whether they would pass is found out, not believed.
        let verdict = catch_unwind(AssertUnwindSafe(|| run(case).into()));
        let verdict = verdict.unwrap_or_else(|_| Verdict::Fail("it panicked".to_owned()));
        report.add(case, lists, verdict);
    }
    report
}

impl Report {
    fn add(&mut self, case: &Case, lists: &Lists, verdict: Verdict) {
        let id = case.id();
        let listed: Vec<_> = lists.entries().filter(|(_, entry)| entry.matches(case)).collect();
        let failure = match (listed.as_slice(), verdict) {
            ([], Verdict::Pass) => return self.passed += 1,
            ([(Kind::Impossible, _)], Verdict::Impossible(_)) => return self.impossible += 1,
            ([(Kind::Dynamic, _)], Verdict::Impossible(_)) => return self.dynamic += 1,
            ([(Kind::Defect, _)], Verdict::Fail(_)) => return self.defects += 1,
            ([(Kind::Waiting, _)], Verdict::Fail(_)) => return self.waiting += 1,
            ([], Verdict::Fail(message)) => format!("{id}: {message}"),
            ([], Verdict::Impossible(reason)) => format!("{id}: impossible, but on no list: {reason}"),
            ([(kind, entry)], verdict) => {
                format!("{id}: {kind} \"{}\" lists it ({}), but: {verdict:?}", entry.rule, entry.reason)
            }
            (several, _) => {
                let rules: Vec<_> = several.iter().map(|(kind, entry)| (kind, entry.rule)).collect();
                format!("{id}: several entries list it: {rules:?}")
            }
        };
        self.failures.push(failure);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::lists::Entry;
    use super::*;

    const fn entry(rule: &'static str, applies: fn(&Case) -> bool) -> Entry {
        Entry { rule, section: Some("f/s"), applies, reason: "for this test" }
    }

    fn first(case: &Case) -> bool {
        case.get("name") == "first"
    }

    const NONE: Lists = Lists { dynamic: &[], impossible: &[], defects: &[], waiting: &[] };
    const DYNAMIC: Lists = Lists { dynamic: &[entry("d", first)], ..NONE };
    const IMPOSSIBLE: Lists = Lists { impossible: &[entry("i", first)], ..NONE };
    const DEFECT: Lists = Lists { defects: &[entry("b", first)], ..NONE };
    const WAITING: Lists = Lists { waiting: &[entry("w", first)], ..NONE };

    /// The report on one case with that verdict.
    fn report(lists: &Lists, verdict: &Verdict) -> (String, usize) {
        let case = Case::new("f/s", 0, json!({"name": "first"}));
        let report = judge(&[case], lists, |_| verdict.clone());
        (report.to_string(), report.failures.len())
    }

    #[test]
    fn a_case_needs_the_verdict_of_its_list_and_no_other() {
        let verdicts = [Verdict::Pass, Verdict::Fail(String::new()), Verdict::Impossible(String::new())];
        let table = [
            (&NONE, 0, "1 passed, 0 impossible, 0 dynamic, 0 defects, 0 waiting"),
            (&DYNAMIC, 2, "0 passed, 0 impossible, 1 dynamic, 0 defects, 0 waiting"),
            (&IMPOSSIBLE, 2, "0 passed, 1 impossible, 0 dynamic, 0 defects, 0 waiting"),
            (&DEFECT, 1, "0 passed, 0 impossible, 0 dynamic, 1 defects, 0 waiting"),
            (&WAITING, 1, "0 passed, 0 impossible, 0 dynamic, 0 defects, 1 waiting"),
        ];
        for (lists, wanted, counted) in table {
            for (at, verdict) in verdicts.iter().enumerate() {
                let (text, failures) = report(lists, verdict);
                assert_eq!(failures, usize::from(at != wanted), "{verdict:?}");
                assert_eq!(text == counted, at == wanted, "{verdict:?}: {text}");
            }
        }
    }

    #[test]
    fn two_entries_for_one_case_are_refused() {
        let both = Lists { impossible: IMPOSSIBLE.impossible, ..DYNAMIC };
        assert_eq!(report(&both, &Verdict::Impossible(String::new())).1, 1);
    }

    #[test]
    fn a_panic_fails_its_own_case_only() {
        let cases = [json!({"name": "first"}), json!({"name": "second"})];
        let cases = cases.map(|value| Case::new("f/s", 0, value));
        let report =
            judge(&cases, &NONE, |case| if first(case) { panic!("in a case") } else { Verdict::Pass });
        assert_eq!(report.failures, ["f/s#0 first: it panicked"]);
        assert_eq!(report.passed, 1);
    }

    #[test]
    fn an_entry_that_matches_nothing_fails_its_section() {
        let everywhere = Entry { section: None, ..entry("n", |_| false) };
        let here = Entry { section: Some("read_environ/needs_transcode"), ..entry("h", |_| false) };
        let elsewhere = entry("e", |_| false);
        let lists = Lists { defects: Box::leak(Box::new([everywhere, here, elsewhere])), ..NONE };
        let run = || run_section("read_environ", "needs_transcode", &lists, |_| Verdict::Pass);
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("stale entries must fail");
        let message = panic.downcast_ref::<String>().expect("a formatted panic");
        assert!(message.contains("2 failed"), "{message}");
        assert!(message.contains("defect \"n\" matches no case"), "{message}");
        assert!(message.contains("defect \"h\" matches no case"), "{message}");
    }
}
