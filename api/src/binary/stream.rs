//! What a session was sent, numbered: the newest part of it, in memory of fixed size.
//!
//! A reader that comes back asks for a number. What is still here is sent from here; what is older comes from the node's
//! history, which holds everything. Invariant: the messages kept are the newest ones, without a gap.

use std::collections::VecDeque;
use thiserror::Error;

/// Number of a message in a session's stream: 1, 2, 3 ... without gaps, never starting again. As a wish, 0 is "from now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionSeq(pub u64);

impl SessionSeq {
    pub const HEAD: Self = Self(0);
    pub const FIRST: Self = Self(1);

    /// Saturates: only a hostile peer names the last number, and nothing follows it.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Where a reader that asks for `wanted` starts, on a stream whose next message will be `next`.
///
/// `None` when it asks for more than there is: it has seen what this stream never said, so it is on the wrong one.
pub fn first_to_send(wanted: SessionSeq, next: SessionSeq) -> Option<SessionSeq> {
    if wanted == SessionSeq::HEAD {
        return Some(next);
    }
    (wanted <= next).then_some(wanted)
}

/// Defaults for an order-entry session: about ten thousand answers.
pub const STREAM_BYTES: usize = 1 << 20;
pub const STREAM_MESSAGES: usize = 1 << 14;

/// The wanted number is no longer in memory (or not yet said).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    #[error("message {} is older than memory, which starts at {}", wanted.0, oldest.0)]
    Older { wanted: SessionSeq, oldest: SessionSeq },
    #[error("message {} was not sent yet, the next is {}", wanted.0, next.0)]
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
    /// Oldest first; the number of an entry is its place plus the oldest number, so finding one needs no search.
    entries: VecDeque<Entry>,
    messages_max: usize,
    /// Where the next message goes.
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
}

impl Stream {
    /// A stream whose next message gets the number `next`. All memory is taken here.
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

    /// Keeps a message, forgetting the oldest ones where room is needed, and gives it its number.
    pub fn push(&mut self, message: &[u8]) -> SessionSeq {
        assert!(!message.is_empty() && message.len() <= self.bytes.len(), "memory holds any single message");
        if self.entries.len() == self.messages_max {
            self.entries.pop_front();
        }
        if self.bytes.len() < self.at + message.len() {
            // Whatever lies behind `at` is older than everything before it, and is forgotten with the lap.
            while self.entries.front().is_some_and(|e| self.at <= e.start as usize) {
                self.entries.pop_front();
            }
            self.at = 0;
        }
        let end = self.at + message.len();
        while self.entries.front().is_some_and(|e| (e.start as usize) < end && self.at < e.end()) {
            self.entries.pop_front();
        }
        self.bytes[self.at..end].copy_from_slice(message);
        self.entries.push_back(Entry { start: self.at as u32, len: message.len() as u32 });
        self.at = end;
        let seq = self.next;
        self.next = seq.next();
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

    /// Shows every message from `from` to the newest. `from` may be the next number: then there is nothing to show.
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
    fn memory_keeps_the_newest_and_says_what_is_older() {
        let mut stream = Stream::new(SessionSeq(5), 10, 100);
        for text in ["aaaa", "bbbb", "cccc"] {
            stream.push(text.as_bytes());
        }
        assert_eq!(stream.oldest_seq(), SessionSeq(6));
        assert_eq!(stream.get(SessionSeq(7)), Ok(&b"cccc"[..]));
        assert_eq!(stream.get(SessionSeq(5)), Err(StreamError::Older { wanted: SessionSeq(5), oldest: SessionSeq(6) }));
        assert_eq!(stream.get(SessionSeq(8)), Err(StreamError::Beyond { wanted: SessionSeq(8), next: SessionSeq(8) }));
        assert_eq!(stream.read_from(SessionSeq(8), &mut |_, _| panic!("nothing is there")), Ok(()));
    }

    #[test]
    fn a_reader_ahead_of_the_stream_is_on_the_wrong_one() {
        assert_eq!(first_to_send(SessionSeq::HEAD, SessionSeq(9)), Some(SessionSeq(9)));
        assert_eq!(first_to_send(SessionSeq(3), SessionSeq(9)), Some(SessionSeq(3)));
        assert_eq!(first_to_send(SessionSeq(9), SessionSeq(9)), Some(SessionSeq(9)));
        assert_eq!(first_to_send(SessionSeq(10), SessionSeq(9)), None);
    }

    proptest! {
        /// The slow twin keeps everything; what the stream still has must be the same bytes.
        #[test]
        fn what_is_kept_is_what_was_pushed(
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
                }).expect("the oldest is there");
                prop_assert!(0 < seen && seen <= messages_max);
                prop_assert_eq!(stream.next_seq().0 - oldest.0, seen as u64);
            }
        }
    }
}
