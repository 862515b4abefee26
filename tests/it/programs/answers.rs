//! What becomes of a program's output.

use std::fs;

use gatewright::apps::{LocalRedirect, ProgramSettings, Stderr};
use gatewright::handlers::End;

use super::{Bin, get, run};

const TEXT: &str = "printf 'Content-Type: text/plain\\n\\n'";

#[test]
fn a_document_arrives_with_its_headers() {
    let answer = Bin::once("printf 'Content-Type: text/x\\r\\nX-A: 1\\nStatus: 404 None\\n\\nHello\\n'");
    let answer = answer.expect("404 None");
    assert_eq!(answer.head, "Status: 404 None\r\nContent-Type: text/x\r\nX-A: 1\r\n\r\n");
    assert_eq!(answer.text(), "Hello\n");
}

#[test]
fn an_answer_without_a_document_is_whole() {
    let answer = Bin::once("printf 'Content-Type: text/plain\\n\\n'").expect("200 OK");
    assert_eq!((answer.outcome.end, answer.document.len()), (End::Answered, 0));
}

#[test]
fn what_is_no_answer_is_a_502_and_says_why_in_the_log() {
    for (text, why) in [
        ("", "it wrote nothing; exit status 0"),
        ("exit 3", "it wrote nothing; exit status 3"),
        ("echo the cause >&2; exit 3", "it wrote nothing; exit status 3; it said \"the cause\""),
        ("kill -SEGV $$", "it wrote nothing; killed by SIGSEGV"),
        ("echo hello", "line 1 of its head is no header field: \"hello\""),
        ("echo 'Content-Type: text/plain'", "before the empty line that ends the head"),
        ("printf 'X-A: b\\n\\n'", "it has no Content-Type, Location or Status"),
        ("printf 'Status: 100 Go on\\n\\n'", "its status 100 is no final answer"),
        ("printf 'Content-Type: a\\rX: b\\n\\n'", "has the control character \"\\r\""),
        ("printf 'Content-Type: a\\nTransfer-Encoding: chunked\\n\\n'", "Transfer-Encoding"),
        ("head -c 70000 /dev/zero | tr '\\0' x", "its head is longer than 65536 bytes"),
    ] {
        let answer = Bin::once(text).expect("502 Bad Gateway");
        // A head without what it needs is named as its own.
        answer.logged(&why.replace("it has no", "its head has no"));
        answer.logged("GET /x: /");
        assert_eq!(answer.text(), "502 Bad Gateway\n", "nothing of it reaches the client");
    }
}

#[test]
fn a_program_that_is_killed_in_its_document_cuts_the_answer() {
    let answer = Bin::once(&format!("{TEXT}; head -c 200000 /dev/zero; kill -KILL $$"));
    assert_eq!(answer.outcome.end, End::Truncated);
    answer.logged("its answer is not whole; killed by SIGKILL");
    // What nobody has seen yet is taken back, and never half an answer stands for a whole one.
    let answer = Bin::once(&format!("{TEXT}; echo half; kill -KILL $$"));
    assert!(answer.outcome.status == Some(502) || answer.outcome.end == End::Truncated, "{}", answer.head);
}

#[test]
fn an_exit_status_takes_nothing_from_an_answer() {
    let answer = Bin::once(&format!("{TEXT}; echo whole; exit 7")).expect("200 OK");
    assert_eq!((answer.outcome.end, answer.text()), (End::Answered, "whole\n".to_owned()));
}

#[test]
fn programs_that_cannot_start_tell_an_administrator_why() {
    let bin = Bin::new();
    bin.file("crlf", "#!/bin/sh\r\necho\r\n", 0o755);
    bin.file("missing", "#!/no/such/interpreter -x\n", 0o755);
    bin.file("headless", "echo hello\n", 0o755);
    bin.file("empty", "", 0o755);
    bin.file("marked", "\u{feff}#!/bin/sh\n", 0o755);
    bin.file("plain", "#!/bin/sh\n", 0o644);
    let programs = bin.programs(ProgramSettings::default());
    for (path, status, why) in [
        ("/crlf", "502 Bad Gateway", "its first line ends in CR LF as on Windows"),
        (
            "/missing",
            "502 Bad Gateway",
            "the interpreter of its first line, \"/no/such/interpreter -x\", is missing",
        ),
        ("/headless", "502 Bad Gateway", "a script begins with a line such as #!/bin/sh"),
        ("/empty", "502 Bad Gateway", "cannot execute it: Exec format error; it is empty"),
        ("/marked", "502 Bad Gateway", "it begins with a byte order mark"),
        ("/plain", "403 Forbidden", "is not executable: chmod +x it"),
        ("/none", "404 Not Found", "/none: no such program in /"),
        ("/", "404 Not Found", "the path \"/\" names no program"),
        ("//plain", "404 Not Found", "empty segment"),
    ] {
        let answer = run(&programs, &get(path), b"").expect(status);
        answer.logged(why);
        assert_eq!(answer.text(), format!("{status}\n"), "the client learns no path");
    }
}

