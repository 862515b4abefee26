//! Clients that people use, against the HTTP server by itself: curl, wget, nc and h2load, each with the options that ask
//! something of a server.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};

use super::alone;
use super::harness::{Folder, Process, answers, free_port, installed, program};
use super::site::Site;

/// Lines of 16 bytes that say where they stand.
fn lines(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(16)).flat_map(|line| format!("{:015x}\n", 16 * line).into_bytes()).collect()
}

/// A folder served with listings.
struct Served {
    folder: Folder,
    port: u16,
    _gateway: Process,
}

impl Served {
    fn start() -> Self {
        let (folder, port) = (Folder::new(), free_port());
        for name in ["www", "www/sub", "www/sub/a b", "www/empty", "got"] {
            folder.mkdir(name);
        }
        folder.write("www/large.txt", lines(3 << 20));
        folder.write("www/small.txt", "small");
        folder.write("www/sub/caf\u{e9} & co.txt", "odd");
        folder.write("www/sub/a b/deep.html", "<p>deep");
        folder.write("www/packed.txt", "plain, and long enough");
        let packed = Command::new("gzip").arg("-k").arg(folder.path("www/packed.txt")).status();
        assert!(packed.is_ok_and(|status| status.success()), "gzip is part of every Debian");
        let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--dir-listing", "--validate"]);
            command.arg(format!("dir:{}", folder.path("www").display()));
        });
        gateway.ready_when(|| answers(port));
        Self { folder, port, _gateway: gateway }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn original(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path("www").join(name)).expect("a file of ours")
    }

    /// Runs a client in the folder `got`.
    fn run<A: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = A>) -> Output {
        run(&self.folder, name, arguments, b"")
    }

    #[track_caller]
    fn assert_got(&self, name: &str, original: &str) {
        let got = fs::read(self.folder.path("got").join(name)).expect("what the client wrote");
        assert!(
            got == self.original(original),
            "{name} is another file than {original}: {} bytes",
            got.len()
        );
    }
}

