//! An end of a line that speaks packets, as clients and readers have it.

use crate::around::Around;
use crate::broken::{Broken, Checked, Invariant};
use crate::sockets::LineIdx;
use api::binary::login::LoginRequest;
use api::binary::soup::{PacketKind, PacketReader, append_packet};
use book::units::TsNs;

pub struct Wire {
    line: LineIdx,
    reader: PacketReader,
    bytes: Vec<u8>,
    spoke_at: TsNs,
}

impl Wire {
    pub fn connect(login: &LoginRequest<'_>, around: &mut Around<'_>) -> Self {
        let line = around.net.connect();
        let mut wire = Self { line, reader: PacketReader::default(), bytes: Vec::new(), spoke_at: around.now };
        wire.send(PacketKind::Login, &login.write().expect("short names"), around);
        wire
    }

    pub fn send(&mut self, kind: PacketKind, payload: &[u8], around: &mut Around<'_>) {
        let mut bytes = Vec::with_capacity(payload.len() + 3);
        append_packet(kind, payload, &mut bytes);
        self.send_raw(&bytes, around);
    }

    /// Bytes that need not be a packet.
    pub fn send_raw(&mut self, bytes: &[u8], around: &mut Around<'_>) {
        around.net.send(self.line, bytes);
        self.spoke_at = around.now;
    }

    /// Says that it is still there when it has said nothing for so long.
    pub fn keep_alive(&mut self, every_ns: u64, around: &mut Around<'_>) {
        if every_ns <= around.now.0 - self.spoke_at.0 {
            self.send(PacketKind::ClientHeartbeat, &[], around);
        }
    }

    /// Gives what came to `hear`, packet by packet; false when the line is over or `hear` wants no more of it.
    pub fn listen(
        &mut self,
        who: &str,
        around: &mut Around<'_>,
        mut hear: impl FnMut(PacketKind, &[u8], &mut Around<'_>) -> Checked<bool>,
    ) -> Checked<bool> {
        let bytes_max = around.bytes_wanted();
        self.bytes.clear();
        let mut goes_on = around.net.take(self.line, bytes_max, &mut self.bytes);
        around.trace.bytes(&self.bytes);
        let mut rest = &self.bytes[..];
        loop {
            let packet = self.reader.read(&mut rest);
            let packet = packet.map_err(|error| Broken::new(Invariant::Protocol, format!("{who}: {error}")))?;
            let Some(packet) = packet else { return Ok(goes_on) };
            goes_on &= hear(packet.kind, packet.payload, around)?;
        }
    }

    /// It says nothing more, and still listens.
    pub fn finish(&mut self, around: &mut Around<'_>) {
        around.net.finish(self.line);
    }

    pub fn reset(self, around: &mut Around<'_>) {
        around.net.reset(self.line);
    }
}
