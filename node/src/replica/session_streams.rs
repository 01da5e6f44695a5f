//! The outbound streams of all binary sessions: what each was told, numbered from 1.
//!
//! Numbers are given in the order of the log, so a stream built again from the log is the same byte for byte. Memory
//! keeps the newest messages of a session; older ones are in the history.

use api::binary::stream::{SessionSeq, Stream};
use book::ids::SessionId;

/// Bytes set aside for one message; answers are 48 to 120 bytes long.
const MESSAGE_BYTES: usize = 120;

#[derive(Debug)]
pub struct Streams {
    /// By session; a stream is made when its session is first told something. Untouched memory of it costs nothing.
    streams: Vec<Option<Stream>>,
    /// By session: where its stream goes on when it is made; from the first message on where nothing is said.
    begins: Vec<SessionSeq>,
    messages_max: usize,
}

impl Streams {
    /// Each stream keeps its newest `messages_max` messages.
    pub fn new(messages_max: usize) -> Self {
        Self::resume(&[], messages_max)
    }

    /// Goes on with these numbers, by session; what is older is not here.
    pub fn resume(begins: &[SessionSeq], messages_max: usize) -> Self {
        Self { streams: Vec::new(), begins: begins.to_vec(), messages_max }
    }

    #[inline]
    pub fn push(&mut self, session: SessionId, bytes: &[u8]) -> SessionSeq {
        self.stream_mut(session).push(bytes)
    }

    /// The stream of a session that exists.
    pub fn stream_mut(&mut self, session: SessionId) -> &mut Stream {
        assert!(!session.is_none(), "answers go to sessions");
        let idx = session.0 as usize - 1;
        if idx >= self.streams.len() {
            self.streams.resize_with(idx + 1, || None);
        }
        let Self { begins, messages_max, .. } = self;
        let begin = begins.get(idx).copied().unwrap_or(SessionSeq::FIRST);
        self.streams[idx].get_or_insert_with(|| Stream::new(begin, *messages_max * MESSAGE_BYTES, *messages_max))
    }
}
