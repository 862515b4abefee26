use std::ffi::OsStr;
use std::fs;
use std::io::Seek;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::environ::Vars;
use crate::handlers::{BaseCgi, BaseCgiHandler, BaseHandler, End};
use crate::validate::validator;

/// A site of files that are not young any more.
struct Site {
    path: PathBuf,
    dir: Dir,
}

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

impl Site {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatewright-dir-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let site = Self { dir: Dir::new(&path).unwrap(), path };
        site.write("digits.txt", "0123456789");
        site.write("index.html", "home");
        site.mkdir("empty");
        site.mkdir("sub");
        site.write("sub/index.htm", "sub");
        site
    }

    fn with(mut self, change: impl FnOnce(Dir) -> Dir) -> Self {
        self.dir = change(Dir::new(&self.path).unwrap());
        self
    }

    fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        fs::write(self.path.join(&name), content).unwrap();
        self.set_age(name, 784_111_777);
    }

    fn set_age(&self, name: impl AsRef<Path>, seconds: u64) {
        let file = File::options().write(true).open(self.path.join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn mkdir(&self, name: &str) {
        fs::create_dir(self.path.join(name)).unwrap();
    }

    fn ask(&self, method: &str, path: impl AsRef<[u8]>, more: &[(&str, &str)]) -> Got {
        let mut vars = Vars::from([("REQUEST_METHOD", method), ("SCRIPT_NAME", "/app")]);
        vars.set("PATH_INFO", path);
        for (name, value) in more {
            vars.set(name, value);
        }
        let app = |environ: &mut Environ<'_>, respond: Responder<'_>| self.dir.call(environ, respond);
        vars.set("SERVER_NAME", "localhost");
        vars.set("SERVER_PORT", "80");
        vars.set("SERVER_PROTOCOL", "HTTP/1.1");
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
        // The validator refuses what no server sends, before the application sees it.
        let proper =
            handler.base_env().get("PATH_INFO").is_none_or(|path| path.is_empty() || path.starts_with(b"/"));
        let outcome = if proper { handler.run(&validator(app)) } else { handler.run(&app) };
        assert_eq!(outcome.end, End::Answered);
        let (_, output, log) = handler.into_streams();
        let end = memchr::memmem::find(&output, b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(output[..end].to_vec()).unwrap();
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        Got {
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: output[end + 4..].to_vec(),
            log: String::from_utf8(log).unwrap(),
        }
    }

    fn get(&self, path: impl AsRef<[u8]>) -> Got {
        self.ask("GET", path, &[])
    }

    fn get_with(&self, path: &str, header: &str, value: &str) -> Got {
        self.ask("GET", path, &[(&format!("HTTP_{}", header.to_uppercase().replace('-', "_")), value)])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap();
    }
}

#[derive(Debug)]
struct Got {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    log: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn expect(self, status: u16, body: impl AsRef<[u8]>) -> Self {
        let given = self.header("Status").unwrap();
        assert!(given.starts_with(&status.to_string()), "{given}, where {status} was expected; {}", self.log);
        assert_eq!(self.body.escape_ascii().to_string(), body.as_ref().escape_ascii().to_string());
        assert_eq!(self.log, "");
        self
    }

    #[track_caller]
    fn status(&self) -> &str {
        assert_eq!(self.log, "");
        &self.header("Status").unwrap()[..3]
    }
}

#[test]
fn a_file_comes_with_all_that_a_cache_needs() {
    let site = Site::new();
    let got = site.get("/digits.txt").expect(200, "0123456789");
    let names: Vec<&str> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["Status", "ETag", "Last-Modified", "Vary", "Accept-Ranges", "Content-Type", "Content-Length"]
    );
    assert_eq!(got.header("Last-Modified"), Some(MODIFIED));
    assert_eq!(got.header("ETag"), Some("\"2ebc98a1.0-a\""));
    assert_eq!(got.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(got.header("Content-Length"), Some("10"));
    let head = site.ask("HEAD", "/digits.txt", &[]).expect(200, "");
    assert_eq!(head.headers, got.headers);
    site.write("empty.bin", "");
    assert_eq!(site.get("/empty.bin").expect(200, "").header("Content-Length"), Some("0"));
}

#[test]
fn folders_get_a_slash_and_their_index_file() {
    let site = Site::new();
    site.get("/").expect(200, "home");
    site.get("/sub/").expect(200, "sub");
    site.get("//sub//").expect(200, "sub");
    site.get("/empty/").expect(403, "403 Forbidden\n");
    site.get("/digits.txt/").expect(404, "404 Not Found\n");
    let location = |path: &str, query: &str| {
        let got = site.ask("GET", path, &[("QUERY_STRING", query)]);
        assert_eq!(got.status(), "301");
        got.header("Location").unwrap().to_owned()
    };
    assert_eq!(location("/sub", ""), "/app/sub/");
    assert_eq!(location("//sub", "a=%20&b"), "/app/sub/?a=%20&b");
    assert_eq!(location("/sub", "\u{1}é #"), "/app/sub/?%01%C3%A9%20%23");
    assert_eq!(location("", "x"), "/app/?x");
    site.mkdir("a b:ü");
    assert_eq!(location("/a b:ü", ""), "/app/a%20b%3A%C3%BC/");
    // Without a mount there is no path but the root, and a host's name must not come of it.
    site.ask("GET", "", &[("SCRIPT_NAME", "")]).expect(200, "home");
    site.mkdir("evil.example");
    let got = site.ask("GET", "//evil.example", &[("SCRIPT_NAME", "")]);
    assert_eq!(got.header("Location"), Some("/evil.example/"));
    let own = Site::new().with(|dir| dir.index(["digits.txt"]));
    own.get("/").expect(200, "0123456789");
    own.get("/sub/").expect(403, "403 Forbidden\n");
}

#[test]
fn what_is_not_there_or_not_for_clients_is_404() {
    let site = Site::new();
    site.write(".secret", "secret");
    site.mkdir(".git");
    site.write(".git/config", "secret");
    site.mkdir(".well-known");
    site.write(".well-known/token", "token");
    site.mkdir("sub/.well-known");
    site.write("sub/.well-known/token", "secret");
    symlink("/etc/passwd", site.path.join("out")).unwrap();
    symlink("digits.txt", site.path.join("in")).unwrap();
    nix::unistd::mkfifo(&site.path.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let long = format!("/{}", "x".repeat(300));
    let deep = "/x".repeat(3000);
    for path in [
        "/nothing",
        "/sub/nothing",
        "/digits.txt/x",
        "/.secret",
        "/.git/config",
        "/.git/",
        "/.git",
        "/./digits.txt",
        "/..",
        "/../",
        "/../../etc/passwd",
        "/sub/../digits.txt",
        "/sub/..",
        "/\0",
        "/digits.txt\0.html",
        "/out",
        "/pipe",
        "/pipe/",
        "/sub/.well-known/token",
        "/%2e%2e/etc/passwd",
        "/..\\",
        &long,
        &deep,
    ] {
        site.get(path).expect(404, "404 Not Found\n");
        assert_eq!(site.ask("HEAD", path, &[]).status(), "404");
    }
    site.get("/.well-known/token").expect(200, "token");
    site.get("/in").expect(200, "0123456789");
    site.get("digits.txt").expect(400, "400 Bad Request\n");
    let site = site.with(|dir| dir.hidden(true).links(Links::None));
    site.get("/.git/config").expect(200, "secret");
    site.get("/in").expect(404, "404 Not Found\n");
    let site = site.with(|dir| dir.links(Links::Any));
    assert_eq!(site.get("/out").status(), "200");
    site.get("/../").expect(404, "404 Not Found\n");
}

#[test]
fn names_may_be_of_any_bytes() {
    let site = Site::new();
    let name = OsStr::from_bytes(b"caf\xe9 %41;\n.txt");
    site.write(name, "latin");
    site.get(b"/caf\xe9 %41;\n.txt").expect(200, "latin");
    let listed = site.with(|dir| dir.listing(true).index(Vec::<Vec<u8>>::new()));
    let page = String::from_utf8(listed.get("/").body).unwrap();
    assert!(page.contains("<a href=\"caf%E9%20%2541%3B%0A.txt\">caf\u{fffd} %41;\u{fffd}.txt</a>"), "{page}");
}

#[test]
fn other_methods_are_told_what_is_allowed() {
    let site = Site::new();
    let got = site.ask("OPTIONS", "/digits.txt", &[]).expect(204, "");
    assert_eq!(got.header("Allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(site.ask("OPTIONS", "*", &[]).status(), "204");
    for method in ["POST", "PUT", "DELETE", "get", "BREW"] {
        let got = site.ask(method, "/digits.txt", &[]);
        assert_eq!(
            (got.header("Status"), got.header("Allow")),
            (Some("405 Method Not Allowed"), Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[test]
fn conditions_spare_the_body() {
    let site = Site::new();
    let got = site.get("/digits.txt");
    let tag = got.header("ETag").unwrap().to_owned();
    for (header, value, status) in [
        ("If-None-Match", tag.as_str(), "304"),
        ("If-None-Match", "\"other\"", "200"),
        ("If-Modified-Since", MODIFIED, "304"),
        ("If-Match", tag.as_str(), "200"),
        ("If-Match", "\"other\"", "412"),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT", "412"),
    ] {
        for method in ["GET", "HEAD"] {
            let name = format!("HTTP_{}", header.to_uppercase().replace('-', "_"));
            let got = site.ask(method, "/digits.txt", &[(&name, value)]);
            assert_eq!(got.status(), status, "{header}: {value}");
            if status == "304" {
                assert_eq!((got.header("ETag"), got.body.len()), (Some(tag.as_str()), 0));
                assert_eq!((got.header("Vary"), got.header("Content-Type")), (Some("Accept-Encoding"), None));
            }
        }
    }
    site.get_with("/nothing", "If-None-Match", "*").expect(404, "404 Not Found\n");
    // Another length or another time is another tag.
    site.write("digits.txt", "012345678");
    assert_ne!(site.get("/digits.txt").header("ETag"), Some(tag.as_str()));
    site.write("digits.txt", "0123456789");
    assert_eq!(site.get("/digits.txt").header("ETag"), Some(tag.as_str()));
    site.set_age("digits.txt", 784_111_778);
    assert_ne!(site.get("/digits.txt").header("ETag"), Some(tag.as_str()));
}

#[test]
fn a_young_file_has_a_weak_tag_and_no_date_is_in_the_future() {
    let site = Site::new();
    fs::write(site.path.join("young"), "young").unwrap();
    let got = site.get("/young");
    assert!(got.header("ETag").unwrap().starts_with("W/\""), "{got:?}");
    site.set_age("young", 8_000_000_000);
    let got = site.get("/young");
    assert!(got.header("ETag").unwrap().starts_with("W/\""), "{got:?}");
    let date = httpdate::parse_http_date(got.header("Last-Modified").unwrap()).unwrap();
    assert!(date <= SystemTime::now());
}

#[test]
fn parts_are_sent_as_asked_for() {
    let site = Site::new();
    let range = |value: &str| site.get_with("/digits.txt", "Range", value);
    for (value, content_range, body) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=3-5", "bytes 3-5/10", "345"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=0-99", "bytes 0-9/10", "0123456789"),
        ("bytes=20-30,1-1", "bytes 1-1/10", "1"),
    ] {
        let got = range(value).expect(206, body);
        assert_eq!(got.header("Content-Range"), Some(content_range));
        assert_eq!(got.header("Content-Length"), Some(body.len().to_string().as_str()));
        assert_eq!(got.header("Content-Type"), Some("text/plain; charset=utf-8"));
    }
    let got = range("bytes=10-");
    assert_eq!((got.status(), got.header("Content-Range")), ("416", Some("bytes */10")));
    range("bytes=2-1").expect(200, "0123456789");
    let head = site.ask("HEAD", "/digits.txt", &[("HTTP_RANGE", "bytes=0-0")]);
    assert_eq!((head.status(), head.header("Content-Length")), ("200", Some("10")));
}

#[test]
fn several_parts_are_a_multipart_message() {
    let site = Site::new();
    let got = site.get_with("/digits.txt", "Range", "bytes=8-9, 0-1,-1");
    assert_eq!((got.status(), got.header("Content-Range")), ("206", None));
    let media = got.header("Content-Type").unwrap();
    let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, text: &str| {
        let media = "text/plain; charset=utf-8";
        format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: bytes {range}/10\r\n\r\n{text}")
    };
    let expected =
        [part("8-9", "89"), part("0-1", "01"), part("9-9", "9"), format!("\r\n--{boundary}--\r\n")].concat();
    assert_eq!(String::from_utf8(got.body.clone()).unwrap(), expected);
    assert_eq!(got.header("Content-Length"), Some(expected.len().to_string().as_str()));
    let other = site.get_with("/digits.txt", "Range", "bytes=8-9, 0-1,-1");
    assert_ne!(other.header("Content-Type"), Some(media), "nobody can guess the boundary");
}

#[test]
fn a_part_is_sent_of_the_file_that_the_client_has() {
    let site = Site::new();
    let tag = site.get("/digits.txt").header("ETag").unwrap().to_owned();
    for (value, status) in [
        (tag.as_str(), "206"),
        (MODIFIED, "206"),
        ("\"other\"", "200"),
        (&format!("W/{tag}"), "200"),
        ("Sun, 06 Nov 1994 08:49:38 GMT", "200"),
    ] {
        let more = [("HTTP_RANGE", "bytes=0-0"), ("HTTP_IF_RANGE", value)];
        assert_eq!(site.ask("GET", "/digits.txt", &more).status(), status, "{value}");
    }
    let more = [("HTTP_RANGE", "bytes=0-0"), ("HTTP_IF_NONE_MATCH", tag.as_str())];
    assert_eq!(site.ask("GET", "/digits.txt", &more).status(), "304");
}

#[test]
fn encoded_neighbours_go_to_those_who_accept_them() {
    let site = Site::new();
    site.write("digits.txt.gz", "gzipped");
    let plain = site.get("/digits.txt");
    let got = site.get_with("/digits.txt", "Accept-Encoding", "gzip, br").expect(200, "gzipped");
    assert_eq!(got.header("Content-Encoding"), Some("gzip"));
    assert_eq!(got.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(got.header("Vary"), Some("Accept-Encoding"));
    assert_ne!(got.header("ETag"), plain.header("ETag"));
    site.write("digits.txt.br", "brotli");
    site.get_with("/digits.txt", "Accept-Encoding", "gzip, br").expect(200, "brotli");
    site.get_with("/digits.txt", "Accept-Encoding", "gzip, br;q=0.9").expect(200, "gzipped");
    site.get_with("/digits.txt", "Accept-Encoding", "gzip;q=0, br;q=0").expect(200, "0123456789");
    // The same length and time are another representation all the same.
    site.write("digits.txt.gz", "0123456789");
    let got = site.get_with("/digits.txt", "Accept-Encoding", "gzip");
    assert_ne!(got.header("ETag"), plain.header("ETag"));
    site.write("index.html.gz", "home, gzipped");
    site.get_with("/", "Accept-Encoding", "gzip").expect(200, "home, gzipped");
    site.set_age("digits.txt.gz", 784_111_776);
    site.set_age("digits.txt.br", 784_111_776);
    site.get_with("/digits.txt", "Accept-Encoding", "gzip, br").expect(200, "0123456789");
    // By its own name it is what it is.
    let got = site.get_with("/digits.txt.gz", "Accept-Encoding", "gzip").expect(200, "0123456789");
    assert_eq!(
        (got.header("Content-Type"), got.header("Content-Encoding")),
        (Some("application/gzip"), None)
    );
}

#[test]
fn a_listing_is_for_those_who_ask_for_it() {
    let site = Site::new().with(|dir| dir.listing(true));
    for name in ["B.txt", "a.txt", "<b>&\"'.txt", "javascript:alert(1)", ".hidden"] {
        site.write(format!("empty/{name}"), "x".repeat(1536));
    }
    fs::create_dir(site.path.join("empty/z")).unwrap();
    symlink("/etc", site.path.join("empty/out")).unwrap();
    symlink("nothing", site.path.join("empty/dangling")).unwrap();
    nix::unistd::mkfifo(&site.path.join("empty/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let got = site.get("/empty/");
    assert_eq!((got.status(), got.header("Content-Type")), ("200", Some("text/html; charset=utf-8")));
    let page = String::from_utf8(got.body).unwrap();
    let links: Vec<&str> =
        page.split("<a href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let expected = ["../", "z/", "%3Cb%3E%26%22%27.txt", "a.txt", "B.txt", "javascript%3Aalert%281%29"];
    assert_eq!(links, expected);
    assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;.txt</a></td><td>1.5 KiB</td><td>1994-11-06 08:49</td>"));
    assert!(page.contains("<title>/app/empty/</title>"));
    assert!(!page.contains("<script"));
    site.ask("HEAD", "/empty/", &[]).expect(200, "");
    site.get("/").expect(200, "home");
    let hidden = site.with(|dir| dir.listing(true).hidden(true));
    assert!(String::from_utf8(hidden.get("/empty/").body).unwrap().contains(".hidden</a>"));
}

/// A responder's neighbour that changes the file when the answer begins.
struct Meddle<'r, F: FnMut()>(&'r mut dyn Respond, F);

impl<F: FnMut()> Respond for Meddle<'_, F> {
    fn start(&mut self, status: &[u8], headers: Headers, cause: Option<crate::app::BoxError>) -> AppResult {
        self.1();
        self.0.start(status, headers, cause)
    }
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.write(data)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
    fn end(&mut self) -> io::Result<()> {
        self.0.end()
    }
}

fn meddled(site: &Site, size: usize, new_size: u64, range: Option<&str>) -> (End, Vec<u8>, String) {
    site.write("big", vec![b'x'; size]);
    let mut vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/big")]);
    if let Some(range) = range {
        vars.set("HTTP_RANGE", range);
    }
    let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
    let outcome = handler.run(&|environ: &mut Environ<'_>, respond: Responder<'_>| {
        let change = || {
            File::options().write(true).open(site.path.join("big")).unwrap().set_len(new_size).unwrap();
        };
        site.dir.call(environ, Responder::new(&mut Meddle(respond.into_inner(), change)))
    });
    let (_, output, log) = handler.into_streams();
    (outcome.end, output, String::from_utf8(log).unwrap())
}

#[test]
fn a_file_that_shrinks_meanwhile_breaks_the_answer_off() {
    let site = Site::new();
    for range in [None, Some("bytes=10-"), Some("bytes=0-1,10-900000")] {
        let (end, _, log) = meddled(&site, 1_000_000, 300_000, range);
        assert_eq!(end, End::Truncated, "{range:?}");
        assert!(log.contains("GET /big: the file became"), "{log}");
    }
    let (end, output, log) = meddled(&site, 1000, 10, None);
    assert_eq!(end, End::Answered);
    assert!(output.starts_with(b"Status: 500 "), "nothing had left: {log}");
}

#[test]
fn what_is_appended_meanwhile_is_not_sent() {
    let site = Site::new();
    for size in [0, 1000, 1_000_000] {
        let (end, output, log) = meddled(&site, size, 2_000_000, None);
        assert_eq!((end, log.as_str()), (End::Answered, ""));
        let body = memchr::memmem::find(&output, b"\r\n\r\n").unwrap() + 4;
        assert_eq!(output.len() - body, size);
    }
}

#[test]
fn a_server_that_takes_files_gets_the_part_that_is_meant() {
    struct Takes<'r>(&'r mut dyn Respond);
    impl Respond for Takes<'_> {
        fn start(
            &mut self,
            status: &[u8],
            headers: Headers,
            cause: Option<crate::app::BoxError>,
        ) -> AppResult {
            self.0.start(status, headers, cause)
        }
        fn write(&mut self, data: &[u8]) -> io::Result<()> {
            self.0.write(data)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
        fn send_file(&mut self, file: &mut dyn FileSource) -> io::Result<bool> {
            let meant = file.part().expect("a part");
            let file = file.as_file().expect("a file");
            assert_eq!(file.stream_position()?, meant.start);
            let mut part = Vec::new();
            file.take(meant.end - meant.start).read_to_end(&mut part)?;
            self.0.write(&part)?;
            Ok(true)
        }
    }
    let site = Site::new();
    for (range, expected) in [(None, "0123456789"), (Some("bytes=2-4"), "234"), (Some("bytes=-1"), "9")] {
        let mut vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/digits.txt")]);
        if let Some(range) = range {
            vars.set("HTTP_RANGE", range);
        }
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
        handler.run(&|environ: &mut Environ<'_>, respond: Responder<'_>| {
            site.dir.call(environ, Responder::new(&mut Takes(respond.into_inner())))
        });
        let (_, output, _) = handler.into_streams();
        assert!(output.ends_with(format!("\r\n\r\n{expected}").as_bytes()), "{range:?}");
    }
}

#[test]
fn a_deployment_is_seen_by_the_next_request() {
    let site = Site::new();
    let served = site.path.join("served");
    let release = |name: &str| {
        site.mkdir(name);
        site.write(format!("{name}/page.txt"), name);
        site.write(format!("{name}/page.txt.gz"), format!("{name}, zipped"));
        site.path.join(name)
    };
    fs::rename(release("first"), &served).unwrap();
    let dir = Dir::new(&served).unwrap();
    let body = |encoding: &str| {
        let mut vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/page.txt")]);
        vars.set("HTTP_ACCEPT_ENCODING", encoding);
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
        handler.run(&dir);
        let output = String::from_utf8(handler.into_streams().1).unwrap();
        output.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!((body(""), body("gzip")), ("first".to_owned(), "first, zipped".to_owned()));
    // By renaming, by a link in the folder's place, by switching it, and without one again.
    fs::remove_dir_all(&served).unwrap();
    fs::rename(release("second"), &served).unwrap();
    assert_eq!((body(""), body("gzip")), ("second".to_owned(), "second, zipped".to_owned()));
    fs::remove_dir_all(&served).unwrap();
    for name in ["third", "fourth"] {
        symlink(release(name), site.path.join("next")).unwrap();
        fs::rename(site.path.join("next"), &served).unwrap();
        assert_eq!((body(""), body("gzip")), (name.to_owned(), format!("{name}, zipped")));
    }
    fs::remove_file(&served).unwrap();
    fs::rename(release("fifth"), &served).unwrap();
    assert_eq!((body(""), body("gzip")), ("fifth".to_owned(), "fifth, zipped".to_owned()));
}

#[test]
fn a_neighbour_behind_a_link_is_served_as_any_other() {
    let site = Site::new();
    site.write("sub/zipped", "zipped");
    symlink("sub/zipped", site.path.join("digits.txt.gz")).unwrap();
    let got = site.get_with("/digits.txt", "ACCEPT_ENCODING", "gzip");
    assert_eq!(got.header("Content-Encoding"), Some("gzip"));
    got.expect(200, "zipped");
    let site = site.with(|dir| dir.links(Links::None));
    site.get_with("/digits.txt", "ACCEPT_ENCODING", "gzip").expect(200, "0123456789");
}

#[test]
fn a_folder_that_vanished_is_our_fault_and_said() {
    let site = Site::new();
    let gone = site.path.join("gone");
    fs::create_dir(&gone).unwrap();
    let dir = Dir::new(&gone).unwrap();
    fs::remove_dir(&gone).unwrap();
    let vars = Vars::from([("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x")]);
    let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
    handler.run(&dir);
    let (_, output, log) = handler.into_streams();
    assert!(output.starts_with(b"Status: 500 "));
    assert!(!String::from_utf8(output).unwrap().contains("gone"), "no client learns the path");
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains(&gone.display().to_string()) && log.contains("No such file"), "{log}");
    assert!(Dir::new(&gone).is_err());
}

#[test]
fn no_path_and_no_header_leads_out_or_breaks_a_rule() {
    let outer = Site::new();
    outer.mkdir("inner");
    for name in ["inner/a", "inner/b.txt", "inner/a.gz"] {
        outer.write(name, "inside");
    }
    outer.mkdir("inner/sub");
    outer.write("inner/sub/index.html", "inside");
    outer.write("outside", "outside");
    symlink("../outside", outer.path.join("inner/link")).unwrap();
    symlink("..", outer.path.join("inner/sub/up")).unwrap();
    symlink("../..", outer.path.join("inner/sub/out")).unwrap();
    let dir = validator(Dir::new(outer.path.join("inner")).unwrap().listing(true).hidden(true));
    let names =
        ["a", "b.txt", "sub", "up", "out", "link", "outside", "inner", "..", ".", "", "a.gz", "\u{e9}", "\0"];
    let path = prop::collection::vec(prop::sample::select(names.to_vec()), 0..7);
    let values = [
        "bytes=0-",
        "bytes=-1,0-1",
        "bytes=1-0",
        "*",
        "\"x\"",
        "W/\"",
        "gzip",
        "br;q=1,*;q=0",
        MODIFIED,
        "\u{e9}",
        "",
    ];
    let headers = [
        "HTTP_RANGE",
        "HTTP_IF_RANGE",
        "HTTP_IF_MATCH",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_ACCEPT_ENCODING",
        "QUERY_STRING",
    ];
    let pairs = (prop::sample::select(headers.to_vec()), prop::sample::select(values.to_vec()));
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS"]);
    let case = (method, path, prop::collection::vec(pairs, 0..4));
    let mut runner = proptest::test_runner::TestRunner::new(crate::repeatable(2000));
    let result = runner.run(&case, |(method, path, more)| {
        let mut vars =
            Vars::from([("REQUEST_METHOD", method), ("SERVER_NAME", "localhost"), ("SERVER_PORT", "80")]);
        vars.set("SERVER_PROTOCOL", "HTTP/1.1");
        vars.set("PATH_INFO", format!("/{}", path.join("/")));
        more.iter().for_each(|(name, value)| vars.set(name, value));
        let handler = BaseCgi::new(&b""[..], Vec::new(), Vec::new(), vars);
        let outcome = handler.run(&dir);
        let (_, output, log) = handler.into_streams();
        prop_assert_eq!(String::from_utf8_lossy(&log), "", "{:?}", path);
        prop_assert_eq!(outcome.end, End::Answered);
        prop_assert!(outcome.status.is_some_and(|status| status < 500));
        let told = |text: &[u8]| memchr::memmem::find(&output, text).is_some();
        prop_assert!(!output.ends_with(b"outside") && !told(b">outside<"), "{:?}", path);
        Ok(())
    });
    result.unwrap();
}
