//! `read_environ`: the process environment as PEP 3333 wants it, on POSIX and on Windows.

use std::ffi::OsStr;
use std::fmt;

use super::Vars;

/// The variables of this process, as a CGI program gets them (RFC 3875, section 4).
///
/// On POSIX every value is its bytes. On Windows the environment is Unicode, and what bytes the client sent must be
/// guessed from SERVER_SOFTWARE: [`transcode_windows`] has the rule for the variables that carry a request's bytes
/// ([`needs_transcode`]); the others, and whatever latin-1 cannot hold, become UTF-8. A lone surrogate becomes `?`.
/// Of a name that stands in the environment twice the first counts.
///
/// ```
/// let vars = gatewright::environ::read_environ();
/// assert!(vars.contains("PATH"));
/// ```
pub fn read_environ() -> Vars {
    collect(std::env::vars_os())
}

fn collect<N: AsRef<OsStr>, V: AsRef<OsStr>>(pairs: impl Iterator<Item = (N, V)>) -> Vars {
    #[cfg(windows)]
    {
        use std::os::windows::ffi::OsStrExt;
        collect_wide(pairs.map(|(name, value)| {
            (name.as_ref().encode_wide().collect(), value.as_ref().encode_wide().collect())
        }))
    }
    #[cfg(not(windows))]
    {
        collect_bytes(pairs)
    }
}

/// The POSIX rule: bytes as they are. An entry that starts with `=` is a variable with an empty name.
#[cfg_attr(windows, allow(dead_code))]
fn collect_bytes<N: AsRef<OsStr>, V: AsRef<OsStr>>(pairs: impl Iterator<Item = (N, V)>) -> Vars {
    // A web server's variables, without growing towards them.
    let mut vars = Vars::with_room(40, 2048);
    for (name, value) in pairs {
        let (name, value) = (name.as_ref().as_encoded_bytes(), value.as_ref().as_encoded_bytes());
        match name.split_first() {
            Some((b'=', rest)) => vars.set_default("", [rest, b"=", value].concat()),
            _ => vars.set_default(name, value),
        };
    }
    vars
}

/// The Windows rule: names in capitals, request values transcoded. Every platform tests it.
#[cfg_attr(not(windows), allow(dead_code))]
fn collect_wide(pairs: impl Iterator<Item = (Vec<u16>, Vec<u16>)>) -> Vars {
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (utf8(&name).to_ascii_uppercase(), value)).collect();
    // Windows keeps the current directory of each drive under names like `=C:`.
    pairs.retain(|(name, _)| !name.starts_with(b"="));
    let software = pairs.iter().find(|(name, _)| name == b"SERVER_SOFTWARE").map(|(_, value)| utf8(value));
    let rule = windows_rule(&software.unwrap_or_default());
    let mut vars = Vars::new();
    for (name, value) in pairs {
        let bytes = match needs_transcode(&name).then(|| transcode_windows(&value, rule, FsEncoding::Utf8)) {
            Some(Ok(WindowsValue::Bytes(bytes))) => bytes,
            _ => utf8(&value),
        };
        vars.set_default(name, bytes);
    }
    vars
}

fn utf8(wide: &[u16]) -> Vec<u8> {
    FsEncoding::Utf8.encode(wide)
}

/// Whether `read_environ` takes this variable's value for bytes of the request: SCRIPT_NAME, PATH_INFO, QUERY_STRING,
/// REQUEST_METHOD, AUTH_TYPE, CONTENT_TYPE, CONTENT_LENGTH, HTTPS, REMOTE_USER, REMOTE_IDENT and all that start with
/// `HTTP_` or `SSL_`, behind any number of `REDIRECT_`.
///
/// ```
/// use gatewright::environ::needs_transcode;
///
/// assert!(needs_transcode(b"REDIRECT_REDIRECT_HTTP_HOST"));
/// assert!(!needs_transcode(b"PATH_TRANSLATED"));
/// ```
pub fn needs_transcode(name: &[u8]) -> bool {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"REDIRECT_") {
        name = rest;
    }
    name.starts_with(b"HTTP_")
        || name.starts_with(b"SSL_")
        || matches!(
            name,
            b"SCRIPT_NAME"
                | b"PATH_INFO"
                | b"QUERY_STRING"
                | b"REQUEST_METHOD"
                | b"AUTH_TYPE"
                | b"CONTENT_TYPE"
                | b"CONTENT_LENGTH"
                | b"HTTPS"
                | b"REMOTE_USER"
                | b"REMOTE_IDENT"
        )
}

