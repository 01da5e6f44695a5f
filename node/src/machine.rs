//! What a loop asks of the machine below it: sockets, and the disk under the journal.
//!
//! The product has one answer, the reactor; a simulation has another and steps the very same loops with it. Loops take
//! these as type parameters: each is compiled for the machine that it runs on, and nothing is looked up at run time.

use crate::reactor::{ConnId, Done};
use std::net::SocketAddr;
use wal::head::{Head, Poisoned};

/// Connections by number. Nothing here waits: what was asked for is found among what is `done` later.
pub trait Sockets {
    /// What the last cycle collected, by position.
    fn done(&self, idx: usize) -> Option<Done>;

    /// Asks for the next bytes. What was received before is gone with this call.
    fn receive(&mut self, id: ConnId);

    /// The bytes of the last `Done::Received` of this connection.
    fn received(&self, id: ConnId) -> &[u8];

    /// Where to write what shall be sent; `None` while a send is under way or the connection is closing.
    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]>;

    /// Sends the first `bytes` of the send buffer.
    fn send(&mut self, id: ConnId, bytes: usize);

    fn is_sending(&self, id: ConnId) -> bool;

    fn peer(&self, id: ConnId) -> Option<SocketAddr>;

    /// Says that nothing more will be sent; what the client still sends is received.
    fn finish_sending(&mut self, id: ConnId);

    /// Ends a connection.
    fn close(&mut self, id: ConnId);
}

/// The head and the disk that its frames go to.
pub trait Journaling {
    fn head(&self) -> &Head;

    fn head_mut(&mut self) -> &mut Head;

    /// Closes staged frames and asks for their writes, as many as may be under way at once. Returns how many.
    fn write_journal(&mut self) -> usize;

    /// The failure that ended the journal, when there was one: nothing is durable from there on.
    fn poisoned(&self) -> Option<&Poisoned>;
}
