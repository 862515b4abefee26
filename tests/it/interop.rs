//! An independent FastCGI peer: the fastcgi-client crate.

use std::io::Write;

use fastcgi_client::{Client, Params, Request};
use futures::executor::block_on;
use futures::io::AllowStdIo;
use gatewright::app::{AppResult, Responder, app};
use gatewright::environ::Environ;
use gatewright::server::Protocol;

use crate::wire::Running;

fn echo(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut body = respond.start("200 OK", [("Content-Type", "text/plain")])?;
    body.write_all(environ.query_string())?;
    std::io::copy(&mut environ.input, &mut body)?;
    Ok(())
}

fn params(method: &'static str, length: usize) -> Params<'static> {
    Params::default().request_method(method).script_name("/app").query_string("q=1&").content_length(length)
}

fn body(stdout: &[u8]) -> &[u8] {
    let end = stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line behind the head");
    &stdout[end + 4..]
}

#[test]
fn fastcgi_client_gets_an_answer_on_a_connection_of_its_own() {
    let server = Running::start(Protocol::FastCgi, app(echo));
    let client = Client::new(AllowStdIo::new(server.connect()));
    let sent = b"hello".repeat(1000);
    let request = Request::new(params("POST", sent.len()), &sent[..]);
    let response = block_on(client.execute_once(request)).unwrap();
    assert_eq!(body(&response.stdout.unwrap()), [&b"q=1&"[..], &sent].concat());
    assert!(response.stderr.is_none());
}

/// For an empty body this client ends STDIN twice; the second end must not meet the next request.
#[test]
fn a_stray_second_end_of_stdin_does_no_harm_on_a_kept_connection() {
    let server = Running::start(Protocol::FastCgi, app(echo));
    let mut client = Client::new_keep_alive(AllowStdIo::new(server.connect()));
    for round in 0..200 {
        let request = Request::new(params("GET", 0), futures::io::empty());
        let response = block_on(client.execute(request)).unwrap();
        assert_eq!(body(&response.stdout.unwrap()), b"q=1&", "round {round}");
    }
}
