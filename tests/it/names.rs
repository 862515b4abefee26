//! The page that lists wsgiref's documentation name by name leaves none out.

use std::collections::BTreeSet;

/// What Python 3.15's page documents, and the methods and attributes that it mentions: a module, or a class, and its names.
const DOCUMENTED: &[(&str, &[&str])] = &[
    (
        "wsgiref.util",
        &[
            "guess_scheme",
            "request_uri",
            "application_uri",
            "shift_path_info",
            "setup_testing_defaults",
            "is_hop_by_hop",
            "FileWrapper",
            "FileWrapper.close",
        ],
    ),
    ("wsgiref.headers", &["Headers"]),
    (
        "wsgiref.headers.Headers",
        &[
            "__getitem__",
            "get",
            "__setitem__",
            "setdefault",
            "__delitem__",
            "__contains__",
            "keys",
            "values",
            "items",
            "__len__",
            "__bytes__",
            "get_all",
            "add_header",
        ],
    ),
    ("wsgiref.simple_server", &["make_server", "demo_app", "WSGIServer", "WSGIRequestHandler"]),
    (
        "wsgiref.simple_server.WSGIServer",
        &["set_app", "get_app", "serve_forever", "handle_request", "server_close", "base_environ"],
    ),
    ("wsgiref.simple_server.WSGIRequestHandler", &["get_environ", "get_stderr", "handle"]),
    ("wsgiref.validate", &["validator"]),
    (
        "wsgiref.handlers",
        &["CGIHandler", "IISCGIHandler", "BaseCGIHandler", "SimpleHandler", "BaseHandler", "read_environ"],
    ),
    ("wsgiref.handlers.SimpleHandler", &["stdin", "stdout", "stderr", "environ"]),
    (
        "wsgiref.handlers.BaseHandler",
        &[
            "run",
            "_write",
            "_flush",
            "get_stdin",
            "get_stderr",
            "add_cgi_vars",
            "environ",
            "wsgi_multithread",
            "wsgi_multiprocess",
            "wsgi_run_once",
            "os_environ",
            "server_software",
            "get_scheme",
            "setup_environ",
            "log_exception",
            "traceback_limit",
            "error_output",
            "error_status",
            "error_headers",
            "error_body",
            "wsgi_file_wrapper",
            "sendfile",
            "origin_server",
            "http_version",
        ],
    ),
    (
        "wsgiref.types",
        &["StartResponse", "WSGIEnvironment", "WSGIApplication", "InputStream", "ErrorStream", "FileWrapper"],
    ),
];

#[test]
fn every_documented_name_of_wsgiref_has_its_line() {
    let page = include_str!("../../src/wsgiref.rs");
    let named =
        |line: &'static str| line.strip_prefix("//! | `wsgiref.")?.split_once("` | [").map(|(name, _)| name);
    // What has no link in its second column is a way to do it.
    let way = |line: &'static str| {
        line.strip_prefix("//! | `wsgiref.")?.split_once("` | dropping it |").map(|(name, _)| name)
    };
    let listed: Vec<String> = page
        .lines()
        .filter_map(|line| named(line).or_else(|| way(line)))
        .map(|name| format!("wsgiref.{name}"))
        .collect();
    let once: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(once.len(), listed.len(), "a name has two lines");
    let documented: Vec<String> = DOCUMENTED
        .iter()
        .flat_map(|(of, names)| names.iter().map(move |name| format!("{of}.{name}")))
        .collect();
    let documented: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
    let missing: Vec<_> = documented.difference(&once).collect();
    let unknown: Vec<_> = once.difference(&documented).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; not in wsgiref: {unknown:?}");
}
