//! An array that grows at its end and never moves an element: what is set aside at the start, then segments.
//!
//! ```text
//!   first | 0 ................ first_max |     set aside at the start, in one piece, so that its pages can be chosen
//!   more  | segment | segment | segment        64 KiB each, as they are needed; their directory is set aside too
//! ```
//!
//! A vector that doubles copies all of its elements within one command. Here a command that needs a place allocates at
//! most one segment, and an element of the first part costs no more than in a vector: the check of its bounds decides.
//! So the ways to the first part are always inlined, and those beyond it never.
//! Invariant: the first part is full before there is a segment, and every segment but the last is full.

use crate::extent::Extent;
use crate::segments::segment_len;
use prefetch_index::prefetch_index;

#[derive(Debug)]
pub(crate) struct Array<T> {
    first: Vec<T>,
    first_max: usize,
    more: Vec<Vec<T>>,
}

impl<T> Array<T> {
    const SEGMENT_LEN: usize = segment_len(size_of::<T>());

    /// An empty array of at most `max` elements, the first `reserved` of which are set aside now.
    pub(crate) fn new(reserved: usize, max: usize) -> Self {
        let first_max = reserved.min(max);
        let segments_max = (max - first_max).div_ceil(Self::SEGMENT_LEN);
        Self { first: Vec::with_capacity(first_max), first_max, more: Vec::with_capacity(segments_max) }
    }

    pub(crate) fn len(&self) -> usize {
        match self.more.last() {
            None => self.first.len(),
            Some(last) => self.first_max + (self.more.len() - 1) * Self::SEGMENT_LEN + last.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, element: T) {
        if self.first.len() < self.first_max { self.first.push(element) } else { self.push_after(element) }
    }

    #[cold]
    #[inline(never)]
    fn push_after(&mut self, element: T) {
        if self.more.last().is_none_or(|last| last.len() == Self::SEGMENT_LEN) {
            assert!(self.more.len() < self.more.capacity(), "an array is never longer than its owner said");
            self.more.push(Vec::with_capacity(Self::SEGMENT_LEN));
        }
        self.more.last_mut().expect("there is a segment with room").push(element);
    }

    #[inline(always)]
    pub(crate) fn get(&self, idx: usize) -> Option<&T> {
        match self.first.get(idx) {
            Some(element) => Some(element),
            None => self.get_after(idx),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_after(&self, idx: usize) -> Option<&T> {
        let after = idx.checked_sub(self.first_max)?;
        self.more.get(after / Self::SEGMENT_LEN)?.get(after % Self::SEGMENT_LEN)
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, idx: usize) -> Option<&mut T> {
        if idx < self.first.len() { Some(&mut self.first[idx]) } else { self.get_mut_after(idx) }
    }

    #[cold]
    #[inline(never)]
    fn get_mut_after(&mut self, idx: usize) -> Option<&mut T> {
        let after = idx.checked_sub(self.first_max)?;
        self.more.get_mut(after / Self::SEGMENT_LEN)?.get_mut(after % Self::SEGMENT_LEN)
    }

    /// An element that is known to be there.
    #[inline(always)]
    pub(crate) fn at(&self, idx: usize) -> &T {
        match self.first.get(idx) {
            Some(element) => element,
            None => self.get_after(idx).expect("an index into an array is below its length"),
        }
    }

    #[inline(always)]
    pub(crate) fn at_mut(&mut self, idx: usize) -> &mut T {
        if idx < self.first.len() {
            &mut self.first[idx]
        } else {
            self.get_mut_after(idx).expect("an index into an array is below its length")
        }
    }

    /// Brings an element into the cache. An index that names none is harmless.
    #[inline(always)]
    pub(crate) fn fetch(&self, idx: usize) {
        if let Some(element) = self.get(idx) {
            prefetch_index(std::slice::from_ref(element), 0);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.more.iter().flatten())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(self.more.iter_mut().flatten())
    }

    /// The part that was set aside, for the choice of its pages.
    pub(crate) fn extent(&self, name: &'static str) -> Extent {
        Extent::of(name, &self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_and_come_back_by_index() {
        let mut array = Array::new(3, 1 << 20);
        let count = 3 + 2 * Array::<u32>::SEGMENT_LEN + 1;
        array.push(0);
        let first = std::ptr::from_ref(array.at(0));
        (1..count as u32).for_each(|number| array.push(number));
        assert_eq!((array.len(), array.more.len()), (count, 3));
        assert!((0..count).all(|idx| *array.at(idx) == idx as u32 && *array.at_mut(idx) == idx as u32));
        assert!(array.get(count).is_none() && array.get_mut(count).is_none());
        assert!(array.iter().copied().eq(0..count as u32));
        assert!(std::ptr::eq(first, array.at(0)), "no element is moved");
    }

    #[test]
    fn nothing_set_aside_is_segments_from_the_start() {
        let mut array = Array::new(0, 2);
        assert!(array.is_empty() && array.get(0).is_none());
        array.push(7u8);
        array.push(8);
        assert_eq!((array.len(), array.get(0), array.get(1), array.get(2)), (2, Some(&7), Some(&8), None));
    }
}
