//! What a loop requires of a reactor: sockets, and a disk for the journal.
//!
//! The product has one implementation, [`Reactor`](super::uring::Reactor). The simulator has another, with which it
//! steps the same loops. Loops take these traits as type parameters, so that no call is dispatched at run time.

use std::net::SocketAddr;
use std::time::Duration;
use wal::head::Head;
use wal::poison::Poisoned;

/// Identifies a connection. A slot that is used again gets another generation, so an old `ConnId` never means a new
/// connection.
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

/// Identifies a listener, by the order of the calls to `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerIdx(pub usize);

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Accepted {
        conn: ConnId,
        listener: ListenerIdx,
    },
    /// This listener accepts nothing until a connection ends or a short pause is over. It is reported again after the
    /// pause if it still cannot accept. A connection that is closed makes room.
    AcceptPaused {
        listener: ListenerIdx,
        cause: PauseCause,
    },
    /// This many bytes are in `received(conn)`; `receive` asks for more.
    Received {
        conn: ConnId,
        bytes: usize,
    },
    /// The kernel has accepted all bytes of the last `send`.
    Sent {
        conn: ConnId,
    },
    /// The peer has closed the connection, or it has failed; to be followed by `close`.
    Lost {
        conn: ConnId,
    },
}

/// Why a listener does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseCause {
    /// As many connections as the reactor has slots are open.
    NoSlot,
    /// The kernel refused: mostly for want of descriptors, of this process (`EMFILE`) or of the machine (`ENFILE`).
    Failed { errno: i32 },
}

/// How long a poll may wait in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Do not wait.
    Spin,
    /// Wait until something completes, this long at most.
    Upto(Duration),
}

/// Sockets. No call here waits: a later poll brings completions, which `done` returns.
pub trait Sockets {
    /// Accepts no further connection while `hold` is true, but for one per listener that was begun already. Connections
    /// wait in the kernel meanwhile.
    fn hold_accepts(&mut self, hold: bool);

    /// The completions of the last poll, by position.
    fn done(&self, idx: usize) -> Option<Done>;

    /// Asks for the next bytes, and discards those of the previous receive.
    fn receive(&mut self, id: ConnId);

    /// The bytes of the last `Done::Received` of this connection.
    fn received(&self, id: ConnId) -> &[u8];

    /// The buffer to fill before `send`; `None` while a send is in progress or the connection is closing. It holds its
    /// bytes until another connection's is asked for.
    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]>;

    /// Sends the first `bytes` of the send buffer.
    fn send(&mut self, id: ConnId, bytes: usize);

    fn is_sending(&self, id: ConnId) -> bool;

    fn peer(&self, id: ConnId) -> Option<SocketAddr>;

    /// Shuts down the sending side. Bytes that the client still sends are received.
    fn finish_sending(&mut self, id: ConnId);

    /// Closes a connection. Its slot is reused once the kernel no longer uses its buffers.
    fn close(&mut self, id: ConnId);
}

/// The head of the log, and the disk that its frames are written to.
pub trait Journaling {
    fn head(&self) -> &Head;

    fn head_mut(&mut self) -> &mut Head;

    /// Closes staged frames and submits their writes, as many as may be in flight. Returns how many.
    fn write_journal(&mut self) -> usize;

    /// The failed write or sync that ended the journal, if there was one: nothing becomes durable after it.
    fn poisoned(&self) -> Option<&Poisoned>;
}
