//! `wsgiref.util`: URLs of a request, walking its path, and small helpers for applications, gateways and tests.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::environ::{Environ, Known, Scheme, Vars};
use crate::error::Error;
use crate::headers::Lengths;

/// Guesses `wsgi.url_scheme`: `https` if HTTPS is exactly `on`, `yes` or `1`, else `http`.
///
/// ```
/// use gatewright::{environ::{Scheme, Vars}, util::guess_scheme};
///
/// assert_eq!(guess_scheme(&Vars::from([("HTTPS", "on")])), Scheme::HTTPS);
/// assert_eq!(guess_scheme(&Vars::from([("HTTPS", "ON")])), Scheme::HTTP);
/// ```
pub fn guess_scheme(vars: &Vars) -> Scheme {
    match vars.known(Known::Https) {
        Some(b"on" | b"yes" | b"1") => Scheme::HTTPS,
        _ => Scheme::HTTP,
    }
}

/// What SCRIPT_NAME keeps unescaped in a URL.
const SCRIPT_SAFE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');
/// What PATH_INFO keeps unescaped: path parameters too.
const PATH_SAFE: &AsciiSet = &SCRIPT_SAFE.remove(b';').remove(b'=').remove(b',');

/// A decoded path as it stands in a URL, quoted as SCRIPT_NAME is.
pub(crate) fn quote_path(path: &[u8]) -> String {
    percent_encode(path, SCRIPT_SAFE).to_string()
}

/// The URL of the application itself, without PATH_INFO and query: scheme, HTTP_HOST (or SERVER_NAME, and SERVER_PORT
/// unless it is the scheme's own), quoted SCRIPT_NAME or `/`.
///
/// HTTP_HOST is the client's word, taken as it is: check it before a URL made from it is used for more than a link.
///
/// # Errors
/// A missing `wsgi.url_scheme`, and without HTTP_HOST a missing SERVER_NAME or SERVER_PORT, by name.
pub fn application_uri(environ: &Environ<'_>) -> Result<Vec<u8>, Error> {
    let scheme = environ.wsgi.url_scheme.as_ref().ok_or_else(|| missing("wsgi.url_scheme"))?.as_str();
    let mut url = format!("{scheme}://").into_bytes();
    match environ.vars.known(Known::HttpHost) {
        Some(host) if !host.is_empty() => url.extend_from_slice(host),
        _ => {
            let name = environ.vars.known(Known::ServerName).ok_or_else(|| missing("SERVER_NAME"))?;
            let port = environ.vars.known(Known::ServerPort).ok_or_else(|| missing("SERVER_PORT"))?;
            let default: &[u8] = if scheme == "https" { b"443" } else { b"80" };
            url.extend_from_slice(name);
            if port != default {
                url.push(b':');
                url.extend_from_slice(port);
            }
        }
    }
    match environ.script_name() {
        b"" => url.push(b'/'),
        script => url.extend(percent_encode(script, SCRIPT_SAFE).flat_map(str::bytes)),
    }
    Ok(url)
}

/// The full URL of the request: [`application_uri`], quoted PATH_INFO, and the query as it is if `include_query`.
///
/// ```
/// use gatewright::environ::{Environ, Errors, Input, Scheme, Vars};
/// use gatewright::util::request_uri;
///
/// let mut errors = Vec::new();
/// let vars = Vars::from([("HTTP_HOST", "example.com"), ("PATH_INFO", "/a b"), ("QUERY_STRING", "x=1")]);
/// let mut environ = Environ::new(vars, Input::Empty, Errors::new(&mut errors));
/// environ.wsgi.url_scheme = Some(Scheme::HTTP);
/// assert_eq!(request_uri(&environ, true)?, b"http://example.com/a%20b?x=1");
/// # Ok::<(), gatewright::error::Error>(())
/// ```
///
/// # Errors
/// Those of [`application_uri`].
pub fn request_uri(environ: &Environ<'_>, include_query: bool) -> Result<Vec<u8>, Error> {
    let mut url = application_uri(environ)?;
    let path: Vec<u8> = percent_encode(environ.path_info(), PATH_SAFE).flat_map(str::bytes).collect();
    // Without SCRIPT_NAME the URL ends in `/` already: the path's first character stands for it, whatever it is.
    let skip = usize::from(environ.script_name().is_empty());
    url.extend_from_slice(path.get(skip..).unwrap_or_default());
    let query = environ.query_string();
    if include_query && !query.is_empty() {
        url.push(b'?');
        url.extend_from_slice(query);
    }
    Ok(url)
}

