//! What has to hold behind every front.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Answer, Request};
use super::environment::Environment;
use super::harness::{processes, wait_until};
use super::site::{Failure, Front, MOUNT, Site};

/// The error page, wsgiref's.
const ERROR_PAGE: &str = "A server error occurred.  Please contact the administrator.";

pub(crate) fn non_ascii_paths_and_queries_arrive_byte_for_byte(front: Front) {
    let site = front.start();
    let sent_encoded = site.request("GET", "/env/caf%C3%A9/%FF%25%20x?q=%C3%A9&r=%ff%00");
    let environ = site.environment(&sent_encoded);
    environ.expect("SCRIPT_NAME", MOUNT);
    environ.expect("PATH_INFO", b"/env/caf\xc3\xa9/\xff% x");
    environ.expect("QUERY_STRING", "q=%C3%A9&r=%ff%00");
    environ.expect("REQUEST_URI", "/app/env/caf%C3%A9/%FF%25%20x?q=%C3%A9&r=%ff%00");
    let sent_raw = site.request("GET", b"/env/caf\xc3\xa9/\xff?q=\xc3\xa9\xfe");
    if front.refuses_raw_bytes() {
        return assert_eq!(sent_raw.send(site.port).status, 400);
    }
    let environ = site.environment(&sent_raw);
    environ.expect("SCRIPT_NAME", MOUNT);
    environ.expect("PATH_INFO", b"/env/caf\xc3\xa9/\xff");
    environ.expect("QUERY_STRING", b"q=\xc3\xa9\xfe");
    let path: &[u8] =
        if front.encodes_paths() { b"/app/env/caf%C3%A9/%FF" } else { b"/app/env/caf\xc3\xa9/\xff" };
    environ.expect("REQUEST_URI", [path, b"?q=\xc3\xa9\xfe"].concat());
}

pub(crate) fn an_empty_path_info(front: Front) {
    let site = front.start();
    let environ = site.environment(&site.request("GET", ""));
    environ.expect("SCRIPT_NAME", MOUNT);
    assert_eq!(environ.get("PATH_INFO"), front.empty_path_info().map(str::as_bytes));
    environ.expect("QUERY_STRING", "");
    site.environment(&site.request("GET", "/")).expect("PATH_INFO", "/");
}

pub(crate) fn the_environment_is_what_the_web_server_means(front: Front) {
    let site = front.start();
    let request = site
        .request("POST", "/env/x?a=b+c&d")
        .header("Content-Type", "text/plain; charset=utf-8")
        .header("Accept-Language", "de")
        .header("Cookie", "a=1")
        .body(b"four");
    let environ = site.environment(&request);
    let mut expected: Vec<(&str, String)> = [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/env/x"),
        ("QUERY_STRING", "a=b+c&d"),
        ("REQUEST_URI", "/app/env/x?a=b+c&d"),
        ("CONTENT_TYPE", "text/plain; charset=utf-8"),
        ("CONTENT_LENGTH", "4"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PROTOCOL", front.protocol()),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "*"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_ACCEPT_LANGUAGE", "de"),
        ("HTTP_COOKIE", "a=1"),
        ("wsgi.url_scheme", "http"),
        ("wsgi.multithread", if front.is_cgi() { "false" } else { "true" }),
        ("wsgi.multiprocess", if front.is_cgi() { "true" } else { "false" }),
        ("wsgi.run_once", if front.is_cgi() { "true" } else { "false" }),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    if front.is_scgi() {
        expected.push(("SCGI", "1".to_owned()));
    }
    expected.extend(front.own_variables(&site));
    environ.expect_all(&expected);
    absent_lengths(&site, front);
}

/// Empty to say that there is none, CONTENT_LENGTH and CONTENT_TYPE are absent to an application.
fn absent_lengths(site: &Site, front: Front) {
    let environ = site.environment(&site.request("GET", "/env"));
    assert_eq!(environ.get("CONTENT_LENGTH"), front.length_without_body().map(str::as_bytes));
    assert_eq!(environ.get("CONTENT_TYPE"), None);
    assert_eq!(environ.get("REMOTE_USER"), None);
    assert_eq!(environ.get("HTTPS"), None);
}

pub(crate) fn repeated_and_dangerous_request_headers(front: Front) {
    let site = front.start();
    let request = site
        .request("POST", "/env")
        .header("X-Twice", "one")
        .header("Proxy", "http://evil.example/")
        .header("X-Twice", "two")
        .header("X_Twice", "alias")
        .header("Content-Type", "text/plain")
        .header("X-Bytes", b"caf\xc3\xa9\xff")
        .header("Cookie", "a=1")
        .header("Cookie", "b=2")
        .body(b"x");
    let environ = site.environment(&request);
    let twice = String::from_utf8_lossy(environ.get("HTTP_X_TWICE").unwrap_or_default()).into_owned();
    assert!(front.repeated_and_aliased().contains(&twice.as_str()), "{twice}");
    environ.expect("HTTP_X_BYTES", b"caf\xc3\xa9\xff");
    environ.expect("HTTP_COOKIE", front.repeated_cookies());
    environ.expect("CONTENT_TYPE", "text/plain");
    environ.expect("CONTENT_LENGTH", "1");
    for dropped in ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
        assert_eq!(environ.get(dropped), None, "{dropped}");
    }
}

