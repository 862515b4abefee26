//! Programs that make pages: each is asked for something that only it can answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::git::repository;
use super::{LINKS, packaged, start, succeeds};
use crate::servers::client::{Answer, Request};
use crate::servers::harness::{Folder, Process, program, wait_until};
use crate::servers::link::{Link, Over, Protocol, Socket};
use crate::servers::site::{Site, recipe};

/// The recipe's location, with the hand-over and the files for the test to put in.
fn location(name: &str) -> String {
    recipe(name).replace("fastcgi_pass unix:/run/gatewright.sock", "@pass")
}

#[track_caller]
fn text(answer: Answer) -> String {
    String::from_utf8_lossy(&answer.expect(200).body).into_owned()
}

#[track_caller]
fn get(site: &Site, target: &str) -> String {
    text(Request::new("GET", target).send(site.port))
}

#[track_caller]
fn has(page: &str, what: &str) {
    assert!(page.contains(what), "{what} is missing in:\n{}", &page[..page.len().min(3000)]);
}

/// A program in the folder `bin` of a test, written by a process of its own: see `Bin::file`.
fn install(folder: &Folder, name: &str, text: &str) {
    let draft = folder.write("draft", text);
    let path = folder.path("bin").join(name);
    succeeds(Command::new("cp").arg(draft).arg(&path));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A site of one folder of programs, mounted as in the recipe.
fn cgi_bin(link: Link, prepare: impl FnOnce(&Folder)) -> Site {
    let prepare = |folder: &Folder| {
        folder.mkdir("bin");
        prepare(folder);
    };
    start(link, &location("nginx-cgi-bin"), prepare, &["--script-name", "/cgi-bin", "cgi:@root/bin"])
}

#[test]
fn cgit_shows_a_repository_and_its_snapshot() {
    packaged("/usr/lib/cgit/cgit.cgi");
    for link in LINKS {
        let prepare = |folder: &Folder| {
            repository(folder);
            let root = folder.root().display();
            let repo = format!("repo.url=project\nrepo.path={root}/srv/project.git\n");
            folder.write("cgitrc", format!("virtual-root=/cgit\ncache-size=0\nsnapshots=tar.gz\n{repo}"));
        };
        // The configuration's place is the test's own.
        let location = location("nginx-cgit").replace(" fastcgi_param CGIT_CONFIG /etc/cgitrc;", "");
        let arguments =
            ["--env", "CGIT_CONFIG=@root/cgitrc", "--env", "HOME=@root", "cgi:/usr/lib/cgit/cgit.cgi"];
        let site = start(link, &location, prepare, &arguments);
        has(&get(&site, "/cgit/"), "project");
        has(&get(&site, "/cgit/project/log/"), "Commit 4");
        has(&get(&site, "/cgit-css/cgit.css"), "div#cgit");
        let snapshot =
            Request::new("GET", "/cgit/project/snapshot/project-main.tar.gz").send(site.port).expect(200);
        let path = site.folder.write("snapshot.tar.gz", &snapshot.body);
        has(&succeeds(Command::new("tar").arg("-tzf").arg(path)), "project-main/file4");
        let missing = Request::new("GET", "/cgit/none/").send(site.port);
        assert_eq!(missing.status, 404);
    }
}

#[test]
fn gitweb_shows_a_repository() {
    packaged("/usr/share/gitweb/gitweb.cgi");
    for link in LINKS {
        let prepare = |folder: &Folder| {
            repository(folder);
            folder.write("gitweb.conf", format!("$projectroot = '{}/srv';\n", folder.root().display()));
        };
        let location = location("nginx-gitweb").replace(" fastcgi_param GITWEB_CONFIG /etc/gitweb.conf;", "");
        let arguments = [
            "--env",
            "GITWEB_CONFIG=@root/gitweb.conf",
            "--env",
            "HOME=@root",
            "cgi:/usr/share/gitweb/gitweb.cgi",
        ];
        let site = start(link, &location, prepare, &arguments);
        has(&get(&site, "/gitweb"), "project.git");
        has(&get(&site, "/gitweb?p=project.git;a=log"), "Commit 4");
        has(&get(&site, "/gitweb/project.git/log"), "Commit 3");
        has(&get(&site, "/gitweb/static/gitweb.css"), "div.page_header");
    }
}

#[test]
fn awstats_shows_its_statistics() {
    for link in LINKS {
        let site = cgi_bin(link, |folder| {
            let root = folder.root().display();
            succeeds(Command::new("cp").arg(packaged("/usr/lib/cgi-bin/awstats.pl")).arg(folder.path("bin")));
            folder.mkdir("data");
            let line = "192.0.2.7 - - [01/Nov/2026:10:00:00 +0000] \"GET /page.html HTTP/1.1\" 200 5 \"-\" \
                        \"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\"\n";
            folder.write("access.log", line);
            let conf = format!(
                "LogFile=\"{root}/access.log\"\nLogFormat=1\nSiteDomain=\"test.example\"\nDirData=\"{root}/data\"\n\
                 DNSLookup=0\n"
            );
            fs::write(folder.path("bin/awstats.test.conf"), conf).unwrap();
            // As cron does.
            succeeds(Command::new(folder.path("bin/awstats.pl")).args(["-config=test", "-update"]));
        });
        has(&get(&site, "/cgi-bin/awstats.pl?config=test&output=urldetail&month=11&year=2026"), "/page.html");
    }
}

#[test]
fn php_runs_by_php_cgi() {
    packaged("/usr/bin/php-cgi");
    for link in LINKS {
        let prepare = |folder: &Folder| {
            folder.mkdir("www");
            let script = "<?php header('X-Script: ' . $_SERVER['SCRIPT_NAME']);\n\
                          echo $_SERVER['PATH_INFO'] ?? '', ' ', $_GET['q'] ?? '', ' ', $_POST['name'] ?? '', ' ',\n\
                          isset($_FILES['f']) ? md5_file($_FILES['f']['tmp_name']) : '', \"\\n\";\n";
            fs::write(folder.path("www/x.php"), script).unwrap();
            fs::write(folder.path("www/status.php"), "<?php http_response_code(418); echo 'tea';").unwrap();
        };
        let site = {
            // The folder is the test's own.
            let location = location("nginx-php-cgi").replace("root /srv/www;", "");
            let arguments = ["--script-name", "/", "--interpreter", ".php=/usr/bin/php-cgi", "cgi:@root/www"];
            start(link, &location, prepare, &arguments)
        };
        let answer = Request::new("GET", "/x.php/info?q=1").send(site.port).expect(200);
        assert_eq!(answer.header("x-script"), Some("/x.php"));
        assert_eq!(String::from_utf8_lossy(&answer.body), "/info 1  \n");
        let form = Request::new("POST", "/x.php")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(b"name=a%20b");
        assert_eq!(text(form.send(site.port)), "  a b \n");
        let (file, upload) = multipart();
        let expected = succeeds(Command::new("md5sum").arg(site.folder.write("file", &file)));
        assert_eq!(text(upload("/x.php").send(site.port)).trim(), expected.split(' ').next().unwrap());
        assert_eq!(Request::new("GET", "/status.php").send(site.port).status, 418);
        assert_eq!(Request::new("GET", "/none.php").send(site.port).status, 404);
    }
}

/// A file of two MiB, and the request that uploads it as the field `f`.
fn multipart() -> (Vec<u8>, impl Fn(&str) -> Request) {
    let file: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut body = b"--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\r\n".to_vec();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--XX--\r\n");
    let request = move |target: &str| {
        Request::new("POST", target).header("Content-Type", "multipart/form-data; boundary=XX").body(&body)
    };
    (file, request)
}

#[test]
fn perls_cgi_takes_an_upload() {
    packaged("/usr/share/perl5/CGI.pm");
    for link in LINKS {
        let site = cgi_bin(link, |folder| {
            install(
                folder,
                "upload.pl",
                "#!/usr/bin/perl\nuse strict; use CGI; use Digest::MD5;\n$CGI::LIST_CONTEXT_WARN = 0;\n\
                 my $q = CGI->new;\nif ($q->param('away')) { print $q->redirect('/there'); exit }\n\
                 my $file = $q->upload('f'); binmode $file;\nprint $q->header('text/plain');\n\
                 print Digest::MD5->new->addfile($file)->hexdigest, ' ', $q->script_name, ' ', $q->path_info, \"\\n\";\n",
            );
        });
        let (file, upload) = multipart();
        let expected = succeeds(Command::new("md5sum").arg(site.folder.write("file", &file)));
        let expected = expected.split(' ').next().unwrap();
        let page = text(upload("/cgi-bin/upload.pl/some/info").send(site.port));
        assert_eq!(page, format!("{expected} /cgi-bin/upload.pl /some/info\n"));
        let away = Request::new("GET", "/cgi-bin/upload.pl?away=1").send(site.port);
        assert_eq!(away.status, 302);
        assert!(away.header("location").unwrap().ends_with("/there"));
    }
}

#[test]
fn shell_python_and_c_programs_answer() {
    for link in LINKS {
        let site = cgi_bin(link, |folder| {
            install(
                folder,
                "hello.sh",
                "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho \"shell $PATH_INFO\"\n",
            );
            install(
                folder,
                "hello.py",
                "#!/usr/bin/python3\nfrom wsgiref.handlers import CGIHandler\n\
                 def app(environ, start_response):\n    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))\n    \
                 start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                 return [b'python ' + environ['PATH_INFO'].encode('latin-1') + b' ' + body]\nCGIHandler().run(app)\n",
            );
            install(
                folder,
                "broken.py",
                "#!/usr/bin/python3\nimport warnings\nwarnings.simplefilter('ignore')\nimport cgitb\ncgitb.enable()\n\
                 raise ValueError('spam')\n",
            );
            let source = folder.write(
                "hello.c",
                "#include <stdio.h>\n#include <stdlib.h>\nint main(void) {\n  const char *info = getenv(\"PATH_INFO\");\n  \
                 printf(\"Content-Type: text/plain\\r\\n\\r\\nC %s\\n\", info ? info : \"\");\n  return 0;\n}\n",
            );
            succeeds(Command::new("cc").arg("-o").arg(folder.path("bin/hello")).arg(source));
        });
        assert_eq!(get(&site, "/cgi-bin/hello.sh/a/b"), "shell /a/b\n");
        let post = Request::new("POST", "/cgi-bin/hello.py/x%20y").body(b"body");
        assert_eq!(text(post.send(site.port)), "python /x y body");
        assert_eq!(get(&site, "/cgi-bin/hello/c"), "C /c\n");
        has(&get(&site, "/cgi-bin/broken.py"), "ValueError");
        assert_eq!(Request::new("GET", "/cgi-bin/none").send(site.port).status, 404);
        wait_until("the reason is in the log", || site.log().contains("no such program"));
        assert_eq!(Request::new("GET", "/other/hello").send(site.port).status, 404);
    }
}

/// Three stages of an answer, each once the file of its name is there: the head alone, an event, another one.
fn events(folder: &Folder) {
    let root = folder.root().display();
    let wait = |name: &str| format!("until [ -e {root}/{name} ]; do sleep 0.02; done");
    let text = format!(
        "#!/bin/sh\nprintf 'Content-Type: text/event-stream\\nX-Accel-Buffering: no\\n\\n'\n{}\n\
         printf 'data: first\\n\\n'\n{}\nprintf 'data: second\\n\\n'\n",
        wait("go1"),
        wait("go2")
    );
    install(folder, "events", &text);
}

/// Reads them one by one: none waits for the next.
fn expect_events(folder: &Folder, client: &mut impl std::io::Read) {
    let mut seen = String::new();
    let mut read_until = |what: &str, not_yet: &str| {
        while !seen.contains(what) {
            let mut block = [0; 1024];
            let count = client.read(&mut block).expect("an answer");
            assert!(count > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&block[..count]));
        }
        assert!(not_yet.is_empty() || !seen.contains(not_yet), "{seen}");
    };
    // EventSource's `open`.
    read_until("text/event-stream", "data");
    folder.write("go1", "");
    read_until("data: first", "second");
    folder.write("go2", "");
    read_until("data: second", "");
}

