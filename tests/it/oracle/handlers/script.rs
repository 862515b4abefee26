//! Recorded applications, as applications of ours.
//!
//! A case is read whole before anything runs, so that a value which our types cannot hold ends it there. The operations
//! then go through the dynamic form of [`Respond`], where what PEP 3333 forbids can be tried; the result goes through
//! [`Body`](gatewright::app::Body), as in any application.

use std::io::{self, Read};

use gatewright::app::{AppResult, Application, BoxError, Respond, Responder, list};
use gatewright::environ::Environ;
use gatewright::headers::Headers;
use gatewright::util::FileWrapper;
use serde_json::{Value, json};

use super::super::convert::{self, latin1, native, pairs, unhex, version};
use super::super::run::{Checked, fail, impossible};
use super::errors;
use super::iterable::{Kind, Source, Step, Walk};
use super::told::Told;

/// A recorded application.
pub(crate) struct Script {
    call: Vec<Operation>,
    result: Answer,
    ways: Ways,
    /// Whether the application runs under the validator.
    pub(crate) wrapped: bool,
    told: Told,
}

/// Choices that Rust has and Python has not. None may make a difference.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ways {
    /// Errors that are no input or output errors are panics.
    pub(crate) panics: bool,
    /// A list of one item is given by `Body::send`.
    pub(crate) sends: bool,
}

impl Ways {
    /// Each by itself.
    pub(crate) const ALL: [Ways; 3] = [
        Ways { panics: false, sends: false },
        Ways { panics: true, sends: false },
        Ways { panics: false, sends: true },
    ];
}

/// Something that an application does before it returns, or in its iteration.
#[derive(Clone)]
enum Operation {
    Start { status: Vec<u8>, headers: Vec<(Vec<u8>, Vec<u8>)>, cause: Option<&'static str>, caught: bool },
    Write(Vec<u8>),
    Raise { name: String, message: String },
    Read { size: Option<u64> },
    Capture(Vec<String>),
}

#[derive(Clone)]
enum Item {
    Data(Vec<u8>),
    /// What was read from the input.
    Echo,
    Do(Operation),
}

/// What a recorded application returns.
enum Answer {
    List(Vec<Item>),
    Iterable(Kind, Vec<Item>),
    /// `own` is the handler's wrapper, and not one of another make.
    File {
        content: Vec<u8>,
        blksize: usize,
        tells: bool,
        own: bool,
    },
}

impl Script {
    /// The application of a case, which tells `told`.
    pub(crate) fn read(app: &Value, wrap: &Value, ways: Ways, told: Told) -> Checked<Self> {
        let call = convert::list(&app["call"])?.iter().map(operation).collect::<Checked<_>>()?;
        Ok(Self { call, result: answer(&app["result"])?, ways, wrapped: wrap == "validator", told })
    }

    /// Whether it returns a list of one item.
    fn can_send(&self) -> bool {
        matches!(&self.result, Answer::List(items) if items.len() == 1)
    }
}

fn operation(recorded: &Value) -> Checked<Operation> {
    for wrong in ["headers_as", "status_as", "values_as"] {
        if let Some(type_name) = recorded[wrong].as_str() {
            return impossible(format!("{wrong} {type_name}"));
        }
    }
    Ok(match recorded["op"].as_str() {
        Some("start_response") => Operation::Start {
            status: native(&recorded["status"])?,
            headers: pairs(&recorded["headers"])?,
            cause: cause(&recorded["exc_info"])?,
            caught: recorded["catch"] == true,
        },
        Some("write") => Operation::Write(unhex(&recorded["data_hex"])?),
        Some("raise") => {
            Operation::Raise { name: text(&recorded["type"])?, message: text(&recorded["message"])? }
        }
        Some("read_input") => Operation::Read { size: recorded["size"].as_u64() },
        Some("capture") => {
            Operation::Capture(convert::list(&recorded["keys"])?.iter().map(text).collect::<Checked<_>>()?)
        }
        Some("write_str") => return impossible("text is not written, bytes are"),
        Some("append_header") => return impossible("the headers were given away: nobody else holds them"),
        other => return fail(format!("no operation is {other:?}")),
    })
}

/// The text of the error that `exc_info` stands for. An empty one is none; one of three nones is an error here like any.
fn cause(recorded: &Value) -> Checked<Option<&'static str>> {
    match recorded.as_str() {
        None | Some("none" | "empty") => Ok(None),
        Some("live") => Ok(Some("original")),
        Some("nones") => Ok(Some("no error to raise again")),
        Some(other) => fail(format!("no exc_info is {other}")),
    }
}