/// How a web server on Windows turned the client's bytes into the environment's Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowsRule {
    /// It decoded them as UTF-8 (IIS, and Python 3's http.server): UTF-8 gives them back.
    Utf8,
    /// It wrote one character per byte (Apache): the characters are the bytes.
    Latin1,
    /// Unknown: the file system's encoding, `?` for what it cannot express.
    FileSystem,
}

/// The rule for a SERVER_SOFTWARE, compared in lower case.
///
/// ```
/// use gatewright::environ::{WindowsRule, windows_rule};
///
/// assert_eq!(windows_rule(b"Microsoft-IIS/10.0"), WindowsRule::Utf8);
/// assert_eq!(windows_rule(b"Apache/2.4.57 (Win64)"), WindowsRule::Latin1);
/// assert_eq!(windows_rule(b"nginx/1.25"), WindowsRule::FileSystem);
/// ```
pub fn windows_rule(server_software: &[u8]) -> WindowsRule {
    let software = server_software.to_ascii_lowercase();
    if software.starts_with(b"microsoft-iis/") {
        WindowsRule::Utf8
    } else if software.starts_with(b"apache/") {
        WindowsRule::Latin1
    } else if software.starts_with(b"simplehttp/") && memchr::memmem::find(&software, b"python/3").is_some() {
        WindowsRule::Utf8
    } else {
        WindowsRule::FileSystem
    }
}

/// The file system encoding of [`WindowsRule::FileSystem`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FsEncoding {
    /// UTF-8, as in Python since 3.6.
    #[default]
    Utf8,
    /// Windows code page 1252, Python's legacy mode on Western systems.
    Cp1252,
}

impl FsEncoding {
    /// The bytes of a UTF-16 text; `?` for what the encoding cannot express.
    fn encode(self, wide: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(wide.len());
        for unit in char::decode_utf16(wide.iter().copied()) {
            match (unit, self) {
                (Ok(c), FsEncoding::Utf8) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                (Ok(c), FsEncoding::Cp1252) => bytes.push(cp1252(c).unwrap_or(b'?')),
                (Err(_), _) => bytes.push(b'?'),
            }
        }
        bytes
    }
}

/// A character's byte in code page 1252; the five bytes that the page leaves open are no character's.
fn cp1252(c: char) -> Option<u8> {
    const HIGH: [(char, u8); 27] = [
        ('\u{20ac}', 0x80),
        ('\u{201a}', 0x82),
        ('\u{0192}', 0x83),
        ('\u{201e}', 0x84),
        ('\u{2026}', 0x85),
        ('\u{2020}', 0x86),
        ('\u{2021}', 0x87),
        ('\u{02c6}', 0x88),
        ('\u{2030}', 0x89),
        ('\u{0160}', 0x8a),
        ('\u{2039}', 0x8b),
        ('\u{0152}', 0x8c),
        ('\u{017d}', 0x8e),
        ('\u{2018}', 0x91),
        ('\u{2019}', 0x92),
        ('\u{201c}', 0x93),
        ('\u{201d}', 0x94),
        ('\u{2022}', 0x95),
        ('\u{2013}', 0x96),
        ('\u{2014}', 0x97),
        ('\u{02dc}', 0x98),
        ('\u{2122}', 0x99),
        ('\u{0161}', 0x9a),
        ('\u{203a}', 0x9b),
        ('\u{0153}', 0x9c),
        ('\u{017e}', 0x9e),
        ('\u{0178}', 0x9f),
    ];
    match u8::try_from(c) {
        Ok(byte @ (0..=0x7f | 0xa0..=0xff)) => Some(byte),
        _ => HIGH.iter().find(|(high, _)| *high == c).map(|(_, byte)| *byte),
    }
}

/// A request value of the Windows environment after [`transcode_windows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowsValue {
    /// The request's bytes.
    Bytes(Vec<u8>),
    /// Left as it was, with characters above U+00FF: no bytes of a request, whatever the web server says.
    Text(Vec<u16>),
}

