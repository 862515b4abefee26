//! What has to hold behind every front.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Answer, Request};
use super::environment::Environment;
use super::harness::wait_until;
use super::nginx::{Link, Over, Protocol};
use super::site::{Front, MOUNT, Site};

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
    if front.is_http() {
        // No URL has such bytes, and nobody has to guess what they mean.
        assert_eq!(sent_raw.send(site.port).status, 400);
        return;
    }
    let environ = site.environment(&sent_raw);
    environ.expect("SCRIPT_NAME", MOUNT);
    environ.expect("PATH_INFO", b"/env/caf\xc3\xa9/\xff");
    environ.expect("QUERY_STRING", b"q=\xc3\xa9\xfe");
    environ.expect("REQUEST_URI", b"/app/env/caf\xc3\xa9/\xff?q=\xc3\xa9\xfe");
}

pub(crate) fn an_empty_path_info(front: Front) {
    let site = front.start();
    let environ = site.environment(&site.request("GET", ""));
    environ.expect("SCRIPT_NAME", MOUNT);
    // Apache leaves an empty one out (RFC 3875, section 4.1.5, allows both); nginx sends what it is told to.
    let expected: Option<&[u8]> = if front.is_apache() { None } else { Some(b"") };
    assert_eq!(environ.get("PATH_INFO"), expected);
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
    // Apache takes the port from Host, which names none here.
    let port = if front.is_apache() || front.is_proxy() { "80".to_owned() } else { site.port.to_string() };
    // nginx speaks HTTP/1.0 to a gateway, unless it keeps connections.
    let old = matches!(front, Front::Nginx(link) if link.protocol == Protocol::Http && !link.kept);
    let protocol = if old { "HTTP/1.0" } else { "HTTP/1.1" };
    let root = site.folder.root().display().to_string();
    let mut expected = vec![
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/env/x"),
        ("QUERY_STRING", "a=b+c&d"),
        ("REQUEST_URI", "/app/env/x?a=b+c&d"),
        ("REQUEST_SCHEME", "http"),
        ("CONTENT_TYPE", "text/plain; charset=utf-8"),
        ("CONTENT_LENGTH", "4"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", protocol),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_ACCEPT_LANGUAGE", "de"),
        ("HTTP_COOKIE", "a=1"),
        ("wsgi.url_scheme", "http"),
    ];
    let program = format!("{root}/cgi-bin/app");
    let translated = format!("{root}/docroot/env/x");
    match front {
        Front::Apache(_) => expected.extend([
            ("REMOTE_PORT", "*"),
            ("DOCUMENT_ROOT", "*"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "*"),
            ("SERVER_SIGNATURE", ""),
            ("SERVER_ADDR", "127.0.0.1"),
            ("SERVER_ADMIN", "*"),
            ("SCRIPT_FILENAME", &program),
            ("PATH_TRANSLATED", &translated),
            ("CONTEXT_PREFIX", "/app"),
            ("CONTEXT_DOCUMENT_ROOT", &program),
            ("PATH", "/usr/bin:/bin"),
            ("ap_trust_cgilike_cl", "1"),
            ("HTTP_CONNECTION", "close"),
            ("wsgi.multithread", "false"),
            ("wsgi.multiprocess", "true"),
            ("wsgi.run_once", "true"),
        ]),
        Front::Http => expected.extend([
            ("REMOTE_PORT", "*"),
            ("wsgi.multithread", "true"),
            ("wsgi.multiprocess", "false"),
            ("wsgi.run_once", "false"),
        ]),
        Front::Nginx(_) if front.is_proxy() => expected.extend([
            ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ("HTTP_X_FORWARDED_PROTO", "http"),
            ("wsgi.multithread", "true"),
            ("wsgi.multiprocess", "false"),
            ("wsgi.run_once", "false"),
        ]),
        Front::Nginx(_) => expected.extend([
            ("REMOTE_PORT", "*"),
            ("DOCUMENT_ROOT", "*"),
            ("DOCUMENT_URI", "/app/env/x"),
            ("HTTP_CONNECTION", "close"),
            ("wsgi.multithread", "true"),
            ("wsgi.multiprocess", "false"),
            ("wsgi.run_once", "false"),
        ]),
    }
    if front.is_http() {
        expected.extend([("GATEWAY_INTERFACE", "CGI/1.1"), ("SERVER_SOFTWARE", "*")]);
        if front != Front::Nginx(Link::new(Protocol::Http, Over::Unix)) {
            expected.push(("SERVER_ADDR", "127.0.0.1"));
        }
    } else if front.is_scgi() {
        expected.push(("SCGI", "1"));
    } else if !front.is_apache() {
        expected.extend([
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "*"),
            ("SERVER_ADDR", "127.0.0.1"),
            ("REDIRECT_STATUS", "200"),
        ]);
    }
    environ.expect_all(&expected);
    absent_lengths(&site, front);
}

