//! Folders, judged by nginx and lighttpd: the same files served by them and by our gateways, the same requests to all.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

use super::apache::{self, Starts};
use super::client::{Answer, Request};
use super::harness::{Folder, Process, answers, free_port, is_root, program};
use super::lighttpd;
use super::link::{Link, Over, Protocol, Socket};
use super::nginx::{careful_location, start_before};
use super::site::Site;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// Puts a file there that is not young any more.
fn put(folder: &Folder, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner may");
    let file = File::options().write(true).open(path).expect("a file");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(784_111_777)).expect("its owner may");
}

fn fill(folder: &Folder) {
    for name in ["www", "www/sub", "www/empty", "www/a b"] {
        folder.mkdir(name);
    }
    for (name, content) in [
        ("digits.txt", "0123456789"),
        ("nothing.txt", ""),
        ("index.html", "<p>home"),
        ("sub/index.htm", "<p>sub"),
        ("style.css", "p{}"),
        ("script.js", "1"),
        ("pixel.png", "png"),
        ("no-such-end.xyzzy", "?"),
        ("a b/c\u{e9}%;:&.txt", "odd"),
        (".dot", "dot"),
        ("unreadable.txt", "secret"),
        ("packed.txt", "plain"),
        ("packed.txt.gz", "gzip"),
        ("archive.tar.gz", "archive"),
    ] {
        put(folder, &format!("www/{name}"), content);
    }
    put(folder, "www/large.bin", vec![b'x'; 300_000]);
    put(folder, "outside.txt", "outside");
    let unreadable = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.path("www/unreadable.txt"), unreadable).expect("its owner may");
    symlink("digits.txt", folder.path("www/inside")).expect("a new link");
    symlink("../outside.txt", folder.path("www/outside")).expect("a new link");
    symlink("nowhere", folder.path("www/dangling")).expect("a new link");
    nix::unistd::mkfifo(&folder.path("www/pipe"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .expect("a new pipe");
}

/// The folder `www`, served by nginx at `/static/` and by a gateway behind it at `/app/`.
fn start(protocol: Protocol, flags: &[&str]) -> Site {
    let location = format!(
        "{}location /static/ {{\n alias www/;\n index index.html index.htm;\n gzip_static on;\n \
         absolute_redirect off;\n if_modified_since before;\n include /etc/nginx/mime.types;\n \
         default_type application/octet-stream;\n charset utf-8;\n charset_types text/plain text/css \
         application/javascript;\n}}\n",
        careful_location(protocol)
    );
    start_before(Link::new(protocol, Over::Unix), &location, |folder, socket| {
        fill(folder);
        start_gateway(folder, socket, protocol, flags)
    })
}

fn start_gateway(folder: &Folder, socket: &Socket, protocol: Protocol, flags: &[&str]) -> Process {
    let (gateway, more): (_, &[&str]) = match protocol {
        Protocol::FastCgi => ("fcgi-gateway", &[]),
        Protocol::Scgi => ("scgi-gateway", &[]),
        Protocol::Http => ("http-gateway", &["--script-name", "/app", "--trusted-proxy", "unix"]),
    };
    Process::start(folder, "gateway", &program(gateway), |command| {
        command.args(["--socket", &socket.address()]).args(flags).args(more);
        if is_root() {
            // What nobody may read nginx cannot either.
            command.args(["--socket-group", "www-data", "--user", "www-data"]);
        }
        command.arg(format!("dir:{}", folder.path("www").display()));
    })
}

/// What is expected of the two.
#[derive(Clone, Copy)]
enum Expected {
    /// The same status, headers and body.
    Same(u16),
    /// nginx's status, ours, and why it is another one.
    Differ(u16, u16, &'static str),
}
use Expected::{Differ, Same};

type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], Expected);

const IGNORED: &str = "RFC 9110, section 14.2, leaves the choice: a client that errs gets its file";

const RESOLVED: &str =
    "clients resolve `.` and `..` before they ask (RFC 3986, section 5.2.4): who does not, probes";

const ENCODED: &str = "nginx has no ranges of files that it finds compressed";

