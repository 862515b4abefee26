//! SCGI, as nginx sends it. A connection carries one request.

use std::path::Path;

use super::page::{Page, Status};
use super::{Answer, Ask, Protocol, parameters, upload};

pub struct Scgi;

impl Protocol for Scgi {
    fn request(&self, ask: &Ask, _: bool, root: Option<&Path>) -> Vec<u8> {
        let mut head = Vec::new();
        let mut pairs = parameters(ask, root);
        // The specification wants a number; CONTENT_LENGTH is the first of the parameters.
        pairs[0].1 = ask.upload.to_string();
        pairs.insert(1, ("SCGI", "1".to_owned()));
        for (name, value) in pairs {
            head.extend_from_slice(name.as_bytes());
            head.push(0);
            head.extend_from_slice(value.as_bytes());
            head.push(0);
        }
        let mut out = format!("{}:", head.len()).into_bytes();
        out.extend_from_slice(&head);
        out.push(b',');
        out.extend_from_slice(&upload(ask));
        out
    }

    fn answer(&self) -> Box<dyn Answer> {
        Box::new(Plain(Page::new(Status::Field)))
    }
}

/// An answer that ends with its connection.
struct Plain(Page);

impl Answer for Plain {
    fn feed(&mut self, bytes: &[u8], ask: &Ask) -> Result<bool, String> {
        self.0.feed(bytes, ask)?;
        Ok(false)
    }

    fn end(&mut self, ask: &Ask) -> Result<(), String> {
        self.0.finish(ask)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
