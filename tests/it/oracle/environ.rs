//! The cases of `read_environ`.

use gatewright::environ::{self, FsEncoding, WindowsValue, transcode_windows, windows_rule};
use serde_json::json;

use super::convert::{code_points, latin1, native};
use super::fixture::Case;
use super::run::{Checked, equal, fail, impossible, same};

#[cfg(unix)]
pub(crate) use posix::posix;

pub(crate) fn needs_transcode(case: &Case) -> Checked {
    let name = native(case.get("name"))?;
    same("the answer", json!(environ::needs_transcode(&name)), case.expect())
}

/// What a value in the environment of Windows becomes.
pub(crate) fn windows(case: &Case) -> Checked {
    let key = native(case.get("key"))?;
    equal("whether the value is transcoded", environ::needs_transcode(&key), true)?;
    let software = case.get("server_software").as_str().unwrap_or_default();
    let fs = match case.get("fs_encoding").as_str() {
        Some("utf-8") => FsEncoding::Utf8,
        Some("cp1252") => FsEncoding::Cp1252,
        other => return impossible(format!("no file system encoding {other:?}")),
    };
    let value = utf16(&code_points(case.get("value_codepoints"))?)?;
    let recorded = case.expect();
    let ours: Vec<u32> = match transcode_windows(&value, windows_rule(software.as_bytes()), fs) {
        Ok(WindowsValue::Bytes(bytes)) => bytes.into_iter().map(u32::from).collect(),
        Ok(WindowsValue::Text(text)) => points_of(&text),
        Err(_) => return same("the error", "UnicodeEncodeError", &recorded["error"]),
    };
    let points = format!("{}_codepoints", latin1(&key));
    same("the value", ours, &recorded[points])?;
    let unchanged = !environ::needs_transcode(b"SERVER_NAME");
    same("whether SERVER_NAME stays", json!(unchanged), &recorded["SERVER_NAME_unchanged"])
}

/// The units that Windows would hold. Two surrogates that make a pair are one character there, unlike in Python.
fn utf16(points: &[u32]) -> Checked<Vec<u16>> {
    let mut units = Vec::new();
    for point in points {
        match (char::from_u32(*point), u16::try_from(*point)) {
            (Some(c), _) => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            (None, Ok(lone)) => units.push(lone),
            (None, Err(_)) => return fail(format!("{point} is no code point")),
        }
    }
    if points_of(&units) == points {
        Ok(units)
    } else {
        impossible(format!("{points:?} has a pair of surrogates"))
    }
}

fn points_of(units: &[u16]) -> Vec<u32> {
    char::decode_utf16(units.iter().copied())
        .map(|unit| unit.map_or_else(|lone| u32::from(lone.unpaired_surrogate()), u32::from))
        .collect()
}

/// Values of a real process environment: set for a child as raw bytes, read and told by the child.
#[cfg(unix)]
mod posix {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::super::convert::{hex, hex_bytes, unhex};
    use super::super::fixture;
    use super::*;

    type Block = BTreeMap<Vec<u8>, Vec<u8>>;

    /// The test that a child runs, and what its lines begin with.
    const CHILD: &str = "child_tells_its_environ";
    const LINE: &str = "environ: ";

    /// Reads the variables of all cases in children, then gives the function that compares one.
    pub(crate) fn posix() -> impl Fn(&Case) -> Checked {
        let cases = fixture::section("read_environ", "read_environ_posix");
        let mut read = BTreeMap::new();
        for child in children(cases) {
            let told = tell(Encoding::of(cases, child.locale), &child.given);
            read.extend(child.ids.into_iter().map(|(id, name)| (id, told.get(&name).cloned())));
        }
        move |case| {
            let bytes = read.get(case.id()).and_then(Option::as_deref);
            compare(case, Encoding::of(cases, locale_of(case)), bytes)
        }
    }

    fn compare(case: &Case, encoding: Option<Encoding>, read: Option<&[u8]>) -> Checked {
        if case.get("key_hex").is_null() && case.expect().is_string() {
            return impossible("it tells how Python decodes, and nothing is decoded here");
        }
        let Some(encoding) = encoding else { return fail("the locale's encoding is not recorded") };
        let Some(bytes) = read else { return fail("the child did not read it") };
        let recorded = case.expect();
        let points = code_points(&recorded["codepoints"])?;
        if environ::needs_transcode(&unhex(case.get("key_hex"))?) {
            same("the value", json!(hex(bytes)), &recorded["latin1_hex"])?;
            equal("the value", bytes.iter().copied().map(u32::from).collect::<Vec<_>>(), points)
        } else {
            equal("the decoded value", encoding.decode(bytes), points)
        }
    }

