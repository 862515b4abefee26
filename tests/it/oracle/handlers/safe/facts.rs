//! What the rules ask about a run, and the outcomes that they put together.

use gatewright::handlers::{Attributes, End, SERVER_SOFTWARE};
use serde_json::{Value, json};

use super::super::super::convert::hex;
use super::super::super::fixture::Case;
use super::super::drive::Ran;
use super::super::script::Ways;

/// A case with one application, and what it did under wsgiref's policy.
pub(super) struct Facts<'c> {
    pub(super) case: &'c Case,
    pub(super) base: &'c Ran,
    pub(super) ways: Ways,
}

impl<'c> Facts<'c> {
    pub(super) fn app(&self) -> &'c Value {
        self.case.get("app")
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &'c Value> {
        self.app()["call"].as_array().into_iter().flatten()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &'c Value> {
        self.app()["result"]["items"].as_array().into_iter().flatten()
    }

    pub(super) fn operations(&self, name: &str) -> impl Iterator<Item = &'c Value> {
        self.calls().chain(self.items()).filter(move |operation| operation["op"] == name)
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = &'c Value> {
        self.operations("start_response")
    }

    /// The status code and headers of the first start.
    pub(super) fn first_status(&self) -> &'c str {
        self.starts().next().and_then(|start| start["status"].as_str()).unwrap_or_default()
    }

    pub(super) fn first_headers(&self) -> impl Iterator<Item = (&'c str, &'c str)> {
        let headers = self.starts().next().and_then(|start| start["headers"].as_array());
        headers.into_iter().flatten().filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
    }

    /// The values that the first start gives for a header.
    pub(super) fn given(&self, name: &'c str) -> Vec<&'c str> {
        self.first_headers()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub(super) fn var(&self, name: &str) -> &'c str {
        let vars = ["environ", "process_env"].map(|key| self.case.get(key));
        vars.iter().find_map(|vars| vars[name].as_str()).unwrap_or_default()
    }

    pub(super) fn has_var(&self, name: &str) -> bool {
        ["environ", "process_env"].iter().any(|key| self.case.get(key)[name].is_string())
    }

    pub(super) fn is_head_request(&self) -> bool {
        self.var("REQUEST_METHOD") == "HEAD"
    }

    pub(super) fn is_origin(&self) -> bool {
        matches!(self.case.get("class").as_str(), Some("SimpleHandler" | "ServerHandler"))
    }

    /// How stdout is recorded to behave, in its parts; none for one that takes everything.
    pub(super) fn stdout(&self) -> Vec<&'c str> {
        self.case.get("stdout").as_str().unwrap_or_default().split(':').collect()
    }

    /// Whether stdout never takes all that it is given.
    pub(super) fn stdout_breaks(&self) -> bool {
        matches!(self.stdout().first(), Some(&("raise" | "flushraise")))
    }

    /// The Content-Length that went out, if a number did, and the length of the body.
    pub(super) fn lengths(&self) -> Option<(usize, usize)> {
        let (head, body) = split(&self.base.output)?;
        let head = String::from_utf8_lossy(head).into_owned();
        let mut values = head.lines().filter_map(|line| line.strip_prefix("Content-Length: "));
        Some((values.next()?.parse().ok()?, body.len()))
    }

    /// One line of the log.
    pub(super) fn line(&self, why: &str) -> String {
        let path = [self.var("SCRIPT_NAME"), self.var("PATH_INFO")].concat();
        format!("gatewright: {} {path}: {why}\n", self.var("REQUEST_METHOD"))
    }

    /// A response as a handler of this class sends it.
    pub(super) fn response(&self, status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut head = match self.is_origin() {
            true => format!("HTTP/1.0 {status}\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"),
            false => format!("Status: {status}\r\n"),
        };
        if self.case.get("class") == "ServerHandler" {
            head += &format!("Server: {SERVER_SOFTWARE}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.as_bytes(), body].concat()
    }

    /// The outcome when the error page is sent in place of what the application sent, and `why` is logged.
    pub(super) fn page(&self, mut ran: Ran, why: Option<&str>) -> Ran {
        let body = Attributes::BASE.error_body;
        let length = body.len().to_string();
        let headers = [("Content-Type", "text/plain"), ("Content-Length", length.as_str())];
        ran.output = self.response(Attributes::BASE.error_status, &headers, body);
        ran.stderr += &why.map(|why| self.line(why)).unwrap_or_default();
        (ran.status, ran.body_bytes, ran.logged, ran.end) =
            (Some(500), body.len() as u64, true, End::Answered);
        ran
    }

    /// The same, when it is the only call of `start_response` that is refused, and the application stops there.
    pub(super) fn refused(&self, mut ran: Ran, why: &str) -> Ran {
        ran.events = vec![json!("app")];
        self.page(ran, Some(why))
    }
}

/// Head, with its empty line, and body.
pub(super) fn split(output: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    output.split_at_checked(end)
}

/// The output without this header's line.
pub(super) fn without(output: &[u8], header: &str) -> Vec<u8> {
    let (head, body) = split(output).unwrap_or((output, b""));
    let head = String::from_utf8_lossy(head);
    let kept: String = head.split_inclusive("\r\n").filter(|line| !line.starts_with(header)).collect();
    [kept.as_bytes(), body].concat()
}

/// A write of stdout as it is recorded.
pub(super) fn write(data: &[u8]) -> Value {
    json!(["write", hex(data)])
}
