//! Measures how much memory a decoder allocates, by counting in the allocator.
//!
//! It counts this thread's memory only, and only what Rust's allocator gives: memory of zstd's own is not counted.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what the current thread holds.
struct Counting;

thread_local! {
    /// May be below zero, because memory of another thread may be freed here.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // While a thread ends its counters are gone, and nothing is measured then.
    let _counted = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _raised = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to `System` unchanged, which keeps the contract of `GlobalAlloc`; counting neither
// allocates (the cells are const-initialised and need no destructor) nor panics (sizes are below 2^63).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    // Passed on unchanged: zeroed pages cost nothing until they are touched, and their allocation is still counted.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the most bytes that it held at once beyond those held before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = work();
    let peak = PEAK.with(Cell::get);
    (result, usize::try_from(peak - before).unwrap_or(0))
}

/// Runs `work`, and asserts that it held no more than `bytes_max` at once.
#[track_caller]
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak_of(work);
    assert!(peak <= bytes_max, "{peak} bytes were held at once, the bound is {bytes_max}");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_and_not_the_sum() {
        let (_, peak) = peak_of(|| (0..10).for_each(|_| drop(std::hint::black_box(vec![1u8; 1_000]))));
        assert_eq!(peak, 1_000);
        assert_eq!(peak_of(|| ()).1, 0);
    }

    #[test]
    #[should_panic(expected = "the bound is 10")]
    fn more_than_the_bound_panics() {
        within(10, || drop(std::hint::black_box(vec![1u8; 11])));
    }
}
