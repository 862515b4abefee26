//! A browser before the HTTP server: Chromium without a window, and a page whose script looks at what it gets and reports it.
//!
//! Chromium takes its time to be installed: `tests/run --long` does that and runs this.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::harness::{Folder, Process, answers, free_port, installed, program, wait_until};

const DRIVER: &str = include_str!("../../fixtures/browser/driver.html");

/// Writes a step, and the next one when the browser has shown it; gives up after some time.
const PROGRESS: &str = r#"#!/bin/sh
printf 'Content-Type: text/html; charset=utf-8\n\n<!DOCTYPE html><title>Progress</title>\n'
for step in 1 2 3 4 5; do
  echo "<p>step $step.</p>"
  left=2000
  until [ -e "../seen/$step" ]; do
    left=$((left - 1))
    [ $left -gt 0 ] || { echo '<p>in vain</p>'; exit; }
    sleep 0.01
  done
done
echo '<p>done</p>'
"#;

const SEEN: &str = r#"#!/bin/sh
case $PATH_INFO in /[0-9]) : >"../seen$PATH_INFO" ;; esac
printf 'Status: 204 No Content\n\n'
"#;

const REPORT: &str = r#"#!/bin/sh
cat >../report.part && mv ../report.part ../report.json
printf 'Status: 204 No Content\n\n'
"#;

/// A minute of silence: 8,000 samples of one byte a second.
fn recording() -> Vec<u8> {
    const SAMPLES: u32 = 60 * 8000;
    let mut wave = Vec::new();
    for part in [&b"RIFF"[..], &(36 + SAMPLES).to_le_bytes(), b"WAVEfmt ", &16_u32.to_le_bytes()] {
        wave.extend_from_slice(part);
    }
    // PCM, one channel, samples and bytes a second, bytes and bits of a sample.
    for number in [1_u16, 1, 8000, 0, 8000, 0, 1, 8] {
        wave.extend_from_slice(&number.to_le_bytes());
    }
    wave.extend_from_slice(b"data");
    wave.extend_from_slice(&SAMPLES.to_le_bytes());
    wave.resize(wave.len() + SAMPLES as usize, 128);
    wave
}

fn digest(folder: &Folder, name: &str) -> String {
    let output = Command::new("sha256sum").arg(folder.path(name)).output().expect("coreutils are installed");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a digest").to_owned()
}

fn start_gateway(folder: &Folder, port: u16) -> Process {
    for name in ["files", "files/sub", "cgi", "seen", "page"] {
        folder.mkdir(name);
    }
    for (name, text) in [("progress", PROGRESS), ("seen", SEEN), ("report", REPORT)] {
        let path = folder.write(&format!("cgi/{name}"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its owner may");
    }
    folder.write("page/index.html", DRIVER);
    let large: Vec<u8> = (0..4_u32 << 20).flat_map(u32::to_le_bytes).collect();
    let large = folder.write("files/large.bin", large);
    // The tag of a young file is weak, and a download with that begins anew (RFC 9110, section 13.1.5).
    let modified = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .append(true)
        .open(large)
        .and_then(|file| file.set_modified(modified))
        .expect("its owner may");
    folder.write("files/tone.wav", recording());
    folder.write(&format!("files/{}.txt", "a-long-name-".repeat(15)), "long");
    folder.write("files/sub/caf\u{e9} & <co> #1.txt", "odd");
    let mount =
        |prefix: &str, kind: &str, name: &str| format!("{prefix}={kind}:{}", folder.path(name).display());
    let mut gateway = Process::start(folder, "gateway", &program("http-gateway"), |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--dir-listing", "--validate"]);
        command.arg("--access-log").arg(folder.path("access.log")).args(["--access-log-format", "json"]);
        command.args(["--mount", "/demo=demo", "--mount", &mount("/files/", "dir", "files")]);
        command.args([
            "--mount",
            &mount("/cgi", "cgi", "cgi"),
            &format!("dir:{}", folder.path("page").display()),
        ]);
    });
    gateway.ready_when(|| answers(port));
    gateway
}

fn start_browser(folder: &Folder, port: u16) -> Process {
    let home = folder.mkdir("home");
    Process::start(folder, "browser", &installed("chromium"), |command| {
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--mute-audio",
        ]);
        // It stays at home.
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
        command.arg(format!("--user-data-dir={}", home.display())).env("HOME", &home);
        command.arg(format!("http://127.0.0.1:{port}/"));
    })
}

