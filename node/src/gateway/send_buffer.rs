//! Where the output of a connection goes: into a send buffer, or into the control bytes that wait for the next one.

use api::binary::session::{CloseReason, Output};

/// A send buffer of the reactor. Invariant: its first `len` bytes are to be sent.
pub struct SendBuffer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> SendBuffer<'a> {
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Moves bytes from the front of `bytes`, at most `bytes_max` and as many as there is room for.
    pub fn drain(&mut self, bytes: &mut Vec<u8>, bytes_max: usize) {
        let len = bytes.len().min(bytes_max).min(self.room());
        self.send(&bytes[..len]);
        bytes.drain(..len);
    }
}

/// For `Session::send_sequenced`, which sends and never closes.
impl Output for SendBuffer<'_> {
    #[inline]
    fn send(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn close(&mut self, reason: CloseReason) {
        unreachable!("sending a message does not close a session: {reason}");
    }
}

/// Collects what a session sends besides messages (login answers, heartbeats), and why it closes.
///
/// The bytes are appended to the control bytes of the connection, which are sent before its next message.
pub struct ControlOutput<'a> {
    control: &'a mut Vec<u8>,
    closed: Option<CloseReason>,
}

impl<'a> ControlOutput<'a> {
    pub fn new(control: &'a mut Vec<u8>) -> Self {
        Self { control, closed: None }
    }

    /// Why the session has closed; `None` while it goes on.
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }
}

impl Output for ControlOutput<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
    }
}