/// Runs a client, in the folder `got` if there is one, with that on its standard input; it gives up by itself.
fn run<A: AsRef<OsStr>>(
    folder: &Folder,
    name: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Output {
    let got = folder.path("got");
    let input = folder.write("input", input);
    let mut command = Command::new("timeout");
    command.arg("60").arg(installed(name)).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    command.current_dir(if got.is_dir() { &got } else { folder.root() });
    command.stdin(fs::File::open(input).map_or(Stdio::null(), Stdio::from));
    command.output().expect("timeout (coreutils) is installed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
}

/// curl against the workbench: the body it wrote, and how it talked with the server: `>` what it sent, `<` what it got.
fn curl(site: &Site, path: &str, options: &[&str], input: &[u8]) -> (Vec<u8>, String) {
    let url = format!("http://127.0.0.1:{}/app{path}", site.port);
    let output = run(&site.folder, "curl", ["-sSv"].iter().chain(options).copied().chain([&*url]), input);
    assert_ok(&output);
    let talk = text(&output.stderr);
    let talk: Vec<&str> = talk.lines().filter(|line| line.starts_with(['>', '<'])).collect();
    (output.stdout, talk.join("\n"))
}

#[track_caller]
fn assert_talk(talk: &str, parts: &[&str]) {
    let mut rest = talk;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?}, in this order, in:\n{talk}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn curl_speaks_http_1_0() {
    let site = alone::start();
    let (body, talk) = curl(&site, "/echo", &["--http1.0", "-d", "abc"], b"");
    assert_eq!(body, b"abc");
    assert_talk(&talk, &["> POST /app/echo HTTP/1.0", "< HTTP/1.1 200 OK", "< Connection: close"]);
    // No length and no chunks: the end of the connection is the end of the body.
    let large = lines(300_000);
    let (body, talk) = curl(&site, "/stream", &["--http1.0", "--data-binary", "@-"], &large);
    assert!(body == large, "{} bytes", body.len());
    assert!(!talk.contains("Transfer-Encoding") && !talk.contains("< Content-Length"), "{talk}");
    let (body, talk) = curl(&site, "/echo", &["--http1.0", "-H", "Connection: keep-alive", "-d", "a"], b"");
    assert_eq!(body, b"a");
    assert_talk(&talk, &["< HTTP/1.1 200 OK", "< Connection: keep-alive"]);
    // It takes an answer of HTTP/1.1 for what it is also when it would take one of 0.9.
    assert_eq!(curl(&site, "/echo", &["--http0.9", "-d", "b"], b"").0, b"b");
}

/// curl would wait for a minute: that it does not is what the test's own time-out is for.
#[test]
fn curl_waits_for_a_continue_and_gets_it() {
    let site = alone::start();
    let large = lines(2 << 20);
    let patient = ["--expect100-timeout", "600", "-T"];
    let (body, talk) =
        curl(&site, "/echo", &[&patient[..], &["-", "-H", "Expect: 100-continue"]].concat(), &large);
    assert!(body == large, "{} bytes", body.len());
    assert_talk(
        &talk,
        &["> Transfer-Encoding: chunked", "> Expect: 100-continue", "< HTTP/1.1 100", "< HTTP/1.1 200"],
    );
    let file = site.folder.write("up", &large).display().to_string();
    let (body, talk) =
        curl(&site, "/echo", &[&patient[..], &[&file, "-H", "Expect: 100-continue"]].concat(), b"");
    assert!(body == large, "{} bytes", body.len());
    assert_talk(&talk, &["> Content-Length: 2097152", "< HTTP/1.1 100 Continue", "< HTTP/1.1 200 OK"]);
    // Whom nobody asks for the body does not send it.
    let (_, talk) =
        curl(&site, "/env", &[&patient[..], &[&file, "-H", "Expect: 100-continue"]].concat(), b"");
    assert_talk(&talk, &["< HTTP/1.1 200 OK"]);
    assert!(!talk.contains("100 Continue"), "{talk}");
}

#[test]
fn curl_uploads_what_has_no_length() {
    let site = alone::start();
    for size in [0, 1, 100_000, 3 << 20] {
        let input = &lines(size)[..size];
        let (body, talk) = curl(&site, "/stream", &["-T", "-"], input);
        assert!(body == input, "{size}: {} bytes", body.len());
        assert_talk(
            &talk,
            &["> PUT /app/stream HTTP/1.1", "> Transfer-Encoding: chunked", "< HTTP/1.1 200 OK"],
        );
    }
    // As it comes: `.` has curl send and receive at the same time.
    let input = lines(1 << 20);
    assert!(curl(&site, "/stream", &["-T", "."], &input).0 == input);
}

#[test]
fn curl_shows_the_frame_of_an_answer() {
    let site = alone::start();
    let input = lines(100_000);
    let (body, talk) = curl(&site, "/stream", &["--raw", "--data-binary", "@-"], &input);
    assert_talk(&talk, &["< Transfer-Encoding: chunked"]);
    let mut rest = &body[..];
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line with a size");
        let size = usize::from_str_radix(&text(&rest[..end]), 16).expect("a size in hexadecimal digits");
        let (data, after) = rest[end + 2..].split_at(size);
        whole.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n").expect("the end of a chunk");
        if size == 0 {
            break;
        }
    }
    assert!(whole == input && rest.is_empty(), "{} bytes, {} behind them", whole.len(), rest.len());
}

/// Several requests on one connection: curl says how many it needed.
#[test]
fn curl_keeps_its_connection() {
    let site = alone::start();
    let urls = format!("http://127.0.0.1:{}/app/[1-20]", site.port);
    let count = ["-sS", "-o", "/dev/null", "-w", "%{num_connects} %{http_code}\\n"];
    let kinds: [&[&str]; 3] = [&[], &["-I"], &["-d", "a body that is not read"]];
    for options in kinds {
        let output = run(&site.folder, "curl", count.iter().chain(options).copied().chain([&*urls]), b"x");
        assert_ok(&output);
        let told = text(&output.stdout);
        assert_eq!(told.lines().filter(|line| *line == "0 200").count(), 19, "{options:?}: {told}");
        assert_eq!(told.lines().filter(|line| *line == "1 200").count(), 1, "{options:?}: {told}");
    }
    // A refusal closes, and curl goes on with another connection.
    let urls = format!("http://127.0.0.1:{}/app/[1-3]", site.port);
    let output =
        run(&site.folder, "curl", count.iter().chain(&["-H", "Host: no host"]).copied().chain([&*urls]), b"");
    assert_eq!(text(&output.stdout), "1 400\n1 400\n1 400\n");
}

#[test]
fn curl_resumes_compresses_and_asks_for_heads() {
    let served = Served::start();
    let url = |path: &str| served.url(path);
    let large = served.original("large.txt");
    served.folder.write("got/part", &large[..1_000_000]);
    let output = served.run("curl", ["-sSv", "-C", "-", "-o", "part", &url("/large.txt")]);
    assert_ok(&output);
    let talk = text(&output.stderr);
    assert_talk(
        &talk,
        &["> Range: bytes=1000000-", "< HTTP/1.1 206", "< Content-Range: bytes 1000000-3145727/3145728"],
    );
    served.assert_got("part", "large.txt");
    // What is there already: curl hears 416, and takes that for success.
    assert_ok(&served.run("curl", ["-sS", "-C", "-", "-o", "part", &url("/large.txt")]));
    served.assert_got("part", "large.txt");
    let output = served.run("curl", ["-sS", "-r", "16-31,-16", &url("/large.txt")]);
    assert_ok(&output);
    let parts = text(&output.stdout);
    assert!(parts.contains("\n000000000000010\n") && parts.contains("\n0000000002ffff0\n"), "{parts}");

    let output =
        served.run("curl", ["-sS", "--compressed", "-D", "head", "-o", "plain", &url("/packed.txt")]);
    assert_ok(&output);
    served.assert_got("plain", "packed.txt");
    let head = text(&fs::read(served.folder.path("got/head")).expect("a head"));
    assert!(head.contains("\r\nContent-Encoding: gzip\r\n"), "{head}");

    let output = served.run("curl", ["-sSI", &url("/large.txt")]);
    assert_ok(&output);
    let head = text(&output.stdout);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Length: 3145728\r\n"),
        "{head}"
    );
    // A body that is refused before it is sent, and one that is refused while it is.
    let file = served.folder.path("www/large.txt").display().to_string();
    for more in [&["-H", "Expect:"][..], &[]] {
        let options = ["-sS", "-T", &file, "-o", "/dev/null", "-w", "%{http_code}"];
        let output = served.run("curl", options.iter().chain(more).copied().chain([&*url("/small.txt")]));
        assert_ok(&output);
        assert_eq!(text(&output.stdout), "405");
    }
    // Only what has changed.
    let (etag, same) = (
        ["-sS", "--etag-save", "tag", "-o", "small"],
        ["-sS", "--etag-compare", "tag", "-w", "%{http_code}"],
    );
    assert_ok(&served.run("curl", etag.iter().copied().chain([&*url("/small.txt")])));
    assert_eq!(text(&served.run("curl", same.iter().copied().chain([&*url("/small.txt")])).stdout), "304");
    let newer = ["-sS", "-z", "small", "-R", "-w", "%{http_code}", "-o", "other"];
    assert_eq!(text(&served.run("curl", newer.iter().copied().chain([&*url("/small.txt")])).stdout), "304");
}

