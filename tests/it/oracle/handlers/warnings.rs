//! Catches what the library reports through `log`, for each thread by itself: tests run beside each other.

use std::cell::RefCell;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

thread_local! {
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Catcher;

impl Log for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            CAUGHT.with_borrow_mut(|caught| {
                if let Some(caught) = caught {
                    caught.push(record.args().to_string());
                }
            });
        }
    }

    fn flush(&self) {}
}

/// What `call` gives, and the warnings that this thread reported meanwhile.
pub(crate) fn catching<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    static CATCHER: Catcher = Catcher;
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&CATCHER).expect("no other logger in this program");
        log::set_max_level(LevelFilter::Warn);
    });
    CAUGHT.set(Some(Vec::new()));
    let result = call();
    (result, CAUGHT.take().unwrap_or_default())
}
