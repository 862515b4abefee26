//! The cases of `wsgiref.validate`: each part's checks by themselves, and small applications under them.
//!
//! Each is an application under [`validator`], called over an environ and a responder that accept everything. Compared
//! are what it did, the rule that an error was about, by the table [`RULES`], and the warnings.

use std::io::{self, BufRead, Read, Write};

use gatewright::app::{AppResult, Application, BoxError, Respond, Responder, app, chunks, list};
use gatewright::environ::{Environ, Errors, Input, Scheme, Vars, Wsgi};
use gatewright::headers::Headers;
use gatewright::validate::{Rule, Strictness, Violation, validator};
use serde_json::{Value, json};

use super::convert::{hex, latin1, native, pairs};
use super::fixture::Case;
use super::handlers::warnings;
use super::run::{Checked, equal, fail, impossible, same};

/// One case.
pub(crate) fn case(case: &Case) -> Checked {
    let input = case.get("input");
    let text = || input.as_str().map_or_else(|| fail(format!("{input} is no text")), Ok);
    match case.get("check").as_str() {
        Some("check_environ") => environ(text()?)?.judge(good(), case),
        Some("check_input" | "check_errors") => impossible("a stream without a method of its trait"),
        Some("check_status") => {
            let status = native(input)?;
            let bodyless = status.starts_with(b"204") || status.starts_with(b"304");
            let headers = if bodyless { Headers::new() } else { Headers::from([TYPE]) };
            Setting::default().judge(starts(status, headers, None), case)
        }
        Some("check_headers") => {
            let mut headers = headers(input)?;
            headers.push((TYPE.0.into(), TYPE.1.into()));
            Setting::default().judge(starts("200 OK", Headers::from(headers), None), case)
        }
        Some("check_content_type") => {
            let headers = Headers::from(headers(&input[1])?);
            Setting::default().judge(starts(native(&input[0])?, headers, None), case)
        }
        Some("check_exc_info") => {
            let cause = (text()? == "3-tuple").then_some("an error");
            Setting::default().judge(starts("200 OK", Headers::from([TYPE]), cause), case)
        }
        Some("check_iterator") => impossible("text is a body's bytes, and nothing to iterate"),
        Some("app") => Setting::default().judge(application(text()?)?, case),
        Some("input") => Setting::default().judge(reading(text()?)?, case),
        Some("errors") => Setting::default().judge(logging(text()?)?, case),
        Some("iterator") => impossible("an iterable is given away, and closed once by who takes it"),
        other => fail(format!("no check is {other:?}")),
    }
}

const TYPE: (&str, &str) = ("Content-Type", "text/plain");

type Boxed = Box<dyn Application>;

/// The environ that an application is called with, and all that comes of it.
struct Setting {
    vars: Vars,
    wsgi: Wsgi,
}

