//! The packet layer of a client's or a reader's connection.

use crate::context::Context;
use crate::sockets::ConnectionIdx;
use crate::violation::{Checked, Invariant, Violation};
use api::binary::login::LoginRequest;
use api::binary::soup::{PacketKind, PacketReader, append_packet};
use book::units::TsNs;

pub(crate) struct Wire {
    connection: ConnectionIdx,
    reader: PacketReader,
    bytes: Vec<u8>,
    sent_at: TsNs,
}

impl Wire {
    pub(crate) fn connect(login: &LoginRequest<'_>, context: &mut Context<'_>) -> Self {
        let connection = context.net.connect();
        let mut wire = Self { connection, reader: PacketReader::default(), bytes: Vec::new(), sent_at: context.now };
        wire.send(PacketKind::Login, &login.write().expect("short names"), context);
        wire
    }

    pub(crate) fn send(&mut self, kind: PacketKind, payload: &[u8], context: &mut Context<'_>) {
        let mut bytes = Vec::with_capacity(payload.len() + 3);
        append_packet(kind, payload, &mut bytes);
        self.send_raw(&bytes, context);
    }

    /// Sends bytes that need not be a packet.
    pub(crate) fn send_raw(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        context.net.send(self.connection, bytes);
        self.sent_at = context.now;
    }

    /// Sends a heartbeat when nothing was sent for so long.
    pub(crate) fn keep_alive(&mut self, every_ns: u64, context: &mut Context<'_>) {
        if every_ns <= context.now.0 - self.sent_at.0 {
            self.send(PacketKind::ClientHeartbeat, &[], context);
        }
    }

    /// Passes every packet that has arrived to `receive`; returns false when the connection has ended or `receive` ends
    /// it.
    pub(crate) fn listen(
        &mut self,
        who: &str,
        context: &mut Context<'_>,
        mut receive: impl FnMut(PacketKind, &[u8], &mut Context<'_>) -> Checked<bool>,
    ) -> Checked<bool> {
        let bytes_max = context.bytes_to_read();
        self.bytes.clear();
        let mut is_open = context.net.take(self.connection, bytes_max, &mut self.bytes);
        context.trace.bytes(&self.bytes);
        let mut rest = &self.bytes[..];
        loop {
            let packet = self.reader.read(&mut rest);
            let packet = packet.map_err(|error| Violation::new(Invariant::Protocol, format!("{who}: {error}")))?;
            let Some(packet) = packet else { return Ok(is_open) };
            is_open &= receive(packet.kind, packet.payload, context)?;
        }
    }

    /// Sends nothing more and still receives.
    pub(crate) fn finish(&mut self, context: &mut Context<'_>) {
        context.net.finish(self.connection);
    }

    pub(crate) fn reset(self, context: &mut Context<'_>) {
        context.net.reset(self.connection);
    }
}
