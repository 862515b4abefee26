//! Rules of the house that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the package") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// A line's code, without what stands behind `//`.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn unsafe_code_stands_in_sys_alone_and_says_why_it_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "bin", "examples"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources were found");
    let mut blocks = 0;
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let words = code(line).split(|c: char| !c.is_alphanumeric() && c != '_');
            if !words.into_iter().any(|word| word == "unsafe") {
                continue;
            }
            let place = format!("{}:{}", path.display(), number + 1);
            assert!(path.ends_with("src/sys.rs"), "{place}: unsafe code belongs in src/sys.rs");
            let before = &lines[number.saturating_sub(6)..number];
            assert!(before.iter().any(|line| line.contains("// SAFETY:")), "{place}: why is it sound?");
            blocks += 1;
        }
    }
    assert!(blocks > 0, "the search finds what there is");
}