pub(crate) fn head_keeps_its_length_and_has_no_body(front: Front) {
    let site = front.start();
    let answer = site.request("HEAD", "/big?bytes=100000").send(site.port).expect(200);
    assert_eq!(answer.header("content-length"), Some("100000"));
    assert_eq!(answer.body, b"");
    // Had the body been sent, the connection to the gateway would be out of step now.
    assert_eq!(site.get("/big?bytes=5").expect(200).body, lines(5));
}

pub(crate) fn a_mebibyte_is_echoed_whole(front: Front) {
    let site = front.start();
    let body = lines(1 << 20);
    let answer = site.request("POST", "/echo").body(&body).send(site.port).expect(200);
    assert_same(&answer.body, &body);
}

pub(crate) fn a_chunked_body_is_echoed_whole(front: Front) {
    let site = front.start();
    let body = lines(300_000);
    let chunks = [&body[..1], &body[1..70_000], &body[70_000..299_999], &body[299_999..]];
    let answer = site.request("POST", "/echo").chunked(chunks).send(site.port);
    if let Some(status) = front.wants_lengths() {
        return assert_eq!(answer.status, status);
    }
    assert_same(&answer.expect(200).body, &body);
    let answer = site.request("POST", "/echo").chunked([]).send(site.port).expect(200);
    assert_eq!(answer.body, b"");
}

/// The body goes back as it is read, far more of it than sockets and pipes hold. nginx stops sending a body once its
/// answer begins, and Apache reads no answer before it has sent the body.
pub(crate) fn twenty_mebibytes_stream_both_ways(front: Front) {
    let site = front.start();
    let body = lines(20 << 20);
    let answer = site.request("POST", "/stream").body(&body).send(site.port).expect(200);
    assert_same(&answer.body, &body);
}

pub(crate) fn ten_mebibytes_arrive_byte_for_byte(front: Front) {
    let site = front.start();
    let answer = site.get("/big?bytes=10485760").expect(200);
    assert_eq!(answer.header("content-length"), Some("10485760"));
    assert_same(&answer.body, &lines(10 << 20));
}

pub(crate) fn repeated_response_headers_stay_apart_and_in_order(front: Front) {
    let site = front.start();
    let answer = site.get("/headers").expect(200);
    assert_eq!(answer.all("set-cookie"), [&b"first=1"[..], b"second=2; Path=/", b"first=3"]);
    // Joined is the same to a client (RFC 9110, section 5.3).
    let expected: &[&[u8]] = if front.joins_answers() { &[b"b, a"] } else { &[b"b", b"a"] };
    assert_eq!(answer.all("x-twice"), expected);
    assert_eq!(answer.body, b"see the headers\n");
}

/// A gateway that closed its connection without having read the rest would reset it, and the answer with it.
pub(crate) fn a_body_left_unread_does_not_eat_the_answer(front: Front) {
    let site = front.start();
    for bytes in [1, 100_000, 4 << 20] {
        let answer = site.request("POST", "/headers").body(&lines(bytes)).send(site.port).expect(200);
        assert_eq!(answer.body, b"see the headers\n");
        assert_serves(&site);
    }
}

/// The client shall go there.
pub(crate) fn a_redirect_goes_to_the_client(front: Front) {
    let site = front.start();
    let answer = site.get("/redirect").expect(302);
    assert_eq!(answer.header("location"), Some("http://elsewhere.example/elsewhere"));
    assert_eq!(answer.body, b"elsewhere\n");
    assert_serves(&site);
}

/// What is more would run into the next answer, or keep a web server from using the connection again.
pub(crate) fn no_more_than_the_announced_length_leaves(front: Front) {
    let site = front.start();
    for (bytes, length) in [(100, 50), (100_000, 99_999), (70_000, 0)] {
        let answer = site.get(&format!("/beyond?bytes={bytes}&length={length}")).expect(200);
        assert_same(&answer.body, &lines(length));
        assert_serves(&site);
    }
}

pub(crate) fn a_failure_before_any_output_is_the_error_page(front: Front) {
    let site = front.start();
    assert_eq!(ERROR_PAGE.len(), 59);
    for (path, logged) in [
        ("/fail-before", "GET /app/fail-before: failed before any output"),
        ("/panic-before", "examples/workbench.rs:"),
    ] {
        let answer = site.get(path).expect(500);
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.body, ERROR_PAGE.as_bytes());
        let is_logged = || front.loses_errors() || site.log().contains(logged);
        wait_until(&format!("the log has {logged}"), is_logged);
        assert_serves(&site);
    }
}

