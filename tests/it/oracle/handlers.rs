//! The cases of `wsgiref.handlers`: whole runs.
//!
//! Compared are the bytes of the output, each call of stdout's `write` and `flush`, the captured environ, the order of
//! events, what was logged, what left `run`, the reported requests and the warnings. Not compared is `state_after`: a run's
//! state is on the stack here, so what of it can be seen is whether a handler can be used again.

mod defects;
mod drive;
pub(super) mod errors;
mod iterable;
mod safe;
mod script;
mod streams;
mod told;
pub(crate) mod warnings;

use gatewright::handlers::{Policy, capture_panics};
use serde_json::{Value, json};

use self::drive::{Ran, as_recorded, drive};
use self::script::Ways;
use super::convert::{hex, list, unhex};
use super::fixture::Case;
use super::run::{Checked, equal, fail, same};

/// One run, as it is and in the other ways that Rust has to do the same.
pub(crate) fn runs(case: &Case) -> Checked {
    capture_panics();
    for ways in Ways::ALL {
        let mut recorded = case.expect().clone();
        if ways.panics && case.get("app")["result"]["close"] == "raise" {
            forget_failed_close(&mut recorded);
        }
        let ran = drive(case, &[case.get("app")], Policy::Wsgiref, ways)?;
        ran.iter().try_for_each(|ran| compare(ran, &recorded))?;
    }
    Ok(())
}

/// While a panic unwinds, a `close` that fails too has nobody to tell: the panic alone is reported.
fn forget_failed_close(recorded: &mut Value) {
    if let Some(lines) = recorded["stderr_contains"].as_array_mut()
        && lines.iter().any(|line| line == "RuntimeError: boom")
    {
        lines.retain(|line| line != "RuntimeError: close failed");
    }
}

/// Several runs of one handler.
pub(crate) fn reuse(case: &Case) -> Checked {
    let apps: Vec<&Value> = list(case.get("apps"))?.iter().collect();
    let runs = drive(case, &apps, Policy::Wsgiref, Ways::default())?;
    let recorded = list(case.expect())?;
    equal("the number of runs", runs.len(), recorded.len())?;
    for (ran, recorded) in runs.iter().zip(recorded) {
        same("the output", hex(&as_recorded(&ran.output)), &recorded["output_hex"])?;
        equal("whether an error left run", ran.escaped.is_some(), !recorded["raised"].is_null())?;
        match recorded["stderr_last_line"].as_str() {
            None => equal("the log", ran.stderr.as_str(), "")?,
            Some(line) => errors::says("the log", &ran.stderr, line)?,
        }
    }
    Ok(())
}

fn compare(ran: &Ran, recorded: &Value) -> Checked {
    same("the output", hex(&as_recorded(&ran.output)), &recorded["output_hex"])?;
    compare_calls(ran, &recorded["io"])?;
    compare_events(&ran.events, list(&recorded["events"])?)?;
    let captured = Value::Object(ran.captured.clone());
    same("what was captured", captured, or_empty(&recorded["captured"], &json!({})))?;
    compare_log(ran, recorded)?;
    match (&ran.escaped, &recorded["raised"]) {
        (None, Value::Null) => {}
        (Some(ours), raised) if !raised.is_null() => {
            errors::says("what left run", ours, &errors::line(raised)?)?;
        }
        (ours, raised) => return fail(format!("what left run is {ours:?}, recorded was {raised}")),
    }
    let requests: Vec<Value> =
        ran.requests.iter().map(|(status, bytes, _)| reported(*status, *bytes)).collect();
    same("the reported requests", requests, or_empty(&recorded["log_requests"], &json!([])))?;
    let warnings = recorded["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    let warnings: Vec<&str> = warnings.iter().filter_map(|warning| warning["message"].as_str()).collect();
    equal("the warnings", &*ran.warnings, warnings)
}

fn reported(status: Option<u16>, bytes: u64) -> Value {
    json!([status.map(|status| status.to_string()), bytes])
}

fn or_empty<'v>(recorded: &'v Value, empty: &'v Value) -> &'v Value {
    if recorded.is_null() { empty } else { recorded }
}

/// The same writes and flushes, under wsgiref's policy. But an empty write is none in Rust, and there is one flush more,
/// since a run ends with everything sent.
fn compare_calls(ran: &Ran, recorded: &Value) -> Checked {
    let mut calls = ran.calls.clone();
    if calls.last() == Some(&json!(["flush"])) {
        calls.pop();
    }
    let recorded = list(recorded)?.iter().filter(|call| **call != json!(["write", ""])).cloned().collect();
    for call in &mut calls {
        if call[0] == "write" {
            call[1] = json!(hex(&as_recorded(&unhex(&call[1])?)));
        }
    }
    same("the calls of stdout", calls, &recorded)
}

fn compare_events(ours: &[Value], recorded: &[Value]) -> Checked {
    if ours.len() != recorded.len() {
        return fail(format!("the events are {ours:?}, recorded were {recorded:?}"));
    }
    for (ours, recorded) in ours.iter().zip(recorded) {
        match (ours["caught"].as_str(), &recorded["caught"]) {
            (None, Value::Null) => same("an event", ours.clone(), recorded)?,
            (Some(caught), error) if error.is_object() => {
                errors::says("what was caught", caught, &errors::line(error)?)?;
            }
            _ => return fail(format!("an event is {ours}, recorded was {recorded}")),
        }
    }
    Ok(())
}

/// The log has the same errors. It has no traceback: it is one line, with the causes.
fn compare_log(ran: &Ran, recorded: &Value) -> Checked {
    same("whether the log is empty", ran.stderr.is_empty(), &recorded["stderr_empty"])?;
    equal("whether an error was logged", ran.logged, !ran.stderr.is_empty())?;
    for line in list(&recorded["stderr_contains"])?.iter().filter_map(Value::as_str) {
        if line != "Traceback (most recent call last):" {
            errors::says("the log", &ran.stderr, line)?;
        }
    }
    Ok(())
}
