//! The recorded cases that are not expected to pass, by rules and with reasons.

use std::fmt;

use serde_json::Value;

use super::fixture::{Case, recorded};

/// One rule for cases that are not expected to pass.
pub(crate) struct Entry {
    /// Its name, for messages.
    pub(crate) rule: &'static str,
    /// The `file/section` it holds in; everywhere if `None`.
    pub(crate) section: Option<&'static str>,
    /// Which cases it means. It looks at what a case says, not at its place in the file, which may change.
    pub(crate) applies: fn(&Case) -> bool,
    /// Why these cases are not expected to pass.
    pub(crate) reason: &'static str,
}

impl Entry {
    pub(crate) fn holds_in(&self, section: &str) -> bool {
        self.section.is_none_or(|own| own == section)
    }

    pub(crate) fn matches(&self, case: &Case) -> bool {
        self.holds_in(case.section()) && (self.applies)(case)
    }

    /// Whether any recorded case is meant.
    pub(crate) fn is_used(&self) -> bool {
        recorded().values().flatten().any(|case| self.matches(case))
    }
}

/// What being listed means, and so which verdict a listed case must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Verdict::Impossible`: only Python's objects can express it.
    Dynamic,
    /// `Verdict::Impossible`: our types cannot hold its values.
    Impossible,
    /// `Verdict::Fail`: wsgiref is wrong, and we do not follow.
    Defect,
    /// `Verdict::Fail`: it takes a part of wsgiref that the library does not have yet.
    Waiting,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Dynamic => "dynamic",
            Kind::Impossible => "impossible",
            Kind::Defect => "defect",
            Kind::Waiting => "waiting",
        })
    }
}

/// The lists.
pub(crate) struct Lists {
    pub(crate) dynamic: &'static [Entry],
    pub(crate) impossible: &'static [Entry],
    pub(crate) defects: &'static [Entry],
    pub(crate) waiting: &'static [Entry],
}

impl Lists {
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Kind, &'static Entry)> {
        let of = |kind, list: &'static [Entry]| list.iter().map(move |entry| (kind, entry));
        of(Kind::Dynamic, self.dynamic)
            .chain(of(Kind::Impossible, self.impossible))
            .chain(of(Kind::Defect, self.defects))
            .chain(of(Kind::Waiting, self.waiting))
    }
}

/// The lists of the recorded cases.
pub(crate) const LISTS: Lists =
    Lists { dynamic: DYNAMIC, impossible: IMPOSSIBLE, defects: DEFECTS, waiting: WAITING };

/// Cases about Python objects of the wrong type, or about objects shared by reference.
const DYNAMIC: &[Entry] = &[
    Entry {
        rule: "headers of a wrong type",
        section: Some("headers/headers_dynamic"),
        applies: |case| {
            matches!(case.expect()["error"]["type"].as_str(), Some("TypeError" | "AssertionError"))
        },
        reason: "what wsgiref refuses when it runs does not compile",
    },
    Entry {
        rule: "a list for a pair",
        section: Some("headers/headers_dynamic"),
        applies: |case| case.get("constructor_argument") == "list item",
        reason: "names and values come in tuples, and nothing else compiles",
    },
    Entry {
        rule: "the caller's own list of headers",
        section: Some("headers/headers_dynamic"),
        applies: |case| case.get("op").as_str().is_some_and(|op| op.contains("wraps the caller's list")),
        reason: "Headers owns its pairs; nobody else holds them",
    },
    Entry {
        rule: "text for bytes, a tuple for a list",
        section: Some("handler_runs/handler_runs"),
        applies: Case::is_dynamic,
        reason: "what wsgiref refuses when it runs does not compile",
    },
    Entry {
        rule: "no iterable returned",
        section: Some("handler_runs/handler_runs"),
        applies: |case| case.get("app")["result"]["type"] == "none",
        reason: "an application gives its chunks away itself; what it returns is success or an error",
    },
    Entry {
        rule: "the list of headers changed after start_response",
        section: Some("handler_runs/handler_runs"),
        applies: |case| operations(&case.get("app")["call"]).any(|name| name == "append_header"),
        reason: "start takes the headers; nobody else holds them",
    },
    Entry {
        rule: "a number among the variables",
        section: Some("simple_server/demo_app"),
        applies: |case| {
            case.get("environ").as_object().is_some_and(|vars| vars.values().any(Value::is_number))
        },
        reason: "variables are bytes",
    },
    Entry {
        rule: "objects of a wrong type, or calls of a wrong shape",
        section: Some("validate/validate"),
        applies: |case| case.is_dynamic() && case.get("check") != "check_exc_info",
        reason: "what the validator refuses when it runs does not compile",
    },
    Entry {
        rule: "a method that the validator hides",
        section: Some("validate/validate"),
        applies: |case| matches!(case.get("input").as_str(), Some("read()" | "close()" | "other attribute")),
        reason: "the streams' traits have no such method, or not in that shape",
    },
    Entry {
        rule: "a variable with a dot that is no text",
        section: Some("validate/validate"),
        applies: |case| case.get("input") == "non-string dotted variable",
        reason: "variables are bytes",
    },
];

