//! HTTP/1.1, as a proxy or a simple client sends it: answers have a Content-Length.

use std::path::Path;

use super::page::{Page, Status};
use super::{Answer, Ask, Protocol, upload};

pub struct Http;

impl Protocol for Http {
    fn request(&self, ask: &Ask, keep: bool, _: Option<&Path>) -> Vec<u8> {
        let (method, connection) =
            (if ask.upload > 0 { "POST" } else { "GET" }, if keep { "keep-alive" } else { "close" });
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nCache-Control: no-cache\r\n",
            ask.path
        );
        if ask.upload > 0 {
            head.push_str("Content-Type: application/octet-stream\r\n");
            head.push_str(&format!("Content-Length: {}\r\n", ask.upload));
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        out.extend_from_slice(&upload(ask));
        out
    }

    fn answer(&self) -> Box<dyn Answer> {
        Box::new(Lengths(Page::new(Status::Line)))
    }
}

/// Answers that end by their length.
struct Lengths(Page);

impl Answer for Lengths {
    fn feed(&mut self, bytes: &[u8], ask: &Ask) -> Result<bool, String> {
        self.0.feed(bytes, ask)?;
        Ok(self.0.is_whole(ask))
    }

    fn end(&mut self, ask: &Ask) -> Result<(), String> {
        self.0.finish(ask)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
