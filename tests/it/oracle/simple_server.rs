//! The recorded connections of `simple_server`: what the application saw, what the client got, what was logged.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewright::app::{AppResult, Responder};
use gatewright::environ::{Environ, Vars, Wsgi};
use gatewright::handlers::{Attributes, OsEnviron, Policy, SERVER_SOFTWARE};
use gatewright::simple_server::{Connection, RequestHandler, SERVER_VERSION, WsgiRequestHandler};
use serde_json::{Map, Value, json};

use super::convert::{latin1, text, unhex, version};
use super::fixture::Case;
use super::run::{Checked, equal, fail, same};

/// The recording's handler: wsgiref's policy, the frozen clock, a log in memory, nothing of the process.
#[derive(Default)]
struct Recorder {
    log: RefCell<String>,
}

impl WsgiRequestHandler for Recorder {
    fn attributes(&self) -> Attributes<'static> {
        let own = WsgiRequestHandler::attributes(&RequestHandler);
        Attributes { policy: Policy::Wsgiref, os_environ: OsEnviron::Empty, ..own }
    }

    fn get_stderr(&self) -> Box<dyn Write + '_> {
        Box::new(std::io::sink())
    }

    fn log_message(&self, client: &str, message: &str) {
        // The default writes to standard error; its form is a test of its own.
        let escaped: String = message.chars().map(escape).collect();
        self.log.borrow_mut().push_str(&format!("{client} - - [DATE] {escaped}\n"));
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

fn escape(c: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => format!("\\x{:02x}", u32::from(c)),
        _ => c.to_string(),
    }
}

/// Runs one recorded connection.
pub(crate) fn connection(case: &Case) -> Checked {
    let request = request(case)?;
    let seen = Mutex::new(None);
    let app = |environ: &mut Environ<'_>, respond: Responder<'_>| -> AppResult {
        let mut body = b"body:".to_vec();
        let length = environ.content_length()?.unwrap_or(0);
        (&mut environ.input).take(length).read_to_end(&mut body)?;
        *seen.lock().expect("nobody panics with it") = Some((environ.vars.clone(), environ.wsgi.clone()));
        respond.start("200 OK", [("Content-Type", "text/plain")])?.send(body)
    };
    let handler = Recorder::default();
    let mut answer = Vec::new();
    let outcome = handler.handle(&mut Connection {
        rfile: &mut &request[..],
        wfile: &mut answer,
        client_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        base_environ: &base_environ(),
        app: &app,
    });
    let seen = seen.into_inner().expect("nobody panics with it");
    let recorded = case.expect();
    same("an error", outcome.err().map(|error| error.to_string()), &recorded["raised"])?;
    same("whether the application was called", seen.is_some(), &recorded["app_called"])?;
    check_answer(&answer, recorded)?;
    check_log(&handler.log.into_inner(), &recorded["log"])?;
    match seen {
        Some((vars, wsgi)) => check_environ(&vars, &wsgi, recorded),
        None => Ok(()),
    }
}

/// The bytes of a request; the long ones are recorded as what they are made of.
fn request(case: &Case) -> Checked<Vec<u8>> {
    let request = match case.get("request_recipe").as_str() {
        None => unhex(case.get("request_hex"))?,
        Some(recipe) => {
            let words: Vec<&str> = recipe.split(' ').collect();
            let (kind, length) = match words.as_slice() {
                [kind, "line", "of", length, "bytes"] => (*kind, length.parse::<usize>().ok()),
                _ => return fail(format!("nobody knows the recipe {recipe}")),
            };
            let Some(length) = length else { return fail(format!("nobody knows the recipe {recipe}")) };
            let fill = |before: &str, letter: &str, behind: &str| {
                format!("{before}{}{behind}", letter.repeat(length - before.len() - behind.len()))
            };
            match kind {
                "request" => fill("GET /", "x", " HTTP/1.0\r\n") + "\r\n",
                "header" => format!("GET / HTTP/1.0\r\n{}\r\n", fill("X-A: ", "y", "\r\n")),
                _ => return fail(format!("nobody knows the recipe {recipe}")),
            }
            .into_bytes()
        }
    };
    same("the request's length", request.len(), case.get("request_length"))?;
    Ok(request)
}

