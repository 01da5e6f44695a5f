//! Connections between clients and the node: bytes arrive in pieces, late, or never.
//!
//! ```text
//!  client --send--> to_node ....pieces....> received --> gateway
//!  client <--take-- to_client <...pieces... send buffer <-- gateway
//! ```
//! It behaves as the reactor: one receive and one send at a time, an id never names two connections, and every
//! operation ends in exactly one `Done`.

use book::testing::workload::rng::Rng;
use node::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use node::reactor::uring::{RECEIVE_BYTES, SEND_BYTES};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

/// Names a connection for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionIdx(usize);

#[derive(Default)]
struct Connection {
    to_node: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// The client sends nothing more; bytes under way still arrive.
    client_done: bool,
    /// The node sends nothing more.
    node_done: bool,
    reset: bool,
    conn: Option<ConnId>,
    ended: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<usize>,
    receiving: bool,
    received: Vec<u8>,
    send: Box<[u8]>,
    /// Range of the send buffer that is not sent yet.
    sending: Option<(usize, usize)>,
}

#[derive(Default)]
pub(crate) struct Net {
    connections: Vec<Connection>,
    /// Connections that have not ended.
    open: Vec<usize>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    done: Vec<Done>,
    /// Bytes that may wait for a client; beyond, the node's sends wait.
    window: usize,
    /// Number of polls of a connection that moved nothing for that reason.
    pub full_count: u64,
}

/// How connections deliver bytes in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// One in so many polls of a connection moves nothing.
    pub skip_one_in: u32,
    /// Bytes that one poll of a connection moves at most.
    pub bytes_max: u32,
}

// The client's side.
impl Net {
    pub(crate) fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    pub(crate) fn connect(&mut self) -> ConnectionIdx {
        self.connections.push(Connection::default());
        self.open.push(self.connections.len() - 1);
        ConnectionIdx(self.connections.len() - 1)
    }

    pub(crate) fn send(&mut self, connection: ConnectionIdx, bytes: &[u8]) {
        let connection = &mut self.connections[connection.0];
        if !connection.client_done {
            connection.to_node.extend(bytes);
        }
    }

    /// Moves arrived bytes into `into`; returns false when no more will arrive.
    pub(crate) fn take(&mut self, connection: ConnectionIdx, bytes_max: usize, into: &mut Vec<u8>) -> bool {
        let connection = &mut self.connections[connection.0];
        if connection.reset {
            return false;
        }
        let len = connection.to_client.len().min(bytes_max);
        into.extend(connection.to_client.drain(..len));
        len > 0 || !(connection.node_done && connection.to_client.is_empty())
    }

    pub(crate) fn finish(&mut self, connection: ConnectionIdx) {
        self.connections[connection.0].client_done = true;
    }

    pub(crate) fn reset(&mut self, connection: ConnectionIdx) {
        self.connections[connection.0].reset = true;
    }
}

// The node's side: the part of the kernel.
impl Net {
    pub(crate) fn poll(&mut self, delivery: Delivery, rng: &mut Rng) {
        self.done.clear();
        for at in 0..self.open.len() {
            let idx = self.open[at];
            if !rng.one_in(delivery.skip_one_in) {
                self.move_bytes(idx, delivery, rng);
            }
        }
        let Self { connections, open, .. } = self;
        open.retain(|&idx| !connections[idx].ended);
    }

    fn move_bytes(&mut self, idx: usize, delivery: Delivery, rng: &mut Rng) {
        let connection = &mut self.connections[idx];
        if connection.ended {
            // Its slot may belong to another connection by now.
            return;
        }
        let Some(conn) = connection.conn else { return self.accept(idx) };
        let slot = &mut self.slots[conn.slot()];
        if connection.reset {
            // Every operation under way ends; one of them reports the loss.
            if slot.receiving || slot.sending.is_some() {
                (slot.receiving, slot.sending) = (false, None);
                self.done.push(Done::Lost { conn });
            }
            return;
        }
        if slot.receiving {
            let len = connection.to_node.len().min(RECEIVE_BYTES).min(1 + rng.below(delivery.bytes_max) as usize);
            if len > 0 {
                slot.received.clear();
                slot.received.extend(connection.to_node.drain(..len));
                slot.receiving = false;
                self.done.push(Done::Received { conn, bytes: len });
            } else if connection.client_done {
                slot.receiving = false;
                self.done.push(Done::Lost { conn });
            }
        }
        if let Some((from, to)) = slot.sending {
            if self.window <= connection.to_client.len() {
                self.full_count += 1;
                return;
            }
            let at = to.min(from + 1 + rng.below(delivery.bytes_max) as usize);
            connection.to_client.extend(&slot.send[from..at]);
            slot.sending = (at < to).then_some((at, to));
            if at == to {
                self.done.push(Done::Sent { conn });
            }
        }
    }

    fn accept(&mut self, idx: usize) {
        if self.connections[idx].reset {
            self.connections[idx].ended = true;
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u16 - 1
        });
        let state = &mut self.slots[usize::from(slot)];
        if state.send.is_empty() {
            state.send = vec![0; SEND_BYTES].into_boxed_slice();
        }
        (state.connection, state.receiving, state.sending) = (Some(idx), true, None);
        state.received.clear();
        let conn = ConnId::new(slot, state.generation);
        self.connections[idx].conn = Some(conn);
        self.done.push(Done::Accepted { conn, listener: ListenerIdx(0) });
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot())?;
        (ConnId::new(id.slot() as u16, slot.generation) == id && slot.connection.is_some()).then_some(slot)
    }

    fn slot_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot())?;
        (ConnId::new(id.slot() as u16, slot.generation) == id && slot.connection.is_some()).then_some(slot)
    }
}

impl Sockets for Net {
    /// Simulated clients are few: none waits here.
    fn hold_accepts(&mut self, _hold: bool) {}

    fn done(&self, idx: usize) -> Option<Done> {
        self.done.get(idx).copied()
    }

    fn receive(&mut self, id: ConnId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.receiving = true;
        }
    }

    fn received(&self, id: ConnId) -> &[u8] {
        self.slot(id).map_or(&[], |slot| &slot.received)
    }

    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]> {
        let slot = self.slot_mut(id)?;
        slot.sending.is_none().then_some(&mut slot.send[..])
    }

    fn send(&mut self, id: ConnId, bytes: usize) {
        let Some(slot) = self.slot_mut(id) else { return };
        assert!(slot.sending.is_none() && bytes <= slot.send.len(), "one send at a time, within the buffer");
        if bytes > 0 {
            slot.sending = Some((0, bytes));
        }
    }

    fn is_sending(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| slot.sending.is_some())
    }

    fn peer(&self, id: ConnId) -> Option<SocketAddr> {
        let connection = self.slot(id)?.connection?;
        Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, (connection % 200) as u8), 1_000)))
    }

    fn finish_sending(&mut self, id: ConnId) {
        if let Some(connection) = self.slot(id).and_then(|slot| slot.connection) {
            self.connections[connection].node_done = true;
        }
    }

    fn close(&mut self, id: ConnId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let Some(connection) = slot.connection.take() else { return };
        slot.generation += 1;
        self.free.push(id.slot() as u16);
        let connection = &mut self.connections[connection];
        (connection.node_done, connection.ended) = (true, true);
    }
}