/// `{tag}` stands for the server's own entity tag of that file.
const CASES: &[Case] = &[
    ("GET", "/digits.txt", &[], Same(200)),
    ("HEAD", "/digits.txt", &[], Same(200)),
    ("GET", "/nothing.txt", &[], Same(200)),
    ("GET", "/large.bin", &[], Same(200)),
    ("HEAD", "/large.bin", &[], Same(200)),
    ("GET", "/style.css", &[], Same(200)),
    ("GET", "/pixel.png", &[], Same(200)),
    ("GET", "/no-such-end.xyzzy", &[], Same(200)),
    ("GET", "/a%20b/c%C3%A9%25;:&.txt", &[], Same(200)),
    ("GET", "/a%20b%2Fc%C3%A9%25%3B%3A%26.txt", &[], Same(200)),
    ("GET", "/", &[], Same(200)),
    ("HEAD", "/", &[], Same(200)),
    ("GET", "/sub/", &[], Same(200)),
    ("GET", "/sub", &[], Same(301)),
    ("HEAD", "/sub", &[], Same(301)),
    ("GET", "/sub?a=b&c", &[], Same(301)),
    ("GET", "/a%20b", &[], Same(301)),
    ("GET", "/empty/", &[], Same(403)),
    ("GET", "/a%20b/", &[], Same(403)),
    ("GET", "/missing", &[], Same(404)),
    ("HEAD", "/missing", &[], Same(404)),
    ("GET", "/missing/", &[], Same(404)),
    ("GET", "/digits.txt/", &[], Same(404)),
    ("GET", "/digits.txt/x", &[], Same(404)),
    ("GET", "/sub/../digits.txt", &[], Same(200)),
    ("GET", "/%2e%2e/outside.txt", &[], Same(404)),
    ("GET", "//digits.txt", &[], Same(200)),
    ("GET", "/./digits.txt", &[], Same(200)),
    ("GET", "/unreadable.txt", &[], Same(403)),
    ("GET", "/inside", &[], Same(200)),
    ("GET", "/dangling", &[], Same(404)),
    ("GET", "/pipe", &[], Same(404)),
    ("GET", "/outside", &[], Differ(200, 404, "links that lead out are followed only by --dir-links any")),
    ("GET", "/.dot", &[], Differ(200, 404, "names with a dot in front are served only by --dir-hidden")),
    ("POST", "/digits.txt", &[], Same(405)),
    ("PUT", "/digits.txt", &[], Same(405)),
    ("DELETE", "/missing", &[], Same(405)),
    ("POST", "/missing", &[], Differ(404, 405, "no file takes POST, be it there or not")),
    ("OPTIONS", "/digits.txt", &[], Differ(405, 204, "RFC 9110, section 9.3.7: it asks what is allowed")),
    // Conditions.
    ("GET", "/digits.txt", &[("If-None-Match", "{tag}")], Same(304)),
    ("HEAD", "/digits.txt", &[("If-None-Match", "{tag}")], Same(304)),
    ("GET", "/digits.txt", &[("If-None-Match", "\"x\", W/{tag}")], Same(304)),
    ("GET", "/digits.txt", &[("If-None-Match", "*")], Same(304)),
    ("GET", "/digits.txt", &[("If-None-Match", "\"x\"")], Same(200)),
    ("GET", "/digits.txt", &[("If-None-Match", "\"x\""), ("If-Modified-Since", LATER)], Same(200)),
    ("GET", "/digits.txt", &[("If-Modified-Since", EARLIER)], Same(200)),
    ("GET", "/digits.txt", &[("If-Modified-Since", MODIFIED)], Same(304)),
    ("GET", "/digits.txt", &[("If-Modified-Since", LATER)], Same(304)),
    ("GET", "/digits.txt", &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], Same(304)),
    ("GET", "/digits.txt", &[("If-Modified-Since", "nonsense")], Same(200)),
    ("GET", "/digits.txt", &[("If-Match", "{tag}")], Same(200)),
    ("GET", "/digits.txt", &[("If-Match", "*")], Same(200)),
    ("GET", "/digits.txt", &[("If-Match", "\"x\"")], Same(412)),
    ("GET", "/digits.txt", &[("If-Match", "W/{tag}")], Same(412)),
    ("GET", "/digits.txt", &[("If-Unmodified-Since", EARLIER)], Same(412)),
    ("GET", "/digits.txt", &[("If-Unmodified-Since", MODIFIED)], Same(200)),
    ("GET", "/digits.txt", &[("If-Match", "{tag}"), ("If-None-Match", "{tag}")], Same(304)),
    ("GET", "/missing", &[("If-None-Match", "*")], Same(404)),
    ("GET", "/", &[("If-None-Match", "{tag}")], Same(304)),
    // Ranges.
    ("GET", "/digits.txt", &[("Range", "bytes=0-0")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=3-5")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=7-")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=-2")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=-20")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-99")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=10-")], Same(416)),
    ("GET", "/digits.txt", &[("Range", "bytes=99-100")], Same(416)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-1,4-5")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=8-9, 0-1,-1")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-1,50-60")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-7,0-7")], Same(200)),
    ("GET", "/large.bin", &[("Range", "bytes=100000-")], Same(206)),
    ("GET", "/large.bin", &[("Range", "bytes=0-99999,200000-")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "lines=0-1")], Same(200)),
    ("GET", "/digits.txt", &[("Range", "bytes=2-1")], Differ(416, 200, IGNORED)),
    ("GET", "/digits.txt", &[("Range", "bytes=a-b")], Differ(416, 200, IGNORED)),
    (
        "HEAD",
        "/digits.txt",
        &[("Range", "bytes=0-0")],
        Differ(206, 200, "RFC 9110, section 14.2: only GET has ranges"),
    ),
    ("GET", "/digits.txt", &[("Range", "bytes=0-0"), ("If-Range", "{tag}")], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-0"), ("If-Range", "\"x\"")], Same(200)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-0"), ("If-Range", MODIFIED)], Same(206)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-0"), ("If-Range", LATER)], Same(200)),
    ("GET", "/digits.txt", &[("Range", "bytes=0-0"), ("If-None-Match", "{tag}")], Same(304)),
    // Encodings.
    ("GET", "/packed.txt", &[], Same(200)),
    ("GET", "/packed.txt", &[("Accept-Encoding", "gzip, deflate, br")], Same(200)),
    ("GET", "/packed.txt", &[("Accept-Encoding", "gzip;q=0")], Same(200)),
    ("GET", "/packed.txt", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")], Differ(200, 206, ENCODED)),
    (
        "GET",
        "/archive.tar.gz",
        &[("Accept-Encoding", "gzip")],
        Differ(200, 200, "nginx's table of types has no gz"),
    ),
    ("GET", "/digits.txt", &[("Accept-Encoding", "gzip")], Same(200)),
];

