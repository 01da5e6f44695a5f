//! Sockets without a kernel, for a loop that a test steps: it decides what arrives, and counts what the loop does.

use node::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use node::reactor::uring::SEND_BYTES;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// A send completes at once, and is reported in the next step.
pub(crate) struct FakeSockets {
    done: Vec<Done>,
    next_done: Vec<Done>,
    /// Connections that are not accepted yet.
    waiting: VecDeque<ConnId>,
    hold: bool,
    /// Connections that were accepted in all.
    pub accepts: usize,
    slots: Vec<FakeSlot>,
    buffer: Box<[u8]>,
    /// Of the present step.
    pub sends: usize,
    pub closes: usize,
}

struct FakeSlot {
    conn: ConnId,
    peer: SocketAddr,
    received: Vec<u8>,
    sent: Vec<u8>,
    is_open: bool,
}

impl FakeSockets {
    pub(crate) fn new() -> Self {
        let buffer = vec![0; SEND_BYTES].into_boxed_slice();
        Self {
            done: Vec::new(),
            next_done: Vec::new(),
            waiting: VecDeque::new(),
            hold: false,
            accepts: 0,
            slots: Vec::new(),
            buffer,
            sends: 0,
            closes: 0,
        }
    }

    /// What happened since the last step is completed in this one.
    pub(crate) fn step(&mut self) {
        self.done = std::mem::take(&mut self.next_done);
        (self.sends, self.closes) = (0, 0);
        if !self.hold
            && let Some(conn) = self.waiting.pop_front()
        {
            self.accepts += 1;
            self.done.push(Done::Accepted { conn, listener: ListenerIdx(0) });
        }
    }

    /// Connects as `connect` does, and waits to be accepted: one connection a step, unless the loop holds accepts.
    pub(crate) fn connect_and_wait(&mut self, address: IpAddr) -> ConnId {
        let conn = self.add(address);
        self.waiting.push_back(conn);
        conn
    }

    /// Connects, and is accepted in the next step whatever the loop has asked for.
    pub(crate) fn connect(&mut self, address: IpAddr) -> ConnId {
        let conn = self.add(address);
        self.next_done.push(Done::Accepted { conn, listener: ListenerIdx(0) });
        conn
    }

    /// Every connection has a slot of its own.
    fn add(&mut self, address: IpAddr) -> ConnId {
        let conn = ConnId::new(self.slots.len() as u16, 0);
        let peer = SocketAddr::new(address, 1_000);
        self.slots.push(FakeSlot { conn, peer, received: Vec::new(), sent: Vec::new(), is_open: true });
        conn
    }

    /// Bytes of the client arrive.
    pub(crate) fn arrive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.slots[conn.slot()].received = bytes.to_vec();
        self.next_done.push(Done::Received { conn, bytes: bytes.len() });
    }

    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.next_done.push(Done::Lost { conn });
    }

    /// What the client has been sent since it was last asked for.
    pub(crate) fn take_sent(&mut self, conn: ConnId) -> Vec<u8> {
        std::mem::take(&mut self.slots[conn.slot()].sent)
    }

    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.slots[conn.slot()].is_open
    }

    fn open(&mut self, conn: ConnId) -> Option<&mut FakeSlot> {
        self.slots.get_mut(conn.slot()).filter(|slot| slot.conn == conn && slot.is_open)
    }
}

impl Sockets for FakeSockets {
    fn hold_accepts(&mut self, hold: bool) {
        self.hold = hold;
    }

    fn done(&self, idx: usize) -> Option<Done> {
        self.done.get(idx).copied()
    }

    fn receive(&mut self, id: ConnId) {
        if let Some(slot) = self.open(id) {
            slot.received.clear();
        }
    }

    fn received(&self, id: ConnId) -> &[u8] {
        self.slots.get(id.slot()).map_or(&[], |slot| &slot.received)
    }

    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]> {
        self.open(id)?;
        Some(&mut self.buffer)
    }

    fn send(&mut self, id: ConnId, bytes: usize) {
        let sent = self.buffer[..bytes].to_vec();
        let Some(slot) = self.open(id).filter(|_| bytes > 0) else { return };
        slot.sent.extend_from_slice(&sent);
        self.sends += 1;
        self.next_done.push(Done::Sent { conn: id });
    }

    fn is_sending(&self, _id: ConnId) -> bool {
        false
    }

    fn peer(&self, id: ConnId) -> Option<SocketAddr> {
        self.slots.get(id.slot()).map(|slot| slot.peer)
    }

    fn finish_sending(&mut self, _id: ConnId) {}

    fn close(&mut self, id: ConnId) {
        if let Some(slot) = self.open(id) {
            slot.is_open = false;
            self.closes += 1;
        }
    }
}
