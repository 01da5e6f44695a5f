//! The newest messages of one numbered stream, in memory of fixed size: what a resend is answered from.
//!
//! A reader that reconnects names the number to resume from. Messages that are still in memory are resent from here;
//! older ones come from the node's history. Invariants: numbers are given in order, each once; the messages in memory
//! are the newest ones, without a gap.

use std::collections::VecDeque;
use thiserror::Error;

/// Sequence number of a message in its stream: 1, 2, 3 ... without gaps. In a login, 0 starts with the next new
/// message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionSeq(pub u64);

impl SessionSeq {
    pub const HEAD: Self = Self(0);
    pub const FIRST: Self = Self(1);

    /// The following number. Saturates, because a peer may send the largest one, and no message follows it.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The first number to send to a reader that requests `wanted` from a stream whose next message gets the number `next`.
///
/// `None` when `wanted` is larger than `next`: the reader has received messages that this stream has never sent, so it
/// follows another stream.
pub fn first_to_send(wanted: SessionSeq, next: SessionSeq) -> Option<SessionSeq> {
    if wanted == SessionSeq::HEAD {
        return Some(next);
    }
    (wanted <= next).then_some(wanted)
}

/// Memory for one order-entry session: about ten thousand answers.
pub const STREAM_BYTES: usize = 1 << 20;
pub const STREAM_MESSAGES: usize = 1 << 14;

/// Why memory does not hold a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    #[error("message {} is no longer in memory; the oldest one there is {}", wanted.0, oldest.0)]
    Older { wanted: SessionSeq, oldest: SessionSeq },
    #[error("message {} does not exist yet; the next one gets number {}", wanted.0, next.0)]
    Beyond { wanted: SessionSeq, next: SessionSeq },
}

/// The newest messages of one stream.
///
/// ```text
/// bytes: | newer ... at | free | oldest ... newest | unused tail |      a message is never split over the end
/// ```
#[derive(Debug)]
pub struct Stream {
    bytes: Box<[u8]>,
    /// Oldest first. The number of an entry is its index plus the oldest number, so a message is found without a
    /// search.
    entries: VecDeque<Entry>,
    messages_max: usize,
    /// Offset in `bytes` at which the next message is written.
    at: usize,
    next: SessionSeq,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
}

impl Entry {
    fn end(self) -> usize {
        (self.start + self.len) as usize
    }

    fn is_apart_from(self, other: Self) -> bool {
        self.end() <= other.start as usize || other.end() <= self.start as usize
    }
}

impl Stream {
    /// A stream whose next message gets the number `next`. All memory is allocated here.
    pub fn new(next: SessionSeq, bytes_max: usize, messages_max: usize) -> Self {
        assert!(SessionSeq::FIRST <= next, "numbers start at 1");
        assert!(0 < messages_max && 0 < bytes_max && bytes_max <= u32::MAX as usize);
        Self {
            bytes: vec![0; bytes_max].into_boxed_slice(),
            entries: VecDeque::with_capacity(messages_max),
            messages_max,
            at: 0,
            next,
        }
    }

    /// Appends a message and returns its number. The oldest messages are dropped where their room is needed.
    pub fn push(&mut self, message: &[u8]) -> SessionSeq {
        assert!(!message.is_empty() && message.len() <= self.bytes.len(), "memory has room for any single message");
        if self.entries.len() == self.messages_max {
            self.entries.pop_front();
        }
        if self.bytes.len() < self.at + message.len() {
            // Entries at or after `at` are older than all entries before it: they are dropped as the buffer wraps
            // around.
            while self.entries.front().is_some_and(|e| self.at <= e.start as usize) {
                self.entries.pop_front();
            }
            self.at = 0;
        }
        let end = self.at + message.len();
        while self.entries.front().is_some_and(|e| (e.start as usize) < end && self.at < e.end()) {
            self.entries.pop_front();
        }
        let entry = Entry { start: self.at as u32, len: message.len() as u32 };
        assert!(
            self.entries.front().is_none_or(|oldest| oldest.is_apart_from(entry)),
            "a message in memory stays as it is"
        );
        self.bytes[self.at..end].copy_from_slice(message);
        self.entries.push_back(entry);
        assert!(self.entries.len() <= self.messages_max, "memory keeps no more messages than its limit");
        self.at = end;
        let seq = self.next;
        self.next = seq.next();
        assert!(seq < self.next, "a number is given once");
        seq
    }

