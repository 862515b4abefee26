//! wsgiref's `demo_app`: says hello and lists the environment. The quickest way to see what a web server sends.

use std::fmt::Write as _;

use crate::app::{AppResult, Responder};
use crate::environ::{Environ, Vars, Wsgi};
use crate::util::push_python_repr;

/// Answers every request with `Hello world!` and the variables, sorted by name, values as Python's `repr` shows them.
///
/// The `wsgi.*` values stand among them as Python prints them; streams are left out.
///
/// ```
/// use gatewright::{apps::demo_app, environ::Vars, handlers::{BaseCgi, BaseHandler}};
///
/// let handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), Vars::from([("PATH_INFO", "/caf\u{e9}")]));
/// handler.run(&demo_app);
/// let (_, output, _) = handler.into_streams();
/// assert!(String::from_utf8(output)?.contains("\r\n\r\nHello world!\n\nPATH_INFO = '/cafÃ©'\n"));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
///
/// # Errors
/// The client has gone.
pub fn demo_app(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let text = demo_text(&environ.vars, Some(&environ.wsgi));
    respond.start("200 OK", [("Content-Type", "text/plain; charset=utf-8")])?.send(text)
}

/// The text of [`demo_app`].
pub fn demo_text(vars: &Vars, wsgi: Option<&Wsgi>) -> String {
    let mut lines: Vec<(&[u8], Shown<'_>)> = Vec::with_capacity(vars.len() + WSGI_VALUES);
    lines.extend(vars.iter().map(|(name, value)| (name, Shown::Repr(value))));
    if let Some(wsgi) = wsgi {
        let scheme = wsgi.url_scheme.as_ref().map_or("http", |scheme| scheme.as_str());
        lines.extend([
            (&b"wsgi.multiprocess"[..], Shown::Bool(wsgi.multiprocess)),
            (b"wsgi.multithread", Shown::Bool(wsgi.multithread)),
            (b"wsgi.run_once", Shown::Bool(wsgi.run_once)),
            (b"wsgi.url_scheme", Shown::Repr(scheme.as_bytes())),
            (b"wsgi.version", Shown::Version),
        ]);
    }
    // No name is there twice, but for one that a web server sends with a gateway's name.
    lines.sort_unstable_by_key(|(name, _)| *name);
    let room: usize = vars.iter().map(|(name, value)| name.len() + value.len() + " = ''\n".len()).sum();
    let mut text = String::with_capacity(room + 256);
    text.push_str("Hello world!\n\n");
    for (name, value) in lines {
        text.extend(name.iter().map(|byte| char::from(*byte)));
        text.push_str(" = ");
        value.show(&mut text);
        text.push('\n');
    }
    text
}

/// How many values the gateway adds.
const WSGI_VALUES: usize = 5;

/// A value, before it is shown: all of them are written into one text.
enum Shown<'v> {
    Repr(&'v [u8]),
    Bool(bool),
    Version,
}

impl Shown<'_> {
    fn show(&self, text: &mut String) {
        match self {
            Self::Repr(native) => push_python_repr(text, native),
            Self::Bool(value) => text.push_str(if *value { "True" } else { "False" }),
            Self::Version => {
                // Writing to a String cannot fail.
                let _ = write!(text, "({}, {})", Wsgi::VERSION.0, Wsgi::VERSION.1);
            }
        }
    }
}