fn missing(name: &str) -> Error {
    Error::application(format!("{name} is missing from the environment"))
}

/// Moves the first segment of PATH_INFO to SCRIPT_NAME and returns it, `None` when there is nothing to move.
///
/// Empty segments and `.` between the first and the last are dropped. A trailing `/` gives the empty name, a last `.`
/// gives `None`. **The name `..` is a client's attempt to climb**: SCRIPT_NAME loses a segment then, so a dispatcher must
/// refuse it. Percent escapes are not looked at: the path is decoded already.
///
/// ```
/// use gatewright::{environ::Vars, util::shift_path_info};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/app"), ("PATH_INFO", "/blog/2026")]);
/// assert_eq!(shift_path_info(&mut vars)?, Some(b"blog".to_vec()));
/// assert_eq!(vars.get("SCRIPT_NAME"), Some(&b"/app/blog"[..]));
/// assert_eq!(vars.get("PATH_INFO"), Some(&b"/2026"[..]));
/// # Ok::<(), gatewright::error::Error>(())
/// ```
///
/// # Errors
/// Status 400 for a PATH_INFO without any `/`, which no web server sends; the variables stay as they were.
pub fn shift_path_info(vars: &mut Vars) -> Result<Option<Vec<u8>>, Error> {
    let path = vars.known(Known::PathInfo).unwrap_or_default();
    if path.is_empty() {
        return Ok(None);
    }
    let pieces: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = pieces.len() - 1;
    let mut kept: Vec<&[u8]> = Vec::with_capacity(pieces.len());
    kept.extend(pieces.iter().enumerate().filter_map(|(at, piece)| {
        let between = at != 0 && at != last;
        (!between || !(piece.is_empty() || *piece == b".")).then_some(*piece)
    }));
    if kept.len() < 2 {
        return Err(Error::bad_request(format!(
            "PATH_INFO \"{}\" has no segment to shift",
            path.escape_ascii()
        )));
    }
    let name = kept.remove(1).to_vec();
    let rest = kept.join(&b'/');
    let mut script = vars.known(Known::ScriptName).unwrap_or_default().to_vec();
    script.push(b'/');
    script.extend_from_slice(&name);
    let mut script = normalise(&script);
    if script.last() == Some(&b'/') {
        script.pop();
    }
    if name.is_empty() && script.last() != Some(&b'/') {
        script.push(b'/');
    }
    vars.set("SCRIPT_NAME", script);
    vars.set("PATH_INFO", rest);
    Ok((name != b".").then_some(name))
}

/// POSIX path normalisation as in Python's `posixpath.normpath`: exactly two leading slashes stay two.
fn normalise(path: &[u8]) -> Vec<u8> {
    let leading = path.iter().take_while(|byte| **byte == b'/').count();
    let root: &[u8] = match leading {
        0 => b"",
        2 => b"//",
        _ => b"/",
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(&b"..") | None if root.is_empty() => kept.push(segment),
                None => {}
                Some(_) => {
                    kept.pop();
                }
            },
            _ => kept.push(segment),
        }
    }
    let whole = [root, &kept.join(&b'/')].concat();
    if whole.is_empty() { b".".to_vec() } else { whole }
}