pub(crate) fn a_failure_after_some_output_cuts_the_answer(front: Front) {
    let site = front.start();
    for (path, logged) in [
        ("/fail-after", "GET /app/fail-after: failed after some output"),
        ("/panic-after", "examples/workbench.rs:"),
    ] {
        let mut announced = site.get(&format!("{path}?bytes=100000&length=200000"));
        if front.failure() == Failure::Page {
            take_page(&mut announced);
        }
        assert_cut(&announced);
        let is_logged = || front.loses_errors() || site.log().contains(logged);
        wait_until(&format!("the log has {logged}"), is_logged);
        let mut unannounced = site.get(&format!("{path}?bytes=100000"));
        match front.failure() {
            Failure::Cut => assert_cut(&unannounced),
            Failure::Hidden => assert_same(&unannounced.expect(200).body, &lines(100_000)),
            Failure::Depends => assert_same(&unannounced.body, &lines(unannounced.body.len())),
            Failure::Page => {
                take_page(&mut unannounced);
                assert_same(&unannounced.body, &lines(unannounced.body.len()));
            }
        }
        assert_serves(&site);
    }
}

/// Takes the web server's error page from the end of an answer.
#[track_caller]
fn take_page(answer: &mut Answer) {
    let page = answer.body.windows(9).position(|nine| nine == b"<!DOCTYPE").expect("an error page");
    answer.body.truncate(page);
}

/// The beginning of `/big` and no end, so that a client knows.
#[track_caller]
fn assert_cut(answer: &Answer) {
    assert_eq!(answer.status, 200);
    assert!(!answer.whole, "looks whole: {:?}", answer.headers);
    assert!(answer.body.len() <= 100_000, "{}", answer.body.len());
    assert_same(&answer.body, &lines(answer.body.len()));
}

#[track_caller]
fn assert_serves(site: &Site) {
    assert_eq!(site.get("/big?bytes=99").expect(200).body, lines(99));
}

/// Web servers refuse them all before a gateway hears of it; what gateways do is tested on their sockets.
pub(crate) fn a_malformed_content_length_is_refused(front: Front) {
    let site = front.start();
    // Some wait for the body, and have no answer when it does not come.
    let refuses = |request: &Request| {
        let status = request.send_no_more(site.port);
        assert!([None, Some(400), Some(413)].contains(&status), "{request:?}: {status:?}");
    };
    for length in ["abc", "1e3", "12345678901234567890", "-1"] {
        let request = site.request("POST", "/echo").header("Content-Length", length);
        refuses(&request);
    }
    refuses(&site.request("POST", "/echo").header("Content-Length", "1").header("Content-Length", "2"));
    assert_serves(&site);
}

pub(crate) fn many_requests_at_once(front: Front) {
    let from_environment = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of requests"))
    };
    let all: usize = from_environment("GATEWRIGHT_TEST_REQUESTS", 100);
    let at_once = from_environment("GATEWRIGHT_TEST_AT_ONCE", all).min(front.most_at_once());
    let site = front.start();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= all {
                        return;
                    }
                    one_of_many(&site, number);
                }
            });
        }
    });
}

/// A request that no other one's answer would fit.
fn one_of_many(site: &Site, number: usize) {
    match number % 3 {
        0 => {
            let request = site.request("GET", format!("/env/{number}?n={number}"));
            let environ: Environment = site.environment(&request);
            environ.expect("PATH_INFO", format!("/env/{number}"));
            environ.expect("QUERY_STRING", format!("n={number}"));
        }
        1 => {
            let body = lines(1000 + number);
            let request: Request = site.request("POST", "/echo").body(&body);
            assert_same(&request.send(site.port).expect(200).body, &body);
        }
        _ => {
            let bytes = 100_000 + number;
            assert_same(&site.get(&format!("/big?bytes={bytes}")).expect(200).body, &lines(bytes));
        }
    }
}

/// What nobody waits for any more shall not go on.
pub(crate) fn a_client_that_leaves_ends_the_application(front: Front) {
    let site = front.start();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, site.port)).expect("a web server");
    (&stream).write_all(&site.request("GET", "/endless").bytes).expect("room in the socket");
    wait_until("the application has begun", || site.log().contains("workbench: endless has begun"));
    drop(stream);
    if front.gathers_answers() {
        // It goes on until the disk is full.
        return;
    }
    // Apache ends CGI programs by a signal.
    let is_gone = || front.is_cgi() && processes(&site.folder.path("cgi-bin/app")).is_empty();
    wait_until("it has ended", || is_gone() || site.log().contains("workbench: endless has ended"));
    assert_serves(&site);
}

/// What the workbench writes at `/big?bytes=…`.
pub(crate) fn lines(bytes: usize) -> Vec<u8> {
    let mut text: String = (0..bytes.div_ceil(16)).map(|line| format!("{:015x}\n", 16 * line)).collect();
    text.truncate(bytes);
    text.into_bytes()
}

/// Equality of what is too long to print.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(differs, None, "differs from this byte on");
    assert_eq!(got.len(), expected.len(), "differs in length");
}
