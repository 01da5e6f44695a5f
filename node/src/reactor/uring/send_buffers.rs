//! Send buffers: one that is filled, and those on their way.
//!
//! ```text
//!            begin                take: few bytes are copied, many keep their buffer
//!  filling --------> the caller --------------------------------------------------> small or large --> the kernel
//!     ^                                                                                    |
//!     +---- a spare large one, or a new one            spare, for the next sends <---------+ keep
//! ```
//! One large buffer is filled at a time, and a connection has a buffer of its own only while it sends. Most sends are a
//! few answers, so a small buffer has room for them: ten thousand connections that are answered in one cycle take 20 MB
//! of small buffers, which are all kept, and not 640 MB of large ones, which are too many to keep.

use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::ConnId;

/// Capacity of the buffer that is filled, and of a large one.
pub(super) const LARGE_BYTES: usize = 64 * 1024;
/// Capacity of a small buffer. Copying so many bytes takes some tens of nanoseconds.
const SMALL_BYTES: usize = 2 * 1024;
/// Large buffers that are kept for the next sends; beyond, they are freed. As many small ones are kept as there are
/// connections.
const LARGE_SPARE_MAX: usize = 1024;

pub(super) struct SendBuffers {
    filling: Box<[u8]>,
    /// The connection for which it is filled.
    filled_for: Option<ConnId>,
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

impl SendBuffers {
    pub(super) fn new(connections_max: u16) -> Self {
        Self {
            filling: vec![0; LARGE_BYTES].into_boxed_slice(),
            filled_for: None,
            small: Vec::with_capacity(connections_max.into()),
            large: Vec::with_capacity(LARGE_SPARE_MAX),
        }
    }

    /// The buffer to fill for this connection. What another connection has left in it is given up.
    #[inline]
    pub(super) fn begin(&mut self, id: ConnId) -> &mut [u8] {
        self.filled_for = Some(id);
        &mut self.filling
    }

    /// A buffer of its own with the first `bytes` that were filled in for this connection.
    #[inline]
    pub(super) fn take(&mut self, id: ConnId, bytes: usize) -> Box<[u8]> {
        assert!(self.filled_for.take() == Some(id), "a send follows the filling of its own buffer");
        if bytes <= SMALL_BYTES {
            let mut buffer = self.small.pop().unwrap_or_else(|| vec![0; SMALL_BYTES].into_boxed_slice());
            let copied = bytes.planted(Mutation::SmallSendNotCopied, |_| 0);
            buffer[..copied].copy_from_slice(&self.filling[..copied]);
            return buffer;
        }
        let next = self.large.pop().unwrap_or_else(|| vec![0; LARGE_BYTES].into_boxed_slice());
        std::mem::replace(&mut self.filling, next)
    }

    /// Keeps a buffer that the kernel no longer reads for the next send, or frees it where enough are kept.
    #[inline]
    pub(super) fn keep(&mut self, buffer: Box<[u8]>) {
        let spare = match buffer.len() {
            SMALL_BYTES => &mut self.small,
            LARGE_BYTES => &mut self.large,
            // A connection that does not send has an empty one.
            _ => return,
        };
        if spare.len() < spare.capacity() {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_take_a_small_buffer_that_is_used_again() {
        let mut buffers = SendBuffers::new(2);
        let id = ConnId::new(1, 7);
        buffers.begin(id)[..3].copy_from_slice(b"abc");
        let first = buffers.take(id, 3);
        assert_eq!((&first[..3], first.len()), (&b"abc"[..], SMALL_BYTES));
        let address = first.as_ptr();
        buffers.keep(first);
        buffers.begin(id)[0] = b'x';
        let again = buffers.take(id, 1);
        assert_eq!((again[0], again.as_ptr()), (b'x', address));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn small_sends_that_are_not_copied_are_noticed() {
        let fault = Mutation::SmallSendNotCopied;
        crate::faults::mutation::assert_noticed(fault, few_bytes_take_a_small_buffer_that_is_used_again);
    }

    #[test]
    fn many_bytes_keep_the_buffer_that_they_were_filled_into() {
        let mut buffers = SendBuffers::new(2);
        let id = ConnId::new(0, 0);
        let address = buffers.begin(id).as_ptr();
        buffers.begin(id)[SMALL_BYTES] = 9;
        let taken = buffers.take(id, SMALL_BYTES + 1);
        assert_eq!((taken[SMALL_BYTES], taken.as_ptr(), taken.len()), (9, address, LARGE_BYTES));
        assert_ne!(buffers.begin(id).as_ptr(), address, "what is on its way is not filled again");
        buffers.keep(taken);
        buffers.begin(id);
        let next = buffers.take(id, LARGE_BYTES);
        assert_eq!(buffers.begin(id).as_ptr(), address, "a spare one follows the one that was taken");
        buffers.keep(next);
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let mut buffers = SendBuffers::new(2);
        (0..5).for_each(|_| buffers.keep(vec![0; SMALL_BYTES].into_boxed_slice()));
        (0..5).for_each(|_| buffers.keep(Box::default()));
        assert_eq!((buffers.small.len(), buffers.large.len()), (2, 0));
    }

    #[test]
    #[should_panic(expected = "a send follows the filling of its own buffer")]
    fn a_send_of_what_was_filled_for_another_is_our_mistake() {
        let mut buffers = SendBuffers::new(2);
        buffers.begin(ConnId::new(0, 0));
        buffers.take(ConnId::new(1, 0), 1);
    }
}