/// nginx sends CONTENT_LENGTH and CONTENT_TYPE empty to say that there is none; SCGI always has a length.
fn absent_lengths(site: &Site, front: Front) {
    let environ = site.environment(&site.request("GET", "/env"));
    let length: Option<&[u8]> = if front.is_scgi() { Some(b"0") } else { None };
    assert_eq!(environ.get("CONTENT_LENGTH"), length);
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
    environ.expect("HTTP_X_TWICE", "one, two");
    environ.expect("HTTP_X_BYTES", b"caf\xc3\xa9\xff");
    // Apache joins every repeated header with a comma before anybody else sees it.
    environ.expect("HTTP_COOKIE", if front.is_apache() { "a=1, b=2" } else { "a=1; b=2" });
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
    let answer = site.request("POST", "/echo").chunked(chunks).send(site.port).expect(200);
    assert_same(&answer.body, &body);
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
    match front {
        // Apache joins what is repeated, but for Set-Cookie: the same to a client (RFC 9110, section 5.3).
        Front::Apache(_) => assert_eq!(answer.all("x-twice"), [b"b, a"]),
        Front::Nginx(_) | Front::Http => assert_eq!(answer.all("x-twice"), [b"b", b"a"]),
    }
    assert_eq!(answer.body, b"see the headers\n");
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
        wait_until(&format!("the log has {logged}"), || site.log().contains(logged));
        assert_serves(&site);
    }
}

pub(crate) fn a_failure_after_some_output_cuts_the_answer(front: Front) {
    let site = front.start();
    for (path, logged) in [
        ("/fail-after", "GET /app/fail-after: failed after some output"),
        ("/panic-after", "examples/workbench.rs:"),
    ] {
        let announced = site.get(&format!("{path}?bytes=100000&length=200000"));
        assert_cut(&announced);
        wait_until(&format!("the log has {logged}"), || site.log().contains(logged));
        let unannounced = site.get(&format!("{path}?bytes=100000"));
        if front.can_tell_failure() {
            assert_cut(&unannounced);
        } else {
            assert_same(&unannounced.expect(200).body, &lines(100_000));
        }
        assert_serves(&site);
    }
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
    for length in ["abc", "1e3", "12345678901234567890", "-1"] {
        let request = site.request("POST", "/echo").header("Content-Length", length);
        let status = request.send(site.port).status;
        assert!([400, 413].contains(&status), "{length}: {status}");
    }
    let twice = site.request("POST", "/echo").header("Content-Length", "1").header("Content-Length", "2");
    assert_eq!(twice.send(site.port).status, 400);
    assert_serves(&site);
}

pub(crate) fn many_requests_at_once(front: Front) {
    let from_environment = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of requests"))
    };
    let all: usize = from_environment("GATEWRIGHT_TEST_REQUESTS", 100);
    let at_once = from_environment("GATEWRIGHT_TEST_AT_ONCE", all);
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
