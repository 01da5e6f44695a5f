//! A number for others to read: the unit of all telemetry.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one loop writes and others read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// For numbers that may be below zero: written and read as such, and only so.
    #[inline]
    pub fn set_signed(&self, value: i64) {
        self.set(value.cast_unsigned());
    }

    #[inline]
    pub fn get_signed(&self) -> i64 {
        self.get().cast_signed()
    }

    /// Not atomic: for counters with one writer.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}
