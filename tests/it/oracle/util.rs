//! The cases of `wsgiref.util`, and of `format_date_time`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use gatewright::environ::{Environ, Errors, Input, Vars};
use gatewright::error::{Error, Fault};
use gatewright::util::{self, FileWrapper};
use serde_json::{Map, Value, json};

use super::convert::{Given, given, hex, latin1, list, native, text, unhex, version};
use super::fixture::Case;
use super::run::{Checked, equal, fail, same};

pub(crate) fn guess_scheme(case: &Case) -> Checked {
    let given = given(case.get("environ"))?;
    same("the scheme", json!(util::guess_scheme(&given.vars).as_str()), case.expect())
}

pub(crate) fn is_hop_by_hop(case: &Case) -> Checked {
    let name = native(case.get("name"))?;
    same("the answer", json!(util::is_hop_by_hop(name)), case.expect())
}

pub(crate) fn format_date_time(case: &Case) -> Checked {
    let Some(seconds) = case.get("timestamp").as_f64() else { return fail("the timestamp is no number") };
    same("the date", json!({"ok": util::format_date_time(seconds)}), case.expect())
}

pub(crate) fn request_uri(case: &Case) -> Checked {
    given(case.get("environ"))?.run(|environ| {
        uri("application_uri", util::application_uri(environ), case)?;
        uri("request_uri", util::request_uri(environ, true), case)?;
        uri("request_uri_no_query", util::request_uri(environ, false), case)
    })
}

fn uri(call: &str, ours: Result<Vec<u8>, Error>, case: &Case) -> Checked {
    let recorded = &case.expect()[call];
    match ours {
        Ok(uri) => same(call, json!({"ok": latin1(&uri)}), recorded),
        Err(error) => {
            // A KeyError, whose message is the quoted name of the variable that is missing.
            equal("the error's type", recorded["error"]["type"].as_str(), Some("KeyError"))?;
            equal("the error's fault", error.fault(), Fault::Application)?;
            let key = recorded["error"]["message"].as_str().unwrap_or_default().trim_matches('\'');
            equal("the missing variable", error.to_string().split(' ').next(), Some(key))
        }
    }
}

pub(crate) fn quote_bytes(case: &Case) -> Checked {
    let byte = case.get("byte").as_u64().and_then(|byte| u8::try_from(byte).ok());
    let Some(byte) = byte else { return fail("the byte is none") };
    let quoted = |script: &[u8], path: &[u8]| {
        let mut given = Given::default();
        given.wsgi.url_scheme = Some(gatewright::environ::Scheme::HTTP);
        given.vars = Vars::from([("HTTP_HOST", &b"h"[..]), ("SCRIPT_NAME", script), ("PATH_INFO", path)]);
        let uri = given.run(|environ| util::request_uri(environ, true));
        uri.map_or_else(|error| error.to_string(), |uri| latin1(&uri))
    };
    let [in_script, in_path] = ["in_script_name", "in_path_info"].map(|key| case.expect()[key].as_str());
    equal("the script", quoted(&[b'/', byte], b""), format!("http://h/{}", in_script.unwrap_or_default()))?;
    equal("the path", quoted(b"/", &[b'/', byte]), format!("http://h//{}", in_path.unwrap_or_default()))
}

pub(crate) fn shift_path_info(case: &Case) -> Checked {
    let mut vars = given(case.get("environ"))?.vars;
    let recorded = case.expect();
    match util::shift_path_info(&mut vars) {
        Ok(name) => same("the name", json!({"ok": text(name.as_deref())}), &recorded["result"])?,
        Err(_) => same("the error", "IndexError", &recorded["result"]["error"]["type"])?,
    }
    same("SCRIPT_NAME", text(vars.get("SCRIPT_NAME")), &recorded["SCRIPT_NAME"])?;
    same("PATH_INFO", text(vars.get("PATH_INFO")), &recorded["PATH_INFO"])
}

pub(crate) fn shift_path_walk(case: &Case) -> Checked {
    let mut vars = given(case.get("environ"))?.vars;
    for step in list(case.expect())? {
        let name = match util::shift_path_info(&mut vars) {
            Ok(name) => text(name.as_deref()),
            Err(error) => return fail(error.to_string()),
        };
        let paths = ["SCRIPT_NAME", "PATH_INFO"].map(|key| text(vars.get(key)));
        same("the step", json!([name, paths[0], paths[1]]), step)?;
    }
    Ok(())
}

pub(crate) fn setup_testing_defaults(case: &Case) -> Checked {
    let given = given(case.get("environ"))?;
    let mut messages = Vec::new();
    let mut environ = Environ::new(given.vars, Input::Empty, Errors::new(&mut messages));
    environ.wsgi = given.wsgi;
    util::setup_testing_defaults(&mut environ);
    let order: Vec<String> = environ.vars.iter().map(|(name, _)| latin1(name)).collect();
    let mut ours = shown(&mut environ)?;
    drop(environ);
    ours.insert("wsgi.errors".to_owned(), json!({"stream": "text", "content": latin1(&messages)}));
    let recorded = case.expect().as_object().into_iter().flatten();
    let recorded: Map<String, Value> =
        recorded.map(|(name, value)| (name.clone(), flag_as_number(value))).collect();
    same("the environ", ours, &Value::Object(recorded))?;
    // The `wsgi.*` values are fields here: only the variables have an order.
    let names = list(case.get("key_order"))?.iter().filter_map(Value::as_str);
    equal("the order", order, names.filter(|name| !name.starts_with("wsgi.")).collect::<Vec<_>>())
}

