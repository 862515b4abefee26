//! What happens here in place of the recorded defects: being on the list says only that it is something else.

use gatewright::handlers::{End, Policy};

use super::super::fixture::{self, Case};
use super::super::lists::DEFECTS;
use super::drive::{Ran, as_recorded, drive};
use super::script::Ways;

/// All runs, under wsgiref's policy, of the cases that an entry means.
fn runs_of(quirk: &str, section: &str) -> Vec<(&'static Case, Vec<Ran>)> {
    let means =
        |case: &Case| DEFECTS.iter().any(|entry| entry.rule.starts_with(quirk) && entry.matches(case));
    let cases = fixture::section("handler_runs", section).iter().filter(|case| means(case));
    let runs: Vec<_> = cases
        .map(|case| {
            let apps = case
                .get("apps")
                .as_array()
                .map_or_else(|| vec![case.get("app")], |apps| apps.iter().collect());
            (case, drive(case, &apps, Policy::Wsgiref, Ways::default()).expect("a case that can be put"))
        })
        .collect();
    assert!(!runs.is_empty(), "{quirk} in {section}");
    runs
}

fn output(ran: &Ran) -> String {
    String::from_utf8(as_recorded(&ran.output)).expect("these cases are ASCII")
}

#[test]
fn a_client_that_has_gone_is_reported_as_such() {
    for (case, runs) in runs_of("Q2", "handler_runs") {
        assert_eq!(runs[0].requests, [(Some(200), 0, End::ClientGone)], "{}", case.id());
        assert_eq!((output(&runs[0]).as_str(), runs[0].stderr.as_str()), ("", ""), "{}", case.id());
    }
}

#[test]
fn a_handler_can_be_used_again_after_any_outcome() {
    for quirk in ["Q2", "Q3"] {
        for (case, runs) in runs_of(quirk, "handler_reuse") {
            assert_eq!(output(&runs[0]), case.expect()[0]["output_text"], "{}", case.id());
            let second = output(&runs[1]);
            assert!(second.contains("201 Created\r\n") && second.ends_with("\r\n\r\ntwo!"), "{}", case.id());
            assert_eq!((runs[1].end, runs[1].stderr.as_str()), (End::Answered, ""), "{}", case.id());
        }
    }
}

#[test]
fn a_failing_close_is_logged_and_adds_nothing_to_the_response() {
    for (case, runs) in runs_of("Q6", "handler_runs") {
        let [ran] = runs.as_slice() else { panic!("{} is one run", case.id()) };
        assert_eq!(output(ran), case.expect()["output_text"], "{}", case.id());
        assert_eq!(ran.stderr, "gatewright: GET /: RuntimeError: close failed\n", "{}", case.id());
        assert_eq!((ran.end, &ran.escaped, ran.logged), (End::Answered, &None, true), "{}", case.id());
    }
}

#[test]
fn an_iterable_is_closed_once_when_the_error_page_fails_too() {
    for (case, runs) in runs_of("Q14", "handler_runs") {
        let closed = runs[0].events.iter().filter(|event| **event == "close").count();
        assert_eq!((closed, runs[0].escaped.is_some()), (1, true), "{}", case.id());
    }
}
