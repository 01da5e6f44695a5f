//! SoupBinTCP 3.00 packets: where one ends and the next begins in a stream of bytes.
//!
//! ```text
//! 0        2      3
//! | length | type | payload ... |      length: u16 big endian, counts the type and the payload
//! ```
//! Invariants: the packets read do not depend on how the stream was cut into chunks, and a packet is copied only when
//! it was split over two chunks. Specification: Nasdaq, "SoupBinTCP 3.00".

use thiserror::Error;

pub const LENGTH_BYTES: usize = 2;
pub const PACKET_HEADER_BYTES: usize = 3;
/// Largest value of the length field: other implementations read it as a signed number.
pub const PACKET_LEN_MAX: usize = 32_767;
pub const PAYLOAD_BYTES_MAX: usize = PACKET_LEN_MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// From either side: text for a human reader, which programs ignore.
    Debug = b'+',
    /// From the node: the login was accepted.
    Accepted = b'A',
    /// From the node: the login was rejected; the node closes the connection.
    Rejected = b'J',
    /// From the node: the next message of a numbered stream.
    Sequenced = b'S',
    /// From either side: a message outside of any numbered stream.
    Unsequenced = b'U',
    /// From the node, when it has sent nothing else for the heartbeat interval.
    ServerHeartbeat = b'H',
    /// From the node: the stream has ended and no message will follow.
    EndOfSession = b'Z',
    /// From the client, as its first packet.
    Login = b'L',
    /// From the client, when it has sent nothing else for the heartbeat interval.
    ClientHeartbeat = b'R',
    /// From the client: a deliberate end of the connection.
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

/// Why a byte stream is not SoupBinTCP. The bytes after it have no known meaning, so the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("packet length 0: the length counts the type byte, so it is at least 1")]
    Empty,
    #[error("packet length {len}: the largest allowed is {PACKET_LEN_MAX}")]
    TooLong { len: usize },
    #[error("packet type 0x{kind:02x} does not exist in SoupBinTCP 3.00")]
    UnknownKind { kind: u8 },
}

/// Reads packets from a stream that arrives in chunks. Invariant: `partial` holds less than one packet, or exactly the
/// packet that the last call returned.
#[derive(Debug, Default)]
pub struct PacketReader {
    /// The start of a packet whose end has not arrived. Owned, because the chunk it came in is reused by then.
    partial: Vec<u8>,
    partial_returned: bool,
    failed: Option<PacketError>,
}

impl PacketReader {
    /// Consumes bytes from the front of `chunk` until one packet is complete. `None` means that the chunk is used up
    /// and the packet is not complete.
    ///
    /// After an error every further call returns the same error.
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

    /// Whether the reader holds the start of a packet that is not complete.
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
        // First the header, which gives the length, then exactly the bytes that are missing.
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

/// Length in bytes of the packet at the start of `bytes`, header included; `None` while its header is not complete.
pub fn packet_len(bytes: &[u8]) -> Result<Option<usize>, PacketError> {
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
    let kind = PacketKind::new(packet[LENGTH_BYTES]).expect("packet_len has checked the type");
    Packet { kind, payload: &packet[PACKET_HEADER_BYTES..] }
}

/// The length and the type that precede a payload.
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