#[test]
#[ignore = "needs Chromium, which takes a minute to be installed: tests/run --long does that and runs it"]
fn chromium_shows_and_fetches_what_is_served() {
    let (folder, port) = (Folder::new(), free_port());
    let gateway = start_gateway(&folder, port);
    let mut browser = start_browser(&folder, port);
    let path = folder.path("report.json");
    browser.ready_when(|| path.exists());
    let report = fs::read(&path).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let part = |name: &str| {
        assert_eq!(report[name]["error"], Value::Null, "{name}");
        report[name].clone()
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();

    let demo = part("demo");
    assert_eq!((&demo["type"], &demo["charset"]), (&"text/plain".into(), &"UTF-8".into()));
    let shown = text(&demo["text"]);
    assert!(shown.starts_with("Hello world!"), "{shown}");
    // Bytes as code points of latin-1, as in wsgiref.
    for line in ["PATH_INFO = '/caf\u{c3}\u{a9}/x y'", "QUERY_STRING = 'q=%22'", "SCRIPT_NAME = '/demo'"] {
        assert!(shown.lines().any(|given| given == line), "{line} is missing in:\n{shown}");
    }

    let listing = part("listing");
    let links: Vec<String> = listing["links"].as_array().expect("links").iter().map(text).collect();
    for name in ["sub/", "large.bin", "tone.wav"] {
        assert!(links.iter().any(|link| link == name), "{name}: {links:?}");
    }
    assert_eq!(listing["followed"], "/files/sub/");
    assert_eq!((&listing["name"], &listing["content"]), (&"caf\u{e9} & <co> #1.txt".into(), &"odd".into()));
    // For a phone: no wider than that, no script, no quirks.
    assert_eq!((&listing["wide"], &listing["scripts"]), (&false.into(), &0.into()));
    assert_eq!(listing["mode"], "CSS1Compat");

    // Each step was shown while the page was still loading, before the program wrote the next one.
    let progress = part("progress");
    assert_eq!(progress["seen"], Value::from(vec!["loading"; 5]), "{progress}");
    assert!(text(&progress["text"]).ends_with("done"), "{progress}");

    let download = part("download");
    let (length, had) = (download["length"].as_u64(), download["had"].as_u64().expect("a number"));
    assert_eq!((&download["statuses"], length), (&Value::from(vec![200, 206]), Some(16 << 20)));
    assert!((1..16 << 20).contains(&had), "{had}");
    assert_eq!(text(&download["range"]), format!("bytes {had}-{}/{}", (16 << 20) - 1, 16 << 20));
    assert_eq!(text(&download["digest"]), digest(&folder, "files/large.bin"));

    let recording = part("recording");
    assert_eq!((&recording["seconds"], &recording["at"]), (&60.into(), &59.into()));

    // The gateway's own view: what the browser asked by itself, and what it broke off.
    let log = || {
        let log = fs::read_to_string(folder.path("access.log")).expect("a log");
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let has = |target: &str, status: u64, end: &str| {
        log().iter().any(|line| line["target"] == target && line["status"] == status && line["end"] == end)
    };
    wait_until("the log has the recording", || has("/files/tone.wav", 206, "answered"));
    wait_until("the log has the first download", || has("/files/large.bin", 200, "client gone"));
    let broken_off = log().into_iter().find(|line| line["end"] == "client gone").expect("it is there");
    assert!(
        (had..16 << 20).contains(&broken_off["bytes"].as_u64().expect("a number")),
        "{had}: {broken_off}"
    );
    wait_until("the log has the second one", || has("/files/large.bin", 206, "answered"));
    let failed: Vec<Value> = log().into_iter().filter(|line| line["status"].as_u64() >= Some(500)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(!gateway.log().contains("broke a rule"), "{}", gateway.log());
}
