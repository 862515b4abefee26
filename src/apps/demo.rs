//! wsgiref's `demo_app`: says hello and lists the environment. The quickest way to see what a web server sends.

use crate::app::{AppResult, Responder};
use crate::environ::{Environ, Vars, Wsgi};
use crate::util::python_repr;

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
    let mut lines: Vec<(&[u8], String)> =
        vars.iter().map(|(name, value)| (name, python_repr(value))).collect();
    if let Some(wsgi) = wsgi {
        let scheme = wsgi.url_scheme.as_ref().map_or("http", |scheme| scheme.as_str());
        lines.extend([
            (&b"wsgi.multiprocess"[..], python_bool(wsgi.multiprocess)),
            (b"wsgi.multithread", python_bool(wsgi.multithread)),
            (b"wsgi.run_once", python_bool(wsgi.run_once)),
            (b"wsgi.url_scheme", python_repr(scheme.as_bytes())),
            (b"wsgi.version", format!("({}, {})", Wsgi::VERSION.0, Wsgi::VERSION.1)),
        ]);
    }
    lines.sort_by_key(|(name, _)| *name);
    let mut text = String::from("Hello world!\n\n");
    for (name, value) in lines {
        text.extend(name.iter().map(|byte| char::from(*byte)));
        text.push_str(" = ");
        text.push_str(&value);
        text.push('\n');
    }
    text
}

fn python_bool(value: bool) -> String {
    if value { "True".to_owned() } else { "False".to_owned() }
}
