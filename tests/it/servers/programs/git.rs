//! git http-backend: clone, fetch and push as real clients do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::{LINKS, output, packaged, start, succeeds};
use crate::servers::client::Request;
use crate::servers::harness::{Folder, wait_until};
use crate::servers::link::Link;
use crate::servers::site::{Site, recipe};

/// git with nothing of this machine's configuration.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(packaged("/usr/bin/git"));
    command.current_dir(folder).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
        command.env(name, "A U Thor");
    }
    for name in ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "author@example.com");
    }
    command
}

/// Bytes that do not compress, and are the same in each run.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut data: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    data.truncate(bytes);
    data
}

/// A bare repository at `srv/project.git` with some commits, which anybody may push to.
pub(super) fn repository(folder: &Folder) {
    let work = folder.mkdir("work");
    succeeds(&mut git(&work, &["init", "-q", "-b", "main"]));
    for number in 0..5 {
        fs::write(work.join(format!("file{number}")), noise(300_000, number + 7)).unwrap();
        succeeds(&mut git(&work, &["add", "."]));
        succeeds(&mut git(&work, &["commit", "-q", "-m", &format!("Commit {number}")]));
    }
    let srv = folder.mkdir("srv");
    succeeds(&mut git(&srv, &["clone", "-q", "--bare", "../work", "project.git"]));
    let bare = srv.join("project.git");
    succeeds(&mut git(&bare, &["config", "http.receivepack", "true"]));
    succeeds(&mut git(&bare, &["config", "uploadpack.allowFilter", "true"]));
}

fn served(link: Link) -> (Site, String) {
    let location = recipe("nginx-git");
    let site = start_git(link, &location);
    let url = format!("http://127.0.0.1:{}/git/project.git", site.port);
    (site, url)
}

fn start_git(link: Link, location: &str) -> Site {
    // Where the repositories are is for the recipe's reader to say; here it is a folder of the test's own.
    let location = location.replace("fastcgi_pass unix:/run/gatewright.sock", "@pass");
    start(
        link,
        &location,
        repository,
        &["--env", "GIT_PROJECT_ROOT=@root/srv", "--env", "HOME=@root", &format!("cgi:{BACKEND}")],
    )
}

const BACKEND: &str = "/usr/lib/git-core/git-http-backend";

fn head(folder: &Path) -> String {
    succeeds(&mut git(folder, &["rev-parse", "HEAD"]))
}

#[track_caller]
fn assert_sound(folder: &Path) {
    succeeds(&mut git(folder, &["fsck", "--full", "--strict"]));
}

#[test]
fn git_clones_and_fetches_by_every_protocol() {
    packaged(BACKEND);
    for link in LINKS {
        let (site, url) = served(link);
        let root = site.folder.root();
        let expected = head(&site.folder.path("work"));
        for version in ["0", "1", "2"] {
            let name = format!("clone{version}");
            let protocol = format!("protocol.version={version}");
            succeeds(&mut git(root, &["-c", &protocol, "clone", "-q", &url, &name]));
            assert_eq!(head(&root.join(&name)), expected);
            assert_sound(&root.join(&name));
        }
        succeeds(&mut git(root, &["clone", "-q", "--depth", "1", &url, "shallow"]));
        assert_eq!(succeeds(&mut git(&root.join("shallow"), &["rev-list", "--count", "HEAD"])).trim(), "1");
        succeeds(&mut git(root, &["clone", "-q", "--filter=blob:none", "--no-checkout", &url, "partial"]));
        succeeds(&mut git(&root.join("partial"), &["checkout", "-q", "main"]));
        assert_eq!(head(&root.join("partial")), expected);
        // Somebody pushes, somebody else fetches.
        let pusher = root.join("clone2");
        fs::write(pusher.join("new"), "new\n").unwrap();
        succeeds(&mut git(&pusher, &["add", "."]));
        succeeds(&mut git(&pusher, &["commit", "-q", "-m", "New"]));
        succeeds(&mut git(&pusher, &["push", "-q", "origin", "main"]));
        succeeds(&mut git(&root.join("clone0"), &["pull", "-q"]));
        assert_eq!(head(&root.join("clone0")), head(&pusher));
    }
}

