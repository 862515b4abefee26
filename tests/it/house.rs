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

/// The names in a mangled path: `10gatewright3cli3cgi4main`.
fn mangled(mut rest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0) {
        let length: usize = rest[..end].parse().expect("digits");
        names.push(&rest[end..end + length]);
        rest = &rest[end + length..];
    }
    names
}

/// The static build's linker script puts code side by side by names, and a name that is gone fails nothing but the speed.
#[test]
fn what_the_linker_script_names_is_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join("bin/cgi-gateway.ld")).expect("the script");
    let (mut seen, patterns) = (0, script.split(|c: char| c.is_whitespace() || c == '(' || c == ')'));
    for pattern in patterns {
        let names: Vec<&str> = match (pattern.find("10gatewright"), pattern.find("gatewright..")) {
            (Some(at), _) => mangled(pattern[at..].trim_end_matches('*')),
            (None, Some(at)) => pattern[at..].trim_end_matches('*').split("..").collect(),
            (None, None) => continue,
        };
        // Modules, and at the end perhaps something in the last of them.
        let file = |modules: &[&str]| root.join("src").join(modules.join("/")).with_extension("rs");
        let is_there = (1..names.len()).any(|modules| {
            let (path, inside) = (file(&names[1..=modules]), &names[modules + 1..]);
            fs::read_to_string(path).is_ok_and(|text| {
                let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
                inside.iter().all(|name| {
                    let kinds = ["fn", "mod", "struct", "enum", "trait"];
                    let is_defined = |pair: &[&str]| kinds.contains(&pair[0]) && pair[1] == *name;
                    words.windows(2).any(is_defined)
                })
            })
        });
        assert!(names.len() > 1 && is_there, "bin/cgi-gateway.ld: {pattern} names nothing any more");
        seen += 1;
    }
    assert!(seen > 20, "the names were found");
    let program = fs::read_to_string(root.join("bin/cgi-gateway.rs")).expect("the program");
    assert!(script.contains("11cgi_gateway6MEMORY") && program.contains("static MEMORY:"));
}
