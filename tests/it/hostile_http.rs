//! HTTP clients that mean harm, against a server in this process.

use std::io::{Read, Write};

use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;
use gatewright::server::{Protocol, Settings};

use super::wire::Running;

/// Says where it was asked for, and leaves the body alone.
fn here(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let path = environ.path_info().to_vec();
    respond.start("200 OK", [("Content-Type", "text/plain")])?.send(path)
}

fn two_workers(settings: &mut Settings) {
    settings.workers = 2;
}

fn ask(server: &Running, path: &str) {
    let wire = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let mut stream = server.connect();
    stream.write_all(wire.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer in time");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(path), "{answer}");
}

/// A worker stayed with a connection as long as its client had another request there.
#[test]
fn requests_that_follow_each_other_for_ever_starve_no_other_connection() {
    let server = Running::with(Protocol::Http, here, two_workers);
    let requests = "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2000);
    server.assert_serves_beside_floods(b"", requests.as_bytes(), || ask(&server, "/good"));
}

/// What came behind a body that nobody reads, and that was too long to be dropped, was read for as long as it came.
#[test]
fn a_body_that_nobody_reads_and_that_never_ends_holds_no_worker() {
    let server = Running::with(Protocol::Http, here, two_workers);
    let head = b"POST /ignored HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
    server.assert_serves_beside_floods(head, &[b'x'; 256 * 1024], || ask(&server, "/good"));
}
