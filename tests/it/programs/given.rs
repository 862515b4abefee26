//! What a program is given: its process, its environment, its input.

use std::path::PathBuf;
use std::time::Duration;

use gatewright::apps::ProgramSettings;

use super::{Bin, get, run};

const TEXT: &str = "printf 'Content-Type: text/plain\\n\\n'";

#[test]
fn the_process_is_as_new() {
    // A descriptor that is open in this process and not closed on exec.
    let (leaky, _other) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&leaky, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    // The last one is what ls itself has opened.
    let descriptors = Bin::once(&format!("{TEXT}; exec ls /proc/self/fd")).expect("200 OK");
    assert_eq!(descriptors.text(), "0\n1\n2\n3\n");
    let answer = Bin::once(&format!(
        "{TEXT}; grep -E '^(SigBlk|SigIgn)' /proc/self/status; umask; echo $(ps -o pgid= -p $$) $$"
    ))
    .expect("200 OK");
    let text = answer.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("0000000000000000") && lines[1].ends_with("0000000000000000"), "{text}");
    assert_eq!(lines[2], "0022");
    let (group, pid) = lines[3].split_once(' ').unwrap();
    assert_eq!(group, pid, "a group of its own");
}

#[test]
fn it_starts_in_its_folder_by_its_absolute_path() {
    let bin = Bin::new();
    let sub = bin.folder.mkdir("sub");
    bin.script("sub/x", &format!("{TEXT}; pwd; echo $0; echo $SCRIPT_FILENAME; readlink /proc/self/fd/0"));
    let answer = run(&bin.programs(ProgramSettings::default()), &get("/sub/x"), b"").expect("200 OK");
    let (sub, path) = (sub.display(), sub.join("x"));
    let path = path.display();
    assert_eq!(answer.text(), format!("{sub}\n{path}\n{path}\n/dev/null\n"));
}

#[test]
fn the_environment_is_the_requests_and_little_else() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; exec env -0"));
    let mut settings = ProgramSettings::default();
    settings.env = vec![("ADDED".to_owned(), "yes".to_owned())];
    let programs = bin.programs(settings);
    let vars = [
        ("REQUEST_METHOD", "GET"),
        ("PATH_INFO", "/x/a\nb"),
        ("GIT_PROJECT_ROOT", "/srv/\u{e4}\t"),
        ("lower-case.name", "kept"),
        ("EMPTY", ""),
        ("HTTP_PROXY", "evil"),
        ("LD_PRELOAD", "/evil.so"),
        ("HTTP_X_A", "1"),
        ("HTTP_TRANSFER_ENCODING", "gzip"),
    ];
    let answer = run(&programs, &vars, b"").expect("200 OK");
    let text = answer.text();
    let mut names: Vec<&str> = text.split('\0').filter(|line| !line.is_empty()).collect();
    // The shell's own, and what this machine happens to set.
    let own = ["PWD", "OLDPWD", "SHLVL", "_", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"];
    names.retain(|line| {
        !own.iter().any(|own| line.starts_with(&format!("{own}="))) && !line.starts_with("LC_")
    });
    names.sort_unstable();
    let mut expected = vec![
        "ADDED=yes".to_owned(),
        "EMPTY=".to_owned(),
        "GATEWAY_INTERFACE=CGI/1.1".to_owned(),
        "GIT_PROJECT_ROOT=/srv/\u{e4}\t".to_owned(),
        "HTTP_X_A=1".to_owned(),
        "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        "PATH_INFO=/a\nb".to_owned(),
        "QUERY_STRING=".to_owned(),
        "REQUEST_METHOD=GET".to_owned(),
        "SCRIPT_NAME=/x".to_owned(),
        format!("SCRIPT_FILENAME={}/x", bin.folder.root().display()),
        // An announced body that is empty has a length.
        "CONTENT_LENGTH=0".to_owned(),
    ];
    // A shell passes on only names that it could set itself; dash drops lower-case.name.
    names.retain(|line| !line.starts_with("lower-case"));
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn a_program_that_is_no_shell_gets_every_name() {
    let programs =
        gatewright::apps::CgiPrograms::open("/usr/bin/env".as_ref(), ProgramSettings::default()).unwrap();
    let vars = [("REQUEST_METHOD", "GET"), ("lower-case.name", "kept"), ("X: y\n\n", "not a header")];
    let answer = run(&programs, &vars, b"");
    // env's output is no CGI answer: its first line is shown in the log.
    answer.expect("502 Bad Gateway").logged("is no header field: \"PATH=/usr/local/bin:/usr/bin:/bin\"");
}

#[test]
fn interpreters_run_scripts_without_a_run_bit() {
    let bin = Bin::new();
    bin.file("x.sh", &format!("{TEXT}; echo $0; echo \"$REDIRECT_STATUS\""), 0o644);
    // Executable, but nothing says by what: the interpreter takes it.
    bin.file("y.sh", &format!("{TEXT}; echo y"), 0o755);
    let mut settings = ProgramSettings::default();
    settings.interpreters = vec![(".sh".to_owned(), PathBuf::from("/bin/sh"))];
    let programs = bin.programs(settings);
    let answer = run(&programs, &get("/x.sh"), b"").expect("200 OK");
    assert_eq!(answer.text(), format!("{}/x.sh\n200\n", bin.folder.root().display()));
    assert_eq!(run(&programs, &get("/y.sh"), b"").expect("200 OK").text(), "y\n");
}

#[test]
fn arguments_come_from_the_query_only_where_that_is_asked_for() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; for one; do echo \"<$one>\"; done"));
    let vars = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x"), ("QUERY_STRING", "-a+b%20c")];
    let answer = run(&bin.programs(ProgramSettings::default()), &vars, b"").expect("200 OK");
    assert_eq!(answer.text(), "");
    let mut settings = ProgramSettings::default();
    settings.query_arguments = true;
    assert_eq!(run(&bin.programs(settings), &vars, b"").expect("200 OK").text(), "<-a>\n<b c>\n");
}

