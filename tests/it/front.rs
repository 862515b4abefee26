//! What servers and programs make of the environments that web servers send.

use std::io::Write;
use std::process::{Command, Stdio};

use gatewright::apps::demo_app;
use gatewright::environ::front::{Front, FrontSettings};
use gatewright::proto::scgi::encode_head;
use gatewright::server::Protocol;

use crate::wire::{Request, Running, answers, read_answers};

fn settings(front: Front) -> FrontSettings {
    FrontSettings { front, ..FrontSettings::default() }
}

fn mounted(at: &str) -> FrontSettings {
    FrontSettings { script_name: Some(at.parse().unwrap()), ..FrontSettings::default() }
}

fn start(protocol: Protocol, front: FrontSettings) -> Running {
    Running::with(protocol, demo_app, |settings| settings.front = front)
}

/// What the demo says of one request over FastCGI.
fn fcgi(server: &Running, params: &[(&str, &str)]) -> String {
    let all = answers(&server.exchange(&Request::new(params, b"").bytes()));
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].text()
}

fn scgi(server: &Running, params: &[(&str, &str)]) -> String {
    let mut wire = Vec::new();
    let pairs = params.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    encode_head(&mut wire, 0, pairs).unwrap();
    String::from_utf8_lossy(&server.exchange(&wire)).into_owned()
}

/// Panics unless the demo shows these variables; `None` is one that is absent.
#[track_caller]
fn assert_shows(text: &str, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        let shown = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        let value = value.map(|value| format!("'{value}'"));
        assert_eq!(shown, value.as_deref(), "{name} in {text}");
    }
}

/// nginx's stock `fastcgi_params` for `GET /app/x%20y?q=1`.
const NGINX: [(&str, &str); 9] = [
    ("QUERY_STRING", "q=1"),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("SCRIPT_NAME", "/app/x y"),
    ("REQUEST_URI", "/app/x%20y?q=1"),
    ("DOCUMENT_URI", "/app/x y"),
    ("SERVER_SOFTWARE", "nginx/1.22.1"),
    ("HTTP_AUTHORIZATION", "Basic eDp5"),
];

#[test]
fn the_mount_makes_nginx_stock_parameters_whole() {
    let server = start(Protocol::FastCgi, mounted("/app"));
    let text = fcgi(&server, &NGINX);
    assert_shows(
        &text,
        &[
            ("SCRIPT_NAME", Some("/app")),
            ("PATH_INFO", Some("/x y")),
            ("REQUEST_URI", Some("/app/x%20y?q=1")),
            ("CONTENT_TYPE", None),
        ],
    );
    // Its scgi_params have no SCRIPT_NAME.
    let server = start(Protocol::Scgi, mounted("/app"));
    let without: Vec<_> =
        NGINX.into_iter().filter(|(name, _)| !matches!(*name, "SCRIPT_NAME" | "CONTENT_LENGTH")).collect();
    assert_shows(&scgi(&server, &without), &[("SCRIPT_NAME", Some("/app")), ("PATH_INFO", Some("/x y"))]);
}

#[test]
fn a_path_outside_the_mount_is_404_and_the_connection_goes_on() {
    let server = start(Protocol::FastCgi, mounted("/app"));
    let mut peer = server.connect();
    for (uri, status) in [("/other", 404), ("/app/in", 200), ("/app/../up", 404), ("/app/%00", 400)] {
        let params = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", uri), ("CONTENT_LENGTH", "4")];
        peer.write_all(&Request::new(&params, b"body").bytes()).unwrap();
        let text = read_answers(&mut peer, 1).remove(0).text();
        assert!(text.starts_with(&format!("Status: {status} ")), "{uri}: {text}");
        assert_eq!(text.contains("Hello world!"), status == 200, "{uri}: {text}");
    }
    let outside = scgi(&start(Protocol::Scgi, mounted("/app")), &[("REQUEST_URI", "/other")]);
    assert!(outside.starts_with("Status: 404 Not Found\r\n"), "{outside}");
    assert!(outside.ends_with("404 Not Found: the path \"/other\" is not below /app\n"), "{outside}");
}

/// Apache's `ProxyPass /app fcgi://127.0.0.1:9000/` for `GET /app/x%20y`.
const APACHE: [(&str, &str); 7] = [
    ("REQUEST_METHOD", "GET"),
    ("SERVER_SOFTWARE", "Apache/2.4.71 (Debian)"),
    ("SCRIPT_FILENAME", "proxy:fcgi://127.0.0.1:9000//x%20y"),
    ("SCRIPT_NAME", "/app/x y"),
    ("REQUEST_URI", "/app/x%20y"),
    ("REDIRECT_REMOTE_USER", "anna"),
    ("REDIRECT_HTTP_AUTHORIZATION", "Basic eDp5"),
];