/// A body larger than the limit: curl hears 413, whether it asks before it sends or not.
#[test]
fn curl_hears_that_its_upload_is_too_large() {
    let (folder, port) = (Folder::new(), free_port());
    let mut gateway = Process::start(&folder, "gateway", &program("workbench"), |command| {
        command.args(["http", "--listen", &format!("127.0.0.1:{port}"), "--max-body", "1M"]);
    });
    gateway.ready_when(|| answers(port));
    let (file, url) =
        (folder.write("up", lines(8 << 20)).display().to_string(), format!("http://127.0.0.1:{port}/echo"));
    for source in [&*file, "-"] {
        for expect in ["Expect: 100-continue", "Expect:"] {
            let options = ["-sS", "-T", source, "-H", expect, "-o", "/dev/null", "-w", "%{http_code}", &url];
            let output = run(&folder, "curl", options, &lines(8 << 20));
            assert_eq!(text(&output.stdout), "413", "{source} {expect} {}", text(&output.stderr));
        }
    }
}

#[test]
fn wget_looks_fetches_and_goes_on() {
    let served = Served::start();
    let url = |path: &str| served.url(path);
    assert_ok(&served.run("wget", ["-q", "-O", "small", &url("/small.txt")]));
    served.assert_got("small", "small.txt");
    let large = served.original("large.txt");
    served.folder.write("got/large.txt", &large[..2_000_001]);
    let output = served.run("wget", ["-S", "-c", &url("/large.txt")]);
    assert_ok(&output);
    let talk = text(&output.stderr);
    assert!(talk.contains("HTTP/1.1 206 Partial Content") && talk.contains("1145727"), "{talk}");
    served.assert_got("large.txt", "large.txt");
    let output = served.run("wget", ["-c", &url("/large.txt")]);
    assert_ok(&output);
    assert!(text(&output.stderr).contains("nothing to do"), "{}", text(&output.stderr));

    let there = served.run("wget", ["--spider", &url("/large.txt")]);
    assert!(
        there.status.success() && text(&there.stderr).contains("Length: 3145728"),
        "{}",
        text(&there.stderr)
    );
    // 8: the server said that something is wrong.
    assert_eq!(served.run("wget", ["--spider", &url("/missing")]).status.code(), Some(8));
    assert_eq!(served.run("wget", ["--spider", "--timestamping", &url("/small.txt")]).status.code(), Some(0));
}

