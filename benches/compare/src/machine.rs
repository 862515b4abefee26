//! Where it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::results::Machine;

pub fn describe(benches: &Path) -> Machine {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        kernel: said("uname", &["-sr"]),
        processor: processor.map(|(_, name)| name.to_owned()).unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get()),
        commit: said("git", &["-C", &benches.display().to_string(), "rev-parse", "--short", "HEAD"]),
        load_average: [load_average(); 2],
        versions: versions(benches),
    }
}

/// The last minute's.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// What the peers are, by package.
fn versions(benches: &Path) -> std::collections::BTreeMap<String, String> {
    let mut versions = std::collections::BTreeMap::new();
    let packages = ["nginx-light", "libfcgi-dev", "golang-go", "uwsgi-core"];
    for package in packages {
        let version = said("dpkg-query", &["-W", "-f", "${Version}", package]);
        if !version.is_empty() {
            versions.insert(format!("{package} (Debian)"), version);
        }
    }
    let lock = fs::read_to_string(benches.join("Cargo.lock")).unwrap_or_default();
    for crate_name in ["fastcgi", "tokio-fastcgi", "scgi", "tokio-scgi", "hyper", "tokio"] {
        let entry = lock.split("[[package]]").find_map(|entry| {
            let version = entry.trim().strip_prefix(&format!("name = \"{crate_name}\"\nversion = \""))?;
            version.split('"').next()
        });
        versions.extend(entry.map(|version| (format!("{crate_name} (crate)"), version.to_owned())));
    }
    versions.insert("rustc".to_owned(), said("rustc", &["--version"]));
    versions
}

/// What a program says; nothing where it is missing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
