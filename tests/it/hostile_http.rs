//! HTTP clients that mean harm, against a server in this process.

use std::io::{Read, Write};

use gatewright::app::{AppResult, Responder};
use gatewright::environ::Environ;
use gatewright::server::{Protocol, Settings};

use super::wire::Running;

/// Says where it was asked for, and leaves the body alone.
fn here(environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
    let mut said = environ.get("HTTP_HOST").unwrap_or_default().to_vec();
    said.extend_from_slice(environ.path_info());
    let status = match environ.path_info() {
        b"/204" => "204 No Content",
        b"/304" => "304 Not Modified",
        _ => "200 OK",
    };
    let mut body = respond.start(status, [("Content-Type", "text/plain")])?;
    if environ.query_string() != b"pieces" {
        return body.send(said);
    }
    for piece in said.chunks(1) {
        body.write_all(piece)?;
        body.flush()?;
    }
    Ok(())
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

/// Each of them held a worker, for as long as it read a little now and then.
#[test]
fn large_answers_that_nobody_reads_leave_the_workers_to_others() {
    const SENT: usize = 4_000_000;
    let large = |environ: &mut Environ<'_>, respond: Responder<'_>| {
        let file = std::fs::File::open(std::env::current_exe()?)?;
        match environ.path_info() {
            b"/file" => respond.start("200 OK", [("Content-Type", "text/plain")])?.send_file(file),
            b"/sent" => respond.start("200 OK", [("Content-Type", "text/plain")])?.send(vec![b'x'; SENT]),
            _ => here(environ, respond),
        }
    };
    let server = Running::with(Protocol::Http, large, two_workers);
    let mut silent: Vec<_> = ["/file", "/sent", "/file", "/sent", "/file"]
        .into_iter()
        .map(|path| {
            let mut stream = server.connect();
            let wire = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.0\r\nHost: h\r\n\r\n");
            stream.write_all(wire.as_bytes()).unwrap();
            (path, stream)
        })
        .collect();
    (0..5).for_each(|_| ask(&server, "/good"));
    // One goes away; whoever reads after all gets all of it, and the next answer.
    silent.remove(0);
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    for (path, mut stream) in silent {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = if path == "/file" { &file[..] } else { &[b'x'; SENT] };
        let (first, next) = answer[head..].split_at(body.len());
        assert!(first == body, "{path}: not what was sent");
        assert!(next.starts_with(b"HTTP/1.1 200 OK\r\n") && next.ends_with(b"h/next"), "{path}");
    }
}

/// What came behind a body that nobody reads, and that was too long to be dropped, was read for as long as it came.
#[test]
fn a_body_that_nobody_reads_and_that_never_ends_holds_no_worker() {
    let server = Running::with(Protocol::Http, here, two_workers);
    let head = b"POST /ignored HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
    server.assert_serves_beside_floods(head, &[b'x'; 256 * 1024], || ask(&server, "/good"));
}

/// One request to a reader, two to another: whoever sends such a thing is answered once, and not again on that connection.
#[test]
fn what_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let server = Running::with(Protocol::Http, here, two_workers);
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for shape in [
        format!("{post}Content-Length: 0\r\n{chunked}\r\n"),
        format!("{post}{chunked}Content-Length: 5\r\n\r\n0\r\n\r\n"),
        format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n", inner.len()),
        format!("{post}Content-Length: 0, 0\r\n\r\n"),
        format!("{post}Content-Length: +0\r\n\r\n"),
        format!("{post}Content-Length: 0x0\r\n\r\n"),
        format!("{post}Content-Length:\r\n\r\n"),
        format!("{post}Content-Length: 0\0\r\n\r\n"),
        format!("{post}Content-Length : 0\r\n\r\n"),
        format!("{post}Content-Length\r\n\r\n"),
        format!("{post} Content-Length: 0\r\n\r\n"),
        format!("{post}X: a\r\n Content-Length: 9\r\n\r\n"),
        format!("{post}X: a\r\n\tb\r\n\r\n"),
        format!("{post}X: a\rContent-Length: 9\r\n\r\n"),
        format!("{post}X: a\nContent-Length: 9\r\n\r\n"),
        format!("{post}X: a\0b\r\n\r\n"),
        format!("{post}Transfer-Encoding: identity\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}{chunked}{chunked}\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n"),
        format!("{post}{chunked}\r\n0x0\r\n\r\n"),
        format!("{post}{chunked}\r\n-1\r\n\r\n"),
        format!("{post}{chunked}\r\n 0\r\n\r\n"),
        format!("{post}{chunked}\r\n0 \r\n\r\n"),
        format!("{post}{chunked}\r\n0\n\r\n"),
        format!("{post}{chunked}\r\n00000000000000000\r\n\r\n"),
        format!("{post}{chunked}\r\n10000000000000001\r\n\r\n"),
        format!("{post}{chunked}\r\n0;a\nb\r\n\r\n"),
        format!("{post}{chunked}\r\n0;\r\r\n\r\n"),
        format!("{post}{chunked}\r\n1\r\nxx\r\n0\r\n\r\n"),
        format!("{post}{chunked}\r\n1\r\nx\n0\r\n\r\n"),
        format!("{post}{chunked}\r\n0\r\nX : a\r\n\r\n"),
        format!("{post}{chunked}\r\n0\r\nX: a\n\r\n"),
        "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h, i\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".to_owned(),
        "GET http://a\\@b/ HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(),
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(),
        "GET /\r\n".to_owned(),
        "GET / http/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
    ] {
        let answer = server.exchange(format!("{shape}{inner}").as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let shape = shape.escape_debug();
        assert!(!answer.contains("smuggled"), "{shape}: {answer}");
        let is_refused = ["400", "501", "505"].contains(&answer.get(9..12).unwrap_or_default());
        assert!(is_refused && answer.contains("\r\nConnection: close\r\n"), "{shape}: {answer}");
        assert_eq!(answer.matches("\r\nServer: ").count(), 1, "{shape}: {answer}");
    }
    ask(&server, "/good");
}

/// Neither another protocol nor `100 Continue` is spoken because a client would like it.
#[test]
fn upgrades_and_expectations_change_nothing_about_where_requests_end() {
    let server = Running::with(Protocol::Http, here, two_workers);
    let next = "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for (lines, expected) in [
        (
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            2,
        ),
        ("Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", 2),
        ("Upgrade: TLS/1.0\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc", 2),
        ("Expect: 100-continue\r\n\r\n", 2),
        ("Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", 2),
        ("Expect: 200-ok\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 2),
        // The body was not asked for, and never comes: what follows may not be taken for it, nor for a request.
        ("Expect: 100-continue\r\nContent-Length: 30000000\r\n\r\n", 1),
    ] {
        let wire = format!("POST /first HTTP/1.1\r\nHost: h\r\n{lines}{next}");
        let answer = String::from_utf8(server.exchange(wire.as_bytes())).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), expected, "{lines}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), expected, "{lines}: {answer}");
        assert_eq!(answer.contains("h/next"), expected == 2, "{lines}: {answer}");
    }
    let absolute = "GET http://other:80/path HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(server.exchange(absolute.as_bytes()).ends_with(b"other:80/path"), "the target's host counts");
}

#[test]
fn an_application_that_writes_where_no_body_may_be_moves_no_answer() {
    let server = Running::with(Protocol::Http, here, two_workers);
    for query in ["", "?pieces"] {
        let wire = format!(
            "HEAD /head{query} HTTP/1.1\r\nHost: h\r\n\r\nGET /204{query} HTTP/1.1\r\nHost: h\r\n\r\n\
             GET /304{query} HTTP/1.1\r\nHost: h\r\n\r\nGET /end HTTP/1.0\r\nHost: h\r\n\r\n"
        );
        let answer = String::from_utf8(server.exchange(wire.as_bytes())).unwrap();
        let (answers, last) = answer.rsplit_once("\r\n\r\n").unwrap();
        assert_eq!(last, "h/end", "{answer}");
        let heads: Vec<&str> = answers.split("\r\n\r\n").collect();
        let statuses: Vec<&str> = heads.iter().map(|head| &head[..12]).collect();
        assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.1 200"], "{answer}");
        assert!(!heads[1].contains("Content-Length") && !heads[1].contains("Transfer-Encoding"), "{answer}");
    }
}