fn ask(port: u16, mount: &str, case: &Case) -> Answer {
    let (method, path, headers, _) = case;
    let target = format!("{mount}{path}");
    let tag = || {
        let answer = Request::new("GET", &target).send(port).expect(200);
        answer.header("etag").expect("an entity tag").to_owned()
    };
    let mut request = Request::new(method, &target);
    for (name, value) in *headers {
        let value =
            if value.contains("{tag}") { value.replace("{tag}", &tag()) } else { (*value).to_owned() };
        request = request.header(name, value);
    }
    request.send(port)
}

/// All that has to be the same: status, headers, body.
type Told = (u16, Vec<(String, String)>, Vec<u8>);

/// Of an error page only its head counts.
fn told(answer: &Answer, mount: &str) -> Told {
    let is_page = answer.status >= 300;
    let boundary = answer.header("content-type").and_then(|media| media.split_once("boundary="));
    let boundary = boundary.map_or(String::new(), |(_, boundary)| boundary.to_owned());
    let mut names = vec!["accept-ranges", "content-encoding", "content-range", "last-modified", "location"];
    // See ENCODED.
    names.retain(|name| *name != "accept-ranges" || answer.header("content-encoding").is_none());
    if !is_page {
        names.extend(["content-type", "content-length"]);
    }
    // A multipart message's length has the length of its boundary in it.
    names.retain(|name| boundary.is_empty() || *name != "content-length");
    let headers = names.into_iter().filter_map(|name| {
        let value = answer.header(name)?.replace(mount, "");
        let value = if boundary.is_empty() { value } else { value.replace(&boundary, "BOUNDARY") };
        Some((name.to_owned(), value))
    });
    let body = if is_page { Vec::new() } else { answer.body.clone() };
    let body = match boundary.is_empty() {
        true => body,
        false => String::from_utf8(body).expect("ASCII").replace(&boundary, "BOUNDARY").into_bytes(),
    };
    (answer.status, headers.collect(), body)
}

