//! The page that lists a folder.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use super::beneath;
use super::conditional::since_1970;
use crate::files::{Folder, NotOpened};
use crate::headers::Headers;
use crate::util::{Time, quote_path, time_of};

/// Entries of one page; a folder with more is listed as far as that.
const MOST: usize = 10_000;

/// The page's headers: nothing is loaded and no script runs, whatever a file's name is; the page's own style is the one
/// with this nonce.
pub(super) fn headers(nonce: &str) -> Headers {
    let policy =
        format!("default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'");
    Headers::from([
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", &policy),
        ("X-Content-Type-Options", "nosniff"),
    ])
}

/// Readable on a telephone, and by night.
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:1rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.4rem .5rem;text-align:left;border-bottom:1px solid #8884}\
td:first-child{overflow-wrap:anywhere}td+td,th+th{white-space:nowrap;text-align:right}:root{color-scheme:light dark}\
@media(max-width:30rem){td+td+td,th+th+th{display:none}}";

struct Line {
    name: Vec<u8>,
    is_folder: bool,
    size: u64,
    modified: i64,
}

/// The page for the folder at `path` beneath `root`, whose URL ends in a slash. What could not be opened is left out.
pub(super) fn page(
    root: &Folder,
    path: &[u8],
    folder: &Folder,
    title: &[u8],
    hidden: bool,
    nonce: &str,
) -> Result<String, NotOpened> {
    let (names, more) = folder.names(MOST)?;
    let shown = |name: &Vec<u8>| hidden || !name.starts_with(b".");
    let mut lines: Vec<Line> =
        names.into_iter().filter(shown).filter_map(|name| line(root, path, name)).collect();
    lines.sort_by_cached_key(|line| {
        (Reverse(line.is_folder), String::from_utf8_lossy(&line.name).to_lowercase(), line.name.clone())
    });
    Ok(html(&lines, &String::from_utf8_lossy(title), !path.is_empty(), more, nonce))
}

fn line(root: &Folder, path: &[u8], name: Vec<u8>) -> Option<Line> {
    let entry = root.look(&beneath(path, &name)).ok()?;
    if !entry.is_file() && !entry.is_folder() {
        return None;
    }
    let metadata = entry.metadata();
    let modified = since_1970(metadata.modified().unwrap_or(UNIX_EPOCH)).0;
    Some(Line { name, is_folder: entry.is_folder(), size: metadata.len(), modified })
}

fn html(lines: &[Line], title: &str, has_parent: bool, more: bool, nonce: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style nonce=\"{nonce}\">{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<table>\n\
         <thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>\n<tbody>\n"
    );
    if has_parent {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for Line { name, is_folder, size, modified } in lines {
        let slash = if *is_folder { "/" } else { "" };
        let size = if *is_folder { String::new() } else { human(*size) };
        let Time { year, month, day_of_month, hour, minute, .. } = time_of(*modified as f64);
        // A name with a colon would look like a scheme if the colon were not quoted.
        let (link, shown) = (quote_path(name), escape(&String::from_utf8_lossy(name)));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"{link}{slash}\">{shown}{slash}</a></td><td>{size}</td>\
             <td>{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}</td></tr>"
        );
    }
    page.push_str("</tbody>\n</table>\n");
    if more {
        let _ = writeln!(page, "<p>There are more; these are {MOST}.</p>");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// `12 B`, `3.4 KiB`.
fn human(size: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = size.saturating_mul(10);
    if size < 1024 {
        return format!("{size} B");
    }
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(human(size), expected);
        }
        assert!(human(u64::MAX).ends_with("EiB"));
    }

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(
            escape("<a href='x' b=\"y\">&\n"),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;\u{fffd}"
        );
    }
}
