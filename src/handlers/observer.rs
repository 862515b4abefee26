//! Who is told of each finished request.

use std::fmt;
use std::time::Duration;

use super::outcome::Outcome;
use crate::environ::Environ;

/// Told of each request when it is over, error pages and refused requests included: the place for an access log or
/// for counters. See [`Attributes::observer`](super::Attributes::observer).
///
/// It is called by the thread that ran the application, before that thread takes another request: it must not wait for
/// anything. The environment is as the application left it.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use gatewright::apps::demo_app;
/// use gatewright::environ::{Environ, Vars};
/// use gatewright::handlers::{Attributes, BaseCgi, BaseHandler, Observer, Outcome};
///
/// #[derive(Debug, Default)]
/// struct Bytes(AtomicU64);
///
/// impl Observer for Bytes {
///     fn finished(&self, _request: &Environ<'_>, outcome: &Outcome, _took: Duration) {
///         self.0.fetch_add(outcome.body_bytes, Ordering::Relaxed);
///     }
/// }
///
/// static SENT: Bytes = Bytes(AtomicU64::new(0));
///
/// let mut handler = BaseCgi::new(&b""[..], Vec::new(), std::io::stderr(), Vars::new());
/// handler.attributes = Attributes { observer: Some(&SENT), ..handler.attributes };
/// handler.run(&demo_app);
/// assert!(SENT.0.load(Ordering::Relaxed) > 0);
/// ```
pub trait Observer: fmt::Debug + Send + Sync {
    /// The response is at its end, for good or ill. `took` is the time since the handler began with the request.
    fn finished(&self, request: &Environ<'_>, outcome: &Outcome, took: Duration);
}