impl Default for Setting {
    fn default() -> Self {
        let vars = Vars::from([
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/"),
            ("QUERY_STRING", ""),
            ("SERVER_NAME", "s"),
            ("SERVER_PORT", "80"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
        ]);
        Self { vars, wsgi: Wsgi { url_scheme: Some(Scheme::HTTP), ..Wsgi::default() } }
    }
}

impl Setting {
    fn judge(self, application: Boxed, case: &Case) -> Checked {
        let (mut body, mut log) = (&b"l1\nl2\n"[..], Vec::new());
        let mut environ = Environ::new(self.vars, Input::Lent(&mut body), Errors::new(&mut log));
        environ.wsgi = self.wsgi;
        let application = validator(app(move |environ: &mut Environ<'_>, respond: Responder<'_>| {
            application.call(environ, respond)
        }));
        let application = application.with_strictness(Strictness::Wsgiref);
        let mut seen = Seen::default();
        let (result, warned) =
            warnings::catching(|| application.call(&mut environ, Responder::new(&mut seen)));
        drop(environ);
        let recorded = case.expect();
        compare_warnings(&warned, &recorded["warnings"])?;
        match (result, recorded.get("ok")) {
            (Ok(()), Some(Value::Null)) => Ok(()),
            (Ok(()), Some(ok)) => same("what happened", seen.shown(&log), ok),
            (Err(error), None) => compare_error(&error, case),
            (result, _) => fail(format!("the result is {result:?}, recorded was {recorded}")),
        }
    }
}

/// What a server that accepts everything got.
#[derive(Default)]
struct Seen {
    started: Vec<Value>,
    items: Vec<Value>,
}

impl Seen {
    /// Items and written pieces are one kind of thing here.
    fn shown(self, log: &[u8]) -> Value {
        json!({"started": self.started, "body_hex": self.items, "written_hex": [], "errors": latin1(log)})
    }
}

impl Respond for Seen {
    fn start(&mut self, status: &[u8], _headers: Headers, _cause: Option<BoxError>) -> AppResult {
        self.started.push(json!(latin1(status)));
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.items.push(json!(hex(data)));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// wsgiref's errors, by the beginnings of their messages in Python's last line, and the rules of ours that say the same.
const RULES: &[(&str, Rule)] = &[
    ("AssertionError: Environment missing required key", Rule::Required),
    ("AssertionError: Environment should not have the key", Rule::DoubledHeader),
    ("KeyError: 'wsgi.url_scheme'", Rule::UrlScheme),
    ("AssertionError: wsgi.url_scheme unknown", Rule::UrlScheme),
    ("KeyError: 'SCRIPT_NAME'", Rule::ScriptName),
    ("KeyError: 'PATH_INFO'", Rule::PathInfo),
    ("AssertionError: SCRIPT_NAME doesn't start with /", Rule::ScriptName),
    ("AssertionError: PATH_INFO doesn't start with /", Rule::PathInfo),
    ("AssertionError: Invalid CONTENT_LENGTH", Rule::ContentLength),
    ("ValueError: invalid literal for int()", Rule::ContentLength),
    ("ValueError: invalid literal for int()", Rule::StatusCode),
    ("IndexError: list index out of range", Rule::StatusCode),
    ("AssertionError: Status codes must be three characters", Rule::StatusCode),
    ("AssertionError: Status code is invalid", Rule::StatusCode),
    ("AssertionError: The Status header cannot be used", Rule::StatusHeader),
    ("AssertionError: Header names may not contain ':' or '\\n'", Rule::HeaderName),
    ("AssertionError: Bad header name", Rule::HeaderName),
    ("AssertionError: Names may not end in '-' or '_'", Rule::HeaderNameEnd),
    ("AssertionError: Bad header value", Rule::HeaderValue),
    ("AssertionError: No Content-Type header found", Rule::ContentTypeMissing),
    ("AssertionError: Content-Type header found in a", Rule::ContentTypeForbidden),
];

/// wsgiref's warnings, and the beginnings of ours.
const WARNINGS: &[(&str, &str)] = &[
    ("QUERY_STRING is not in the WSGI environment", "validator: QUERY_STRING is missing"),
    ("Unknown REQUEST_METHOD: '", "validator: unknown REQUEST_METHOD \""),
    ("The status string ('", "validator: the status \""),
];

fn compare_error(ours: &BoxError, case: &Case) -> Checked {
    let line = super::handlers::errors::line(&case.expect()["error"])?;
    let Some(violation) = Violation::find(&**ours) else { return fail(format!("{ours} is no violation")) };
    let rule = violation.rule();
    let place = if case.get("check") == "check_environ" { "environ" } else { "start_response" };
    equal("the place", violation.place(), place)?;
    if RULES.iter().any(|(theirs, same)| line.starts_with(theirs) && rule == *same) {
        Ok(())
    } else {
        fail(format!("the violation is {violation}, recorded was {line:?}"))
    }
}

fn compare_warnings(ours: &[String], recorded: &Value) -> Checked {
    let recorded: Vec<&str> =
        recorded.as_array().into_iter().flatten().filter_map(|warning| warning["message"].as_str()).collect();
    equal("the number of warnings", ours.len(), recorded.len())?;
    for (ours, recorded) in ours.iter().zip(recorded) {
        let Some((theirs, same)) = WARNINGS.iter().find(|(theirs, _)| recorded.starts_with(theirs)) else {
            return fail(format!("no warning is known for {recorded:?}"));
        };
        let named = recorded.get(theirs.len()..).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
        let named = if theirs.ends_with('\'') { named } else { "" };
        if !ours.starts_with(&format!("{same}{named}")) {
            return fail(format!("the warning is {ours:?}, recorded was {recorded:?}"));
        }
    }
    Ok(())
}

fn headers(recorded: &Value) -> Checked<Vec<(Vec<u8>, Vec<u8>)>> {
    match recorded.as_str() {
        Some("tuple of tuples" | "item of three" | "bytes name") => {
            impossible("headers are pairs of byte strings")
        }
        _ => pairs(recorded),
    }
}

/// The recorded name of an environ: what it lacks, has besides, or has in place of a usual value.
fn environ(input: &str) -> Checked<Setting> {
    let mut setting = Setting::default();
    let Setting { vars, wsgi } = &mut setting;
    match input {
        "dict subclass" | "non-string CGI variable" | "non-string dotted variable" => {
            return impossible("an environ is of one type, and variables are bytes");
        }
        "wsgi.version is a list" | "missing wsgi.version" | "missing wsgi.input" | "missing wsgi.errors" => {
            return impossible("a field of the environ that is always there");
        }
        "missing wsgi.url_scheme" => wsgi.url_scheme = None,
        "HTTP_CONTENT_LENGTH present" => vars.set("HTTP_CONTENT_LENGTH", "1"),
        "QUERY_STRING missing" => drop(vars.remove("QUERY_STRING")),
        "SCRIPT_NAME and PATH_INFO missing" => {
            vars.retain(|name, _| name != b"SCRIPT_NAME" && name != b"PATH_INFO");
        }
        "SCRIPT_NAME empty, PATH_INFO missing" => drop(vars.remove("PATH_INFO")),
        "SCRIPT_NAME /a, PATH_INFO missing" => {
            vars.set("SCRIPT_NAME", "/a");
            vars.remove("PATH_INFO");
        }
        "both empty" => vars.set("PATH_INFO", ""),
        other => match (other.strip_prefix("missing "), other.split_once(' ')) {
            (Some(name), _) => drop(vars.remove(name)),
            (None, Some(("url_scheme", value))) => {
                wsgi.url_scheme = Some(Scheme::new(latin1(&python_literal(value)?)));
            }
            (None, Some((name, value))) => vars.set(name, python_literal(value)?),
            _ => return fail(format!("no environ is {other:?}")),
        },
    }
    Ok(setting)
}

/// The value of a plain Python literal, whose only escapes are those of code points.
fn python_literal(literal: &str) -> Checked<Vec<u8>> {
    let Some(text) = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) else {
        return fail(format!("{literal} is no literal"));
    };
    let point = text.strip_prefix("\\u").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match point.and_then(char::from_u32) {
        Some(character) => native(&json!(character.to_string())),
        None => native(&json!(text)),
    }
}

fn starts(status: impl AsRef<[u8]>, headers: Headers, cause: Option<&'static str>) -> Boxed {
    let status = status.as_ref().to_vec();
    Box::new(move |_: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        respond.into_inner().start(&status, headers.clone(), cause.map(BoxError::from))
    })
}

/// An application that answers with what `make` gives.
fn answering(make: impl Fn(&mut Environ<'_>) -> AppResult<Vec<u8>> + Send + Sync + 'static) -> Boxed {
    Box::new(move |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let body = respond.start("200 OK", [TYPE])?;
        let item = make(environ)?;
        body.send_chunks(list([item]))
    })
}

fn good() -> Boxed {
    answering(|_| Ok(b"x".to_vec()))
}

fn application(input: &str) -> Checked<Boxed> {
    Ok(match input {
        "good" | "start_response exc_info None" => good(),
        "good, generator" => Box::new(|_: &mut Environ<'_>, respond: Responder<'_>| {
            respond.start("200 OK", [TYPE])?.send_chunks(chunks(["a", "b"]))
        }),
        "start_response not called, empty list" => {
            Box::new(|_: &mut Environ<'_>, _: Responder<'_>| -> AppResult { Ok(()) })
        }
        // The application's own loop is the iteration that starts the response.
        "start_response called inside the generator" => {
            Box::new(|_: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
                let respond = respond.into_inner();
                respond.start(b"200 OK", Headers::from([TYPE]), None)?;
                respond.write(b"x")?;
                Ok(respond.end()?)
            })
        }
        other => return impossible(format!("{other} does not compile")),
    })
}