#[test]
fn limits_hold_from_the_first_moment() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; ulimit -n; ulimit -Hf; ulimit -d; ulimit -t"));
    bin.script("spin", "while :; do :; done");
    bin.script("write", &format!("{TEXT}; head -c 100000 /dev/zero > {}/big", bin.folder.root().display()));
    let mut settings = ProgramSettings::default();
    settings.limits.files = 17;
    settings.limits.file_size = 64 << 10;
    settings.limits.memory = 64 << 20;
    settings.limits.cpu = Duration::from_secs(1);
    let programs = bin.programs(settings);
    assert_eq!(run(&programs, &get("/x"), b"").expect("200 OK").text(), "17\n128\n65536\n1\n");
    let spun = run(&programs, &get("/spin"), b"").expect("502 Bad Gateway");
    spun.logged("killed by SIGXCPU, a limit: see --limit-cpu");
    run(&programs, &get("/write"), b"").expect("200 OK");
    assert_eq!(std::fs::metadata(bin.folder.path("big")).unwrap().len(), 64 << 10);
}

/// The body in, its checksum out, whatever is read when.
#[test]
fn no_order_of_reading_and_writing_is_a_deadlock() {
    let bin = Bin::new();
    let big = "head -c 3000000 /dev/zero";
    for (name, text) in [
        ("read-then-write", format!("cksum; {big} | cksum")),
        ("write-then-read", format!("{big}; cksum")),
        ("errors-first", format!("{big} >&2; cksum")),
        ("never-read", format!("{big} | cksum")),
        ("read-a-little", "head -c 10; echo".to_owned()),
        ("close-input", format!("exec <&-; {big} | cksum")),
        ("copy", "cat".to_owned()),
        ("all-at-once", format!("{big} >&2 & cksum; {big}; wait")),
    ] {
        bin.script(name, &format!("{TEXT}; {text}"));
    }
    let programs = bin.programs(ProgramSettings::default());
    let body: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let length = body.len().to_string();
    for (name, bytes) in [
        ("read-then-write", None),
        ("write-then-read", None),
        ("errors-first", None),
        ("never-read", None),
        ("read-a-little", Some(11)),
        ("close-input", None),
        ("copy", Some(body.len())),
        ("all-at-once", None),
    ] {
        let path = format!("/{name}");
        let vars = [("REQUEST_METHOD", "POST"), ("PATH_INFO", &*path), ("CONTENT_LENGTH", &*length)];
        let answer = run(&programs, &vars, &body).expect("200 OK");
        if name == "copy" {
            assert!(answer.document == body, "it came back whole");
        }
        assert_eq!(answer.document.len(), bytes.unwrap_or(answer.document.len()), "{name}");
        assert!(!answer.document.is_empty(), "{name}");
    }
}

#[test]
fn a_body_of_unknown_length_is_kept_until_that_is_known() {
    let bin = Bin::new();
    bin.script("x", &format!("{TEXT}; echo \"${{CONTENT_LENGTH-unset}}\"; cat | wc -c"));
    let programs = bin.programs(ProgramSettings::default());
    for (size, expected) in [
        (0, "unset\n0\n"),
        (5, "5\n5\n"),
        (65_536, "65536\n65536\n"),
        (65_537, "65537\n65537\n"),
        (5_000_000, "5000000\n5000000\n"),
    ] {
        let body = vec![b'x'; size];
        let vars = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/x")];
        assert_eq!(run(&programs, &vars, &body).expect("200 OK").text(), expected);
    }
    let mut settings = ProgramSettings::default();
    settings.stream_body = true;
    let vars = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/x")];
    let answer = run(&bin.programs(settings), &vars, &[b'x'; 5_000_000]).expect("200 OK");
    assert_eq!(answer.text(), "unset\n5000000\n");
}

#[test]
fn variables_that_no_program_can_be_given_are_431() {
    let bin = Bin::new();
    bin.script("x", TEXT);
    let programs = bin.programs(ProgramSettings::default());
    let long = "x".repeat(200_000);
    let vars = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x"), ("HTTP_LONG", &*long)];
    run(&programs, &vars, b"").expect("431 Request Header Fields Too Large");
    let names: Vec<String> = (0..100).map(|number| format!("HTTP_{number}")).collect();
    let value = "x".repeat(100_000);
    let mut vars = vec![("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x")];
    vars.extend(names.iter().map(|name| (&**name, &*value)));
    run(&programs, &vars, b"").expect("431 Request Header Fields Too Large");
}
