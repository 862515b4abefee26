//! Panics of applications: caught, and named with their place.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::app::AppResult;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// An application panicked.
#[derive(Debug)]
pub(super) struct Panicked {
    message: String,
    place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl std::error::Error for Panicked {}

/// Has panics of applications logged by their handler alone, with message and place, instead of printed by the panic
/// hook. Other panics go to the hook that was installed before. The binaries call it; a program may.
pub fn capture_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs `call`; a panic in it becomes an error.
pub(super) fn catching(call: impl FnOnce() -> AppResult) -> AppResult {
    let outer = CATCHING.replace(true);
    // What the application left half-changed is its own; ours is reset before it is used again.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(outer);
    result.unwrap_or_else(|payload| {
        let place = PLACE.take();
        let error = Panicked { message: message(&*payload), place };
        discard(payload);
        Err(error.into())
    })
}

/// Drops what an application made: that may panic too.
pub(super) fn discard<T>(value: T) {
    let outer = CATCHING.replace(true);
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // A payload whose drop panics has had its chance.
        std::mem::forget(payload);
    }
    CATCHING.set(outer);
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
}
