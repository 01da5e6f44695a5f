//! What a loop asks of the reactor: sockets, and the disk under the journal.
//!
//! The product has one implementation, [`Reactor`](super::uring::Reactor); the simulator has another and steps the very
//! same loops with it. Loops take these traits as type parameters, so each loop is compiled for one implementation and no
//! call is looked up at run time.

use std::net::SocketAddr;
use std::time::Duration;
use wal::head::{Head, Poisoned};

/// Names a connection. The generation makes it unique: a slot that is used again gets another `ConnId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(super) slot: u16,
    pub(super) generation: u32,
}

impl ConnId {
    pub fn new(slot: u16, generation: u32) -> Self {
        Self { slot, generation }
    }

    pub fn slot(self) -> usize {
        usize::from(self.slot)
    }
}

/// The listener that accepted a connection, by position in the order of the calls to `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerIdx(pub usize);

/// What completed in the last cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Accepted {
        conn: ConnId,
        listener: ListenerIdx,
    },
    /// So many bytes are in `received(conn)`; ask for more with `receive`.
    Received {
        conn: ConnId,
        bytes: usize,
    },
    /// The kernel has taken all bytes of the last `send`.
    Sent {
        conn: ConnId,
    },
    /// The peer closed, or the connection failed; call `close`.
    Lost {
        conn: ConnId,
    },
}

/// How long a poll may wait in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Spin,
    /// Until something completes, or this long.
    Upto(Duration),
}

/// Connections by number. No call here waits: completions are found with `done` after a later poll.
pub trait Sockets {
    /// The completions of the last poll, by position.
    fn done(&self, idx: usize) -> Option<Done>;

    /// Asks for the next bytes. The bytes of the previous receive are discarded by this call.
    fn receive(&mut self, id: ConnId);

    /// The bytes of the last `Done::Received` of this connection.
    fn received(&self, id: ConnId) -> &[u8];

    /// The buffer to fill before `send`; `None` while a send is under way or the connection is closing.
    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]>;

    /// Sends the first `bytes` of the send buffer.
    fn send(&mut self, id: ConnId, bytes: usize);

    fn is_sending(&self, id: ConnId) -> bool;

    fn peer(&self, id: ConnId) -> Option<SocketAddr>;

    /// Shuts the sending side down; what the client still sends is received.
    fn finish_sending(&mut self, id: ConnId);

    /// Ends a connection. Its slot is used again once the kernel no longer uses its buffers.
    fn close(&mut self, id: ConnId);
}

/// The head of the log, and the disk that its frames are written to.
pub trait Journaling {
    fn head(&self) -> &Head;

    fn head_mut(&mut self) -> &mut Head;

    /// Closes staged frames and submits their writes, as many as may be in flight at once. Returns how many.
    fn write_journal(&mut self) -> usize;

    /// The failure that ended the journal, if there was one: from then on nothing more becomes durable.
    fn poisoned(&self) -> Option<&Poisoned>;
}
