//! Cases for the differences that no recorded case shows. What wsgiref does with them follows from recorded ones; here they
//! only have to show where the policies part.

use serde_json::{Value, json};

use super::super::super::fixture::Case;
use super::super::errors::TYPED;

/// A GET request.
fn environ(more: &[(&str, &str)]) -> Value {
    let mut environ = json!({"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/",
        "SERVER_PROTOCOL": "HTTP/1.0"});
    for (name, value) in more {
        environ[name] = json!(value);
    }
    environ
}

/// An application that starts with these headers, does this, and returns one byte.
fn app(headers: Value, then: Value) -> Value {
    let start = json!({"op": "start_response", "status": "200 OK", "headers": headers});
    let call = [Some(start), (!then.is_null()).then_some(then)];
    let call: Vec<Value> = call.into_iter().flatten().collect();
    json!({"call": call, "result": {"type": "list", "items": [{"data_hex": "78"}]}})
}

fn of(name: &str, app: Value, environ: Value) -> Value {
    json!({"name": name, "class": "BaseCGIHandler", "app": app, "environ": environ})
}

fn refused_headers() -> [Value; 4] {
    [
        ("Trailer", "X-Sum"),
        ("Proxy-Connection", "close"),
        ("X Y", "a name with a blank"),
        ("X:Y", "a name with a colon"),
    ]
    .map(|(name, value)| of(name, app(json!([[name, value]]), Value::Null), environ(&[])))
}

fn of_requests() -> [Value; 6] {
    let capture = |names: &[&str]| json!({"op": "capture", "keys": names});
    let dropped = [
        ("HTTP_PROXY", "http://evil.example"),
        ("HTTP_CONTENT_TYPE", "text/evil"),
        ("HTTP_CONTENT_LENGTH", "7"),
        ("HTTP_X_ALIAS", "first"),
        ("HTTP_X-ALIAS", "second"),
        ("HTTPS", ""),
        ("REMOTE_USER", ""),
    ];
    let asked = capture(&dropped.map(|(name, _)| name));
    // Cargo sets it in the process environment of every test.
    let process = capture(&["CARGO_PKG_NAME", "PATH_INFO"]);
    let typed = json!({"op": "raise", "type": TYPED, "message": "more than 3 bytes"});
    let read = json!({"op": "read_input", "size": null});
    let mut beneath = of("the process environment", app(json!([]), process), environ(&[]));
    beneath["os_environ"] = json!("process");
    let [short, cut] = [("a small body that is short", "9"), ("a large body that ends early", "99999")].map(
        |(name, length)| {
            let mut case = of(name, app(json!([]), read.clone()), environ(&[("CONTENT_LENGTH", length)]));
            case["stdin_hex"] = json!("616263");
            case
        },
    );
    [
        of("variables to drop", app(json!([]), asked), environ(&dropped)),
        beneath,
        short,
        cut,
        of("no length", app(json!([]), Value::Null), environ(&[("CONTENT_LENGTH", "x1")])),
        of("an error with a status", app(json!([]), typed), environ(&[])),
    ]
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let values = refused_headers().into_iter().chain(of_requests());
    values.enumerate().map(|(index, value)| Case::new("made up", index, value)).collect()
}