#[test]
fn a_named_web_server_is_repaired_further_than_one_that_is_seen() {
    let file = ("SCRIPT_FILENAME", Some("//x%20y"));
    for (front, expected) in [
        (Front::Auto, [file, ("SCRIPT_NAME", Some("/app/x y")), ("PATH_INFO", None), ("REMOTE_USER", None)]),
        (
            Front::Apache,
            [file, ("SCRIPT_NAME", Some("/app")), ("PATH_INFO", Some("/x y")), ("REMOTE_USER", Some("anna"))],
        ),
        (
            Front::None,
            [
                ("SCRIPT_FILENAME", Some("proxy:fcgi://127.0.0.1:9000//x%20y")),
                ("SCRIPT_NAME", Some("/app/x y")),
                ("PATH_INFO", None),
                ("REMOTE_USER", None),
            ],
        ),
    ] {
        assert_shows(&fcgi(&start(Protocol::FastCgi, settings(front)), &APACHE), &expected);
        assert_shows(&scgi(&start(Protocol::Scgi, settings(front)), &APACHE), &expected);
    }
}

#[test]
fn credentials_are_withheld_and_dropped_variables_kept_when_asked() {
    let params = [
        ("HTTP_AUTHORIZATION", "Basic eDp5"),
        ("HTTP_PROXY", "a"),
        ("HTTP_CONTENT_TYPE", "b"),
        ("HTTP_X_A", "1"),
        ("HTTP_X-A", "2"),
        ("HTTP_X.A", "3"),
    ];
    let keep_variables = vec!["HTTP_PROXY".into(), "HTTP_X-A".into()];
    let careless = FrontSettings { hide_authorization: true, keep_variables, ..FrontSettings::default() };
    for (front, proxy, alias, authorization) in [
        (FrontSettings::default(), None, None, Some("Basic eDp5")),
        (careless.clone(), Some("a"), Some("2"), None),
    ] {
        let expected = [
            ("HTTP_PROXY", proxy),
            ("HTTP_CONTENT_TYPE", None),
            ("HTTP_X_A", Some("1")),
            ("HTTP_X-A", alias),
            ("HTTP_X.A", None),
            ("HTTP_AUTHORIZATION", authorization),
        ];
        assert_shows(&fcgi(&start(Protocol::FastCgi, front.clone()), &params), &expected);
        assert_shows(&scgi(&start(Protocol::Scgi, front), &params), &expected);
    }
}

/// What `cgi-gateway` says of one request, and whether it ended well.
fn cgi(arguments: &[&str], variables: &[(&str, &str)]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cgi-gateway"));
    command.env_clear().env("GATEWAY_INTERFACE", "CGI/1.1").envs(variables.iter().copied());
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn cgi_gateway_has_the_same_flags() {
    let (text, good) = cgi(&["--front", "apache", "--hide-authorization", "demo"], &APACHE);
    assert!(good);
    assert_shows(
        &text,
        &[
            ("SCRIPT_NAME", Some("/app")),
            ("PATH_INFO", Some("/x y")),
            ("REMOTE_USER", Some("anna")),
            ("HTTP_AUTHORIZATION", None),
            ("REDIRECT_HTTP_AUTHORIZATION", None),
        ],
    );
    let proxy = [("REQUEST_URI", "/b/c"), ("HTTP_PROXY", "a")];
    let (text, good) = cgi(&["--script-name=/b", "--keep-variable=HTTP_PROXY"], &proxy);
    assert!(good);
    assert_shows(&text, &[("SCRIPT_NAME", Some("/b")), ("PATH_INFO", Some("/c")), ("HTTP_PROXY", Some("a"))]);
    let (text, good) = cgi(&["--script-name=/other"], &[("REQUEST_URI", "/b/c")]);
    assert!(good && text.starts_with("Status: 404 Not Found\r\n"), "{text}");
}

#[test]
fn the_flags_are_keys_of_the_configuration_file() {
    let path = std::env::temp_dir().join(format!("gatewright-front-{}.toml", std::process::id()));
    let text = "script-name = \"/b\"\nhide-authorization = true\nkeep-variable = [\"HTTP_PROXY\"]\n";
    std::fs::write(&path, text).unwrap();
    let sent = [("REQUEST_URI", "/b/c"), ("HTTP_PROXY", "a"), ("HTTP_AUTHORIZATION", "x")];
    let (shown, good) = cgi(&["--config", path.to_str().unwrap()], &sent);
    std::fs::write(&path, "front = true\n").unwrap();
    let (_, wrong) = cgi(&["--config", path.to_str().unwrap()], &sent);
    std::fs::remove_file(&path).unwrap();
    assert!(good && !wrong);
    let expected = [("PATH_INFO", Some("/c")), ("HTTP_PROXY", Some("a")), ("HTTP_AUTHORIZATION", None)];
    assert_shows(&shown, &expected);
}

#[test]
fn cgi_gateway_knows_iis_by_its_software() {
    let iis =
        [("SERVER_SOFTWARE", "Microsoft-IIS/10.0"), ("SCRIPT_NAME", "/a.exe"), ("PATH_INFO", "/a.exe/a.exe")];
    for (arguments, path) in
        [(&[][..], "/a.exe"), (&["--front=iis"], "/a.exe"), (&["--front=none"], "/a.exe/a.exe")]
    {
        let (text, _) = cgi(arguments, &iis);
        assert_shows(&text, &[("SCRIPT_NAME", Some("/a.exe")), ("PATH_INFO", Some(path))]);
    }
    let options = [("CGI_GATEWAY_OPTIONS", "--front none")];
    let (text, _) = cgi(&[], &[&iis[..], &options[..]].concat());
    assert_shows(&text, &[("PATH_INFO", Some("/a.exe/a.exe"))]);
}
