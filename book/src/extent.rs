//! The place of one of the large arrays of the state in memory, so that the node can choose its pages.
//!
//! It is an address, not a reference: nothing is read through it, and an array that grows moves away from it.

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
