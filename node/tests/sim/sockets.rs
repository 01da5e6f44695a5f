//! Lines between clients and the node: bytes arrive in pieces, late, or not at all.
//!
//! ```text
//!  client --send--> to_node ....pieces....> received --> gateway
//!  client <--take-- to_client <...pieces... send buffer <-- gateway
//! ```
//! Behaves as the reactor does: one receive and one send at a time, a number never names two connections, an operation
//! that was asked for ends in exactly one `Done`.

use book::testing::workload::rng::Rng;
use node::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use node::reactor::uring::{RECEIVE_BYTES, SEND_BYTES};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

/// Names a line for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineIdx(usize);

#[derive(Default)]
struct Line {
    to_node: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// The client sends nothing more; what is under way still arrives.
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
    line: Option<usize>,
    receiving: bool,
    received: Vec<u8>,
    send: Box<[u8]>,
    /// From and to.
    sending: Option<(usize, usize)>,
}

#[derive(Default)]
pub struct Net {
    lines: Vec<Line>,
    /// Lines that are not over.
    open: Vec<usize>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    done: Vec<Done>,
    /// Bytes of a line that wait for its client at most; then the node's sends wait too.
    window: usize,
    /// Looks at a line that moved nothing for that reason.
    pub full_count: u64,
}

/// How a line treats bytes now.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// One in so many looks at a line moves nothing.
    pub calm: u32,
    /// Bytes that one look moves at most.
    pub bytes_max: u32,
}

// The client's side.
impl Net {
    pub fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    pub fn connect(&mut self) -> LineIdx {
        self.lines.push(Line::default());
        self.open.push(self.lines.len() - 1);
        LineIdx(self.lines.len() - 1)
    }

    pub fn send(&mut self, line: LineIdx, bytes: &[u8]) {
        let line = &mut self.lines[line.0];
        if !line.client_done {
            line.to_node.extend(bytes);
        }
    }

    /// Moves what has arrived into `into`; false when nothing more will come.
    pub fn take(&mut self, line: LineIdx, bytes_max: usize, into: &mut Vec<u8>) -> bool {
        let line = &mut self.lines[line.0];
        if line.reset {
            return false;
        }
        let len = line.to_client.len().min(bytes_max);
        into.extend(line.to_client.drain(..len));
        len > 0 || !(line.node_done && line.to_client.is_empty())
    }

    pub fn finish(&mut self, line: LineIdx) {
        self.lines[line.0].client_done = true;
    }

    pub fn reset(&mut self, line: LineIdx) {
        self.lines[line.0].reset = true;
    }
}

/// The node's side: what the kernel does.
impl Net {
    pub fn poll(&mut self, weather: Weather, rng: &mut Rng) {
        self.done.clear();
        for at in 0..self.open.len() {
            let idx = self.open[at];
            if !rng.one_in(weather.calm) {
                self.move_line(idx, weather, rng);
            }
        }
        let Self { lines, open, .. } = self;
        open.retain(|&idx| !lines[idx].ended);
    }

    fn move_line(&mut self, idx: usize, weather: Weather, rng: &mut Rng) {
        let line = &mut self.lines[idx];
        if line.ended {
            // Its slot may be another line's by now.
            return;
        }
        let Some(conn) = line.conn else { return self.accept(idx) };
        let slot = &mut self.slots[conn.slot()];
        if line.reset {
            // Every operation under way ends; one of them tells of it.
            if slot.receiving || slot.sending.is_some() {
                (slot.receiving, slot.sending) = (false, None);
                self.done.push(Done::Lost { conn });
            }
            return;
        }
        if slot.receiving {
            let len = line.to_node.len().min(RECEIVE_BYTES).min(1 + rng.below(weather.bytes_max) as usize);
            if len > 0 {
                slot.received.clear();
                slot.received.extend(line.to_node.drain(..len));
                slot.receiving = false;
                self.done.push(Done::Received { conn, bytes: len });
            } else if line.client_done {
                slot.receiving = false;
                self.done.push(Done::Lost { conn });
            }
        }
        if let Some((from, to)) = slot.sending {
            if self.window <= line.to_client.len() {
                self.full_count += 1;
                return;
            }
            let at = to.min(from + 1 + rng.below(weather.bytes_max) as usize);
            line.to_client.extend(&slot.send[from..at]);
            slot.sending = (at < to).then_some((at, to));
            if at == to {
                self.done.push(Done::Sent { conn });
            }
        }
    }

    fn accept(&mut self, idx: usize) {
        if self.lines[idx].reset {
            self.lines[idx].ended = true;
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
        (state.line, state.receiving, state.sending) = (Some(idx), true, None);
        state.received.clear();
        let conn = ConnId::new(slot, state.generation);
        self.lines[idx].conn = Some(conn);
        self.done.push(Done::Accepted { conn, listener: ListenerIdx(0) });
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot())?;
        (ConnId::new(id.slot() as u16, slot.generation) == id && slot.line.is_some()).then_some(slot)
    }

    fn slot_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot())?;
        (ConnId::new(id.slot() as u16, slot.generation) == id && slot.line.is_some()).then_some(slot)
    }
}

impl Sockets for Net {
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
        let line = self.slot(id)?.line?;
        Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, (line % 200) as u8), 1_000)))
    }

    fn finish_sending(&mut self, id: ConnId) {
        if let Some(line) = self.slot(id).and_then(|slot| slot.line) {
            self.lines[line].node_done = true;
        }
    }

    fn close(&mut self, id: ConnId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let Some(line) = slot.line.take() else { return };
        slot.generation += 1;
        self.free.push(id.slot() as u16);
        let line = &mut self.lines[line];
        (line.node_done, line.ended) = (true, true);
    }
}