fn text(recorded: &Value) -> Checked<String> {
    recorded.as_str().map_or_else(|| fail(format!("{recorded} is no text")), |text| Ok(text.to_owned()))
}

fn answer(recorded: &Value) -> Checked<Answer> {
    let items = || convert::list(&recorded["items"])?.iter().map(item).collect::<Checked<Vec<_>>>();
    let file = |own, default| {
        let blksize = recorded["blksize"].as_u64().and_then(|size| usize::try_from(size).ok());
        let (content, blksize) = (unhex(&recorded["data_hex"])?, blksize.unwrap_or(default));
        Ok(Answer::File { content, blksize, tells: own && recorded["file_close"] != false, own })
    };
    match recorded["type"].as_str() {
        Some("list") => Ok(Answer::List(items()?)),
        Some("generator") => Ok(Answer::Iterable(Kind::Generator, items()?)),
        Some("iterator") => {
            Ok(Answer::Iterable(Kind::Closing { fails: recorded["close"] == "raise" }, items()?))
        }
        Some("sized") => {
            let claims = recorded["len"].as_u64().unwrap_or_default();
            Ok(Answer::Iterable(Kind::Sized { claims }, items()?))
        }
        Some("file_wrapper") => file(true, FileWrapper::<Source>::BLKSIZE),
        Some("foreign_file_wrapper") => file(false, 4),
        other => impossible(format!("{other:?} is nothing that an application can return")),
    }
}

fn item(recorded: &Value) -> Checked<Item> {
    if recorded["op"].is_string() {
        operation(recorded).map(Item::Do)
    } else if recorded["echo"] == "input" {
        Ok(Item::Echo)
    } else {
        unhex(&recorded["data_hex"]).map(Item::Data)
    }
}

impl Application for Script {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        self.told.event("app");
        let respond = respond.into_inner();
        let mut input = Vec::new();
        for operation in &self.call {
            self.perform(operation, environ, respond, &mut input)?;
        }
        self.give(environ, respond, &mut input)
    }
}

impl Script {
    fn perform(
        &self,
        operation: &Operation,
        environ: &mut Environ<'_>,
        respond: &mut dyn Respond,
        input: &mut Vec<u8>,
    ) -> AppResult {
        match operation {
            Operation::Start { status, headers, cause, caught } => {
                let cause = cause.map(|message| errors::raised("ValueError", message));
                match respond.start(status, Headers::from(headers.clone()), cause) {
                    Ok(()) => self.told.event("start_response"),
                    Err(error) if *caught => self.told.caught(&*error),
                    Err(error) => return Err(error),
                }
            }
            Operation::Write(data) => respond.write(data)?,
            Operation::Raise { name, message } => return raise(self.ways, name, message),
            Operation::Read { size } => {
                (&mut environ.input).take(size.unwrap_or(u64::MAX)).read_to_end(input)?;
            }
            Operation::Capture(keys) => {
                keys.iter().for_each(|key| self.told.captured(key, captured(environ, key)));
            }
        }
        Ok(())
    }

