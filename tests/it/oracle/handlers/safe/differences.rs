//! The documented differences, in the order in which they act on a response.

use gatewright::handlers::{End, Policy};
use serde_json::{Value, json};

use super::super::super::convert::unhex;
use super::super::super::run::Checked;
use super::super::drive::{Ran, drive};
use super::super::errors;
use super::facts::{Facts, split, without, write};

/// One row of the table in the documentation of `Policy`.
pub(super) struct Difference {
    /// The row's first column.
    pub(super) row: &'static str,
    /// Whether a run shows it.
    pub(super) applies: fn(&Facts<'_>) -> bool,
    /// What it makes of the outcome that the run has without it.
    pub(super) rule: fn(&Facts<'_>, Ran) -> Checked<Ran>,
}

/// The rules. `each write` comes last: it is about the calls that carry the finished output.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference { row: "a malformed CONTENT_LENGTH", applies: malformed_length, rule: bad_request },
    Difference { row: "variables", applies: vars_to_drop, rule: drop_vars },
    Difference { row: "the request's body", applies: bounded_body, rule: end_the_body },
    Difference { row: "status", applies: odd_status, rule: refuse_status },
    Difference {
        row: "several Content-Lengths, or one that is no number",
        applies: bad_lengths,
        rule: refuse_lengths,
    },
    Difference { row: "header names that are no tokens, or `Status`", applies: odd_name, rule: refuse_name },
    Difference { row: "hop-by-hop headers", applies: other_hop, rule: refuse_hop },
    Difference { row: "a start that failed its checks", applies: failed_start, rule: forget_start },
    Difference {
        row: "no SERVER_PROTOCOL, under an origin server",
        applies: |facts| facts.is_origin() && !facts.has_var("SERVER_PROTOCOL"),
        rule: answer_as_modern,
    },
    Difference { row: "an empty chunk", applies: only_empty_chunks, rule: add_zero },
    Difference {
        row: "body of a HEAD request, and of a 204 or 304 answer",
        applies: |facts| is_bodyless(facts) && facts.base.body_bytes > 0,
        rule: drop_body,
    },
    Difference {
        row: "Content-Length added to an empty answer",
        applies: untrue_zero,
        rule: |_, mut ran| {
            ran.output = without(&ran.output, "Content-Length: ");
            Ok(ran)
        },
    },
    Difference { row: "more body than the Content-Length", applies: too_much, rule: cut },
    Difference { row: "less body than the Content-Length", applies: too_little, rule: answer_short_body },
    Difference {
        row: "broken pipes and connection resets",
        applies: own_connection,
        rule: answer_connection,
    },
    Difference {
        row: "errors with a status of their own",
        applies: |facts| typed_error(facts).is_some(),
        rule: answer_typed,
    },
    Difference {
        row: "an error after output that has not left the process",
        applies: |facts| {
            !facts.stdout_breaks() && facts.base.end == End::Truncated && !facts.base.output.is_empty()
        },
        rule: take_back,
    },
    Difference { row: "an error in the error page", applies: page_failed, rule: log_page_error },
    Difference { row: "each write", applies: writes_anything, rule: gather },
];

fn malformed_length(facts: &Facts<'_>) -> bool {
    facts.has_var("CONTENT_LENGTH") && facts.var("CONTENT_LENGTH").parse::<u64>().is_err()
}

/// The application is not even called.
fn bad_request(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    (ran.events, ran.captured) = Default::default();
    let bad = facts.var("CONTENT_LENGTH").chars().next().unwrap_or_default();
    let why = format!("CONTENT_LENGTH has \"{bad}\" at position 0, not a digit");
    Ok(typed_page(facts, ran, "400 Bad Request", &why))
}

fn typed_page(facts: &Facts<'_>, ran: Ran, status: &str, why: &str) -> Ran {
    let body = format!("{status}: {why}\n");
    let length = body.len().to_string();
    let headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", &length)];
    let line = facts.line(why);
    let new_line = if ran.stderr.contains(&line) { None } else { Some(why) };
    let mut ran = facts.page(ran, new_line);
    ran.output = facts.response(status, &headers, body.as_bytes());
    (ran.status, ran.body_bytes) = (status.get(..3).and_then(|code| code.parse().ok()), body.len() as u64);
    ran
}

/// Names that the safe policy drops, and variables of the process, if they were asked for.
fn vars_to_drop(facts: &Facts<'_>) -> bool {
    facts.base.captured.iter().any(|(name, value)| *value != "<absent>" && is_dropped(facts, name))
}

fn is_dropped(facts: &Facts<'_>, name: &str) -> bool {
    let empty_is_absent =
        ["AUTH_TYPE", "CONTENT_TYPE", "HTTPS", "PATH_TRANSLATED", "REMOTE_IDENT", "REMOTE_USER"];
    ["HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_PROXY", "HTTP_X-ALIAS"].contains(&name)
        || (empty_is_absent.contains(&name) && facts.var(name).is_empty() && facts.has_var(name))
        || (facts.case.get("os_environ") == "process" && !facts.has_var(name) && !name.starts_with("wsgi."))
}

fn drop_vars(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    for (name, value) in &mut ran.captured {
        if is_dropped(facts, name) {
            *value = json!("<absent>");
        }
    }
    Ok(ran)
}

/// The case reads to the end, and that is not where CONTENT_LENGTH says.
fn bounded_body(facts: &Facts<'_>) -> bool {
    let declared: Option<usize> = facts.var("CONTENT_LENGTH").parse().ok();
    let sent = facts.case.get("stdin_hex").as_str().map_or(0, |hex| hex.len() / 2);
    let to_end = facts.operations("read_input").any(|read| read["size"].is_null());
    declared.is_some_and(|declared| declared != sent && (to_end || is_gathered(declared) && sent < declared))
}

/// Bodies up to this size are here before the application is called.
fn is_gathered(declared: usize) -> bool {
    declared <= 64 * 1024
}

fn end_the_body(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let body = unhex(facts.case.get("stdin_hex"))?;
    let declared = facts.var("CONTENT_LENGTH").parse().unwrap_or(usize::MAX);
    match body.get(..declared) {
        // The application echoes what it could read.
        Some(whole) => {
            let length = declared.to_string();
            let headers = [("Content-Type", "text/plain"), ("Content-Length", length.as_str())];
            ran.output = facts.response("200 OK", &headers, whole);
            ran.body_bytes = whole.len() as u64;
        }
        // A small body that is short is refused, and the application not even called.
        None if is_gathered(declared) => {
            (ran.events, ran.captured) = Default::default();
            let missing = declared - body.len();
            let why = format!("the request body ended {missing} bytes before its CONTENT_LENGTH");
            return Ok(typed_page(facts, ran, "400 Bad Request", &why));
        }
        // Under way already, it ends as if the client had gone: nobody waits for an answer.
        None => {
            ran.output.clear();
            (ran.body_bytes, ran.end) = (0, End::ClientGone);
        }
    }
    Ok(ran)
}

/// Statuses that wsgiref accepts.
fn odd_status(facts: &Facts<'_>) -> bool {
    let status: Vec<char> = facts.first_status().chars().collect();
    let [first, second, third, ' ', ..] = status.as_slice() else { return false };
    let digits = [first, second, third];
    let accepted = digits.iter().all(|c| c.is_ascii_digit() || "²³¹".contains(**c));
    accepted && !(digits.iter().all(|c| c.is_ascii_digit()) && ('2'..='9').contains(first))
}

fn refuse_status(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let status = facts.first_status();
    let why = match status.is_ascii() {
        true => format!("status \"{status}\" is no final answer: its code must be from 200 to 999"),
        false => {
            let shown = status.replace('²', "\\xb2");
            format!("status \"{shown}\" must begin with a 3-digit code")
        }
    };
    Ok(facts.refused(ran, &why))
}

fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn bad_lengths(facts: &Facts<'_>) -> bool {
    let lengths = facts.given("Content-Length");
    lengths.len() > 1 || lengths.iter().any(|length| !is_number(length))
}

fn refuse_lengths(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let why = match facts.given("Content-Length").as_slice() {
        [length] => format!("Content-Length \"{length}\" is no decimal number"),
        _ => "the response has several Content-Length headers".to_owned(),
    };
    Ok(facts.refused(ran, &why))
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Names without control characters, which are refused under either policy.
fn odd_name(facts: &Facts<'_>) -> bool {
    let odd = |name: &str| name.eq_ignore_ascii_case("Status") || !is_token(name);
    facts.first_headers().any(|(name, _)| odd(name) && !name.contains(char::is_control))
}

fn refuse_name(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let odd = facts.first_headers().map(|(name, _)| name).find(|name| !is_token(name));
    let why = match odd {
        Some(name) => format!("header name \"{name}\" is no token (RFC 9110, section 5.6.2)"),
        None => "a header may not be named Status: start the response with the status".to_owned(),
    };
    Ok(facts.refused(ran, &why))
}

fn is_other_hop(name: &str) -> bool {
    ["Trailer", "Proxy-Connection"].iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

fn other_hop(facts: &Facts<'_>) -> bool {
    facts.first_headers().any(|(name, _)| is_other_hop(name))
}

fn refuse_hop(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let (name, value) = facts.first_headers().find(|(name, _)| is_other_hop(name)).unwrap_or_default();
    let why = format!("hop-by-hop header \"{name}: {value}\" is not allowed: the web server's own");
    Ok(facts.refused(ran, &why))
}

/// A start whose refusal the application swallowed, unless it started anew with the error; or the error page's.
fn failed_start(facts: &Facts<'_>) -> bool {
    let caught = facts.base.events.iter().filter_map(|event| event["caught"].as_str());
    let refused = caught.filter(|text| *text != STARTED).count() > 0;
    let anew = facts.starts().any(|start| start["exc_info"] == "live");
    (refused && !anew) || facts.case.get("attrs")["error_headers"].is_array()
}

const STARTED: &str = "the response was started already";

fn forget_start(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    if facts.case.get("attrs")["error_headers"].is_array() {
        // The refused page's status is forgotten; what the application had started stays.
        ran.status = facts.starts().next().map(|_| 200);
        return Ok(ran);
    }
    let mut starts = facts.starts().skip(1);
    let Some(second) = starts.next() else {
        return Ok(facts.page(ran, Some("write() before start_response()")));
    };
    let again = ran.events.iter_mut().find(|event| event["caught"] == STARTED);
    again.into_iter().for_each(|event| *event = json!("start_response"));
    let status = second["status"].as_str().unwrap_or_default();
    let body = whole_body(facts)?;
    ran.output = facts.response(status, &[("Content-Length", &body.len().to_string())], &body);
    Ok(ran)
}

fn whole_body(facts: &Facts<'_>) -> Checked<Vec<u8>> {
    let items: Vec<Vec<u8>> = facts.items().map(|item| unhex(&item["data_hex"])).collect::<Checked<_>>()?;
    Ok(items.concat())
}

fn answer_as_modern(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let body = whole_body(facts)?;
    let length = body.len().to_string();
    let headers: Vec<_> = facts.first_headers().chain([("Content-Length", length.as_str())]).collect();
    ran.output = facts.response(facts.first_status(), &headers, &body);
    (ran.end, ran.logged, ran.body_bytes) = (End::Answered, false, body.len() as u64);
    ran.stderr.clear();
    Ok(ran)
}

/// The head went out with an empty chunk, and nothing followed: without that chunk the body is known to be empty.
fn only_empty_chunks(facts: &Facts<'_>) -> bool {
    facts.operations("write").any(|write| write["data_hex"] == "")
        && facts.base.end == End::Answered
        && facts.base.body_bytes == 0
        && facts.lengths().is_none()
}

fn add_zero(_: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let head = ran.output.len() - 2;
    ran.output.splice(head..head, *b"Content-Length: 0\r\n");
    Ok(ran)
}

fn is_bodyless(facts: &Facts<'_>) -> bool {
    facts.is_head_request() || matches!(facts.base.status, Some(204 | 304))
}

fn drop_body(_: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let head = split(&ran.output).map_or(0, |(head, _)| head.len());
    ran.output.truncate(head);
    ran.body_bytes = 0;
    Ok(ran)
}

/// A length that only wsgiref added where there is no body, or that went out with a 204.
fn untrue_zero(facts: &Facts<'_>) -> bool {
    let added = facts.given("Content-Length").is_empty() && facts.lengths().is_some();
    let empty = facts.lengths().is_some_and(|(_, body)| body == 0);
    match facts.base.status {
        Some(204) => facts.lengths().is_some(),
        Some(304) => added,
        _ => facts.is_head_request() && added && empty,
    }
}

/// Whether the declared length decides, which it does not where another rule has refused it.
fn declared(facts: &Facts<'_>) -> Option<(usize, usize)> {
    let counts = facts.base.end == End::Answered && !is_bodyless(facts) && !bad_lengths(facts);
    facts.lengths().filter(|_| counts)
}

fn too_much(facts: &Facts<'_>) -> bool {
    declared(facts).is_some_and(|(length, body)| body > length)
}

fn cut(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let (length, body) = declared(facts).unwrap_or_default();
    let beyond = body - length;
    ran.output.truncate(ran.output.len() - beyond);
    ran.stderr += &facts.line(&format!("{beyond} bytes beyond the Content-Length were cut"));
    (ran.body_bytes, ran.logged) = (length as u64, true);
    Ok(ran)
}

fn too_little(facts: &Facts<'_>) -> bool {
    declared(facts).is_some_and(|(length, body)| body < length)
}

fn answer_short_body(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let (length, body) = declared(facts).unwrap_or_default();
    let missing = length - body;
    Ok(facts.page(ran, Some(&format!("the body is {missing} bytes shorter than its Content-Length"))))
}

/// The text of an error that is quiet under wsgiref's policy, raised by the application and not by stdout.
fn connection_error(facts: &Facts<'_>) -> Option<String> {
    let quiet = ["BrokenPipeError", "ConnectionAbortedError", "ConnectionResetError"];
    let raised = facts.operations("raise").find(|raise| quiet.iter().any(|name| raise["type"] == *name))?;
    errors::line(raised).ok()
}

fn own_connection(facts: &Facts<'_>) -> bool {
    connection_error(facts).is_some()
}

fn answer_connection(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    Ok(facts.page(ran, connection_error(facts).as_deref()))
}

fn typed_error<'c>(facts: &Facts<'c>) -> Option<&'c Value> {
    facts.operations("raise").find(|raise| raise["type"] == errors::TYPED)
}

fn answer_typed(facts: &Facts<'_>, ran: Ran) -> Checked<Ran> {
    let Some(message) = typed_error(facts).and_then(|raise| raise["message"].as_str()) else {
        return Ok(ran);
    };
    Ok(typed_page(facts, ran, "413 Content Too Large", message))
}

/// The page, unless the application answers the error itself by starting again.
fn take_back(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    let Some(again) = facts.starts().find(|start| start["exc_info"] == "live") else {
        return Ok(facts.page(ran, None));
    };
    let status = again["status"].as_str().unwrap_or_default();
    let body = whole_body(facts)?;
    ran.output = facts.response(status, &[("Content-Length", &body.len().to_string())], &body);
    ran.events.push(json!("start_response"));
    ran.stderr.clear();
    (ran.status, ran.body_bytes) = (status.get(..3).and_then(|code| code.parse().ok()), body.len() as u64);
    (ran.end, ran.logged) = (End::Answered, false);
    Ok(ran)
}

fn page_failed(facts: &Facts<'_>) -> bool {
    facts.base.escaped.is_some() && !facts.stdout_breaks()
}

fn log_page_error(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    ran.stderr += &facts.line(ran.escaped.as_deref().unwrap_or_default());
    Ok(ran)
}

/// Several writes, or one that broke; or none where the safe policy answers.
fn writes_anything(facts: &Facts<'_>) -> bool {
    let silent = facts.base.output.is_empty() && facts.base.escaped.is_none();
    facts.base.calls.len() > 1 || facts.stdout_breaks() || silent
}

/// One write carries the whole output, and nobody is warned when stdout takes it in pieces.
fn gather(facts: &Facts<'_>, mut ran: Ran) -> Checked<Ran> {
    ran.warnings.clear();
    ran.calls = match facts.stdout().as_slice() {
        ["partial", count] => {
            let count = count.parse().unwrap_or(usize::MAX);
            ran.output.chunks(count).map(write).collect()
        }
        ["raise", name, good] => return gather_into_broken(facts, name, *good == "0"),
        _ if ran.output.is_empty() => Vec::new(),
        _ => vec![write(&ran.output)],
    };
    if facts.stdout().first() != Some(&"flushraise") {
        // An overridden sendfile flushes by itself as well.
        let own = facts.case.get("attrs")["sendfile"] == "real";
        ran.calls.extend(vec![json!(["flush"]); 1 + usize::from(own)]);
    }
    Ok(ran)
}

/// A stdout that breaks has no say before the end: until then the run is as with a good one.
fn gather_into_broken(facts: &Facts<'_>, name: &str, at_once: bool) -> Checked<Ran> {
    let case = facts.case.with("stdout", Value::Null);
    let mut whole = drive(&case, &[facts.app()], Policy::Wsgiref, facts.ways)?.remove(0);
    if !at_once {
        whole.calls = vec![write(&whole.output), json!(["flush"])];
        return Ok(whole);
    }
    whole.output.clear();
    whole.calls.clear();
    whole.end = End::ClientGone;
    if !["BrokenPipeError", "ConnectionAbortedError", "ConnectionResetError"].contains(&name) {
        whole.stderr += &facts.line(&errors::shown(name, "stdout failed"));
        (whole.end, whole.logged) = (End::Truncated, true);
    }
    whole.requests = whole.requests.iter().map(|(status, bytes, _)| (*status, *bytes, whole.end)).collect();
    Ok(whole)
}
