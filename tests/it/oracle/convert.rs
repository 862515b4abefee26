//! Recorded values as the library's, and the other way round.

use gatewright::environ::{Environ, Errors, Input, Scheme, Vars, Wsgi};
use serde_json::{Value, json};

use super::run::{Checked, Verdict, fail, impossible};

/// A native string as bytes. Impossible for anything but a string, and for a character above U+00FF.
pub(crate) fn native(value: &Value) -> Checked<Vec<u8>> {
    let Some(text) = value.as_str() else { return impossible(format!("{value} is no string")) };
    text.chars()
        .map(|c| u8::try_from(c).map_err(|_| Verdict::Impossible(format!("{c:?} of {text:?} is no byte"))))
        .collect()
}

/// A string or null.
pub(crate) fn optional_native(value: &Value) -> Checked<Option<Vec<u8>>> {
    if value.is_null() { Ok(None) } else { native(value).map(Some) }
}

/// A list of pairs of native strings.
pub(crate) fn pairs(value: &Value) -> Checked<Vec<(Vec<u8>, Vec<u8>)>> {
    list(value)?.iter().map(|pair| Ok((native(&pair[0])?, native(&pair[1])?))).collect()
}

/// The items of a recorded list.
pub(crate) fn list(value: &Value) -> Checked<&[Value]> {
    value.as_array().map_or_else(|| fail(format!("{value} is no list")), |items| Ok(items.as_slice()))
}

/// Bytes as the text that was recorded for them: latin-1.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Bytes as a recorded string, or null.
pub(crate) fn text(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| json!(latin1(bytes)))
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a recorded `..._hex` value.
pub(crate) fn unhex(value: &Value) -> Checked<Vec<u8>> {
    value.as_str().and_then(hex_bytes).map_or_else(|| fail(format!("{value} is no hexadecimal text")), Ok)
}

/// The bytes of hexadecimal digits.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (twos, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = twos.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// Recorded code points.
pub(crate) fn code_points(value: &Value) -> Checked<Vec<u32>> {
    let code_point = |value: &Value| value.as_u64().and_then(|point| u32::try_from(point).ok());
    list(value)?
        .iter()
        .map(|point| code_point(point).map_or_else(|| fail(format!("{point} is no code point")), Ok))
        .collect()
}

/// The variables and `wsgi.*` values of a recorded environ, before any stream is there.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) vars: Vars,
    pub(crate) wsgi: Wsgi,
}

/// A recorded environ. Impossible where a `wsgi.*` value has no place in [`Environ`].
pub(crate) fn given(environ: &Value) -> Checked<Given> {
    let Some(entries) = environ.as_object() else { return fail(format!("{environ} is no environ")) };
    let mut given = Given::default();
    for (name, value) in entries {
        match name.strip_prefix("wsgi.") {
            Some(rest) => set_wsgi(&mut given.wsgi, rest, value)?,
            None => given.vars.set(native(&json!(name))?, native(value)?),
        }
    }
    Ok(given)
}

/// The variables of a recorded process environment, whose texts Python had decoded from UTF-8.
pub(crate) fn process_env(environ: &Value) -> Checked<Vars> {
    let entries = environ.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| value.as_str().map(|value| (name, value)))
        .collect::<Option<Vars>>()
        .map_or_else(|| fail(format!("{environ} holds something that is no text")), Ok)
}

fn set_wsgi(wsgi: &mut Wsgi, name: &str, value: &Value) -> Checked {
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        // Python's truth values are the integers 0 and 1.
        other => other.as_u64().filter(|number| *number < 2).map(|number| number == 1),
    };
    match (name, flag, value.as_str()) {
        ("multithread", Some(flag), _) => wsgi.multithread = flag,
        ("multiprocess", Some(flag), _) => wsgi.multiprocess = flag,
        ("run_once", Some(flag), _) => wsgi.run_once = flag,
        ("input_terminated", Some(flag), _) => wsgi.input_terminated = flag,
        ("url_scheme", _, Some(scheme)) => wsgi.url_scheme = Some(Scheme::new(scheme)),
        ("version", _, _) if *value == version() => {}
        _ => return impossible(format!("wsgi.{name} cannot be {value}")),
    }
    Ok(())
}

/// `wsgi.version` as it is recorded.
pub(crate) fn version() -> Value {
    let (major, minor) = Wsgi::VERSION;
    json!({"tuple": [major, minor]})
}

impl Given {
    /// Calls `with` with the whole environ: without a body, and its messages go nowhere.
    pub(crate) fn run<T>(self, with: impl FnOnce(&mut Environ<'_>) -> T) -> T {
        let mut errors = std::io::sink();
        let mut environ = Environ::new(self.vars, Input::Empty, Errors::new(&mut errors));
        environ.wsgi = self.wsgi;
        with(&mut environ)
    }
}
