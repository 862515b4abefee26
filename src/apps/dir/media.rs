//! Media types by the end of a file's name.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// Where the crate's table is older than the registration, or not what browsers want.
const NEWER: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("cjs", "text/javascript"),
    ("ico", "image/vnd.microsoft.icon"),
    ("js", "text/javascript"),
    ("jxl", "image/jxl"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("webmanifest", "application/manifest+json"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

/// The Content-Type of a file by its name: text is UTF-8, what is not known a stream of bytes.
pub(super) fn media_type(name: &OsStr) -> Cow<'static, str> {
    let path = Path::new(name);
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let known = NEWER.iter().find(|(end, _)| *end == extension).map(|(_, media)| *media);
    let media =
        known.or_else(|| mime_guess::from_ext(&extension).first_raw()).unwrap_or("application/octet-stream");
    match media {
        text if text.starts_with("text/") => [text, "; charset=utf-8"].concat().into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_that_browsers_expect() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTM", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.jpeg", "image/jpeg"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.woff2", "font/woff2"),
            ("a.wasm", "application/wasm"),
            ("a.pdf", "application/pdf"),
            ("a.mp4", "video/mp4"),
            ("a.tar.gz", "application/gzip"),
            ("a.xml", "text/xml; charset=utf-8"),
            ("README", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.no-such-end", "application/octet-stream"),
        ] {
            assert_eq!(media_type(OsStr::new(name)), expected, "{name}");
        }
    }
}
