//! `cgi-gateway`: one request over standard input and output.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::app::{self, App, Opened, Place};
use super::front::{FRONT, FrontFlags};
use super::logger;
use super::serving::{Around, Serving};
use super::spool::SpoolFlags;
use super::usage::{self, Failure};
use crate::app::{Application, refusal};
use crate::apps::demo_app;
use crate::environ::front::FrontSettings;
use crate::environ::{Known, Vars, read_environ};
use crate::handlers::{BaseHandler, Cgi, End, Observer, Outcome, capture_panics};
use crate::spool::Store;

const PROGRAM: &str = "cgi-gateway";

/// Answers one request as a CGI program (RFC 3875): a web server starts it and passes the request in its environment.
#[derive(Parser, Debug, Default)]
#[command(name = PROGRAM, version, after_help = TRY)]
struct Arguments {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    front: FrontFlags,
    #[command(flatten)]
    around: Around,
    #[command(flatten)]
    spool: SpoolFlags,
    /// Let the answer leave while the request's body still comes; many web servers cannot
    #[arg(long, help_heading = FRONT)]
    full_duplex: bool,
    /// A TOML file with further settings: each flag is a key, and flags win
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
    config: Option<PathBuf>,
}

const TRY: &str = "Under a web server, CGI_GATEWAY_APP names the application where APP is not given, and \
CGI_GATEWAY_OPTIONS holds further options. To try it by hand:\n  REQUEST_METHOD=GET PATH_INFO=/hello cgi-gateway demo";

/// Runs the program: exit status 0 for an answered request, 1 for one that could not be, 2 for wrong usage.
pub fn main() -> ExitCode {
    let environ = read_environ();
    if !is_request(&environ) && io::stdin().is_terminal() {
        let given = std::env::args_os().len() > 1;
        if let (true, Err(exit)) = (given, arguments(&environ)) {
            return exit;
        }
        usage::tell(&format!(
            "{PROGRAM} answers one request as a CGI program: a web server starts it. See {PROGRAM} --help."
        ));
        usage::tell(&format!("Try it by hand: REQUEST_METHOD=GET PATH_INFO=/hello {PROGRAM} demo"));
        return ExitCode::from(usage::WRONG_USAGE);
    }
    match words(&environ) {
        Ok(words) if is_demo_alone(&words, &environ) => demo(environ),
        Ok(words) => match parse(words, &environ) {
            Ok(arguments) => serve(environ, arguments),
            Err(exit) => exit,
        },
        Err(exit) => exit,
    }
}

/// Answers by the demo with the default settings.
///
/// Starting a program is most of what CGI costs: neither the argument parser nor what it fills in runs where there is nothing
/// to parse. That is kept out of the way, since each page of code or stack that is touched costs microseconds.
fn demo(environ: Vars) -> ExitCode {
    let spool: &'static Store = Box::leak(Box::default());
    answer(environ, FrontSettings::default(), false, None, Some(spool), &demo_app)
}

fn is_demo_alone(words: &[OsString], environ: &Vars) -> bool {
    let is_demo = |name: &[u8]| name.is_empty() || name == b"demo";
    match words {
        [] => is_demo(environ.get("CGI_GATEWAY_APP").unwrap_or_default()),
        [only] => only == OsStr::new("demo"),
        _ => false,
    }
}

/// Whether the process environment is a CGI request.
pub(super) fn is_request(environ: &Vars) -> bool {
    environ.known(Known::GatewayInterface).is_some() || environ.known(Known::RequestMethod).is_some()
}

#[inline(never)]
fn serve(environ: Vars, arguments: Arguments) -> ExitCode {
    // The demo alone has nothing to say.
    if !arguments.serving.is_demo() || arguments.around.has_log() {
        logger::install(PROGRAM);
    }
    match open(&arguments) {
        Ok((opened, observer)) => {
            let front = arguments.front.settings();
            // As the observer, it may as well last.
            let spool: &'static Store = Box::leak(Box::new(arguments.spool.store().clone()));
            let status = answer(environ, front, arguments.full_duplex, observer, Some(spool), &*opened.app);
            opened.end();
            status
        }
        Err(failure) => failure.tell(PROGRAM),
    }
}

fn open(arguments: &Arguments) -> Result<(Opened, Option<&'static dyn Observer>), Failure> {
    arguments.spool.check()?;
    let (mounted, spool) = (arguments.front.is_mounted(), arguments.spool.store().clone());
    let place = Place { mounted, spool, ..Place::default() };
    let opened = arguments.around.wrap(arguments.serving.open(place)?);
    Ok((opened, arguments.around.observer_of_one_request()?))
}

