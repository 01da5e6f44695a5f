//! Where one of the large arrays of the state lies, for whoever chooses what pages lie under it.
//!
//! An address, not a reference: it is never read through here, and an array that grows moves away from it.

/// Capacity counts, used or not yet.
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