fn judge(site: &Site, case: &Case) -> Result<(), String> {
    let (method, path, headers, expected) = case;
    let (reference, ours) = (ask(site.port, "/static", case), ask(site.port, "/app", case));
    let told = (told(&reference, "/static"), told(&ours, "/app"));
    let short = |(status, headers, body): &Told| {
        format!("{status} {headers:?} {}", body[..body.len().min(400)].escape_ascii())
    };
    let verdict = |what: &str| {
        Err(format!(
            "{method} {path} {headers:?}: {what}\n nginx: {}\n ours: {}",
            short(&told.0),
            short(&told.1)
        ))
    };
    match expected {
        Same(status) if told.0.0 != *status || told.0 != told.1 => return verdict("not the same"),
        Differ(theirs, status, why) if (told.0.0, told.1.0) != (*theirs, *status) => return verdict(why),
        _ => {}
    }
    let is_file = *method != "OPTIONS" && matches!(ours.status, 200 | 206 | 304);
    match () {
        () if !(reference.whole && ours.whole) => verdict("cut short"),
        () if is_file != ours.header("etag").is_some() => verdict("ETag"),
        () if is_file != (ours.header("vary") == Some("Accept-Encoding")) => verdict("Vary"),
        () if ours.header("allow").is_some() != matches!(ours.status, 405 | 204) => verdict("Allow"),
        () => Ok(()),
    }
}

fn judged_by_nginx(protocol: Protocol) {
    let site = start(protocol, &["--validate"]);
    // Over HTTP the path is what the client sent.
    let unresolved =
        |path: &str| protocol == Protocol::Http && ["/./", "/../"].iter().any(|part| path.contains(part));
    let cases = CASES.iter().map(|(method, path, headers, expected)| {
        (*method, *path, *headers, if unresolved(path) { Differ(200, 404, RESOLVED) } else { *expected })
    });
    // All verdicts together say more than the first.
    let verdicts: Vec<String> = cases.filter_map(|case| judge(&site, &case).err()).collect();
    assert!(verdicts.is_empty(), "{}", verdicts.join("\n"));
    let log = site.log();
    assert!(!log.contains("broke a rule"), "{log}");
}

#[test]
fn fastcgi_serves_files_as_nginx_does() {
    judged_by_nginx(Protocol::FastCgi);
}

#[test]
fn scgi_serves_files_as_nginx_does() {
    judged_by_nginx(Protocol::Scgi);
}

#[test]
fn http_serves_files_as_nginx_does() {
    judged_by_nginx(Protocol::Http);
}

/// Where lighttpd does something else: method, path, value of the first header, its status and ours, and why.
const LIGHTTPD: &[(&str, &str, &str, u16, u16, &str)] = &[
    ("GET", "/digits.txt/", "", 403, 404, NOT_THERE),
    ("GET", "/digits.txt/x", "", 403, 404, NOT_THERE),
    ("GET", "/pipe", "", 403, 404, NOT_THERE),
    ("GET", "/sub/../digits.txt", "", 200, 404, RESOLVED),
    ("GET", "/outside", "", 200, 404, "links that lead out are followed only by --dir-links any"),
    ("GET", "/.dot", "", 200, 404, "names with a dot in front are served only by --dir-hidden"),
    ("POST", "/digits.txt", "", 411, 405, "lighttpd wants a length before it looks for who takes the body"),
    ("POST", "/missing", "", 411, 405, "the same"),
    ("PUT", "/digits.txt", "", 501, 405, "RFC 9110, section 15.6.2: 501 is for what is supported nowhere"),
    ("DELETE", "/missing", "", 404, 405, "no file takes DELETE, be it there or not"),
    ("OPTIONS", "/digits.txt", "", 200, 204, "both say Allow; there is nothing more to say"),
    ("GET", "/digits.txt", "\"x\"", 200, 412, CONDITIONS),
    ("GET", "/digits.txt", "W/{tag}", 200, 412, CONDITIONS),
    ("GET", "/digits.txt", EARLIER, 200, 412, CONDITIONS),
    ("GET", "/digits.txt", "bytes=10-", 416, 416, LENGTH),
    ("GET", "/digits.txt", "bytes=99-100", 416, 416, LENGTH),
    ("GET", "/digits.txt", "bytes=0-1,4-5", 206, 206, JOINED),
    ("GET", "/digits.txt", "bytes=8-9, 0-1,-1", 206, 206, JOINED),
    (
        "GET",
        "/digits.txt",
        "bytes=0-7,0-7",
        206,
        200,
        "more is asked for than there is: nginx sends the file, too",
    ),
    (
        "GET",
        "/large.bin",
        "bytes=0-99999,200000-",
        206,
        206,
        "the first boundary has a line end before it, as nginx's",
    ),
    ("GET", "/digits.txt", "bytes=2-1", 416, 200, IGNORED),
    ("GET", "/digits.txt", "bytes=a-b", 416, 200, IGNORED),
    ("GET", "/packed.txt", "gzip, deflate, br", 200, 200, NEIGHBOURS),
    ("GET", "/packed.txt", "gzip", 206, 206, NEIGHBOURS),
];

