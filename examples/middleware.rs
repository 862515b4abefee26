//! A middleware that sees and changes head and body: it times the application, counts its bytes, and says so in a
//! header and in the log.

use std::io::{self, Write};
use std::time::Instant;

use gatewright::app::{AppResult, Application, BoxError, Respond, Responder};
use gatewright::apps::demo_app;
use gatewright::environ::Environ;
use gatewright::headers::Headers;

/// Wraps an application.
struct Counted<A>(A);

/// Stands between the application and the handler while one request is answered.
struct Counting<'r> {
    inner: &'r mut dyn Respond,
    bytes: usize,
}

impl Respond for Counting<'_> {
    fn start(&mut self, status: &[u8], mut headers: Headers, cause: Option<BoxError>) -> AppResult {
        headers.set("X-Counted", "yes")?;
        self.inner.start(status, headers, cause)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.bytes += data.len();
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    // A body that is known whole stays known: it keeps its Content-Length.
    fn send(&mut self, whole: &[u8]) -> io::Result<()> {
        self.bytes += whole.len();
        self.inner.send(whole)
    }
}

impl<A: Application> Application for Counted<A> {
    fn call(&self, environ: &mut Environ<'_>, respond: Responder<'_>) -> AppResult {
        let begun = Instant::now();
        let mut counting = Counting { inner: respond.into_inner(), bytes: 0 };
        let result = self.0.call(environ, Responder::new(&mut counting));
        let (bytes, taken) = (counting.bytes, begun.elapsed());
        writeln!(environ.errors, "{bytes} bytes in {taken:?}")?;
        result
    }
}

fn main() -> std::process::ExitCode {
    gatewright::cli::run(Counted(demo_app))
}
