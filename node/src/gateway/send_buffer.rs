//! Writes what a session says straight into a send buffer.

use api::binary::login::LoginRequest;
use api::binary::session::{CloseReason, Flow, SessionOutput};

/// The front of a send buffer, filled so far.
pub struct Filling<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Filling<'a> {
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

    /// Moves as much as fits off the front of `bytes`.
    pub fn drain(&mut self, bytes: &mut Vec<u8>, bytes_max: usize) {
        let len = bytes.len().min(bytes_max).min(self.room());
        self.send(&bytes[..len]);
        bytes.drain(..len);
    }
}

/// Only `send` says something that has to be sent; the rest happens on the receiving side.
impl SessionOutput for Filling<'_> {
    #[inline]
    fn send(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn login_requested(&mut self, _login: &LoginRequest<'_>) {}

    fn message(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }

    fn logout_requested(&mut self) {}

    fn close(&mut self, _reason: CloseReason) {}
}
