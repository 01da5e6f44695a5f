//! An array that grows by one segment at a time, so that no element is ever moved: a vector that doubles copies all of
//! them within one command.

const SEGMENT_BITS: u32 = 12;
const SEGMENT_LEN: usize = 1 << SEGMENT_BITS;

#[derive(Debug)]
pub(crate) struct Segments<T> {
    segments: Vec<Box<[T]>>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { segments: Vec::new() }
    }
}

impl<T: Copy> Segments<T> {
    /// Adds segments of `empty` until there is an element at `idx`.
    #[inline]
    pub(crate) fn reach(&mut self, idx: u32, empty: T) {
        while self.len() <= idx as usize {
            self.segments.push(vec![empty; SEGMENT_LEN].into_boxed_slice());
        }
    }

    /// How many elements there are; a multiple of a segment.
    pub(crate) fn len(&self) -> usize {
        self.segments.len() * SEGMENT_LEN
    }

    #[inline]
    pub(crate) fn at(&self, idx: u32) -> &T {
        &self.segments[(idx >> SEGMENT_BITS) as usize][idx as usize % SEGMENT_LEN]
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, idx: u32) -> &mut T {
        &mut self.segments[(idx >> SEGMENT_BITS) as usize][idx as usize % SEGMENT_LEN]
    }

    #[inline]
    pub(crate) fn get(&self, idx: u32) -> Option<&T> {
        let segment = self.segments.get((idx >> SEGMENT_BITS) as usize)?;
        Some(&segment[idx as usize % SEGMENT_LEN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_while_it_grows() {
        let mut segments = Segments::default();
        segments.reach(3, 0u32);
        assert_eq!(segments.len(), SEGMENT_LEN);
        *segments.at_mut(3) = 7;
        let before = std::ptr::from_ref(segments.at(3));
        segments.reach(100 * SEGMENT_LEN as u32, 0);
        assert_eq!((segments.len(), *segments.at(3)), (101 * SEGMENT_LEN, 7));
        assert!(std::ptr::eq(before, segments.at(3)), "no element is moved");
        assert_eq!(segments.get(101 * SEGMENT_LEN as u32), None);
    }
}