#[test]
fn redirects_follow_the_specification() {
    for (output, head) in [
        ("Location: http://a/b", "Status: 302 Found\r\nLocation: http://a/b\r\n"),
        ("Location: /b", "Status: 302 Found\r\nLocation: /b\r\n"),
        ("Location: //a/b", "Status: 302 Found\r\nLocation: //a/b\r\n"),
        ("Location: /b\\nStatus: 303", "Status: 303 See Other\r\nLocation: /b\r\n"),
    ] {
        let answer = Bin::once(&format!("printf '{output}\\n\\n'"));
        assert!(answer.head.starts_with(head), "{output}: {}", answer.head);
    }
    let with_document = Bin::once("printf 'Location: /b\\nContent-Type: text/plain\\n\\nThere'");
    assert_eq!(with_document.expect("302 Found").text(), "There");
    let passed = Bin::once_with("printf 'Location: /b\\n\\n'", |settings| {
        settings.local_redirect = LocalRedirect::Pass
    });
    assert!(passed.expect("200 OK").head.contains("\r\nLocation: /b\r\n"));
}

#[test]
fn a_local_redirect_of_our_own_runs_the_other_program() {
    let bin = Bin::new();
    bin.script("from", "cat >/dev/null; printf 'Location: /to/%%41?q=2\\n\\n'");
    bin.script("loop", "printf 'Location: /loop\\n\\n'");
    bin.script(
        "to",
        &format!(
            "{TEXT}; echo $REQUEST_METHOD $SCRIPT_NAME $PATH_INFO $QUERY_STRING; env | grep -c ^CONTENT_; \
                  echo $REDIRECT_URL $REDIRECT_QUERY_STRING $REDIRECT_STATUS"
        ),
    );
    let settings = || {
        let mut settings = ProgramSettings::default();
        settings.local_redirect = LocalRedirect::Own;
        settings
    };
    let programs = bin.programs(settings());
    let vars = [
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", "/from/x"),
        ("QUERY_STRING", "q=1"),
        ("CONTENT_LENGTH", "4"),
        ("CONTENT_TYPE", "a/b"),
    ];
    let answer = run(&programs, &vars, b"body").expect("200 OK");
    assert_eq!(answer.text(), "GET /to /A q=2\n0\n/from/x q=1 200\n");
    run(&programs, &get("/loop"), b"").expect("502 Bad Gateway").logged("more than 10 times");
    // Below a mount the path is the mount's, and another path is not ours.
    bin.script("up", "printf 'Location: /cgi/to\\n\\n'");
    bin.script("away", "printf 'Location: /other\\n\\n'");
    let mut mounted = settings();
    mounted.mounted = true;
    let programs = bin.programs(mounted);
    let vars = |path| [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/cgi"), ("PATH_INFO", path)];
    let up = run(&programs, &vars("/up"), b"").expect("200 OK");
    assert!(up.text().starts_with("GET /cgi/to"), "{}", up.text());
    assert!(run(&programs, &vars("/away"), b"").expect("302 Found").head.contains("Location: /other\r\n"));
}

#[test]
fn a_status_line_of_its_own_becomes_the_status() {
    let bin = Bin::new();
    bin.script(
        "nph-x",
        "printf 'HTTP/1.0 201 Made\\r\\nConnection: close\\r\\nContent-Type: a/b\\r\\n\\r\\nyes'",
    );
    let answer = run(&bin.programs(ProgramSettings::default()), &get("/nph-x"), b"");
    assert_eq!(answer.head, "Status: 201 Made\r\nContent-Type: a/b\r\n\r\n");
    assert_eq!(answer.text(), "yes");
}

#[test]
fn the_answer_ends_at_its_content_length() {
    // The program goes on far beyond this test's patience.
    let answer = Bin::once("printf 'Content-Type: a/b\\nContent-Length: 5\\n\\nwhole'; exec sleep 1000");
    let answer = answer.expect("200 OK");
    assert_eq!((answer.outcome.end, answer.text()), (End::Answered, "whole".to_owned()));
    let short = Bin::once("printf 'Content-Type: a/b\\nContent-Length: 9\\n\\nshort'");
    short.logged("4 bytes shorter than its Content-Length");
    let long = Bin::once("printf 'Content-Type: a/b\\nContent-Length: 2\\n\\nlonger'").expect("200 OK");
    assert_eq!(long.text(), "lo");
    long.logged("4 bytes beyond the Content-Length were cut");
}

#[test]
fn head_requests_have_no_document() {
    let bin = Bin::new();
    bin.script(
        "x",
        "printf 'Content-Type: a/b\\nContent-Length: 5\\n\\n'; [ $REQUEST_METHOD = HEAD ] || printf whole",
    );
    let programs = bin.programs(ProgramSettings::default());
    let answer = run(&programs, &[("REQUEST_METHOD", "HEAD"), ("PATH_INFO", "/x")], b"").expect("200 OK");
    assert!(answer.head.contains("Content-Length: 5\r\n"));
    assert_eq!((answer.outcome.end, answer.document.len()), (End::Answered, 0));
}

#[test]
fn error_text_goes_to_the_web_server_byte_for_byte_or_to_the_log() {
    let text = format!("printf 'one\\ntwo\\377' >&2; {TEXT}; echo out");
    let answer = Bin::once(&text).expect("200 OK");
    assert!(answer.errors.starts_with("one\ntwo"), "{}", answer.errors);
    let answer = Bin::once_with(&text, |settings| settings.stderr = Stderr::Log).expect("200 OK");
    assert_eq!(answer.errors, "");
}

#[test]
fn x_sendfile_is_passed_on_unless_it_is_served_from_a_folder() {
    let bin = Bin::new();
    let files = bin.folder.mkdir("files");
    fs::write(files.join("data"), "from the file").unwrap();
    fs::write(bin.folder.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", files.join("link")).unwrap();
    bin.script("x", "printf 'Content-Type: a/b\\nX-Sendfile: %s\\n\\nignored' \"$QUERY_STRING\"");
    let programs = bin.programs(ProgramSettings::default());
    let asks = |programs, name: &str| {
        let name = format!("{}/{name}", files.display());
        run(programs, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/x"), ("QUERY_STRING", &name)], b"")
    };
    let passed = asks(&programs, "data").expect("200 OK");
    assert!(passed.head.contains("X-Sendfile: ") && passed.text() == "ignored");
    let mut settings = ProgramSettings::default();
    settings.x_sendfile = Some(files.clone());
    let programs = bin.programs(settings);
    let served = asks(&programs, "data").expect("200 OK");
    assert_eq!(served.head, "Status: 200 OK\r\nContent-Type: a/b\r\nContent-Length: 13\r\n\r\n");
    assert_eq!(served.text(), "from the file");
    for (name, why) in [
        ("../secret", "X-Sendfile"),
        ("link", "X-Sendfile"),
        ("none", "no such file"),
        ("", "does not lie in the folder"),
        (".", "is a folder"),
    ] {
        asks(&programs, name).expect("502 Bad Gateway").logged(why);
    }
}

#[test]
fn python_programs_answer_with_cgitb_too() {
    let bin = Bin::new();
    bin.file("x.py", "#!/usr/bin/python3\nimport cgitb\ncgitb.enable()\nraise ValueError('spam')\n", 0o755);
    let mut settings = ProgramSettings::default();
    settings.env = vec![("PYTHONWARNINGS".to_owned(), "ignore".to_owned())];
    let answer = run(&bin.programs(settings), &get("/x.py"), b"").expect("200 OK");
    assert!(answer.head.contains("Content-Type: text/html\r\n"), "{}", answer.head);
    assert!(answer.text().contains("ValueError"));
}

#[test]
fn the_programs_of_cgi_bin_do_what_they_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cgi-bin");
    let programs = gatewright::apps::CgiPrograms::open(&folder, ProgramSettings::default()).unwrap();
    let text = run(&programs, &get("/env/info"), b"").expect("200 OK").text();
    assert!(
        text.contains("\nPATH_INFO=/info\n") && text.contains(&format!("folder: {}\n", folder.display()))
    );
    // The last one is what the shell has opened for its list.
    assert!(text.ends_with("descriptors: 0 1 2\n") || text.ends_with("descriptors: 0 1 2 3\n"), "{text}");
    let post = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/echo"), ("CONTENT_LENGTH", "5")];
    assert_eq!(run(&programs, &post, b"a\0\nb\xff").expect("200 OK").document, b"a\0\nb\xff");
    let two = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/events"), ("QUERY_STRING", "2")];
    let events = run(&programs, &two, b"").expect("200 OK");
    assert!(events.text().starts_with("id: 1\ndata: ") && events.text().contains("\n\nid: 2\ndata: "));
    assert_eq!(run(&programs, &get("/nph-hello"), b"").expect("200 Fine").text(), "Hello\n");
    run(&programs, &get("/fail"), b"").expect("502 Bad Gateway").logged("it said \"nothing works today\"");
}
