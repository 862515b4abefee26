//! The fuzz targets with every input that was kept: the corpus, recorded from web servers for the most part, and what
//! once failed.

#[allow(unreachable_pub, reason = "it is a library for libFuzzer")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn every_input_that_was_kept_holds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for kind in ["corpus", "crashes"] {
            let folder = fuzz.join(kind).join(name);
            for entry in fs::read_dir(&folder).expect("a folder for each target") {
                let path = entry.expect("an entry").path();
                let data = fs::read(&path).expect("a file");
                let holds = std::panic::catch_unwind(|| target(&data));
                assert!(holds.is_ok(), "{} does not hold: see the panic above", path.display());
                inputs += 1;
            }
        }
        assert!(inputs > 1, "{name} has no corpus");
        target(b"");
    }
}

/// Each target is a program for libFuzzer too.
#[test]
fn every_target_is_a_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    for (name, _) in targets::TARGETS {
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("gatewright_fuzz::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    let programs = fs::read_dir(fuzz.join("fuzz_targets")).expect("a folder").count();
    assert_eq!(programs, targets::TARGETS.len());
}