/// Cases that our types make impossible.
const IMPOSSIBLE: &[Entry] = &[
    Entry {
        rule: "a character beyond latin-1",
        section: None,
        applies: |case| {
            !case.is_dynamic() && case.inputs().any(|(key, value)| beyond(key) || holds_beyond(value))
        },
        reason: "a native string is bytes: no character above U+00FF fits in",
    },
    Entry {
        rule: "the file system encoding of Python",
        section: Some("read_environ/read_environ_posix"),
        applies: |case| case.get("key_hex").is_null() && case.expect().is_string(),
        reason: "nothing is decoded here; the encoding serves to understand the locale's other cases",
    },
    Entry {
        rule: "a digit beyond latin-1",
        section: Some("validate/validate"),
        applies: |case| case.get("input").as_str().is_some_and(|input| input.contains("'\\u")),
        reason: "a native string is bytes: no character above U+00FF fits in",
    },
    Entry {
        rule: "a wsgi value that is always there",
        section: Some("validate/validate"),
        applies: |case| {
            let names = ["missing wsgi.version", "missing wsgi.input", "missing wsgi.errors"];
            names.iter().any(|name| case.get("input") == name)
        },
        reason: "fields of the environ",
    },
    Entry {
        rule: "an iterable closed twice, or never",
        section: Some("validate/validate"),
        applies: |case| case.get("check") == "iterator",
        reason: "an iterable is given away, and who takes it closes it exactly once",
    },
];

/// Recorded defects of wsgiref that no policy reproduces.
pub(crate) const DEFECTS: &[Entry] = &[
    Entry {
        rule: "HTTP/0.9 without a version ends in an attribute error",
        section: Some("simple_server/simple_server"),
        applies: |case| case.expect()["raised"]["type"] == "AttributeError",
        reason: "http.server of 3.15 gives get_environ no headers to ask; here it is answered, as 3.11 and 3.13 do",
    },
    Entry {
        rule: "Q2: a client that has gone is no request",
        section: Some("handler_runs/handler_runs"),
        applies: |case| {
            case.get("class") == "ServerHandler"
                && case
                    .get("stdout")
                    .as_str()
                    .is_some_and(|stdout| stdout.starts_with("raise:BrokenPipeError"))
        },
        reason: "wsgiref forgets to call close(); here each run is reported, and its end tells them apart",
    },
    Entry {
        rule: "Q2: a client that has gone after start_response spoils the handler",
        section: Some("handler_runs/handler_reuse"),
        applies: |case| {
            let mut first = operations(&case.get("apps")[0]["call"]);
            first.next() == Some("start_response") && first.next() == Some("raise")
        },
        reason: "wsgiref keeps the state of the broken run; here a handler can be used again after any outcome",
    },
    Entry {
        rule: "Q3: an error after output spoils the handler",
        section: Some("handler_runs/handler_reuse"),
        applies: |case| operations(&case.get("apps")[0]["call"]).any(|name| name == "write"),
        reason: "wsgiref keeps the state of the broken run; here a handler can be used again after any outcome",
    },
    Entry {
        rule: "Q6: a failing close() after a complete response",
        section: Some("handler_runs/handler_runs"),
        applies: |case| {
            let result = &case.get("app")["result"];
            result["close"] == "raise" && operations(&result["items"]).next().is_none()
        },
        reason: "wsgiref tries an error page after the response, and fails at that; here it is only logged",
    },
    Entry {
        rule: "Q14: an iterable closed twice",
        section: Some("handler_runs/handler_runs"),
        applies: |case| {
            let events = case.expect()["events"].as_array();
            events.is_some_and(|events| events.iter().filter(|event| **event == "close").count() > 1)
        },
        reason: "wsgiref closes it again when the error page fails; PEP 3333 wants it closed once",
    },
];

/// Cases that wait for a part of wsgiref.
const WAITING: &[Entry] = &[];

/// The names of the operations in a recorded list of them.
fn operations(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(|operation| operation["op"].as_str())
}

fn beyond(text: &str) -> bool {
    text.chars().any(|c| u8::try_from(c).is_err())
}

fn holds_beyond(value: &Value) -> bool {
    match value {
        Value::String(text) => beyond(text),
        Value::Array(items) => items.iter().any(holds_beyond),
        Value::Object(items) => items.iter().any(|(key, value)| beyond(key) || holds_beyond(value)),
        _ => false,
    }
}