/// Server-sent events, and the head before them, pass nginx one by one: where the program asks it not to gather them, and
/// where its configuration says so.
#[test]
fn events_arrive_as_they_are_written() {
    use std::io::Write;
    let http = Link::new(Protocol::Http, Over::Unix);
    let links = [LINKS[0], LINKS[1], http, LINKS[0].streamed(), LINKS[1].streamed(), http.streamed()];
    for link in links {
        let site = cgi_bin(link, events);
        let mut client = std::net::TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        client.set_read_timeout(Some(crate::servers::client::PATIENCE)).unwrap();
        client.write_all(&Request::new("GET", "/cgi-bin/events").bytes).unwrap();
        expect_events(&site.folder, &mut client);
    }
}

/// And without nginx, as `curl -N` shows them.
#[test]
fn events_arrive_as_they_are_written_by_http_gateway() {
    let folder = Folder::new();
    folder.mkdir("bin");
    events(&folder);
    let socket = Socket::new(&folder, Over::Tcp);
    let mut gateway = Process::start(&folder, "gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &socket.address()]).arg(format!("cgi:{}", folder.path("bin").display()));
    });
    gateway.ready_when(|| socket.is_served());
    // What it is told of the head it writes at once to standard error alone.
    let mut curl = Command::new("sh");
    curl.args(["-c", "exec \"$0\" -svN --max-time 30 \"$1\" 2>&1"])
        .arg(crate::servers::harness::installed("curl"));
    curl.arg(format!("http://{}/events", socket.address()));
    let mut curl = curl.stdout(std::process::Stdio::piped()).spawn().unwrap();
    expect_events(&folder, curl.stdout.as_mut().unwrap());
    assert!(curl.wait().unwrap().success());
}

