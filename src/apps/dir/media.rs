//! Media types by the end of a file's name.

use std::borrow::Cow;

/// What pages are made of, to be found at once; and where the crate's table is older than the registration, or not what
/// browsers want.
const OURS: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("json", "application/json"),
    ("woff2", "font/woff2"),
    ("ico", "image/vnd.microsoft.icon"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("avif", "image/avif"),
    ("jxl", "image/jxl"),
    ("md", "text/markdown; charset=utf-8"),
    ("toml", "application/toml"),
    ("ts", "video/mp2t"),
    ("webmanifest", "application/manifest+json"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

/// The Content-Type of a file by its path: text is UTF-8, what is not known a stream of bytes.
pub(super) fn media_type(path: &[u8]) -> Cow<'static, str> {
    let extension = match memchr::memrchr2(b'.', b'/', path) {
        // A dot in front ends no name.
        Some(dot) if dot > 0 && path.get(dot) == Some(&b'.') && path.get(dot - 1) != Some(&b'/') => {
            path.get(dot + 1..).and_then(|end| std::str::from_utf8(end).ok()).unwrap_or_default()
        }
        _ => "",
    };
    if let Some((_, media)) = OURS.iter().find(|(end, _)| extension.eq_ignore_ascii_case(end)) {
        return (*media).into();
    }
    match mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream") {
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
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.PNG", "image/png"),
            ("a.GIF", "image/gif"),
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
            ("a.css/.html", "application/octet-stream"),
            ("a.css/html", "application/octet-stream"),
            ("a.css/b.c.html", "text/html; charset=utf-8"),
            ("", "application/octet-stream"),
            ("a.no-such-end", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
        for (end, media) in OURS {
            assert_eq!(media.starts_with("text/"), media.ends_with("; charset=utf-8"), "{end}");
        }
    }
}
