//! What happened during one run, in its order, told by everything that takes part in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

/// A notebook that the application, its iterable and its files share.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Notes>>);

#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub(crate) events: Vec<Value>,
    pub(crate) captured: Map<String, Value>,
}

impl Told {
    pub(crate) fn event(&self, event: impl Into<Value>) {
        self.notes().events.push(event.into());
    }

    pub(crate) fn caught(&self, error: &dyn std::error::Error) {
        self.event(json!({"caught": error.to_string()}));
    }

    pub(crate) fn captured(&self, key: &str, value: Value) {
        self.notes().captured.insert(key.to_owned(), value);
    }

    /// What was told so far; it is forgotten for the next run.
    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // An application that panics tells on: what stands there is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