/// The server of the recording.
fn base_environ() -> Vars {
    Vars::from([
        ("SERVER_NAME", "srv"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PORT", "8000"),
        ("REMOTE_HOST", ""),
        ("CONTENT_LENGTH", ""),
        ("SCRIPT_NAME", ""),
    ])
}

fn check_answer(answer: &[u8], recorded: &Value) -> Checked {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let by_handler = latin1(answer).replacen(SERVER_SOFTWARE, &format!("{SERVER_VERSION} CPython/PYVER"), 1);
    if let Some(whole) = recorded["response_hex"].as_str() {
        return equal("the answer", by_handler, latin1(&unhex(&json!(whole))?));
    }
    let by_server = latin1(&answer[..head.unwrap_or(0)]).replacen(
        SERVER_SOFTWARE,
        &format!("{SERVER_VERSION} Python/PYVER"),
        1,
    );
    same("the status line", by_server.lines().next().unwrap_or_default(), &recorded["response_status_line"])?;
    same("the head", by_server.clone(), &recorded["response_head"])?;
    let length = by_server.rsplit("Content-Length: ").next().and_then(|length| length.parse().ok());
    equal("the body's length", answer.len() - head.map_or(0, |head| head + 4), length.unwrap_or(0))
}

fn check_log(log: &str, recorded: &Value) -> Checked {
    if recorded.is_string() {
        return same("the log", log, recorded);
    }
    let end = recorded["end"].as_str().unwrap_or_default();
    // The recorded length is of a line with its date.
    let dated = log.len() + "14/Nov/2023 22:13:20".len() - "DATE".len();
    equal("whether the log ends as recorded", log.ends_with(end) && !end.is_empty(), true)?;
    same("the log's length", dated, &recorded["length"])
        .or_else(|_| same("the log's length", log.len(), &recorded["length"]))
}

fn check_environ(vars: &Vars, wsgi: &Wsgi, recorded: &Value) -> Checked {
    let mut ours: Map<String, Value> = Map::new();
    let mut numbered = 0;
    for (name, value) in vars.iter() {
        let name = latin1(name);
        let is_numbered =
            name.strip_prefix("HTTP_X_").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if is_numbered && !recorded["count_of_HTTP_X_number_keys"].is_null() {
            numbered += 1;
            continue;
        }
        let shown = match value.len() {
            // Long values are recorded by length and beginning.
            1000.. => json!({"length": value.len(), "start": latin1(&value[..20])}),
            _ => text(Some(value)),
        };
        ours.insert(name, shown);
    }
    ours.insert("wsgi.url_scheme".to_owned(), json!(wsgi.url_scheme.as_ref().map(ToString::to_string)));
    if !recorded["count_of_HTTP_X_number_keys"].is_null() {
        same("the numbered variables", numbered, &recorded["count_of_HTTP_X_number_keys"])?;
    }
    let names = |map: &Map<String, Value>| {
        let mut pairs: Vec<_> = map.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs
    };
    let Some(strings) = recorded["environ_strings"].as_object() else {
        return fail("no environ was recorded");
    };
    equal("the variables", names(&ours), names(strings))?;
    let others = &recorded["environ_others"];
    same("multithread", wsgi.multithread, &others["wsgi.multithread"])?;
    same("multiprocess", wsgi.multiprocess, &others["wsgi.multiprocess"])?;
    same("run_once", wsgi.run_once, &others["wsgi.run_once"])?;
    same("the version", version()["tuple"].clone(), &others["wsgi.version"])?;
    equal("file_wrapper", wsgi.file_wrapper, others["wsgi.file_wrapper"] == "type")
}
