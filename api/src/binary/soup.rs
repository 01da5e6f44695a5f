//! SoupBinTCP 3.00 packets: where one ends and the next begins.
//!
//! ```text
//! 0        2      3
//! | length | type | payload ... |      length: u16 big endian, counts the type and the payload
//! ```
//! The reader copies a packet only when it was split over two reads. Specification: Nasdaq, "SoupBinTCP 3.00".

use thiserror::Error;

pub const LENGTH_BYTES: usize = 2;
pub const PACKET_HEADER_BYTES: usize = 3;
/// Largest value of the length field: other implementations read it as a signed number.
pub const PACKET_LEN_MAX: usize = 32_767;
pub const PAYLOAD_BYTES_MAX: usize = PACKET_LEN_MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// Either way; a note for a person, ignored.
    Debug = b'+',
    Accepted = b'A',
    Rejected = b'J',
    Sequenced = b'S',
    /// Either way.
    Unsequenced = b'U',
    ServerHeartbeat = b'H',
    EndOfSession = b'Z',
    Login = b'L',
    ClientHeartbeat = b'R',
    Logout = b'O',
}

impl PacketKind {
    pub fn new(byte: u8) -> Option<Self> {
        Some(match byte {
            b'+' => Self::Debug,
            b'A' => Self::Accepted,
            b'J' => Self::Rejected,
            b'S' => Self::Sequenced,
            b'U' => Self::Unsequenced,
            b'H' => Self::ServerHeartbeat,
            b'Z' => Self::EndOfSession,
            b'L' => Self::Login,
            b'R' => Self::ClientHeartbeat,
            b'O' => Self::Logout,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub kind: PacketKind,
    pub payload: &'a [u8],
}

/// Why a byte stream is not SoupBinTCP. Nothing after it can be trusted, so the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("a packet of length zero")]
    Empty,
    #[error("a packet of {len} bytes, above the limit of {PACKET_LEN_MAX}")]
    TooLong { len: usize },
    #[error("unknown packet type 0x{kind:02x}")]
    UnknownKind { kind: u8 },
}

/// Finds packets in a stream of chunks. Invariant: `partial` holds less than one packet, or exactly the one that the
/// last call returned.
#[derive(Debug, Default)]
pub struct PacketReader {
    /// The start of a packet whose end has not come yet; a buffer of its own because the chunk is gone by then.
    partial: Vec<u8>,
    partial_returned: bool,
    failed: Option<PacketError>,
}

impl PacketReader {
    /// Takes bytes off the front of `chunk` until one packet is complete; `None` when it takes more bytes than that.
    ///
    /// After an error the reader gives the same error for ever.
    pub fn read<'s, 'c: 's>(&'s mut self, chunk: &mut &'c [u8]) -> Result<Option<Packet<'s>>, PacketError> {
        if self.partial_returned {
            self.partial.clear();
            self.partial_returned = false;
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.partial.is_empty() { self.read_chunk(chunk) } else { self.read_partial(chunk) }
    }

    /// Whether bytes of an unfinished packet are kept.
    pub fn is_mid_packet(&self) -> bool {
        !self.partial.is_empty() && !self.partial_returned
    }

    fn read_chunk<'c>(&mut self, chunk: &mut &'c [u8]) -> Result<Option<Packet<'c>>, PacketError> {
        let bytes = *chunk;
        match packet_len(bytes) {
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
            Ok(Some(len)) if len <= bytes.len() => {
                let (packet, rest) = bytes.split_at(len);
                *chunk = rest;
                Ok(Some(split(packet)))
            }
            Ok(_) => {
                self.partial.extend_from_slice(bytes);
                *chunk = &[];
                Ok(None)
            }
        }
    }

    fn read_partial<'s>(&'s mut self, chunk: &mut &[u8]) -> Result<Option<Packet<'s>>, PacketError> {
        // First the three bytes that tell the length, then exactly as many as it says.
        let header_missing = PACKET_HEADER_BYTES.saturating_sub(self.partial.len());
        self.take(chunk, header_missing);
        let len = match packet_len(&self.partial) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.failed = Some(error);
                return Err(error);
            }
        };
        self.take(chunk, len.saturating_sub(self.partial.len()));
        if self.partial.len() < len {
            return Ok(None);
        }
        self.partial_returned = true;
        Ok(Some(split(&self.partial)))
    }

    fn take(&mut self, chunk: &mut &[u8], wanted: usize) {
        let (taken, rest) = chunk.split_at(wanted.min(chunk.len()));
        self.partial.extend_from_slice(taken);
        *chunk = rest;
    }
}

/// How long the packet at the start of `bytes` is in all, once its header is there.
pub(crate) fn packet_len(bytes: &[u8]) -> Result<Option<usize>, PacketError> {
    let &[high, low, ref rest @ ..] = bytes else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len == 0 {
        return Err(PacketError::Empty);
    }
    if PACKET_LEN_MAX < len {
        return Err(PacketError::TooLong { len });
    }
    match rest.first() {
        None => Ok(None),
        Some(&kind) if PacketKind::new(kind).is_none() => Err(PacketError::UnknownKind { kind }),
        Some(_) => Ok(Some(LENGTH_BYTES + len)),
    }
}

fn split(packet: &[u8]) -> Packet<'_> {
    let kind = PacketKind::new(packet[LENGTH_BYTES]).expect("packet_len knew the kind");
    Packet { kind, payload: &packet[PACKET_HEADER_BYTES..] }
}

/// The three bytes in front of a payload.
#[inline]
pub fn packet_header(kind: PacketKind, payload_len: usize) -> [u8; PACKET_HEADER_BYTES] {
    assert!(payload_len <= PAYLOAD_BYTES_MAX, "a payload fits a packet");
    let [high, low] = ((payload_len + 1) as u16).to_be_bytes();
    [high, low, kind as u8]
}

/// Appends a packet.
pub fn append_packet(kind: PacketKind, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&packet_header(kind, payload.len()));
    out.extend_from_slice(payload);
}

/// Writes a packet to the front of `out`; `None` when it does not fit.
pub fn write_packet(kind: PacketKind, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = PACKET_HEADER_BYTES + payload.len();
    let packet = out.get_mut(..len)?;
    packet[..PACKET_HEADER_BYTES].copy_from_slice(&packet_header(kind, payload.len()));
    packet[PACKET_HEADER_BYTES..].copy_from_slice(payload);
    Some(len)
}
