//! The recorded cases, as they stand in the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

/// The interpreter whose answer counts where several disagree.
const NEWEST: &str = "3.15.2";

/// One recorded case.
pub(crate) struct Case {
    section: String,
    id: String,
    value: Value,
}

impl Case {
    /// A case of `section`, which is `file/section`, at `index`.
    pub(crate) fn new(section: &str, index: usize, value: Value) -> Self {
        let title =
            ["name", "note", "op", "constructor_argument"].iter().find_map(|key| value[*key].as_str());
        let id = format!("{section}#{index} {}", title.unwrap_or_default());
        Self { section: section.to_owned(), id: id.trim_end().to_owned(), value }
    }

    /// The same case with another value.
    pub(crate) fn with(&self, key: &str, value: Value) -> Self {
        let mut changed = self.value.clone();
        changed[key] = value;
        Self { section: self.section.clone(), id: self.id.clone(), value: changed }
    }

    /// `file/section`.
    pub(crate) fn section(&self) -> &str {
        &self.section
    }

    /// `file/section#index name`: what messages call the case.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// An input; null where there is none.
    pub(crate) fn get(&self, key: &str) -> &Value {
        &self.value[key]
    }

    /// What the newest wsgiref did.
    pub(crate) fn expect(&self) -> &Value {
        let newest = &self.value["variants"][NEWEST]["expect"];
        if newest.is_null() { &self.value["expect"] } else { newest }
    }

    /// Whether the recording says that only a dynamically typed language can express the case.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.value["dynamic"] == true
    }

    /// Everything but the results and remarks.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&str, &Value)> {
        let outcome = |key: &str| matches!(key, "expect" | "variants" | "note");
        let all = self.value.as_object().into_iter().flatten();
        all.map(|(key, value)| (key.as_str(), value)).filter(move |(key, _)| !outcome(key))
    }
}

/// All cases of all files by `file/section`, read once.
pub(crate) fn recorded() -> &'static BTreeMap<String, Vec<Case>> {
    static RECORDED: OnceLock<BTreeMap<String, Vec<Case>>> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle");
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        paths
            .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
            .flat_map(|path| load(&path))
            .collect()
    })
}

/// The cases of one section.
pub(crate) fn section(file: &str, section: &str) -> &'static [Case] {
    let section = format!("{file}/{section}");
    recorded().get(&section).unwrap_or_else(|| panic!("no file records the section {section}"))
}

fn load(path: &Path) -> Vec<(String, Vec<Case>)> {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value =
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("fixture files have plain names");
    let sections = file["sections"].as_object().expect("a fixture has sections");
    let cases = |section: &str, cases: &Value| {
        let cases = cases.as_array().expect("a section is a list").iter().enumerate();
        cases.map(|(index, value)| Case::new(section, index, value.clone())).collect()
    };
    sections
        .iter()
        .map(|(name, value)| (format!("{stem}/{name}"), value))
        .map(|(section, value)| (section.clone(), cases(&section, value)))
        .collect()
}
