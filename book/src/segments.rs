//! A sparse array that grows by one segment at a time, so that no element is ever moved: a vector that doubles copies
//! all of them within one command. Segments that no command has reached take no memory, and the directory of them is
//! set aside at the start.

/// The longest segment of any table of the state, in bytes: what one command allocates when it is the first to need a
/// place in one.
pub const SEGMENT_BYTES: usize = 1 << 16;

/// How many elements of this size a segment has: a power of two, so that an index is split by bits.
pub(crate) const fn segment_len(element_bytes: usize) -> usize {
    assert!(0 < element_bytes && element_bytes <= SEGMENT_BYTES);
    let fitting = SEGMENT_BYTES / element_bytes;
    1 << fitting.ilog2()
}

#[derive(Debug)]
pub(crate) struct Segments<T> {
    segments: Vec<Option<Box<[T]>>>,
}

impl<T: Copy> Segments<T> {
    const SEGMENT_LEN: usize = segment_len(size_of::<T>());

    /// An array whose indexes are below `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { segments: Vec::with_capacity(max.div_ceil(Self::SEGMENT_LEN)) }
    }

    /// Makes sure that there is an element at `idx`: allocates its segment, all `empty`, and no other.
    #[inline]
    pub(crate) fn reach(&mut self, idx: u32, empty: T) {
        let at = Self::segment_of(idx);
        if self.segments.len() <= at {
            assert!(at < self.segments.capacity(), "an array is never longer than its owner said");
            self.segments.resize_with(at + 1, || None);
        }
        self.segments[at].get_or_insert_with(|| vec![empty; Self::SEGMENT_LEN].into_boxed_slice());
    }

    /// The element at an index that was reached.
    #[inline]
    pub(crate) fn at(&self, idx: u32) -> &T {
        self.get(idx).expect("the element was reached")
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, idx: u32) -> &mut T {
        let segment = self.segments[Self::segment_of(idx)].as_mut().expect("the element was reached");
        &mut segment[idx as usize % Self::SEGMENT_LEN]
    }

    #[inline]
    pub(crate) fn get(&self, idx: u32) -> Option<&T> {
        let segment = self.segments.get(Self::segment_of(idx))?.as_ref()?;
        Some(&segment[idx as usize % Self::SEGMENT_LEN])
    }

    fn segment_of(idx: u32) -> usize {
        idx as usize / Self::SEGMENT_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u32 = Segments::<u32>::SEGMENT_LEN as u32;

    fn allocated(segments: &Segments<u32>) -> usize {
        segments.segments.iter().flatten().count()
    }

    #[test]
    fn elements_stay_where_they_are_while_it_grows() {
        let mut segments = Segments::new(200 * LEN as usize);
        let directory = segments.segments.as_ptr();
        segments.reach(3, 0u32);
        *segments.at_mut(3) = 7;
        let before = std::ptr::from_ref(segments.at(3));
        for idx in 0..=100 * LEN {
            segments.reach(idx, 0);
        }
        assert_eq!((allocated(&segments), *segments.at(3)), (101, 7));
        assert!(std::ptr::eq(before, segments.at(3)), "no element is moved");
        assert!(std::ptr::eq(directory, segments.segments.as_ptr()), "the directory is not moved");
        assert_eq!(segments.get(101 * LEN), None);
    }

    /// A client does not choose which slot its order gets, and may still be the first to reach a far one.
    #[test]
    fn a_far_element_costs_one_segment() {
        let mut segments = Segments::new(2_000 * LEN as usize);
        let far = 1_000 * LEN + 1;
        segments.reach(far, 5u32);
        assert_eq!((allocated(&segments), segments.get(far)), (1, Some(&5)));
        assert_eq!(segments.get(far - LEN), None, "an element in between was not reached");
        segments.reach(0, 5);
        assert_eq!((allocated(&segments), segments.get(0), segments.get(far)), (2, Some(&5), Some(&5)));
    }
}
