//! The place of one of the large arrays of the state in memory, as far as it was set aside at the start, so that the
//! node can choose its pages.
//!
//! It is an address, not a reference: nothing is read through it. An array that grows further does so in segments, and
//! stays where it is.

/// The memory of one array: all of its capacity, also the unused part.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub name: &'static str,
    pub address: usize,
    pub bytes: usize,
}

impl Extent {
    pub(crate) fn of<T>(name: &'static str, array: &Vec<T>) -> Self {
        Self { name, address: array.as_ptr().addr(), bytes: array.capacity() * size_of::<T>() }
    }
}