    /// Number that the next message will get.
    pub fn next_seq(&self) -> SessionSeq {
        self.next
    }

    /// Oldest number in memory; the next one when memory is empty.
    pub fn oldest_seq(&self) -> SessionSeq {
        SessionSeq(self.next.0 - self.entries.len() as u64)
    }

    /// The message with this number.
    pub fn get(&self, seq: SessionSeq) -> Result<&[u8], StreamError> {
        let (oldest, next) = (self.oldest_seq(), self.next);
        if seq < oldest {
            return Err(StreamError::Older { wanted: seq, oldest });
        }
        if next <= seq {
            return Err(StreamError::Beyond { wanted: seq, next });
        }
        let entry = self.entries[(seq.0 - oldest.0) as usize];
        Ok(&self.bytes[entry.start as usize..entry.end()])
    }

    /// Hands every message from number `from` to the newest to `see`. `from` may be the next number: then there is
    /// none.
    pub fn read_from(&self, from: SessionSeq, see: &mut impl FnMut(SessionSeq, &[u8])) -> Result<(), StreamError> {
        let oldest = self.oldest_seq();
        if from < oldest {
            return Err(StreamError::Older { wanted: from, oldest });
        }
        if self.next < from {
            return Err(StreamError::Beyond { wanted: from, next: self.next });
        }
        let skip = (from.0 - oldest.0) as usize;
        for (idx, entry) in self.entries.iter().enumerate().skip(skip) {
            see(SessionSeq(oldest.0 + idx as u64), &self.bytes[entry.start as usize..entry.end()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_keeps_the_newest_messages_and_names_the_oldest() {
        let mut stream = Stream::new(SessionSeq(5), 10, 100);
        for text in ["aaaa", "bbbb", "cccc"] {
            stream.push(text.as_bytes());
        }
        assert_eq!(stream.oldest_seq(), SessionSeq(6));
        assert_eq!(stream.get(SessionSeq(7)), Ok(&b"cccc"[..]));
        assert_eq!(stream.get(SessionSeq(5)), Err(StreamError::Older { wanted: SessionSeq(5), oldest: SessionSeq(6) }));
        assert_eq!(stream.get(SessionSeq(8)), Err(StreamError::Beyond { wanted: SessionSeq(8), next: SessionSeq(8) }));
        assert_eq!(stream.read_from(SessionSeq(8), &mut |_, _| panic!("the stream has no message 8")), Ok(()));
    }

    #[test]
    fn a_reader_beyond_the_next_number_is_refused() {
        assert_eq!(first_to_send(SessionSeq::HEAD, SessionSeq(9)), Some(SessionSeq(9)));
        assert_eq!(first_to_send(SessionSeq(3), SessionSeq(9)), Some(SessionSeq(3)));
        assert_eq!(first_to_send(SessionSeq(9), SessionSeq(9)), Some(SessionSeq(9)));
        assert_eq!(first_to_send(SessionSeq(10), SessionSeq(9)), None);
    }

    proptest! {
        /// The twin keeps every message; those that the stream still has must have the same bytes.
        #[test]
        fn messages_in_memory_are_the_newest_ones_pushed(
            bytes_max in 20usize..200,
            messages_max in 1usize..20,
            lens in prop::collection::vec(1usize..20, 0..300),
        ) {
            let mut stream = Stream::new(SessionSeq::FIRST, bytes_max, messages_max);
            let mut all = Vec::new();
            for (idx, len) in lens.iter().enumerate() {
                let message = vec![idx as u8; *len];
                prop_assert_eq!(stream.push(&message), SessionSeq(idx as u64 + 1));
                all.push(message);
                let oldest = stream.oldest_seq();
                let mut seen = 0;
                stream.read_from(oldest, &mut |seq, bytes| {
                    assert_eq!(bytes, all[seq.0 as usize - 1]);
                    seen += 1;
                }).expect("the oldest message is in memory");
                prop_assert!(0 < seen && seen <= messages_max);
                prop_assert_eq!(stream.next_seq().0 - oldest.0, seen as u64);
            }
        }
    }
}