    fn give(&self, environ: &mut Environ<'_>, respond: &mut dyn Respond, input: &mut Vec<u8>) -> AppResult {
        let data = |item: &Item| match item {
            Item::Data(data) => data.clone(),
            _ => input.clone(),
        };
        if let Answer::Iterable(kind, items) = &self.result
            && items.iter().any(is_for_the_responder)
        {
            return self.go_through(*kind, items, environ, respond, input);
        }
        let mut begun = Begun(respond);
        let body = Responder::new(&mut begun).start("200 OK", Headers::new())?;
        match &self.result {
            Answer::List(items) if self.ways.sends && self.can_send() => {
                body.send(items.iter().map(data).next().unwrap_or_default())
            }
            Answer::List(items) => body.send_chunks(list(items.iter().map(data).collect::<Vec<_>>())),
            Answer::Iterable(kind, items) => {
                let steps: Vec<Step> = items.iter().map(|item| self.step(item, input)).collect();
                let (steps, told) = (steps.into_iter(), self.told.clone());
                body.send_chunks(Walk { kind: *kind, steps, begun: false, told })
            }
            Answer::File { content, blksize, tells, own } => {
                let source = Source::new(content.clone(), *tells, self.told.clone())?;
                let wrapper = FileWrapper::with_block_size(source, *blksize);
                if *own { body.send_wrapped_file(wrapper) } else { body.send_chunks(wrapper) }
            }
        }
    }

    fn step(&self, item: &Item, input: &[u8]) -> Step {
        match item {
            Item::Data(data) => Step::Chunk(data.clone()),
            Item::Do(Operation::Raise { name, message }) => {
                let (ways, name, message) = (self.ways, name.clone(), message.clone());
                Step::Fail(Box::new(move || raise(ways, &name, &message)))
            }
            _ => Step::Chunk(input.to_vec()),
        }
    }

    /// An iteration that itself starts the response or writes: nothing that is given away to be iterated can hold the
    /// responder, so here the application's own loop is that iteration.
    fn go_through(
        &self,
        kind: Kind,
        items: &[Item],
        environ: &mut Environ<'_>,
        respond: &mut dyn Respond,
        input: &mut Vec<u8>,
    ) -> AppResult {
        let _finaliser = Walk { kind, steps: Vec::new().into_iter(), begun: true, told: self.told.clone() };
        for item in items {
            match item {
                Item::Data(data) => respond.write(data)?,
                Item::Echo => respond.write(input)?,
                Item::Do(operation) => self.perform(operation, environ, respond, input)?,
            }
        }
        Ok(respond.end()?)
    }
}

fn is_for_the_responder(item: &Item) -> bool {
    matches!(item, Item::Do(Operation::Start { .. } | Operation::Write(_)))
}

fn raise(ways: Ways, name: &str, message: &str) -> AppResult {
    if ways.panics && errors::io_name(name).is_none() && name != errors::TYPED {
        panic!("{}", errors::shown(name, message));
    }
    Err(errors::raised(name, message))
}

/// A value of the environ, as it is recorded.
fn captured(environ: &Environ<'_>, key: &str) -> Value {
    let wsgi = &environ.wsgi;
    let absent = || json!("<absent>");
    match key {
        "wsgi.version" => version(),
        "wsgi.url_scheme" => wsgi.url_scheme.as_ref().map_or_else(absent, |scheme| json!(scheme.as_str())),
        "wsgi.multithread" => json!(wsgi.multithread),
        "wsgi.multiprocess" => json!(wsgi.multiprocess),
        "wsgi.run_once" => json!(wsgi.run_once),
        "wsgi.file_wrapper" if wsgi.file_wrapper => json!("FileWrapper"),
        "wsgi.file_wrapper" => absent(),
        name => environ.get(name).map_or_else(absent, |value| json!(latin1(value))),
    }
}

/// A response that the script has started already, or has failed to: only so can a [`Body`](gatewright::app::Body) be had
/// for a result whose application never called `start_response`.
struct Begun<'r>(&'r mut dyn Respond);

impl Respond for Begun<'_> {
    fn start(&mut self, _status: &[u8], _headers: Headers, _cause: Option<BoxError>) -> AppResult {
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn send(&mut self, whole: &[u8]) -> io::Result<()> {
        self.0.send(whole)
    }

    fn send_file(&mut self, file: &mut dyn gatewright::util::FileSource) -> io::Result<bool> {
        self.0.send_file(file)
    }

    fn wants_length(&self) -> bool {
        self.0.wants_length()
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.end()
    }
}