const NOT_THERE: &str = "what cannot be served is not there, as for nginx";

const CONDITIONS: &str =
    "lighttpd knows no If-Match and no If-Unmodified-Since: RFC 9110, sections 13.1.1 and 13.1.4";

const LENGTH: &str = "RFC 9110, section 15.5.17: Content-Range tells how long the file is";

const JOINED: &str = "lighttpd joins ranges that are near each other, and sends what lies between";

const NEIGHBOURS: &str = "lighttpd has no compressed neighbours";

/// The folder `www`, served by lighttpd at `/static/` and by http-gateway, without any web server, at `/app/`.
fn start_beside_lighttpd(folder: &Folder) -> [(u16, Process); 2] {
    fill(folder);
    let root = folder.root().display();
    let text = |end: &str, media: &str| format!("\"{end}\" => \"text/{media}; charset=utf-8\", ");
    let texts = text(".txt", "plain") + &text(".html", "html") + &text(".htm", "html") + &text(".css", "css");
    let directives = format!(
        "server.modules += ( \"mod_alias\" )\nalias.url = ( \"/static/\" => \"{root}/www/\" )\n\
         index-file.names = ( \"index.html\", \"index.htm\" )\nstatic-file.disable-pathinfo = \"enable\"\n\
         mimetype.assign = ( {texts}\".png\" => \"image/png\", \".gz\" => \"application/gzip\", \
         \"\" => \"application/octet-stream\" )\n"
    );
    let reference = lighttpd::serve(folder, &directives);
    let port = free_port();
    let mut gateway = Process::start(folder, "gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--validate"]);
        if is_root() {
            command.args(["--user", "www-data"]);
        }
        command.arg("--mount").arg(format!("/app/=dir:{}", folder.path("www").display()));
    });
    gateway.ready_when(|| answers(port));
    [reference, (port, gateway)]
}

/// Over HTTP itself: no web server stands between.
#[test]
fn http_serves_files_as_lighttpd_does_or_better() {
    let folder = Folder::new();
    let [(reference, _lighttpd), (ours, gateway)] = start_beside_lighttpd(&folder);
    let mut known: Vec<_> = LIGHTTPD.iter().collect();
    let mut verdicts = Vec::new();
    for case in CASES {
        let (method, path, headers, _) = case;
        let answers = (ask(reference, "/static", case), ask(ours, "/app", case));
        let mut told = (told(&answers.0, "/static"), told(&answers.1, "/app"));
        // It says with a part, too, that there are parts.
        told.0.1.retain(|(name, _)| name != "accept-ranges" || told.0.0 != 206);
        let value = headers.first().map_or("", |(_, value)| value);
        // An If-None-Match of the same value is no difference.
        let is_other = |name: &str| ["If-None-Match", "If-Modified-Since", "If-Range"].contains(&name);
        let listed = known.iter().position(|(of, at, with, ..)| {
            (of, at, *with) == (method, path, value) && !headers.iter().any(|(name, _)| is_other(name))
        });
        let right = match listed.map(|index| known.remove(index)) {
            Some((.., theirs, status, _)) => (told.0.0, told.1.0) == (*theirs, *status) && told.0 != told.1,
            None => told.0 == told.1,
        };
        if !(right && answers.0.whole && answers.1.whole) {
            verdicts.push(format!(
                "{method} {path} {headers:?}:\n lighttpd: {:.400?}\n ours: {:.400?}",
                told.0, told.1
            ));
        }
    }
    assert!(verdicts.is_empty(), "{}", verdicts.join("\n"));
    assert!(known.is_empty(), "no case is meant by {known:?}");
    assert!(!gateway.log().contains("broke a rule"), "{}", gateway.log());
}

