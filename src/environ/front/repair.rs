//! The repairs, one function each: what a web server sends, and what it means. None fails, and each leaves alone what it
//! is not for, so that any of them can be applied to anything.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::environ::{Known, Vars};

/// HAProxy: a request over HTTP/2 comes with its whole URL in REQUEST_URI, where CGI has the path and query.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::absolute_request_uri};
///
/// let mut vars = Vars::from([("REQUEST_URI", "https://svc.name/index.asp")]);
/// absolute_request_uri(&mut vars);
/// assert_eq!(vars.get("REQUEST_URI"), Some(&b"/index.asp"[..]));
/// ```
pub fn absolute_request_uri(vars: &mut Vars) {
    let Some(rest) = vars.known(Known::RequestUri).and_then(behind_authority) else { return };
    let slash: &[u8] = if rest.starts_with(b"/") { b"" } else { b"/" };
    let uri = [slash, rest].concat();
    vars.set("REQUEST_URI", uri);
}

/// IIS: where PATH_INFO is SCRIPT_NAME, or goes on behind it with `/`, that front is taken off.
///
/// IIS sends PATH_INFO so unless `allowPathInfo` is set, and a program cannot see the setting. A request of a corrected
/// IIS for `/app.cgi/app.cgi/x` is thus shortened too. SCRIPT_NAME and PATH_TRANSLATED are never touched; where both
/// SCRIPT_NAME and PATH_INFO are missing or empty, PATH_INFO is set empty.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::path_info_with_script_name};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/app.cgi"), ("PATH_INFO", "/app.cgi/x")]);
/// path_info_with_script_name(&mut vars);
/// assert_eq!(vars.get("PATH_INFO"), Some(&b"/x"[..]));
/// ```
pub fn path_info_with_script_name(vars: &mut Vars) {
    let path = vars.known(Known::PathInfo).unwrap_or_default();
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    let Some(rest) = path.strip_prefix(script) else { return };
    if rest.is_empty() || rest.starts_with(b"/") || (script.is_empty() && path.is_empty()) {
        let rest = rest.to_vec();
        vars.set("PATH_INFO", rest);
    }
}

/// Apache: with `proxy-fcgi-pathinfo` PATH_INFO is not decoded, or begins with two slashes, and what of SCRIPT_NAME's end
/// differs from it for that reason stays there. REQUEST_URI has the whole path: what does not add up to it is repaired,
/// what would not do so either is left alone.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::undecoded_path_info};
///
/// let mut vars = Vars::from([
///     ("REQUEST_URI", "/app/%E3%82%A2/x"), ("SCRIPT_NAME", "/app/\u{30a2}"), ("PATH_INFO", "//%E3%82%A2/x"),
/// ]);
/// undecoded_path_info(&mut vars);
/// assert_eq!(vars.get("SCRIPT_NAME"), Some(&b"/app"[..]));
/// assert_eq!(vars.get("PATH_INFO"), Some("/\u{30a2}/x".as_bytes()));
/// ```
pub fn undecoded_path_info(vars: &mut Vars) {
    let sent = vars.known(Known::PathInfo).unwrap_or_default();
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    if !sent.starts_with(b"/") || (!sent.starts_with(b"//") && !sent.contains(&b'%')) {
        return;
    }
    let Some(uri) = vars.known(Known::RequestUri) else { return };
    let whole: Cow<'_, [u8]> = percent_decode(path_of(uri)).into();
    if is_joined(&whole, script, sent) {
        return;
    }
    let (whole, once) = (merged(&whole), merged(sent));
    let decoded: Cow<'_, [u8]> = percent_decode(&once).into();
    let tail = if is_joined(&whole, script, &once) { &once } else { &decoded };
    if !whole.starts_with(script) {
        return;
    }
    if let Some(front) = whole.strip_suffix(&**tail).filter(|front| script.starts_with(front)) {
        let (front, tail) = (front.to_vec(), tail.to_vec());
        vars.set("SCRIPT_NAME", front);
        vars.set("PATH_INFO", tail);
    }
}

/// Apache: without `proxy-fcgi-pathinfo` SCRIPT_NAME is the whole path and PATH_INFO absent. Where `ProxyPass` takes the
/// mount off, as in `ProxyPass /app fcgi://127.0.0.1:9000/`, SCRIPT_FILENAME has the rest, and that is PATH_INFO.
///
/// It is a guess: `ProxyPass /app fcgi://127.0.0.1:9000/app` looks as if the application was mounted at the root. Other
/// targets tell nothing, and need [`ScriptName`](super::ScriptName).
///
/// ```
/// use gatewright::environ::{Vars, front::repair::rest_in_script_filename};
///
/// let mut vars = Vars::from([
///     ("SCRIPT_FILENAME", "proxy:fcgi://127.0.0.1:9000//x%20y"), ("SCRIPT_NAME", "/app/x y"),
/// ]);
/// rest_in_script_filename(&mut vars);
/// assert_eq!(vars.get("SCRIPT_NAME"), Some(&b"/app"[..]));
/// assert_eq!(vars.get("PATH_INFO"), Some(&b"/x y"[..]));
/// ```
pub fn rest_in_script_filename(vars: &mut Vars) {
    if vars.known(Known::PathInfo).is_some_and(|path| !path.is_empty()) {
        return;
    }
    let Some(path) = vars.get("SCRIPT_FILENAME").and_then(behind_proxy) else { return };
    let path = merged(without_query(path, vars));
    let rest: Cow<'_, [u8]> = percent_decode(&path).into();
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    if let Some(front) = script.strip_suffix(&*rest) {
        let (front, rest) = (front.to_vec(), rest.into_owned());
        vars.set("SCRIPT_NAME", front);
        vars.set("PATH_INFO", rest);
    }
}