/// Fills an environment up for a test: adds what is absent of SERVER_NAME, SERVER_PROTOCOL, HTTP_HOST, REQUEST_METHOD,
/// SCRIPT_NAME and PATH_INFO (only when both are absent), `wsgi.url_scheme`, SERVER_PORT, and never changes what is there.
///
/// ```
/// use gatewright::environ::{Environ, Errors, Input, Vars};
/// use gatewright::util::{request_uri, setup_testing_defaults};
///
/// let mut errors = Vec::new();
/// let mut environ = Environ::new(Vars::new(), Input::Empty, Errors::new(&mut errors));
/// setup_testing_defaults(&mut environ);
/// assert_eq!(request_uri(&environ, true)?, b"http://127.0.0.1/");
/// # Ok::<(), gatewright::error::Error>(())
/// ```
pub fn setup_testing_defaults(environ: &mut Environ<'_>) {
    let vars = &mut environ.vars;
    vars.set_default("SERVER_NAME", "127.0.0.1");
    vars.set_default("SERVER_PROTOCOL", "HTTP/1.0");
    let name = vars.known(Known::ServerName).unwrap_or_default().to_vec();
    vars.set_default("HTTP_HOST", name);
    vars.set_default("REQUEST_METHOD", "GET");
    if vars.known(Known::ScriptName).is_none() && vars.known(Known::PathInfo).is_none() {
        vars.set("SCRIPT_NAME", "");
        vars.set("PATH_INFO", "/");
    }
    let scheme = environ.wsgi.url_scheme.get_or_insert_with(|| guess_scheme(vars));
    match scheme.as_str() {
        "http" => vars.set_default("SERVER_PORT", "80"),
        "https" => vars.set_default("SERVER_PORT", "443"),
        _ => false,
    };
}

/// Whether a header is a hop-by-hop header by wsgiref's list (RFC 2616, section 13.5.1), in any case.
///
/// The list has `trailers`, a typing error of that RFC, and neither `Trailer` nor `Proxy-Connection`; the safe
/// [policy](crate::handlers::Policy) refuses those as well.
///
/// ```
/// assert!(gatewright::util::is_hop_by_hop("Transfer-Encoding"));
/// assert!(!gatewright::util::is_hop_by_hop("Date"));
/// ```
pub fn is_hop_by_hop(name: impl AsRef<[u8]>) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    ];
    is_one_of(name.as_ref(), &NAMES, const { Lengths::of(&NAMES) })
}

/// Whether a header concerns one connection only: wsgiref's eight, and two that it misses.
pub(crate) fn is_of_one_connection(name: &[u8]) -> bool {
    const MISSED: [&[u8]; 2] = [b"trailer", b"proxy-connection"];
    is_hop_by_hop(name) || is_one_of(name, &MISSED, const { Lengths::of(&MISSED) })
}

fn is_one_of(name: &[u8], names: &[&[u8]], lengths: Lengths) -> bool {
    lengths.has(name) && names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// A stream that may be a real file, so that a handler can let the system send it.
pub trait FileSource: Read {
    /// The file itself, where there is one. The default has none.
    fn as_file(&mut self) -> Option<&mut File> {
        None
    }

    /// Which of the file's bytes are meant, where that is known: the first of them is where the file stands, and it had
    /// all of them a moment ago. Whoever takes [`as_file`](FileSource::as_file) sends no others, and need not ask the
    /// system again. `None`, the default, is all from where the file stands to its end.
    fn part(&self) -> Option<Range<u64>> {
        None
    }
}

impl FileSource for File {
    fn as_file(&mut self) -> Option<&mut File> {
        Some(self)
    }
}

impl FileSource for &mut File {
    fn as_file(&mut self) -> Option<&mut File> {
        Some(self)
    }
}

impl<T: AsRef<[u8]>> FileSource for io::Cursor<T> {}

/// `wsgi.file_wrapper`: a file's content in blocks.
///
/// One call of `read` makes one block; short reads are passed on, the first empty one ends the iteration, and going on
/// after that reads again. Dropping the wrapper closes the file; [`into_inner`](FileWrapper::into_inner) keeps it.
///
/// ```
/// use gatewright::util::FileWrapper;
///
/// let blocks = FileWrapper::with_block_size(std::io::Cursor::new("0123456789"), 4);
/// let blocks: Result<Vec<_>, _> = blocks.collect();
/// assert_eq!(blocks?, [&b"0123"[..], b"4567", b"89"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FileWrapper<R> {
    /// The wrapped stream.
    pub filelike: R,
    /// Bytes asked for by each read; `None` asks for all in one piece.
    pub blksize: Option<usize>,
}

impl<R> FileWrapper<R> {
    /// wsgiref's block size.
    pub const BLKSIZE: usize = 8192;

    /// Blocks of 8192 bytes.
    pub fn new(filelike: R) -> Self {
        Self::with_block_size(filelike, Self::BLKSIZE)
    }

    /// Blocks of that many bytes; 0 ends at once.
    pub fn with_block_size(filelike: R, blksize: usize) -> Self {
        Self { filelike, blksize: Some(blksize) }
    }