/// JavaScript has been text/javascript since RFC 9239; and a listing is for those who ask for it.
#[test]
fn listings_and_scripts() {
    let site = start(
        Protocol::FastCgi,
        &["--dir-listing", "--dir-hidden", "--dir-links", "any", "--dir-index", "none"],
    );
    let answer = site.get("/script.js").expect(200);
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    let page = String::from_utf8(site.get("/").expect(200).body).expect("UTF-8");
    for link in ["a%20b/", "empty/", "sub/", ".dot", "digits.txt", "inside", "outside", "unreadable.txt"] {
        assert!(page.contains(&format!("<a href=\"{link}\">")), "{link}: {page}");
    }
    for absent in ["pipe", "dangling"] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
    assert_eq!(site.get("/outside").expect(200).body, b"outside");
    assert_eq!(site.get("/.dot").expect(200).body, b"dot");
    let page = String::from_utf8(site.get("/a%20b/").expect(200).body).expect("UTF-8");
    assert!(page.contains("<a href=\"c%C3%A9%25%3B%3A%26.txt\">c\u{e9}%;:&amp;.txt</a>"), "{page}");
    assert!(page.contains("<a href=\"../\">"), "{page}");
    site.get("/a%20b/c%C3%A9%25%3B%3A%26.txt").expect(200);
}

/// cgi-gateway, one process for each request.
#[test]
fn cgi_serves_files_too() {
    let folder = Folder::new();
    fill(&folder);
    let directives = format!(
        "SetEnv ap_trust_cgilike_cl 1\nSetEnv CGI_GATEWAY_APP dir:{}\nSetEnv CGI_GATEWAY_OPTIONS --validate",
        folder.path("www").display()
    );
    for starts in [Starts::Daemon, Starts::Itself] {
        let site = apache::start(starts, &program("cgi-gateway"), &directives);
        let answer = site.get("/digits.txt").expect(200);
        assert_eq!(
            (answer.header("content-length"), answer.body.as_slice()),
            (Some("10"), &b"0123456789"[..])
        );
        let tag = answer.header("etag").expect("an entity tag").to_owned();
        let ask = |method: &str, path: &str, name: &str, value: &str| {
            site.request(method, path).header(name, value).send(site.port)
        };
        let part = ask("GET", "/digits.txt", "Range", "bytes=2-4").expect(206);
        assert_eq!((part.header("content-range"), part.body.as_slice()), (Some("bytes 2-4/10"), &b"234"[..]));
        let parts = ask("GET", "/digits.txt", "Range", "bytes=2-4,6-7").expect(206);
        assert!(parts.header("content-type").is_some_and(|media| media.starts_with("multipart/byteranges")));
        let same = ask("GET", "/digits.txt", "If-None-Match", &tag).expect(304);
        assert!(same.body.is_empty());
        let packed = ask("GET", "/packed.txt", "Accept-Encoding", "gzip").expect(200);
        assert_eq!((packed.header("content-encoding"), packed.body.as_slice()), (Some("gzip"), &b"gzip"[..]));
        let head = site.request("HEAD", "/large.bin").send(site.port).expect(200);
        assert_eq!(head.header("content-length"), Some("300000"));
        assert_eq!(site.get("/large.bin").expect(200).body.len(), 300_000);
        for (path, location) in [("", "/app/"), ("/sub", "/app/sub/"), ("/a%20b?q", "/app/a%20b/?q")] {
            let answer = site.get(path).expect(301);
            let given = answer.header("location").expect("a location");
            assert!(given.ends_with(location), "{path}: {given}");
        }
        for path in ["/missing", "/outside", "/pipe", "/.dot", "/digits.txt/x"] {
            site.get(path).expect(404);
        }
        // A query is no command line, and no folder of the client's choice is served.
        assert_eq!(site.get("/digits.txt?dir:/etc").expect(200).body, b"0123456789");
        site.request("POST", "/digits.txt").body(b"x").send(site.port).expect(405);
    }
}

