//! A queue in segments: the oldest element leaves first, and no element is ever moved.
//!
//! Invariant: every segment but the last is full, and only the first has elements that have left.

use crate::segments::segment_len;
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Their directory is set aside at the start.
    segments: VecDeque<Vec<T>>,
    /// Elements of the first segment that have left.
    left: usize,
}

impl<T: Copy> Queue<T> {
    const SEGMENT_LEN: usize = segment_len(size_of::<T>());

    /// A queue of at most `max` elements.
    pub(crate) fn new(max: usize) -> Self {
        // One more, because the first and the last may both be partly empty.
        Self { segments: VecDeque::with_capacity(max.div_ceil(Self::SEGMENT_LEN) + 1), left: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        let last = self.segments.back().map_or(0, Vec::len);
        self.segments.len().saturating_sub(1) * Self::SEGMENT_LEN + last - self.left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, element: T) {
        if self.segments.back().is_none_or(|last| last.len() == Self::SEGMENT_LEN) {
            assert!(self.segments.len() < self.segments.capacity(), "a queue is never longer than its owner said");
            self.segments.push_back(Vec::with_capacity(Self::SEGMENT_LEN));
        }
        self.segments.back_mut().expect("there is a segment with room").push(element);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = self.segments.front()?;
        let element = *first.get(self.left)?;
        self.left += 1;
        if self.left == Self::SEGMENT_LEN {
            self.segments.pop_front();
            self.left = 0;
        }
        Some(element)
    }

    pub(crate) fn oldest(&self) -> Option<&T> {
        self.segments.front()?.get(self.left)
    }

    pub(crate) fn youngest(&self) -> Option<&T> {
        // When the last segment has lost all of its elements, nothing is left.
        if self.is_empty() { None } else { self.segments.back()?.last() }
    }

    /// The elements from the one at `idx` on, the oldest of which has index 0.
    pub(crate) fn get(&self, idx: usize) -> Option<&T> {
        let at = self.left + idx;
        self.segments.get(at / Self::SEGMENT_LEN)?.get(at % Self::SEGMENT_LEN)
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten().skip(self.left)
    }

    /// Changes each element, or takes it out. For the beginning of a timeline: it moves all of them.
    pub(crate) fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = Self { segments: VecDeque::with_capacity(self.segments.capacity()), left: 0 };
        for mut element in self.iter().copied() {
            if keep(&mut element) {
                kept.push(element);
            }
        }
        *self = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = Queue::<u64>::SEGMENT_LEN;

    #[test]
    fn a_queue_agrees_with_a_deque_over_seeded_pushes_and_pops() {
        let (mut queue, mut twin) = (Queue::new(8 * LEN), VecDeque::new());
        let mut seed = 3u64;
        for step in 0..200_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let grows = twin.len() < 4 * LEN && (step / 50_000) % 2 == 0;
            if (seed >> 33) % 4 < if grows { 3 } else { 1 } && twin.len() < 8 * LEN {
                queue.push(step);
                twin.push_back(step);
            } else {
                assert_eq!(queue.pop(), twin.pop_front());
            }
            assert_eq!((queue.len(), queue.is_empty()), (twin.len(), twin.is_empty()));
            assert_eq!((queue.oldest(), queue.youngest()), (twin.front(), twin.back()));
            let idx = (seed >> 40) as usize % LEN;
            assert_eq!(queue.get(idx), twin.get(idx));
        }
        assert!(queue.iter().eq(twin.iter()));
        queue.retain_mut(|number| {
            *number += 1;
            *number % 3 == 0
        });
        assert!(queue.iter().copied().eq(twin.iter().map(|number| number + 1).filter(|number| number % 3 == 0)));
    }
}