/// nginx has one small buffer for error text and the head behind it.
#[test]
fn error_text_before_an_answer_does_not_cost_the_answer() {
    for link in LINKS {
        let site = cgi_bin(link, |folder| {
            let text = "#!/bin/sh\nn=0\nwhile [ $n -lt $QUERY_STRING ]; do echo 'error text error text' >&2; n=$((n+1)); done\n\
                        printf 'Content-Type: text/plain\\n\\nwhole\\n'\n";
            install(folder, "warns", text);
        });
        for lines in (1..420).step_by(13).chain([1000, 5000]) {
            assert_eq!(get(&site, &format!("/cgi-bin/warns?{lines}")), "whole\n", "{lines} lines");
        }
    }
}

#[test]
fn mapserver_draws_a_map() {
    packaged("/usr/lib/cgi-bin/mapserv");
    for link in LINKS {
        let prepare = |folder: &Folder| {
            let text = "MAP\n NAME test\n SIZE 64 48\n EXTENT 0 0 10 10\n IMAGETYPE png\n IMAGECOLOR 255 255 255\n\
                        LAYER\n NAME box\n TYPE POLYGON\n STATUS DEFAULT\n\
                        FEATURE POINTS 2 2 8 2 8 8 2 8 2 2 END END\n\
                        CLASS STYLE COLOR 255 0 0 END END\n END\nEND\n";
            folder.write("test.map", text);
            folder.write("mapserver.conf", "CONFIG\n ENV\n MS_MAP_PATTERN \".\"\n END\nEND\n");
        };
        let location = location("nginx-mapserver");
        let arguments = [
            "--script-name",
            "/mapserv",
            "--env",
            "MAPSERVER_CONFIG_FILE=@root/mapserver.conf",
            "cgi:/usr/lib/cgi-bin/mapserv",
        ];
        let site = start(link, &location, prepare, &arguments);
        let map = site.folder.path("test.map");
        let target = format!("/mapserv?map={}&mode=map", map.display());
        let answer = Request::new("GET", target).send(site.port).expect(200);
        assert_eq!(answer.header("content-type"), Some("image/png"));
        assert!(answer.body.starts_with(b"\x89PNG\r\n\x1a\n"));
        // Its size is what the map says.
        assert_eq!(answer.body[16..24], [0, 0, 0, 64, 0, 0, 0, 48]);
    }
}
