//! A program's environment and arguments.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;

use percent_encoding::percent_decode;

use super::settings::ProgramSettings;
use crate::environ::{Known, Vars};
use crate::error::{Error, Fault};
use crate::sys::Texts;

/// The kernel takes no longer text, its NUL included (MAX_ARG_STRLEN).
const LONGEST: usize = 128 * 1024;

/// Where programs look for others.
const PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What every program gets that the request does not say: read once, when the programs are opened.
#[derive(Debug)]
pub(super) struct Base(Vec<(Vec<u8>, Vec<u8>)>);

impl Base {
    pub(super) fn new(settings: &ProgramSettings) -> Self {
        const ACCOUNT: [&[u8]; 3] = [b"HOME", b"USER", b"LOGNAME"];
        const PASSED: [&[u8]; 3] = [b"LANG", b"TZ", b"TMPDIR"];
        let mut base = vec![(b"PATH".to_vec(), PATH.to_vec())];
        for (name, value) in std::env::vars_os() {
            let name = name.as_bytes();
            let asked = settings.pass_env.iter().any(|passed| passed.as_bytes() == name);
            let is_account = ACCOUNT.contains(&name);
            let usual = is_account || PASSED.contains(&name) || name.starts_with(b"LC_");
            let replaced = is_account && settings.account.is_some();
            if (settings.pass_all_env || asked || usual) && !replaced {
                base.retain(|(known, _)| known != name);
                base.push((name.to_vec(), value.as_bytes().to_vec()));
            }
        }
        for (name, value) in settings.account.iter().flatten() {
            base.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        Self(base)
    }
}

/// The environment of the program for this request.
pub(super) fn environment(vars: &Vars, base: &Base, settings: &ProgramSettings) -> Result<Texts, Error> {
    let mut texts = Texts::default();
    let mut put = |name: &[u8], value: &[u8]| -> Result<(), Error> {
        if name.len() + value.len() + 2 > LONGEST {
            let message = format!("{} is too long for a program's environment", name.escape_ascii());
            return Err(Error::new(Fault::Peer, 431, message));
        }
        texts.push(&[name, b"=", value]);
        Ok(())
    };
    for (name, value) in &settings.env {
        put(name.as_bytes(), value.as_bytes())?;
    }
    let chosen = |name: &[u8]| settings.env.iter().any(|(chosen, _)| chosen.as_bytes() == name);
    for (name, value) in &base.0 {
        if !chosen(name) && !vars.contains(name) {
            put(name, value)?;
        }
    }
    for (name, value) in vars.iter().filter(|(name, _)| may_have(name) && !chosen(name)) {
        put(name, value)?;
    }
    Ok(texts)
}

/// Whether a program gets a variable of that name: none that the loader obeys, or that is about us.
fn may_have(name: &[u8]) -> bool {
    let ours = [&b"LD_"[..], b"CGI_GATEWAY_"].iter().any(|start| name.starts_with(start));
    !ours && !name.is_empty() && !name.contains(&b'=') && name != b"HTTP_TRANSFER_ENCODING"
}

/// Completes what the specification promises a program (RFC 3875, section 4.1) and a web server may leave out.
pub(super) fn complete(vars: &mut Vars, interpreted: bool) {
    vars.set_default("GATEWAY_INTERFACE", "CGI/1.1");
    vars.set_default("QUERY_STRING", "");
    vars.set_default("SCRIPT_NAME", "");
    if interpreted {
        // php-cgi wants to know that a web server has decided to run it.
        vars.set_default("REDIRECT_STATUS", "200");
    }
    let info = vars.known(Known::PathInfo).unwrap_or_default().to_vec();
    let climbs = info.split(|byte| *byte == b'/').any(|segment| segment == b"..");
    if info.is_empty() || climbs || interpreted {
        vars.remove("PATH_TRANSLATED");
    } else if let Some(root) = vars.get("DOCUMENT_ROOT").filter(|root| root.starts_with(b"/")) {
        let translated = [root.strip_suffix(b"/").unwrap_or(root), &info].concat();
        vars.set_default("PATH_TRANSLATED", translated);
    }
}

/// The program's arguments behind its own name: none, or the words of a query without `=` (RFC 3875, section 4.4).
pub(super) fn arguments(path: &CStr, interpreter: Option<&CStr>, vars: &Vars, from_query: bool) -> Texts {
    let mut texts = Texts::default();
    for own in interpreter.into_iter().chain([path]) {
        texts.push(&[own.to_bytes()]);
    }
    let query = vars.known(Known::QueryString).unwrap_or_default();
    if from_query && !query.is_empty() && !query.contains(&b'=') {
        for word in query.split(|byte| *byte == b'+') {
            let word: Vec<u8> = percent_decode(word).collect();
            // No argument can hold a NUL; a word that would be an option is left to who asked for this.
            texts.push(&[&word]);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &Texts) -> Vec<String> {
        texts.iter().map(|text| text.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_program_gets_what_was_sent_and_a_path() {
        let settings =
            ProgramSettings { env: vec![("A".to_owned(), "ours".to_owned())], ..ProgramSettings::default() };
        let vars = Vars::from([
            ("lower-case.x", "a\nb\x01"),
            ("EMPTY", ""),
            ("A", "theirs"),
            ("LD_PRELOAD", "evil"),
            ("HTTP_TRANSFER_ENCODING", "chunked"),
            ("CGI_GATEWAY_APP", "demo"),
        ]);
        let base = Base(vec![(b"PATH".to_vec(), PATH.to_vec())]);
        assert_eq!(
            lines(&environment(&vars, &base, &settings).unwrap()),
            ["A=ours", "PATH=/usr/local/bin:/usr/bin:/bin", "lower-case.x=a\nb\x01", "EMPTY="]
        );
        let vars = Vars::from([("PATH", "/opt")]);
        assert_eq!(lines(&environment(&vars, &base, &settings).unwrap()), ["A=ours", "PATH=/opt"]);
    }

    #[test]
    fn a_variable_that_no_program_can_be_given_is_431() {
        let base = Base(Vec::new());
        for (length, fits) in [(LONGEST - 4, true), (LONGEST - 3, false)] {
            let vars = Vars::from([("X", &*"x".repeat(length + 1))]);
            let result = environment(&vars, &base, &ProgramSettings::default());
            assert_eq!(result.is_ok(), fits, "{length}");
            assert!(result.err().is_none_or(|error| error.status() == 431));
        }
    }

    #[test]
    fn path_translated_needs_a_path_info_without_dots() {
        for (info, interpreted, expected) in [
            ("/x", false, Some("/srv/x")),
            ("", false, None),
            ("/a/../x", false, None),
            ("/x", true, None),
            ("/..x", false, Some("/srv/..x")),
        ] {
            let mut vars = Vars::from([("PATH_INFO", info), ("DOCUMENT_ROOT", "/srv/")]);
            complete(&mut vars, interpreted);
            assert_eq!(vars.get("PATH_TRANSLATED"), expected.map(str::as_bytes), "{info}");
            let mut vars = Vars::from([("PATH_INFO", info), ("PATH_TRANSLATED", "/other")]);
            complete(&mut vars, interpreted);
            assert_eq!(vars.get("PATH_TRANSLATED"), expected.map(|_| &b"/other"[..]), "{info}");
        }
    }

    #[test]
    fn a_query_without_equals_signs_is_arguments_only_where_that_is_asked_for() {
        let path = c"/bin/x";
        for (query, asked, expected) in [
            ("a+b%20c+-x", true, vec!["/bin/x", "a", "b c", "-x"]),
            ("a+b", false, vec!["/bin/x"]),
            ("a=b", true, vec!["/bin/x"]),
            ("", true, vec!["/bin/x"]),
            ("a+%00+b", true, vec!["/bin/x", "a", "b"]),
        ] {
            let vars = Vars::from([("QUERY_STRING", query)]);
            assert_eq!(lines(&arguments(path, None, &vars, asked)), expected, "{query}");
        }
        let interpreter = Some(c"/bin/sh");
        assert_eq!(lines(&arguments(path, interpreter, &Vars::new(), true)), ["/bin/sh", "/bin/x"]);
    }
}
