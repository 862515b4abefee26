//! One handler object serves one request after the other, however the last one ended.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;

use gatewright::app::{Application, app};
use gatewright::environ::Vars;
use gatewright::handlers::{BaseHandler, End, Policy, ServerHandler, Simple, capture_panics};

/// A connection that a test can break and mend.
#[derive(Clone, Default)]
struct Connection {
    sent: Rc<RefCell<Vec<u8>>>,
    broken: Rc<Cell<bool>>,
}

impl Write for Connection {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.flush()?;
        self.sent.borrow_mut().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.broken.get() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

#[test]
fn a_handler_serves_again_after_success_error_panic_and_a_gone_client() {
    capture_panics();
    let good = app(|_, respond| respond.start("200 OK", [("Date", "now")])?.send("good"));
    let fails = app(|_, respond| {
        let mut body = respond.start("200 OK", [("Date", "now")])?;
        body.write_all(b"part")?;
        body.flush()?;
        Err("failed after output".into())
    });
    let panics = app(|_, _| panic!("panicked before output"));
    for policy in [Policy::Safe, Policy::Wsgiref] {
        let connection = Connection::default();
        let ends = RefCell::new(Vec::new());
        let vars = Vars::from([("REQUEST_METHOD", "GET"), ("SERVER_PROTOCOL", "HTTP/1.0")]);
        let mut simple = Simple::new(io::empty(), connection.clone(), io::sink(), vars);
        simple.attributes.policy = policy;
        simple.attributes.server_software = Some("");
        let handler = ServerHandler::new(simple, |outcome| ends.borrow_mut().push(outcome.end));
        let apps: [(&dyn Application, bool); 6] = [
            (&good, false),
            (&fails, false),
            (&good, false),
            (&panics, false),
            (&good, true),
            (&good, false),
        ];
        let sent = apps.map(|(app, broken)| {
            connection.broken.set(broken);
            handler.run(app);
            String::from_utf8(connection.sent.take()).expect("these runs are ASCII")
        });
        let whole = "HTTP/1.0 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\ngood";
        for at in [0, 2, 5] {
            assert_eq!(sent[at], whole, "{policy:?} run {at}");
        }
        assert_eq!(sent[1], "HTTP/1.0 200 OK\r\nDate: now\r\n\r\npart", "{policy:?}");
        assert!(sent[3].starts_with("HTTP/1.0 500 Internal Server Error\r\n"), "{policy:?}: {}", sent[3]);
        assert_eq!(sent[4], "", "{policy:?}");
        use End::{Answered, ClientGone, Truncated};
        assert_eq!(*ends.borrow(), [Answered, Truncated, Answered, Answered, ClientGone, Answered]);
    }
}
