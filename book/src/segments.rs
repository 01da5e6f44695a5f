//! An array that grows by one segment at a time, so that no element is ever moved: a vector that doubles copies all of
//! them within one command. Segments that no command has reached take no memory.

const SEGMENT_BITS: u32 = 12;
const SEGMENT_LEN: usize = 1 << SEGMENT_BITS;

#[derive(Debug)]
pub(crate) struct Segments<T> {
    segments: Vec<Option<Box<[T]>>>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { segments: Vec::new() }
    }
}

impl<T: Copy> Segments<T> {
    /// Makes sure that there is an element at `idx`: allocates its segment, all `empty`, and no other.
    #[inline]
    pub(crate) fn reach(&mut self, idx: u32, empty: T) {
        let at = segment_of(idx);
        if self.segments.len() <= at {
            self.segments.resize_with(at + 1, || None);
        }
        self.segments[at].get_or_insert_with(|| vec![empty; SEGMENT_LEN].into_boxed_slice());
    }

    /// The element at an index that was reached.
    #[inline]
    pub(crate) fn at(&self, idx: u32) -> &T {
        self.get(idx).expect("the element was reached")
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, idx: u32) -> &mut T {
        let segment = self.segments[segment_of(idx)].as_mut().expect("the element was reached");
        &mut segment[idx as usize % SEGMENT_LEN]
    }

    #[inline]
    pub(crate) fn get(&self, idx: u32) -> Option<&T> {
        let segment = self.segments.get(segment_of(idx))?.as_ref()?;
        Some(&segment[idx as usize % SEGMENT_LEN])
    }
}

fn segment_of(idx: u32) -> usize {
    (idx >> SEGMENT_BITS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(segments: &Segments<u32>) -> usize {
        segments.segments.iter().flatten().count()
    }

    #[test]
    fn elements_stay_where_they_are_while_it_grows() {
        let mut segments = Segments::default();
        segments.reach(3, 0u32);
        *segments.at_mut(3) = 7;
        let before = std::ptr::from_ref(segments.at(3));
        for idx in 0..=100 * SEGMENT_LEN as u32 {
            segments.reach(idx, 0);
        }
        assert_eq!((allocated(&segments), *segments.at(3)), (101, 7));
        assert!(std::ptr::eq(before, segments.at(3)), "no element is moved");
        assert_eq!(segments.get(101 * SEGMENT_LEN as u32), None);
    }

    /// A client does not choose which slot its order gets, and may still be the first to reach a far one.
    #[test]
    fn a_far_element_costs_one_segment() {
        let mut segments = Segments::default();
        let far = 1_000 * SEGMENT_LEN as u32 + 1;
        segments.reach(far, 5u32);
        assert_eq!((allocated(&segments), segments.get(far)), (1, Some(&5)));
        assert_eq!(segments.get(far - SEGMENT_LEN as u32), None, "an element in between was not reached");
        segments.reach(0, 5);
        assert_eq!((allocated(&segments), segments.get(0), segments.get(far)), (2, Some(&5), Some(&5)));
    }
}
