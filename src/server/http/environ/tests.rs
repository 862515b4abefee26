use super::*;
use crate::proto::http::Limits;

fn ends() -> Ends {
    Ends { peer: "192.0.2.7:4000".parse().ok(), local: "192.0.2.1:8000".parse().ok() }
}

fn environ_of(site: &Site, ends: &Ends, head: &str) -> Result<Vars, Error> {
    let request = Request::parse(head.as_bytes(), &Limits::default()).unwrap();
    let mut vars = Vars::new();
    site.environ(&request, ends, &mut vars)?;
    Ok(vars)
}

fn environ(head: &str) -> Vars {
    environ_of(&Site::default(), &ends(), head).unwrap()
}

/// The variables of a request with these fields, besides those that every request has.
fn fields(lines: &str) -> Vec<(String, String)> {
    let vars = environ(&format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    vars.iter()
        .filter(|(name, _)| name.starts_with(b"HTTP_") || name.starts_with(b"CONTENT_"))
        .filter(|(name, _)| *name != b"HTTP_HOST")
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn get<'v>(vars: &'v Vars, name: &str) -> &'v str {
    std::str::from_utf8(vars.get(name).unwrap_or(b"(absent)")).unwrap()
}

#[test]
fn every_request_has_these_in_this_order() {
    let vars = environ("GET /a%20b/?q=%20 HTTP/1.1\r\nHost: Example.com:8000\r\n\r\n");
    let expected = Vars::from([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", SOFTWARE),
        ("SERVER_NAME", "Example.com"),
        ("SERVER_PORT", "8000"),
        ("SERVER_ADDR", "192.0.2.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a%20b/?q=%20"),
        ("REQUEST_SCHEME", "http"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/a b/"),
        ("QUERY_STRING", "q=%20"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "4000"),
        ("HTTP_HOST", "Example.com:8000"),
    ]);
    assert_eq!(vars, expected);
}

#[test]
fn a_path_is_decoded_once_and_nothing_else() {
    for (target, path, query) in [
        ("/caf%C3%A9", "/caf\u{e9}", ""),
        ("/a%2Fb%3Fc?d?e", "/a/b?c", "d?e"),
        ("/%252F", "/%2F", ""),
        ("/%zz%4%%41", "/%zz%4%A", ""),
        ("/a+b/../c/./d//", "/a+b/../c/./d//", ""),
        ("/?", "/", ""),
    ] {
        let vars = environ(&format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!((get(&vars, "PATH_INFO"), get(&vars, "QUERY_STRING")), (path, query), "{target}");
        assert_eq!(get(&vars, "REQUEST_URI"), target);
    }
}

#[test]
fn the_asterisk_has_no_path() {
    let vars = environ("OPTIONS * HTTP/1.0\r\n\r\n");
    assert_eq!((get(&vars, "PATH_INFO"), get(&vars, "REQUEST_URI")), ("", "*"));
}

#[test]
fn the_authority_of_a_url_replaces_host() {
    let vars = environ("GET https://a.example:1/x HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!((get(&vars, "HTTP_HOST"), get(&vars, "SERVER_NAME")), ("a.example:1", "a.example"));
    assert_eq!((get(&vars, "PATH_INFO"), get(&vars, "REQUEST_URI")), ("/x", "https://a.example:1/x"));
    // The client's word is no https.
    assert_eq!((get(&vars, "REQUEST_SCHEME"), get(&vars, "HTTPS")), ("http", "(absent)"));
}

#[test]
fn the_servers_name_is_told_asked_or_its_address() {
    let name = |site: &Site, ends: &Ends, host: &str| {
        let vars = environ_of(site, ends, &format!("GET / HTTP/1.0\r\n{host}\r\n")).unwrap();
        get(&vars, "SERVER_NAME").to_owned()
    };
    let plain = Site::default();
    let told = Site { server_name: "www.example".parse().ok(), ..Site::default() };
    let six = Ends { local: "[2001:db8::1]:80".parse().ok(), ..Ends::default() };
    assert_eq!(name(&told, &ends(), "Host: h:1\r\n"), "www.example");
    assert_eq!(name(&plain, &ends(), "Host: [::1]:1\r\n"), "[::1]");
    assert_eq!(name(&plain, &ends(), "Host:\r\n"), "192.0.2.1");
    assert_eq!(name(&plain, &six, ""), "[2001:db8::1]");
    assert_eq!(name(&plain, &Ends::default(), ""), "localhost");
}

#[test]
fn a_unix_socket_has_no_addresses() {
    let head = "GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n";
    let vars = environ_of(&Site::default(), &Ends::default(), head).unwrap();
    for name in ["REMOTE_ADDR", "REMOTE_PORT", "SERVER_ADDR"] {
        assert!(!vars.contains(name), "{name}");
    }
    assert_eq!(get(&vars, "SERVER_PORT"), "8080");
}

#[test]
fn addresses_have_no_brackets_and_no_zone() {
    let ends = Ends { peer: "[fe80::1%3]:4000".parse().ok(), local: "[::ffff:192.0.2.1]:80".parse().ok() };
    assert!(ends.peer.is_some());
    let vars = environ_of(&Site::default(), &ends, "GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((get(&vars, "REMOTE_ADDR"), get(&vars, "SERVER_ADDR")), ("fe80::1", "192.0.2.1"));
    assert_eq!(get(&vars, "SERVER_NAME"), "192.0.2.1");
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let site = Site { trusted: "192.0.2.7".parse().unwrap(), ..Site::default() };
    let forwarded = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n";
    let head = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{forwarded}\r\n");
    let vars = environ_of(&site, &ends(), &head).unwrap();
    assert_eq!((get(&vars, "REMOTE_ADDR"), get(&vars, "REMOTE_PORT")), ("198.51.100.1", "(absent)"));
    assert_eq!((get(&vars, "HTTPS"), get(&vars, "REQUEST_SCHEME")), ("on", "https"));
    assert_eq!(get(&vars, "SERVER_PORT"), "443");
    assert_eq!(get(&vars, "HTTP_X_FORWARDED_FOR"), "198.51.100.1");
    let head = format!("GET / HTTP/1.1\r\nHost: h:1\r\n{forwarded}X-Forwarded-Port: 8443\r\n\r\n");
    assert_eq!(get(&environ_of(&site, &ends(), &head).unwrap(), "SERVER_PORT"), "8443");
    // From anybody else the same fields change nothing.
    let vars = environ(&head);
    assert_eq!((get(&vars, "REMOTE_ADDR"), get(&vars, "SERVER_PORT")), ("192.0.2.7", "8000"));
    assert_eq!(get(&vars, "REQUEST_SCHEME"), "http");
}

#[test]
fn fields_become_variables_in_their_order() {
    let lines = "Cookie: a=1\r\nContent-Type: a/b\r\nX-A:  1 \r\nCONTENT-length: 3\r\nx-a: 2\r\ncookie: b=2\r\nRemote-User: me";
    let expected = [
        ("HTTP_COOKIE", "a=1; b=2"),
        ("CONTENT_TYPE", "a/b"),
        ("HTTP_X_A", "1, 2"),
        ("CONTENT_LENGTH", "3"),
        ("HTTP_REMOTE_USER", "me"),
    ];
    assert_eq!(fields(lines), pairs(&expected));
    assert_eq!(fields("Content-Type:"), pairs(&[("CONTENT_TYPE", "")]));
    let chunked = fields("Transfer-Encoding: chunked");
    assert_eq!(chunked, pairs(&[("HTTP_TRANSFER_ENCODING", "chunked")]));
}

#[test]
fn names_that_could_be_taken_for_others_are_dropped() {
    for name in ["X_A", "X.A", "X!A", "Content_Length", "Content_Type", "Transfer_Encoding", "_", "X-A~"] {
        assert_eq!(fields(&format!("{name}: 1\r\nX-B: 2")), pairs(&[("HTTP_X_B", "2")]), "{name}");
    }
}

#[test]
fn fields_about_the_connection_are_dropped() {
    for name in [
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy",
        "PROXY",
        "Proxy-Connection",
        "Proxy-Authorization",
    ] {
        assert_eq!(fields(&format!("{name}: x\r\nX-B: 2")), pairs(&[("HTTP_X_B", "2")]), "{name}");
    }
    assert_eq!(fields("Connection: close, x-hop\r\nX-Hop: 1\r\nX-B: 2"), pairs(&[("HTTP_X_B", "2")]));
}

#[test]
fn connection_takes_nothing_away_that_is_for_the_application() {
    let lines = "Connection: authorization, cookie, content-length, content-type, host, x-forwarded-for\r\n\
        Authorization: a\r\nCookie: c\r\nContent-Length: 1\r\nContent-Type: t\r\nX-Forwarded-For: 1.1.1.1";
    assert_eq!(fields(lines).len(), 5);
}

#[test]
fn a_name_is_a_host_without_a_port() {
    for name in ["", "a:80", "a:", "::1", "[::1]:80", "a b", "a/b", "u@a"] {
        let error = name.parse::<ServerName>().unwrap_err().to_string();
        assert!(error.contains("example.com"), "{name}: {error}");
    }
    assert_eq!("[::1]".parse::<ServerName>().unwrap().as_str(), "[::1]");
}

#[test]
fn addresses_are_shown_as_their_type_shows_them() {
    for text in ["0.0.0.0", "255.255.255.255", "10.9.87.6", "::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(address_text(&mut [0; 64], address), address.to_string().as_bytes());
    }
    assert_eq!(address_text(&mut [0; 64], "::ffff:255.0.2.100".parse().unwrap()), b"255.0.2.100");
}

/// Fields that meet each other's variables, and those that become none.
const MANY: [&str; 24] = [
    "Accept: a",
    "ACCEPT: \t b \t",
    "Cookie: a=1",
    "cookie: b=2",
    "X-A: 1",
    "X_A: 2",
    "X.A: 3",
    "X-a:",
    "Content-Type: a/b",
    "Content-type: c/d",
    "Content_Length: 9",
    "Connection: close, X-A",
    "Connection: keep-alive",
    "Keep-Alive: 1",
    "Proxy: evil",
    "Proxy-Connection: x",
    "Https: on",
    "Remote-User: root",
    "TE: trailers",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "X-A-Name-That-Is-Longer-Than-All-The-Room-There-Is-For-Most-Names-Of-Fields: l",
    "Expect: 100-continue",
    "X-Forwarded-For: 192.0.2.1",
];

/// The variables of fields as the documentation has them, put together in another way.
fn expected_of(fields: &[&str]) -> Vec<(String, String)> {
    let connection: Vec<String> = fields
        .iter()
        .filter_map(|field| field.strip_prefix("Connection:"))
        .flat_map(|value| value.split(',').map(|one| one.trim().to_ascii_lowercase()))
        .collect();
    let mut expected: Vec<(String, String)> = Vec::new();
    for field in fields {
        let (name, value) = field.split_once(':').unwrap();
        let (lower, value) = (name.to_ascii_lowercase(), value.trim());
        let gone = ["connection", "keep-alive", "proxy", "te", "trailer", "upgrade"]
            .contains(&lower.as_str())
            || lower.starts_with("proxy-")
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            || connection.contains(&lower);
        if gone {
            continue;
        }
        let variable = name.to_ascii_uppercase().replace('-', "_");
        let (variable, joins) = match variable.as_str() {
            "CONTENT_TYPE" | "CONTENT_LENGTH" => (variable, None),
            "COOKIE" => ("HTTP_COOKIE".to_owned(), Some("; ")),
            _ => (format!("HTTP_{variable}"), Some(", ")),
        };
        match (expected.iter_mut().find(|(name, _)| *name == variable), joins) {
            (Some((_, before)), Some(joint)) => *before = [before.as_str(), value].join(joint),
            (Some((_, before)), None) => value.clone_into(before),
            (None, _) => expected.push((variable, value.to_owned())),
        }
    }
    expected
}

proptest::proptest! {
    #![proptest_config(crate::repeatable(400))]

    /// One after the other by a server that keeps its memory: each as if it were the first, by the short way and by the long.
    #[test]
    fn requests_leave_nothing_to_those_behind_them(
        requests in proptest::collection::vec(proptest::collection::vec(0..MANY.len(), 0..9), 1..6),
    ) {
        let (mut vars, mut block) = (Vars::new(), Vec::new());
        let limits = Limits::default();
        for picked in requests {
            let fields: Vec<&str> = picked.iter().map(|at| MANY[*at]).collect();
            let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            let head = format!("POST /p?q HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            let mut slots = http::Slots::new();
            let first = http::Head::first(head.as_bytes(), &limits, &mut slots);
            let parsed = Request::parse(head.as_bytes(), &limits);
            proptest::prop_assert_eq!(first.as_ref().map(|found| found.request), parsed.ok());
            let (Some(found), Ok(parsed)) = (first, parsed) else { continue };
            let site = Site::default();
            let mut expected = Vars::new();
            site.environ(&parsed, &ends(), &mut expected).unwrap();
            for short in [true, false] {
                match short {
                    true => site.gather(&parsed, found.fields(), &ends(), &mut vars, &mut block).unwrap(),
                    false => site.gather(&parsed, parsed.fields(), &ends(), &mut vars, &mut block).unwrap(),
                }
                proptest::prop_assert_eq!(&vars, &expected);
                for (name, value) in expected.iter() {
                    proptest::prop_assert_eq!(vars.get(name), Some(value));
                }
                for field in MANY {
                    let name = field.split(':').next().unwrap().to_ascii_uppercase().replace('-', "_");
                    for name in [format!("HTTP_{name}"), name] {
                        proptest::prop_assert_eq!(vars.get(&name), expected.get(&name), "{}", name);
                    }
                }
                let own: Vec<_> = vars
                    .iter()
                    .filter(|(name, _)| name.starts_with(b"HTTP_") || name.starts_with(b"CONTENT_"))
                    .filter(|(name, _)| *name != b"HTTP_HOST")
                    .map(|(name, value)| (String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into()))
                    .collect();
                proptest::prop_assert_eq!(own, expected_of(&fields));
            }
        }
    }
}