/// What can be reached by the links of listings is every file, by its own name.
#[test]
fn wget_copies_a_folder_by_its_listings() {
    let served = Served::start();
    assert_ok(&served.run("wget", ["-q", "-r", "-nH", "-R", "index.html*", "-P", "copy", &served.url("/")]));
    let output = served.run("diff", ["-r", "../www", "copy"]);
    let told = text(&output.stdout);
    // wget makes no folder for one without files.
    assert!(matches!(told.trim(), "" | "Only in ../www: empty"), "{told}{}", text(&output.stderr));
}

/// Requests in one packet, and a client that ends its sending with it.
#[test]
fn nc_hears_all_answers_to_requests_sent_at_once() {
    let served = Served::start();
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let requests = [
        ask("GET", "/small.txt"),
        ask("HEAD", "/large.txt"),
        ask("GET", "/missing"),
        ask("GET", "/large.txt"),
    ]
    .concat();
    let output =
        run(&served.folder, "nc", ["-N", "127.0.0.1", &served.port.to_string()], requests.as_bytes());
    assert_ok(&output);
    let (answers, large) = (&output.stdout, served.original("large.txt"));
    let heads = text(&answers[..answers.len() - large.len()]);
    let statuses: Vec<&str> = heads.split("HTTP/1.1 ").skip(1).map(|head| &head[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200"], "{heads}");
    assert!(heads.contains("\r\n\r\nsmallHTTP/1.1 200"), "{heads}");
    assert!(answers.ends_with(&large));
}

#[test]
fn h2load_finds_no_request_lost() {
    let served = Served::start();
    let site = alone::start();
    let workbench = format!("http://127.0.0.1:{}/app", site.port);
    let upload = site.folder.write("upload", lines(100_000)).display().to_string();
    let (small, large) = (served.url("/small.txt"), served.url("/large.txt"));
    let (environment, echo) = (format!("{workbench}/env"), format!("{workbench}/echo"));
    for (requests, clients, more) in [
        ("3000", "20", &[&*small][..]),
        // Four requests in each client's hands.
        ("3000", "20", &["-m", "4", &*environment]),
        ("100", "10", &[&*large]),
        ("500", "25", &["-m", "2", "-d", &*upload, &*echo]),
    ] {
        let output = served.run("h2load", ["--h1", "-n", requests, "-c", clients].iter().chain(more));
        assert_ok(&output);
        let told = text(&output.stdout);
        for line in [
            format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout"),
            format!("{requests} 2xx, 0 3xx"),
        ] {
            assert!(told.contains(&line), "{more:?}: {told}");
        }
    }
}

/// Where there are no addresses the name is what the client says, and the port its scheme's own.
#[test]
fn curl_comes_over_a_unix_socket() {
    let folder = Folder::new();
    let socket = folder.path("app.sock");
    let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
        command.arg("--listen").arg(&socket).args(["--validate", "demo"]);
    });
    gateway.ready_when(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let place = socket.display().to_string();
    let output = run(&folder, "curl", ["-sS", "--unix-socket", &*place, "http://shop.example/a%20b?c"], b"");
    assert_ok(&output);
    let shown = text(&output.stdout);
    for line in ["PATH_INFO = '/a b'", "SERVER_NAME = 'shop.example'", "SERVER_PORT = '80'"] {
        assert!(shown.lines().any(|given| given == line), "{line} is missing in:\n{shown}");
    }
    assert!(!shown.contains("REMOTE_ADDR"), "{shown}");
}