/// Apache: SCRIPT_FILENAME carries the proxy's target before the path (`proxy:fcgi://`, `proxy:scgi://`, `proxy:uwsgi://`,
/// `proxy:balancer://`), and behind it, with `nocanon`, the query.
///
/// The path is not decoded: Apache quotes it for `ProxyPass`, and does not for `SetHandler`.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::proxy_script_filename};
///
/// let mut vars = Vars::from([("SCRIPT_FILENAME", "proxy:fcgi://127.0.0.1:9000/srv/app/x.cgi")]);
/// proxy_script_filename(&mut vars);
/// assert_eq!(vars.get("SCRIPT_FILENAME"), Some(&b"/srv/app/x.cgi"[..]));
/// ```
pub fn proxy_script_filename(vars: &mut Vars) {
    let Some(path) = vars.get("SCRIPT_FILENAME").and_then(behind_proxy) else { return };
    let path = without_query(path, vars).to_vec();
    vars.set("SCRIPT_FILENAME", path);
}

/// Apache: after an internal redirect the client's authentication has `REDIRECT_` before its names. Where the plain name
/// is absent, the redirected one takes its place.
///
/// Never without the administrator's word: who the client is, only the web server may say, in the names it means.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::redirected_authentication};
///
/// let mut vars = Vars::from([("REDIRECT_REMOTE_USER", "anna"), ("REDIRECT_HTTP_AUTHORIZATION", "Basic eDp5")]);
/// redirected_authentication(&mut vars);
/// assert_eq!(vars.get("REMOTE_USER"), Some(&b"anna"[..]));
/// assert_eq!(vars.get("HTTP_AUTHORIZATION"), Some(&b"Basic eDp5"[..]));
/// ```
pub fn redirected_authentication(vars: &mut Vars) {
    for (redirected, plain) in
        [("REDIRECT_REMOTE_USER", "REMOTE_USER"), ("REDIRECT_HTTP_AUTHORIZATION", "HTTP_AUTHORIZATION")]
    {
        if vars.get(plain).is_none_or(<[u8]>::is_empty)
            && let Some(value) = vars.get(redirected).map(<[u8]>::to_vec)
        {
            vars.set(plain, value);
        }
    }
}

/// lighttpd: with `broken-scriptfilename` SCRIPT_FILENAME ends in PATH_INFO.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::path_info_in_script_filename};
///
/// let mut vars = Vars::from([
///     ("SCRIPT_FILENAME", "/srv/x.php/extra"), ("SCRIPT_NAME", "/x.php"), ("PATH_INFO", "/extra"),
/// ]);
/// path_info_in_script_filename(&mut vars);
/// assert_eq!(vars.get("SCRIPT_FILENAME"), Some(&b"/srv/x.php"[..]));
/// ```
pub fn path_info_in_script_filename(vars: &mut Vars) {
    let path = vars.known(Known::PathInfo).unwrap_or_default();
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    let file = vars.get("SCRIPT_FILENAME").and_then(|file| file.strip_suffix(path));
    if let Some(file) = file.filter(|file| !script.is_empty() && file.ends_with(script)) {
        let file = file.to_vec();
        vars.set("SCRIPT_FILENAME", file);
    }
}

/// Caddy: DOCUMENT_URI is SCRIPT_NAME, empty without `split`, where nginx has the whole path in it.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::document_uri_without_path_info};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", ""), ("DOCUMENT_URI", ""), ("PATH_INFO", "/fcgi/echo/x")]);
/// document_uri_without_path_info(&mut vars);
/// assert_eq!(vars.get("DOCUMENT_URI"), Some(&b"/fcgi/echo/x"[..]));
/// ```
pub fn document_uri_without_path_info(vars: &mut Vars) {
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    if vars.get("DOCUMENT_URI") == Some(script) {
        let whole = [script, vars.known(Known::PathInfo).unwrap_or_default()].concat();
        vars.set("DOCUMENT_URI", whole);
    }
}

