//! systemd's units, as they are printed and packaged, in systemd's own judgement.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::{Folder, installed, program};

/// What is wrong with units by these names and texts, which start the programs of this build.
fn verdict(units: &[(&str, String)]) -> String {
    let folder = Folder::new();
    let paths: Vec<_> = units
        .iter()
        .map(|(name, text)| {
            let ours = program("fcgi-gateway").display().to_string();
            folder.write(name, text.replace("/usr/local/bin/fcgi-gateway", &ours))
        })
        .collect();
    let output =
        Command::new(installed("systemd-analyze")).arg("verify").args(paths).output().expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    format!("{} {}", output.status, String::from_utf8_lossy(&told))
}

const SOUND: &str = "exit status: 0 ";

#[test]
fn the_units_for_each_user_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let unit = |kind: &str| {
        let text = fs::read_to_string(folder.join(format!("gatewright-cgi@.{kind}"))).expect("a unit");
        assert!(text.contains(" %i\n") || text.contains("/%i"), "it is a template");
        text
    };
    let (service, socket) = (unit("service"), unit("socket"));
    let names = ["gatewright-cgi@root.service", "gatewright-cgi@root.socket"];
    assert_eq!(verdict(&[(names[0], service.clone()), (names[1], socket)]), SOUND);
    // It would be told otherwise.
    assert_ne!(verdict(&[(names[0], service.replace("Type=notify", "Type=nonsense"))]), SOUND);
}

#[test]
fn the_units_of_the_readme_are_sound() {
    let readme = include_str!("../../../README.md");
    let units: Vec<&str> =
        readme.split("```ini\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [socket, service] = &units[..] else { panic!("{} units", units.len()) };
    let units = [("gatewright.socket", (*socket).to_owned()), ("gatewright.service", (*service).to_owned())];
    assert_eq!(verdict(&units), SOUND);
}