fn reading(input: &str) -> Checked<Boxed> {
    Ok(match input {
        "read(-1)" => answering(|environ| {
            let mut all = Vec::new();
            environ.input.read_to_end(&mut all)?;
            Ok(all)
        }),
        "readline()" => answering(|environ| {
            let mut line = Vec::new();
            environ.input.read_until(b'\n', &mut line)?;
            Ok(line)
        }),
        "readlines()" => answering(|environ| lines(environ, usize::MAX)),
        "readlines(1)" => answering(|environ| lines(environ, 1)),
        other => return impossible(format!("{other} does not compile")),
    })
}

/// Lines until there are so many bytes, joined as the recorded application joined them.
fn lines(environ: &mut Environ<'_>, hint: usize) -> AppResult<Vec<u8>> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while bytes < hint {
        let mut line = Vec::new();
        match environ.input.read_until(b'\n', &mut line)? {
            0 => break,
            count => bytes += count,
        }
        all.push(line);
    }
    Ok(all.join(&b'|'))
}

fn logging(input: &str) -> Checked<Boxed> {
    let pieces: &'static [&'static str] = match input {
        "write(str)" => &["msg"],
        "writelines([str])" => &["a", "b"],
        other => return impossible(format!("{other} does not compile")),
    };
    Ok(answering(move |environ| {
        pieces.iter().try_for_each(|piece| environ.errors.write_all(piece.as_bytes()))?;
        Ok(b"x".to_vec())
    }))
}