/// A UTF-16 surrogate without its partner, which UTF-8 cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneSurrogate(pub u16);

impl fmt::Display for LoneSurrogate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value holds the lone surrogate U+{:04X}", self.0)
    }
}

impl std::error::Error for LoneSurrogate {}

/// What a request value in the Windows environment was before the web server turned it into Unicode: a pure function
/// of the value, the [`windows_rule`], and the file system encoding.
///
/// ```
/// use gatewright::environ::{FsEncoding, WindowsRule, WindowsValue, transcode_windows};
///
/// let path: Vec<u16> = "/café".encode_utf16().collect();
/// let iis = transcode_windows(&path, WindowsRule::Utf8, FsEncoding::Utf8)?;
/// assert_eq!(iis, WindowsValue::Bytes(b"/caf\xc3\xa9".to_vec()));
/// let apache = transcode_windows(&path, WindowsRule::Latin1, FsEncoding::Utf8)?;
/// assert_eq!(apache, WindowsValue::Bytes(b"/caf\xe9".to_vec()));
/// # Ok::<(), gatewright::environ::LoneSurrogate>(())
/// ```
///
/// # Errors
/// Under [`WindowsRule::Utf8`] a lone surrogate, as in Python; [`read_environ`] writes `?` for it.
pub fn transcode_windows(
    value: &[u16],
    rule: WindowsRule,
    fs: FsEncoding,
) -> Result<WindowsValue, LoneSurrogate> {
    match rule {
        WindowsRule::Utf8 => {
            if let Some(Err(lone)) = char::decode_utf16(value.iter().copied()).find(Result::is_err) {
                return Err(LoneSurrogate(lone.unpaired_surrogate()));
            }
            Ok(WindowsValue::Bytes(FsEncoding::Utf8.encode(value)))
        }
        WindowsRule::Latin1 => {
            let bytes: Result<Vec<u8>, _> = value.iter().map(|unit| u8::try_from(*unit)).collect();
            Ok(bytes.map_or_else(|_| WindowsValue::Text(value.to_vec()), WindowsValue::Bytes))
        }
        WindowsRule::FileSystem => Ok(WindowsValue::Bytes(fs.encode(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn the_first_of_two_equal_names_counts_and_a_leading_equals_sign_makes_an_empty_name() {
        let pairs = [("A", "1"), ("A", "2"), ("=HTTP_B", "3"), ("=C", "4")];
        let vars = collect_bytes(pairs.into_iter());
        assert_eq!(vars, Vars::from([("A", "1"), ("", "HTTP_B=3")]));
    }

    #[test]
    fn a_windows_environment_is_transcoded_by_its_web_server() {
        let block = [
            ("=C:", "C:\\"),
            ("Path_Info", "/café"),
            ("SERVER_NAME", "café"),
            ("Server_Software", "Microsoft-IIS/10.0"),
        ];
        let vars = collect_wide(block.into_iter().map(|(name, value)| (wide(name), wide(value))));
        assert_eq!(vars.get("PATH_INFO"), Some("/café".as_bytes()));
        let block = [("PATH_INFO", "/caf\u{e9}"), ("HTTP_X", "\u{2603}"), ("SERVER_SOFTWARE", "Apache/2.4")];
        let vars = collect_wide(block.into_iter().map(|(name, value)| (wide(name), wide(value))));
        assert_eq!(vars.get("PATH_INFO"), Some(&b"/caf\xe9"[..]));
        assert_eq!(vars.get("HTTP_X"), Some("\u{2603}".as_bytes()));
    }

    #[test]
    fn lone_surrogates_become_question_marks_and_never_panic() {
        for software in ["Microsoft-IIS/10.0", "Apache/2", "other", ""] {
            let block = [
                (wide("PATH_INFO"), vec![0x2f, 0xd800]),
                (wide("SERVER_SOFTWARE"), wide(software)),
                (vec![0xdc00], vec![0xdfff]),
            ];
            let vars = collect_wide(block.into_iter());
            assert_eq!(vars.get("PATH_INFO"), Some(&b"/?"[..]), "{software}");
        }
    }
}