    /// The stream, open.
    pub fn into_inner(self) -> R {
        self.filelike
    }
}

impl<R> From<R> for FileWrapper<R> {
    fn from(filelike: R) -> Self {
        Self::new(filelike)
    }
}

impl<R: Read> Iterator for FileWrapper<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Vec::new();
        let read = match self.blksize {
            None => self.filelike.read_to_end(&mut block),
            Some(size) => {
                block.resize(size, 0);
                read_once(&mut self.filelike, &mut block)
            }
        };
        match read {
            Ok(0) => None,
            Ok(count) => {
                block.truncate(count);
                Some(Ok(block))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

fn read_once(stream: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// An HTTP date (RFC 9110, section 5.6.7) from seconds since 1970: always English, always GMT, fractions floored.
///
/// ```
/// assert_eq!(gatewright::util::format_date_time(784111777.0), "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
pub fn format_date_time(seconds: f64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let Time { day, year, month, day_of_month, hour, minute, second } = time_of(seconds);
    let weekday = usize::try_from(day.rem_euclid(7)).ok().and_then(|at| DAYS.get(at)).unwrap_or(&"Thu");
    let month = month_name(month);
    if !(1000..=9999).contains(&year) {
        return format!(
            "{weekday}, {day_of_month:02} {month} {year:4} {hour:02}:{minute:02}:{second:02} GMT"
        );
    }
    // Every answer has one or two: filled in, it takes a small part of what the macro for texts does.
    let mut date = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let mut put = |at: usize, text: &[u8]| {
        date.iter_mut().skip(at).zip(text).for_each(|(place, byte)| *place = *byte);
    };
    put(0, weekday.as_bytes());
    put(8, month.as_bytes());
    for (at, number) in
        [(5, day_of_month), (12, year / 100), (14, year % 100), (17, hour), (20, minute), (23, second)]
    {
        let number = u8::try_from(number).unwrap_or_default();
        put(at, &[b'0' + number / 10, b'0' + number % 10]);
    }
    String::from_utf8_lossy(&date).into_owned()
}

/// A moment by the calendar, in UTC.
pub(crate) struct Time {
    /// Counted from 1970-01-01.
    day: i64,
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    pub(crate) day_of_month: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

/// The calendar's view of seconds since 1970, fractions floored.
pub(crate) fn time_of(seconds: f64) -> Time {
    // Far beyond any date that HTTP can write, and small enough for every step below.
    const FAR: f64 = 1e15;
    let seconds = seconds.floor().clamp(-FAR, FAR) as i64;
    let (day, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day_of_month) = civil(day);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Time { day, year, month, day_of_month, hour, minute, second }
}

/// `Jan` to `Dec`.
pub(crate) fn month_name(month: i64) -> &'static str {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"Jan")
}

/// Year, month and day of a day counted from 1970-01-01, by counting in years that begin in March.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// A short value's text, without taking memory; as much of it as there is room for.
#[cfg(unix)]
pub(crate) fn shown(room: &mut [u8], value: impl std::fmt::Display) -> &[u8] {
    use std::io::Write;
    let mut rest = &mut *room;
    // What finds no room is left out.
    let _ = write!(rest, "{value}");
    let left = rest.len();
    room.get(..room.len() - left).unwrap_or_default()
}

/// The latin-1 characters that Python takes for white space.
pub(crate) fn is_blank_to_python(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=0x1f | b' ' | 0x85 | 0xa0)
}

/// Bytes as Python's `repr` shows the latin-1 text they stand for.
///
/// ```
/// assert_eq!(gatewright::util::python_repr(b"caf\xe9 isn't\n"), "\"café isn't\\n\"");
/// ```
pub fn python_repr(native: &[u8]) -> String {
    let mut text = String::with_capacity(native.len() + 2);
    push_python_repr(&mut text, native);
    text
}

/// Appends what [`python_repr`] gives.
pub(crate) fn push_python_repr(text: &mut String, native: &[u8]) {
    let double = native.contains(&b'\'') && !native.contains(&b'"');
    let quote = if double { '"' } else { '\'' };
    text.push(quote);
    for byte in native {
        match char::from(*byte) {
            c if c == quote || c == '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c @ ('\0'..'\x20' | '\x7f'..='\u{a0}' | '\u{ad}') => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\x{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push(quote);
}