/// nginx: its stock `scgi_params` have neither SCRIPT_NAME nor PATH_INFO. The path is then relative to the root, as if the
/// application was mounted there.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::path_in_document_uri_only};
///
/// let mut vars = Vars::from([("REQUEST_URI", "/app/x?q=1"), ("DOCUMENT_URI", "/app/x")]);
/// path_in_document_uri_only(&mut vars);
/// assert_eq!(vars.get("SCRIPT_NAME"), Some(&b""[..]));
/// assert_eq!(vars.get("PATH_INFO"), Some(&b"/app/x"[..]));
/// ```
pub fn path_in_document_uri_only(vars: &mut Vars) {
    if vars.known(Known::ScriptName).is_some() || vars.known(Known::PathInfo).is_some() {
        return;
    }
    if let Some(path) = vars.get("DOCUMENT_URI").filter(|path| path.starts_with(b"/")).map(<[u8]>::to_vec) {
        vars.set("SCRIPT_NAME", "");
        vars.set("PATH_INFO", path);
    }
}

/// Any web server: a SCRIPT_NAME that ends in `/`, as nginx's stock parameters have it for `/app/`, and lighttpd for its
/// prefix `/`. The slash goes to PATH_INFO, unless that begins with one already.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::script_name_with_slash};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/app/")]);
/// script_name_with_slash(&mut vars);
/// assert_eq!(vars, Vars::from([("SCRIPT_NAME", "/app"), ("PATH_INFO", "/")]));
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/"), ("PATH_INFO", "/x")]);
/// script_name_with_slash(&mut vars);
/// assert_eq!(vars, Vars::from([("SCRIPT_NAME", ""), ("PATH_INFO", "/x")]));
/// ```
pub fn script_name_with_slash(vars: &mut Vars) {
    let script = vars.known(Known::ScriptName).unwrap_or_default();
    if !script.ends_with(b"/") {
        return;
    }
    let length = script.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let (name, slashes) = script.split_at_checked(length).unwrap_or_default();
    let path = vars.known(Known::PathInfo).unwrap_or_default();
    let path = if path.starts_with(b"/") { path.to_vec() } else { [slashes, path].concat() };
    let name = name.to_vec();
    vars.set("SCRIPT_NAME", name);
    vars.set("PATH_INFO", path);
}

/// lighttpd: PATH_INFO is left out when it is empty. PEP 3333 has applications that expect it.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::absent_path_info};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/app")]);
/// absent_path_info(&mut vars);
/// assert_eq!(vars.get("PATH_INFO"), Some(&b""[..]));
/// ```
pub fn absent_path_info(vars: &mut Vars) {
    if vars.known(Known::ScriptName).is_some() {
        vars.set_default("PATH_INFO", "");
    }
}

/// HAProxy: QUERY_STRING is left out when there is no query, where RFC 3875, section 4.1.7, has it empty.
///
/// ```
/// use gatewright::environ::{Vars, front::repair::absent_query_string};
///
/// let mut vars = Vars::from([("SCRIPT_NAME", "/app"), ("REQUEST_URI", "/app/x")]);
/// absent_query_string(&mut vars);
/// assert_eq!(vars.get("QUERY_STRING"), Some(&b""[..]));
/// ```
pub fn absent_query_string(vars: &mut Vars) {
    if vars.known(Known::ScriptName).is_some() {
        vars.set_default("QUERY_STRING", "");
    }
}

/// The path of a REQUEST_URI, undecoded.
pub(super) fn path_of(uri: &[u8]) -> &[u8] {
    let uri = behind_authority(uri).unwrap_or(uri);
    uri.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// What follows `http://authority`.
fn behind_authority(uri: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = split_at_scheme(uri)?;
    let http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.get(end..).filter(|_| http)
}

/// The path in `proxy:fcgi://host:port/path`, or `proxy:unix:/socket|fcgi://host/path`.
fn behind_proxy(file: &[u8]) -> Option<&[u8]> {
    let target = file.strip_prefix(b"proxy:")?;
    let target = match target.strip_prefix(b"unix:") {
        Some(socket) => socket.get(socket.iter().position(|byte| *byte == b'|')? + 1..)?,
        None => target,
    };
    let (scheme, rest) = split_at_scheme(target)?;
    let ours = matches!(scheme, b"fcgi" | b"scgi" | b"uwsgi" | b"balancer");
    rest.get(rest.iter().position(|byte| *byte == b'/')?..).filter(|_| ours)
}

fn split_at_scheme(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = uri.iter().position(|byte| *byte == b':')?;
    Some((uri.get(..colon)?, uri.get(colon..)?.strip_prefix(b"://")?))
}

/// Only the request's own query is cut off: a file's name may have any bytes.
fn without_query<'v>(path: &'v [u8], vars: &Vars) -> &'v [u8] {
    let query = vars.known(Known::QueryString).filter(|query| !query.is_empty());
    let cut = query.and_then(|query| path.strip_suffix(query)).and_then(|path| path.strip_suffix(b"?"));
    cut.unwrap_or(path)
}

/// Each run of slashes as one, as Apache has paths.
fn merged(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.windows(2).any(|two| two == b"//") {
        return Cow::Borrowed(path);
    }
    let mut merged = path.to_vec();
    merged.dedup_by(|next, last| (*next, *last) == (b'/', b'/'));
    Cow::Owned(merged)
}

fn is_joined(whole: &[u8], front: &[u8], tail: &[u8]) -> bool {
    whole.strip_prefix(front) == Some(tail)
}
