//! An allocator that counts what it is asked for, except by threads that want to be left out.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub struct Counter;

static COUNTING: AtomicBool = AtomicBool::new(false);
static TRACING: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

thread_local! {
    static LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

/// Calls to the allocator, and the bytes they asked for.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub calls: u64,
    pub bytes: u64,
}

/// From now on this thread's calls do not count.
pub fn leave_this_thread_out() {
    LEFT_OUT.set(true);
}

/// Counts from zero, keeping a backtrace of each call if wanted.
pub fn begin(traces: bool) {
    CALLS.store(0, Relaxed);
    BYTES.store(0, Relaxed);
    TRACING.store(traces, Relaxed);
    COUNTING.store(true, Relaxed);
}

pub fn end() -> (Counts, Vec<Backtrace>) {
    COUNTING.store(false, Relaxed);
    let traces = TRACES.lock().map(|mut traces| std::mem::take(&mut *traces)).unwrap_or_default();
    (Counts { calls: CALLS.load(Relaxed), bytes: BYTES.load(Relaxed) }, traces)
}

fn note(size: usize) {
    if !COUNTING.load(Relaxed) || LEFT_OUT.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    CALLS.fetch_add(1, Relaxed);
    BYTES.fetch_add(size as u64, Relaxed);
    if TRACING.load(Relaxed) {
        // What a backtrace allocates itself is left out.
        LEFT_OUT.set(true);
        if let Ok(mut traces) = TRACES.lock() {
            traces.push(Backtrace::force_capture());
        }
        LEFT_OUT.set(false);
    }
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}