/// Answers the request of an application of the program's own.
pub(super) fn own(environ: Vars, application: &dyn Application) -> ExitCode {
    answer(environ, FrontSettings::default(), false, None, None, application)
}

fn answer(
    mut environ: Vars,
    front: FrontSettings,
    full_duplex: bool,
    observer: Option<&'static dyn Observer>,
    spool: Option<&'static Store>,
    application: &dyn Application,
) -> ExitCode {
    capture_panics();
    let refused = front.apply(&mut environ).err();
    let mut handler = Cgi::with_environ(environ);
    handler.attributes.full_duplex = full_duplex;
    handler.attributes.observer = observer;
    handler.attributes.spool = spool;
    handler.attributes.keep_variables = front.keep_variables.leak();
    let status = status(&match refused {
        Some(error) => handler.run(&refusal(error)),
        None => handler.run(application),
    });
    // The process ends, and gives back all that it has at once.
    std::mem::forget(handler);
    status
}

fn status(outcome: &Outcome) -> ExitCode {
    match outcome.end {
        End::Answered | End::ClientGone => ExitCode::SUCCESS,
        End::Truncated | End::Unanswered => ExitCode::FAILURE,
    }
}

fn arguments(environ: &Vars) -> Result<Arguments, ExitCode> {
    parse(words(environ)?, environ)
}

#[inline(never)]
fn parse(words: Vec<OsString>, environ: &Vars) -> Result<Arguments, ExitCode> {
    let mut arguments: Arguments = match words.as_slice() {
        [] => Arguments::default(),
        _ => usage::parse(PROGRAM, words)?,
    };
    if arguments.serving.app.is_none() {
        arguments.serving.app = app_of(environ)?;
    }
    Ok(arguments)
}

/// The words of the command line, unless a client may have written it.
///
/// Under CGI a query without `=` reaches a program as its command line (RFC 3875, section 4.4). An option or an
/// application must never come from there, so that the two variables rule alone then.
fn words(environ: &Vars) -> Result<Vec<OsString>, ExitCode> {
    let mut all = options(environ);
    // Python's http.server passes an empty argument where there is no query.
    let given: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| !argument.is_empty()).collect();
    if !query_is_command_line(environ) {
        all.extend(given);
    } else if environ.get("CGI_GATEWAY_APP").is_none() && !is_query(&given, environ) {
        // Whoever wrote it meant an application: the default in its place would answer something else.
        let why = "is ignored for a query without \"=\" (RFC 3875, section 4.4); name the application in CGI_GATEWAY_APP";
        return Err(usage::wrong(PROGRAM, &format!("the command line {why}")));
    }
    Ok(all)
}

/// Whether a command line is nothing but the query, as web servers make one of the other: words at each `+`, decoded,
/// some characters behind a backslash.
fn is_query(arguments: &[OsString], environ: &Vars) -> bool {
    let query = environ.known(Known::QueryString).unwrap_or_default();
    let plain = |bytes: &[u8]| -> Vec<u8> {
        let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_encoding::percent_decode(&spaced).filter(|byte| *byte != b'\\').collect()
    };
    let given = arguments.join(OsStr::new(" "));
    arguments.is_empty() || plain(given.as_encoded_bytes()) == plain(query)
}

fn query_is_command_line(environ: &Vars) -> bool {
    let query = environ.known(Known::QueryString).unwrap_or_default();
    environ.known(Known::GatewayInterface).is_some() && !query.is_empty() && !query.contains(&b'=')
}

fn options(environ: &Vars) -> Vec<OsString> {
    let Some(options) = environ.get("CGI_GATEWAY_OPTIONS") else { return Vec::new() };
    String::from_utf8_lossy(options).split_whitespace().map(OsString::from).collect()
}

fn app_of(environ: &Vars) -> Result<Option<App>, ExitCode> {
    let Some(name) = environ.get("CGI_GATEWAY_APP").filter(|name| !name.is_empty()) else { return Ok(None) };
    let name = String::from_utf8_lossy(name);
    app::parse(&name).map(Some).map_err(|error| {
        usage::wrong(PROGRAM, &format!("CGI_GATEWAY_APP \"{}\": {error}", name.escape_debug()))
    })
}
