//! Names and targets that mean something else to somebody else: folders, mounts, programs, the validator and the access
//! log see all of them.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::{PATIENCE, wait_until};
use crate::programs::Bin;
use crate::servers::harness::{Folder, Process, program};

/// What no answer may hold.
const SECRET: &str = "nobody may read this";

const NAMES: [&[u8]; 13] = [
    b"plain.txt",
    b"with space",
    b"line\nfeed",
    b"tab\tand\x1b[31mred",
    b"<script>alert(1)",
    b"quote\"and'apostrophe&amp;",
    b"caf\xe9",
    b"\xff\xfe",
    b"%2e%2e",
    b"%00",
    b"back\\slash",
    b"question?hash#semi;colon",
    b"javascript:alert(1)",
];

struct Target {
    folder: Folder,
    process: Process,
    _bin: Bin,
}

impl Target {
    fn start(format: &str) -> Self {
        let folder = Folder::new();
        let site = folder.mkdir("site");
        fs::write(folder.path("secret"), SECRET).expect("our folder");
        for name in NAMES {
            fs::write(site.join(OsStr::from_bytes(name)), "here").expect("any name but one with / or NUL");
        }
        for hidden in [".env", "..env"] {
            fs::write(site.join(hidden), SECRET).expect("our folder");
        }
        symlink("../secret", site.join("link")).expect("our folder");
        symlink("/", site.join("root")).expect("our folder");
        fs::create_dir(site.join("inner")).expect("our folder");
        let bin = Bin::new();
        bin.script(
            "show",
            "printf 'Content-Type: text/plain\\n\\n'; printf '%s' \"$PATH_INFO|$QUERY_STRING\"",
        );
        fs::write(bin.folder.path("secret"), SECRET).expect("our folder");
        fs::write(bin.folder.path(".source"), SECRET).expect("our folder");
        let programs = format!("/bin=cgi:{}", bin.folder.root().display());
        let mut process = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
            command.current_dir(folder.root()).args([
                "--socket",
                "unix:app.sock",
                "--validate",
                "--dir-listing",
            ]);
            command.args(["--access-log", "access.out", "--access-log-format", format]);
            command.args(["--mount", "/files/=dir:site", "--mount", &programs, "--mount", "/a/b=demo"]);
        });
        process.ready_when(|| UnixStream::connect(folder.path("app.sock")).is_ok());
        Self { folder, process, _bin: bin }
    }

    fn exchange(&self, wire: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.folder.path("app.sock")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let _ = stream.write_all(wire);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    fn get(&self, target: &[u8], more: &[u8]) -> Vec<u8> {
        self.exchange(
            &[b"GET ", target, b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", more, b"\r\n"].concat(),
        )
    }

    /// The access log, once it has that many lines; that there are no more.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<String> {
        let mut text = Vec::new();
        wait_until(&format!("the log has {count} lines"), || {
            text = fs::read(self.folder.path("access.out")).unwrap_or_default();
            text.iter().filter(|byte| **byte == b'\n').count() >= count
        });
        let text = String::from_utf8(text).expect("a text of UTF-8");
        let lines: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "{text}");
        lines
    }

    /// The validator found nothing, and no line of the log is somebody else's.
    #[track_caller]
    fn assert_clean(&self) {
        let log = self.process.log();
        assert!(!log.contains("PEP 3333") && !log.contains("panic"), "{log}");
        for line in log.lines() {
            assert!(line.starts_with("http-gateway: "), "{line:?} in {log}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).into_owned();
    text.parse().unwrap_or_else(|_| panic!("no status: {}", answer.escape_ascii()))
}

fn quoted(name: &[u8]) -> Vec<u8> {
    name.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect()
}

#[test]
fn files_of_any_name_are_served_and_nothing_beside_them() {
    let target = Target::start("json");
    let mut asked = 0;
    let mut ask = |path: &[u8]| {
        asked += 1;
        let answer = target.get(path, b"");
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(!text.contains(SECRET), "{}: {text}", path.escape_ascii());
        (status(&answer), text)
    };
    for name in NAMES {
        let (status, text) = ask(&[b"/files/", &quoted(name)[..]].concat());
        assert!(status == 200 && text.ends_with("\r\n\r\nhere"), "{}: {text}", name.escape_ascii());
    }
    let (status, listing) = ask(b"/files/");
    assert_eq!(status, 200);
    for shown in [
        "<a href=\"%252e%252e\">%2e%2e<",
        "<a href=\"%3Cscript%3Ealert%281%29\">&lt;script&gt;alert(1)<",
        "<a href=\"caf%E9\">caf\u{fffd}<",
        "<a href=\"javascript%3Aalert%281%29\">",
        "<a href=\"line%0Afeed\">line\u{fffd}feed<",
        "<a href=\"quote%22and%27apostrophe%26amp%3B\">quote&quot;and&#39;apostrophe&amp;amp;<",
    ] {
        assert!(listing.contains(shown), "{shown} is missing in {listing}");
    }
    assert!(![".env", "\"root", "\"link"].iter().any(|name| listing.contains(name)), "{listing}");
    for path in [
        &b"/files/../secret"[..],
        b"/files/%2e%2e/secret",
        b"/files/%2e%2e%2fsecret",
        b"/files/..%2fsecret",
        b"/files/..%5csecret",
        b"/files/inner/../../secret",
        b"/files/inner%2f..%2f..%2fsecret",
        b"/files//../secret",
        b"/files/./../secret",
        b"/files/.%2e/secret",
        b"/files/%252e%252e/secret",
        b"/files/%c0%ae%c0%ae/secret",
        b"/files/%uff0e%uff0e/secret",
        b"/files/link",
        b"/files/root/etc/passwd",
        b"/files/.env",
        b"/files/%2eenv",
        b"/files/..env",
        b"/files/inner/../.env",
        b"/files/plain.txt/",
        b"/files/plain.txt/x",
        b"/files/plain.txt%00.html",
        b"/files/%00",
        b"/files/%0d%0aX-Evil:%201",
        b"/bin/../secret",
        b"/bin/%2e%2e/secret",
        b"/bin/.source",
        b"/bin/..%2fsecret",
        b"/bin/sh",
        b"/bin/secret",
        b"/bin/%2fbin%2fsh",
        b"/a/b/../../files/../secret",
        b"/a/../secret",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"//etc/passwd",
        b"/secret",
        b"/files\\..\\secret",
        b"/files;/../secret",
    ] {
        let (status, text) = ask(path);
        assert!([400, 403, 404].contains(&status), "{}: {text}", path.escape_ascii());
        assert!(!text.contains("X-Evil"), "{text}");
    }
    // Where a slash is put right, the client stays here.
    for path in [&b"/files/inner"[..], b"/files//inner", b"/files/%0d%0a/../inner"] {
        let (status, text) = ask(path);
        let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
        assert!(
            status == 404 || location.starts_with("/files/") || location.starts_with("http://h/files/"),
            "{text}"
        );
    }
    for line in target.lines(asked) {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        // Of those that are refused, too.
        assert!(line["status"].is_u64() && line["target"].is_string() && line["method"] == "GET", "{line}");
    }
    target.assert_clean();
}

/// Each had a line in the log, as long as its path, at whatever pace a client asked.
#[test]
fn what_is_asked_for_in_vain_does_not_fill_the_log() {
    let target = Target::start("json");
    let long = "x".repeat(20_000);
    for number in 0..500 {
        assert_eq!(status(&target.get(format!("/bin/{number}{long}").as_bytes(), b"")), 404);
    }
    let log = target.process.log();
    assert!(log.contains("no such program"), "{log}");
    assert!(log.len() < 50_000, "{} bytes", log.len());
    target.assert_clean();
}

#[test]
fn whatever_clients_write_is_one_line_of_the_log_with_its_columns() {
    for format in ["combined", "json"] {
        let target = Target::start(format);
        let long = vec![b'x'; 50_000];
        let agents: [&[u8]; 8] = [
            b"plain",
            b"\" 200 1 \"-\" \"forged",
            b"back\\slash\\\"",
            b"caf\xe9 \xff\xfe",
            b"tab\tand \xe2\x80\xa8 separator \xc2\x85",
            b"%0a%0d\\n\\x0a",
            b"{\"time\":\"now\"}",
            &long,
        ];
        for agent in agents {
            let more = [b"User-Agent: ", agent, b"\r\nReferer: ", agent.get(..100).unwrap_or(agent), b"\r\n"]
                .concat();
            assert_eq!(status(&target.get(b"/a/b/x?\"quoted\"&<b>&\\x", &more)), 200);
        }
        // Refused ones, by their heads.
        let refused: [&[u8]; 6] = [
            b"GET /a\nb HTTP/1.1\r\n\r\n",
            b"GET /\x1b[31m HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a\rb\r\n\r\n",
            b"\x16\x03\x01\n\n\"",
            b"G\"ET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ];
        for wire in refused {
            assert_eq!(status(&target.exchange(wire)), 400, "{}", wire.escape_ascii());
        }
        let target_of = |length: usize| [b"/a/b/", &vec![b'a'; length][..]].concat();
        assert_eq!(status(&target.get(&target_of(60_000), b"")), 200);
        assert_eq!(status(&target.get(&target_of(70_000), b"")), 414);
        assert_eq!(status(&target.get(b"/a/b/x", &[b"X: ", &[b'y'; 70_000][..], b"\r\n"].concat())), 431);
        for line in target.lines(agents.len() + refused.len() + 3) {
            assert!(line.len() < 64 * 1024, "{} bytes", line.len());
            match format {
                "json" => assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line:.300}"),
                // Values between quotes, none of which hold one.
                _ => {
                    let columns: Vec<&str> = line.split('"').collect();
                    assert_eq!(columns.len(), 7, "{line:.300}");
                    assert_eq!(columns[2].split(' ').count(), 4, "{line:.300}");
                    assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:.300}");
                }
            }
        }
        target.assert_clean();
    }
}

#[test]
fn programs_get_what_was_asked_for_and_cannot_be_made_to_run_another() {
    let target = Target::start("json");
    for (path, shown) in [
        (&b"/bin/show/a%20b?x=%20y"[..], &b"/a b|x=%20y"[..]),
        (b"/bin/show/%0a;id?`id`=$(id)", b"/\n;id|`id`=$(id)"),
        (b"/bin/show/%ff%fe?-s", b"/\xff\xfe|-s"),
        (b"/bin/show/%25%32%65?%00=1", b"/%2e|%00=1"),
        (b"/bin/show/../etc/passwd", b"/../etc/passwd|"),
    ] {
        let answer = target.get(path, b"");
        assert_eq!(status(&answer), 200, "{}", path.escape_ascii());
        let is_shown = answer.windows(shown.len()).any(|window| window == shown);
        assert!(is_shown, "{}: {}", path.escape_ascii(), answer.escape_ascii());
    }
    // NUL cannot be passed to a program, and neither can an endless value.
    assert_eq!(status(&target.get(b"/bin/show/%00", b"")), 400);
    let long = [b"/bin/show?", &vec![b'q'; 60_000][..]].concat();
    assert_eq!(status(&target.get(&long, b"")), 200);
    target.assert_clean();
}