/// Sends one SCGI request past the web server.
fn scgi(site: &Site, path_info: &str, more: &[(&str, &str)]) -> BufReader<std::os::unix::net::UnixStream> {
    let mut head = String::from("CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET\0SCRIPT_NAME\0/app\0");
    head += "SERVER_NAME\0localhost\0SERVER_PORT\x0080\0SERVER_PROTOCOL\0HTTP/1.1\0";
    for (name, value) in [("PATH_INFO", path_info)].iter().chain(more) {
        head += &format!("{name}\0{value}\0");
    }
    let mut stream = site.connect();
    write!(stream, "{}:{head},", head.len()).expect("the gateway reads");
    let mut start = [0; 8];
    stream.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"Status: ");
    BufReader::new(stream)
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_cuts_the_answer_and_is_logged() {
    const SIZE: u64 = 64 << 20;
    let site = start(Protocol::Scgi, &[]);
    let path = site.folder.path("www/shrinks.bin");
    File::create(&path).and_then(|file| file.set_len(SIZE)).expect("room for nothing");
    let mut answer = scgi(&site, "/shrinks.bin", &[]);
    // More cannot have left: the socket holds less.
    File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 20)).expect("its owner may");
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest).expect("an end");
    assert!((rest.len() as u64) < SIZE, "{}", rest.len());
    super::harness::wait_until("it is logged", || site.log().contains("shorter while it was sent"));
    site.get("/digits.txt").expect(200);
}

#[test]
fn mounts_share_one_gateway() {
    let link = Link::new(Protocol::Scgi, Over::Unix);
    let site = start_before(link, careful_location(link.protocol), |folder, socket| {
        fill(folder);
        let www = folder.path("www").display().to_string();
        let sub = folder.path("www/sub").display().to_string();
        let config = folder.write(
            "gateway.toml",
            format!(
                "mount = [\"/files/=dir:{www}\", \"/files/deep=dir:{sub}\", \"/env=demo\"]\nvalidate = true\n"
            ),
        );
        Process::start(folder, "gateway", &program("scgi-gateway"), |command| {
            command.args(["--socket", &socket.address()]).arg("--config").arg(&config);
            if is_root() {
                command.args(["--socket-group", "www-data"]);
            }
        })
    });
    assert_eq!(site.get("/files/digits.txt").expect(200).body, b"0123456789");
    assert_eq!(site.get("/files/deep/").expect(200).body, b"<p>sub");
    for (path, location) in [
        ("/files", "/app/files/"),
        ("/files/deep", "/app/files/deep/"),
        ("/files/sub?q", "/app/files/sub/?q"),
    ] {
        let answer = site.get(path).expect(301);
        assert!(
            answer.header("location").is_some_and(|given| given.ends_with(location)),
            "{path}: {answer:?}"
        );
    }
    let text = String::from_utf8(site.get("/env/x%20y?q").expect(200).body).expect("UTF-8");
    for line in ["SCRIPT_NAME = '/app/env'", "PATH_INFO = '/x y'", "QUERY_STRING = 'q'"] {
        assert!(text.lines().any(|given| given == line), "{line} is missing in:\n{text}");
    }
    for path in ["", "/", "/environment", "/nothing"] {
        let answer = site.get(path).expect(404);
        assert_eq!(answer.body, b"404 Not Found\n", "{path}");
    }
    // nginx resolves `..` itself: others may not.
    for path in ["/files/../env", "/env/..", "/../etc/passwd", "/files/deep/../digits.txt"] {
        let mut status = [0; 3];
        scgi(&site, path, &[]).read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"404", "{path}");
    }
    let log = site.log();
    assert!(!log.contains("broke a rule"), "{log}");
}

#[test]
fn the_validator_watches_over_any_gateway() {
    // What nginx's stock parameters lack, PEP 3333 demands: the server breaks the rule, and is told so.
    let location = "location /app {\n scgi_param REQUEST_METHOD GET;\n scgi_param CONTENT_LENGTH 0;\n scgi_param SCGI 1;\n @pass;\n}\n";
    for (flags, status) in [(&["--validate"][..], 500), (&[], 200)] {
        let site = start_before(Link::new(Protocol::Scgi, Over::Unix), location, |folder, socket| {
            Process::start(folder, "gateway", &program("scgi-gateway"), |command| {
                command.args(["--socket", &socket.address()]).args(flags);
                if is_root() {
                    command.args(["--socket-group", "www-data"]);
                }
            })
        });
        assert_eq!(site.get("/x").status, status, "{}", site.log());
        assert_eq!(
            site.log().contains("the server broke a rule in environ"),
            status == 500,
            "{}",
            site.log()
        );
    }
}