    fn locale_of(case: &Case) -> &str {
        case.get("locale").as_str().unwrap_or_default()
    }

    /// The variables of many cases, for one child.
    struct Child<'c> {
        locale: &'c str,
        given: Block,
        ids: Vec<(&'c str, Vec<u8>)>,
    }

    /// As few children per locale as equal names allow.
    fn children(cases: &[Case]) -> Vec<Child<'_>> {
        let mut children: Vec<Child<'_>> = Vec::new();
        for case in cases {
            let (Ok(name), Ok(value)) = (unhex(case.get("key_hex")), unhex(case.get("value_hex"))) else {
                continue;
            };
            let locale = locale_of(case);
            let free = |child: &Child<'_>| child.locale == locale && !child.given.contains_key(&name);
            let position = children.iter().position(free).unwrap_or_else(|| {
                children.push(Child { locale, given: Block::new(), ids: Vec::new() });
                children.len() - 1
            });
            children[position].ids.push((case.id(), name.clone()));
            children[position].given.insert(name, value);
        }
        children
    }

    /// What `read_environ` finds in a child that has these variables and a locale.
    fn tell(encoding: Option<Encoding>, given: &Block) -> Block {
        let (_, module) = module_path!().split_once("::").expect("the module of a crate");
        let mut child = Command::new(std::env::current_exe().expect("this program's own path"));
        child.args([&format!("{module}::{CHILD}"), "--exact", "--ignored", "--nocapture"]).env_clear();
        // It must not matter, and so it is there.
        child.env("LC_ALL", if encoding == Some(Encoding::Utf8) { "C.UTF-8" } else { "C" });
        child.envs(given.iter().map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))));
        let output = child.output().expect("this program runs again");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        let told: Block = text.lines().filter_map(|line| line.strip_prefix(LINE)).map(parse).collect();
        assert_eq!(told.len(), given.len() + 1, "the variables given and LC_ALL, no others: {text}");
        told
    }

    fn parse(line: &str) -> (Vec<u8>, Vec<u8>) {
        let parsed =
            line.split_once('=').and_then(|(name, value)| Some((hex_bytes(name)?, hex_bytes(value)?)));
        parsed.unwrap_or_else(|| panic!("the child told {line:?}"))
    }

    /// Runs in the child only.
    #[test]
    #[ignore = "the child process of read_environ_posix"]
    fn child_tells_its_environ() {
        // The test harness leaves its own line open.
        println!();
        for (name, value) in environ::read_environ().iter() {
            println!("{LINE}{}={}", hex(name), hex(value));
        }
    }

    /// How the recording Python decoded the variables that it does not transcode.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Encoding {
        Utf8,
        Ascii,
    }

    impl Encoding {
        /// The encoding that was recorded for a locale.
        fn of(cases: &[Case], locale: &str) -> Option<Self> {
            let notes =
                cases.iter().filter(|case| locale_of(case) == locale && case.get("key_hex").is_null());
            notes.filter_map(|case| case.expect().as_str()).find_map(|name| match name {
                "utf-8" => Some(Encoding::Utf8),
                "ascii" => Some(Encoding::Ascii),
                _ => None,
            })
        }

        /// Code points, with a surrogate escape (PEP 383) for each byte that the encoding cannot decode.
        fn decode(self, bytes: &[u8]) -> Vec<u32> {
            let escape = |byte: &u8| 0xdc00 + u32::from(*byte);
            match self {
                Encoding::Ascii => bytes
                    .iter()
                    .map(|byte| if byte.is_ascii() { u32::from(*byte) } else { escape(byte) })
                    .collect(),
                Encoding::Utf8 => bytes
                    .utf8_chunks()
                    .flat_map(|chunk| {
                        chunk.valid().chars().map(u32::from).chain(chunk.invalid().iter().map(escape))
                    })
                    .collect(),
            }
        }
    }

    #[test]
    fn undecodable_bytes_are_escaped_one_by_one() {
        let bytes = b"a\xc3\xa9\xff\xe2\x98";
        assert_eq!(Encoding::Utf8.decode(bytes), [0x61, 0xe9, 0xdcff, 0xdce2, 0xdc98]);
        assert_eq!(Encoding::Ascii.decode(b"a\xc3\xa9"), [0x61, 0xdcc3, 0xdca9]);
    }
}
