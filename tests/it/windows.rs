//! `cgi-gateway` on Windows, with the environment that IIS gives a CGI program.

use std::process::{Command, Stdio};

/// What IIS 10 passes for `/app/gateway.exe/café/черника?q=%C3%A9`: PATH_INFO repeats the script's name, and the path's
/// UTF-8 bytes have become characters.
const ENVIRON: [(&str, &str); 19] = [
    ("APPL_MD_PATH", "/LM/W3SVC/1/ROOT"),
    ("AUTH_TYPE", ""),
    ("CONTENT_LENGTH", "0"),
    ("CONTENT_TYPE", ""),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("HTTPS", "off"),
    ("HTTP_HOST", "www.example.com"),
    ("HTTP_X_NAME", "J\u{fc}rgen \u{20ac}"),
    ("PATH_INFO", "/app/gateway.exe/caf\u{e9}/\u{447}\u{435}\u{440}\u{43d}\u{438}\u{43a}\u{430}"),
    ("PATH_TRANSLATED", "C:\\inetpub\\wwwroot\\app\\gateway.exe\\caf\u{e9}"),
    ("QUERY_STRING", "q=%C3%A9"),
    ("REMOTE_ADDR", "::1"),
    ("REMOTE_USER", "EXAMPLE\\J\u{fc}rgen"),
    ("REQUEST_METHOD", "GET"),
    ("SCRIPT_NAME", "/app/gateway.exe"),
    ("SERVER_NAME", "www.example.com"),
    ("SERVER_PORT", "80"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("SERVER_SOFTWARE", "Microsoft-IIS/10.0"),
];

fn answer(program: &mut Command) -> (Vec<u8>, Vec<u8>) {
    program.env_clear().stdin(Stdio::null());
    // Without its system folder a Windows program does not start; Wine's stand-ins lie on the path.
    for name in ["SystemRoot", "PATH", "WINEPREFIX"] {
        program.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let output = program.envs(ENVIRON).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let end =
        output.stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line behind the head");
    (output.stdout[..end].to_vec(), output.stdout[end + 4..].to_vec())
}

fn gateway() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cgi-gateway"))
}

/// A variable as the demo prints it.
fn line(name: &str, bytes: &[u8]) -> Vec<u8> {
    format!("\n{name} = {}\n", gatewright::util::python_repr(bytes)).into_bytes()
}

fn assert_has(body: &[u8], name: &str, bytes: &[u8]) {
    let line = line(name, bytes);
    let found = body.windows(line.len()).any(|part| part == line);
    assert!(found, "no {} in {}", String::from_utf8_lossy(&line), String::from_utf8_lossy(body));
}

#[test]
fn iis_requests_arrive_as_the_bytes_that_the_client_sent() {
    let (head, body) = answer(gateway().arg("demo"));
    assert!(head.starts_with(b"Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{head:?}");
    assert_has(&body, "PATH_INFO", "/caf\u{e9}/\u{447}\u{435}\u{440}\u{43d}\u{438}\u{43a}\u{430}".as_bytes());
    for (name, value) in ENVIRON {
        if name != "PATH_INFO" && !value.is_empty() {
            assert_has(&body, name, value.as_bytes());
        }
    }
    for absent in ["AUTH_TYPE", "CONTENT_TYPE"] {
        assert!(!String::from_utf8_lossy(&body).contains(&format!("\n{absent} = ")), "{absent}");
    }
}

#[test]
fn another_front_leaves_path_info_alone() {
    let (_, body) = answer(gateway().args(["--front", "none", "demo"]));
    let whole = "/app/gateway.exe/caf\u{e9}/\u{447}\u{435}\u{440}\u{43d}\u{438}\u{43a}\u{430}";
    assert_has(&body, "PATH_INFO", whole.as_bytes());
}

#[test]
fn line_ends_of_the_head_are_two_bytes_and_the_body_is_untouched() {
    let (head, body) = answer(gateway().arg("demo"));
    assert!(!head.windows(3).any(|three| three == b"\r\r\n") && !body.contains(&b'\r'));
    let length = String::from_utf8_lossy(&head)
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    assert_eq!(length, Some(body.len()));
}