/// The environ without its errors, as it was recorded.
fn shown(environ: &mut Environ<'_>) -> Checked<Map<String, Value>> {
    let mut shown: Map<String, Value> =
        environ.vars.iter().map(|(name, value)| (latin1(name), json!(latin1(value)))).collect();
    let mut body = Vec::new();
    if let Err(error) = environ.input.read_to_end(&mut body) {
        return fail(error.to_string());
    }
    let wsgi = &environ.wsgi;
    let values = [
        ("version", version()),
        ("run_once", json!(u8::from(wsgi.run_once))),
        ("multithread", json!(u8::from(wsgi.multithread))),
        ("multiprocess", json!(u8::from(wsgi.multiprocess))),
        ("input", json!({"stream": "bytes", "content_hex": hex(&body)})),
        ("url_scheme", wsgi.url_scheme.as_ref().map_or(Value::Null, |scheme| json!(scheme.as_str()))),
    ];
    shown.extend(values.into_iter().map(|(name, value)| (format!("wsgi.{name}"), value)));
    Ok(shown)
}

fn flag_as_number(value: &Value) -> Value {
    value.as_bool().map_or_else(|| value.clone(), |flag| json!(u8::from(flag)))
}

/// Three kinds of cases share the section; what was recorded tells them apart.
pub(crate) fn file_wrapper(case: &Case) -> Checked {
    let recorded = case.expect();
    if !recorded["chunks_hex"].is_null() {
        file_in_blocks(case)
    } else if !recorded["read_sizes"].is_null() {
        default_block_size(recorded)
    } else {
        reading_on_after_the_end(recorded)
    }
}

fn file_in_blocks(case: &Case) -> Checked {
    let data = unhex(case.get("data_hex"))?;
    let closed = Rc::new(Cell::new(false));
    let file = Script { reads: [data].into(), sizes: Rc::default(), closed: Rc::clone(&closed) };
    let blksize = match case.get("blksize").as_i64() {
        Some(size) if size < 0 => None,
        Some(size) => usize::try_from(size).ok(),
        None => return fail("the block size is no integer"),
    };
    let mut wrapper = FileWrapper { filelike: file, blksize };
    let chunks = blocks(&mut wrapper)?;
    let after_iteration = closed.get();
    drop(wrapper);
    let ours = json!({
        "chunks_hex": chunks,
        "closed_after_iteration": after_iteration,
        "closed_after_close": closed.get(),
    });
    same("the outcome", ours, case.expect())
}

fn default_block_size(recorded: &Value) -> Checked {
    let sizes = Rc::new(RefCell::new(Vec::new()));
    let mut wrapper =
        FileWrapper::new(Script { reads: VecDeque::new(), sizes: Rc::clone(&sizes), closed: Rc::default() });
    equal("the reads at construction", sizes.borrow().len(), 0)?;
    blocks(&mut wrapper)?;
    same("the sizes", json!(*sizes.borrow()), &recorded["read_sizes"])
}

fn reading_on_after_the_end(recorded: &Value) -> Checked {
    let rounds = ["first_hex", "second_hex", "third_hex"].map(|round| &recorded[round]);
    let mut reads = Vec::new();
    for round in rounds {
        for chunk in list(round)? {
            reads.push(unhex(chunk)?);
        }
        reads.push(Vec::new());
    }
    let reads = reads.into();
    let mut wrapper = FileWrapper::new(Script { reads, sizes: Rc::default(), closed: Rc::default() });
    for round in rounds {
        same("the round", blocks(&mut wrapper)?, round)?;
    }
    Ok(())
}

/// One iteration to the end.
fn blocks<R: Read>(wrapper: &mut FileWrapper<R>) -> Checked<Value> {
    let blocks: io::Result<Vec<_>> = wrapper.by_ref().collect();
    match blocks {
        Ok(blocks) => Ok(blocks.iter().map(|block| hex(block)).collect()),
        Err(error) => fail(error.to_string()),
    }
}

/// A file that gives what each read shall give, and tells what was asked of it.
struct Script {
    reads: VecDeque<Vec<u8>>,
    sizes: Rc<RefCell<Vec<usize>>>,
    closed: Rc<Cell<bool>>,
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.sizes.borrow_mut().push(into.len());
        let Some(mut next) = self.reads.pop_front() else { return Ok(0) };
        let count = next.len().min(into.len());
        let rest = next.split_off(count);
        into[..count].copy_from_slice(&next);
        if !rest.is_empty() {
            self.reads.push_front(rest);
        }
        Ok(count)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.closed.set(true);
    }
}