#[test]
fn git_pushes_more_than_any_buffer_holds() {
    let bytes = match std::env::var("GATEWRIGHT_TEST_PUSH_MIB") {
        Ok(mib) => mib.parse::<usize>().expect("a number of MiB") << 20,
        Err(_) => 40 << 20,
    };
    for link in LINKS {
        let (site, url) = served(link);
        let root = site.folder.root();
        succeeds(&mut git(root, &["clone", "-q", &url, "pusher"]));
        let pusher = root.join("pusher");
        fs::write(pusher.join("big"), noise(bytes, 99)).unwrap();
        succeeds(&mut git(&pusher, &["add", "."]));
        succeeds(&mut git(&pusher, &["commit", "-q", "-m", "Big"]));
        // Beyond http.postBuffer git sends chunks: the length is unknown.
        succeeds(&mut git(&pusher, &["push", "-q", "origin", "main"]));
        let bare = site.folder.path("srv/project.git");
        assert_eq!(head(&bare), head(&pusher));
        assert_sound(&bare);
    }
}

#[test]
fn ten_clones_at_once_are_all_sound() {
    for link in LINKS {
        let (site, url) = served(link);
        let root = site.folder.root();
        std::thread::scope(|scope| {
            for number in 0..10 {
                let url = &url;
                scope.spawn(move || {
                    let name = format!("clone{number}");
                    succeeds(&mut git(root, &["clone", "-q", url, &name]));
                    assert_sound(&root.join(&name));
                });
            }
        });
    }
}

#[test]
fn a_gzip_encoded_request_is_passed_on_as_it_is() {
    for link in LINKS {
        let (site, url) = served(link);
        let tip = head(&site.folder.path("work"));
        let want = format!("want {} no-progress\n", tip.trim());
        let body = format!("{:04x}{want}00000009done\n", want.len() + 4);
        let plain = site.folder.write("request", body);
        let zipped = succeeds_bytes(Command::new("gzip").arg("-c").arg(plain));
        let path = url.split_once("/git/").map(|(_, path)| format!("/git/{path}/git-upload-pack")).unwrap();
        let answer = Request::new("POST", path)
            .header("Content-Type", "application/x-git-upload-pack-request")
            .header("Content-Encoding", "gzip")
            .body(&zipped)
            .send(site.port)
            .expect(200);
        assert_eq!(answer.header("content-type"), Some("application/x-git-upload-pack-result"));
        assert!(answer.body.starts_with(b"0008NAK\nPACK"), "{}", answer.body[..20].escape_ascii());
    }
}

fn succeeds_bytes(command: &mut Command) -> Vec<u8> {
    let output = output(command);
    assert!(output.status.success());
    output.stdout
}

/// The client goes away in the middle of a push: nothing of the program stays, and the repository is as it was.
///
/// By FastCGI alone: without its buffer nginx 1.22 announces by SCGI only what it has of a body when the request begins.
#[test]
fn a_client_killed_in_the_middle_of_a_push_leaves_nothing() {
    // Without nginx's buffer the program runs while the body still comes.
    let location = recipe("nginx-git").replace("{\n", "{\n fastcgi_request_buffering off;\n");
    let site = start_git(LINKS[0], &location);
    let bare = site.folder.path("srv/project.git");
    let before = head(&bare);
    let mut client = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    let request = "POST /git/project.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
                   Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 50000000\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let (old, new) = (before.trim(), "1".repeat(40));
    let line = format!("{old} {new} refs/heads/main\0 report-status");
    let pack = b"PACK\x00\x00\x00\x02\x00\x00\x00\x05";
    client.write_all(format!("{:04x}{line}0000", line.len() + 4).as_bytes()).unwrap();
    // It waits for the first of the five objects.
    client.write_all(pack).unwrap();
    let backend = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let environs = processes.map(|entry| fs::read(entry.path().join("environ")).unwrap_or_default());
        let root = format!("GIT_PROJECT_ROOT={}/srv", site.folder.root().display());
        environs.filter(|environ| environ.split(|byte| *byte == 0).any(|one| one == root.as_bytes())).count()
    };
    wait_until("the program runs", || backend() > 0);
    drop(client);
    wait_until("the program is gone", || backend() == 0);
    assert_eq!(head(&bare), before);
    assert_sound(&bare);
    // And the next one is served.
    let url = format!("http://127.0.0.1:{}/git/project.git", site.port);
    succeeds(&mut git(site.folder.root(), &["clone", "-q", &url, "after"]));
}

#[test]
fn what_is_no_repository_is_told_by_the_program_itself() {
    let (site, _) = served(LINKS[0]);
    let answer = Request::new("GET", "/git/none.git/info/refs?service=git-upload-pack").send(site.port);
    assert_eq!(answer.status, 404);
    let mut text = String::new();
    answer.body.as_slice().read_to_string(&mut text).unwrap();
    wait_until("the reason is in nginx's log", || site.log().contains("Not a git repository"));
}
