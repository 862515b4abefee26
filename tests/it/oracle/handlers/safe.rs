//! The safe policy: every run is as under wsgiref's, but for the named differences.
//!
//! Each recorded case that our types can hold runs under both policies, and so do some made-up ones for differences that
//! no recorded case shows. From the outcome under wsgiref's policy, which the oracle has confirmed, the rules of
//! [`differences`] make the one that the safe policy must have. A case that differs by no rule fails, and so do a rule
//! that makes no difference to a case it applies to, a rule that no case shows, and a row of the documented table that has
//! no rule.

mod differences;
mod facts;
mod made_up;

use std::collections::BTreeMap;

use gatewright::handlers::{Policy, capture_panics};

use self::differences::{DIFFERENCES, Difference};
use self::facts::Facts;
use super::super::fixture::{self, Case};
use super::super::run::{Checked, Verdict, equal, fail};
use super::drive::{Ran, drive};
use super::script::Ways;

/// How many cases showed a difference, recorded ones and made-up ones.
type Shown = BTreeMap<&'static str, (usize, usize)>;

#[test]
fn the_safe_policy_differs_only_as_documented() {
    capture_panics();
    let mut shown = Shown::new();
    let mut failures = Vec::new();
    let mut alike = 0;
    for section in ["handler_runs", "handler_reuse"] {
        for case in fixture::section("handler_runs", section) {
            match check(case) {
                Ok(rows) => {
                    alike += usize::from(rows.iter().all(|row| *row == "each write"));
                    rows.into_iter().for_each(|row| shown.entry(row).or_default().0 += 1);
                }
                // The lists of the oracle answer for the cases that our types cannot hold.
                Err(Verdict::Impossible(_)) => {}
                Err(verdict) => failures.push(format!("{}: {verdict:?}", case.id())),
            }
        }
    }
    for case in made_up::cases() {
        match check(&case) {
            Ok(rows) => rows.into_iter().for_each(|row| shown.entry(row).or_default().1 += 1),
            Err(verdict) => failures.push(format!("{}: {verdict:?}", case.id())),
        }
    }
    println!("safe policy: {alike} recorded cases differ in the grouping of writes at most");
    for (row, (recorded, made_up)) in &shown {
        println!("safe policy: {recorded:3} recorded, {made_up} made up: {row}");
    }
    for Difference { row, .. } in DIFFERENCES {
        if !shown.contains_key(row) {
            failures.push(format!("no case shows \"{row}\""));
        }
    }
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

/// The rows of the table in the documentation of `Policy`, each with its rule here.
#[test]
fn every_documented_difference_has_its_rule() {
    let source = include_str!("../../../../src/handlers/policy.rs");
    let rows: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("/// | "))
        .filter_map(|line| line.split(" | ").next()?.split(" ([").next())
        .filter(|row| *row != "what")
        .collect();
    let mut rules: Vec<&str> = DIFFERENCES.iter().map(|difference| difference.row).collect();
    let mut documented = rows.clone();
    documented.sort_unstable();
    rules.sort_unstable();
    assert_eq!(documented, rules);
}

/// Compares one case under both policies; gives the differences that it shows.
fn check(case: &Case) -> Checked<Vec<&'static str>> {
    let mut rows = Vec::new();
    for ways in Ways::ALL {
        let apps = apps(case);
        let under =
            |policy| drive(case, &apps.iter().map(|app| app.get("app")).collect::<Vec<_>>(), policy, ways);
        let (wsgiref, safe) = (under(Policy::Wsgiref)?, under(Policy::Safe)?);
        for ((one, base), safe) in apps.iter().zip(&wsgiref).zip(safe) {
            for row in check_run(&Facts { case: one, base, ways }, safe)? {
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// The case once for each application it runs.
fn apps(case: &Case) -> Vec<Case> {
    match case.get("apps").as_array() {
        None => vec![case.with("app", case.get("app").clone())],
        Some(apps) => apps.iter().map(|app| case.with("app", app.clone())).collect(),
    }
}

fn check_run(facts: &Facts<'_>, safe: Ran) -> Checked<Vec<&'static str>> {
    let applying: Vec<&Difference> =
        DIFFERENCES.iter().filter(|difference| (difference.applies)(facts)).collect();
    let expected = expected(facts, applying.iter().copied())?;
    equal("the safe run", tell_once(safe), tell_once(expected.clone()))?;
    for difference in &applying {
        let without = applying.iter().copied().filter(|other| other.row != difference.row);
        if self::expected(facts, without)? == expected {
            return fail(format!("\"{}\" makes no difference here", difference.row));
        }
    }
    Ok(applying.iter().map(|difference| difference.row).collect())
}

fn expected<'d>(facts: &Facts<'_>, differences: impl Iterator<Item = &'d Difference>) -> Checked<Ran> {
    let mut ran = facts.base.clone();
    for difference in differences {
        ran = (difference.rule)(facts, ran)?;
    }
    Ok(ran)
}

/// A dropped parameter is warned of once in the life of a process, so whether it was here depends on what ran before.
fn tell_once(mut ran: Ran) -> Ran {
    ran.warnings.retain(|warning| !warning.starts_with("parameter "));
    ran
}
