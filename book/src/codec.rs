//! Commands as bytes for the log, events for histories and rows for snapshots: bincode 2 in its standard configuration
//! (little endian, variable-length integers).
//!
//! Nothing is encoded or decoded anywhere else. The format is frozen, and golden bytes in the tests pin it. From
//! payload version 2 on a record begins with a prefix that names the version:
//!
//! ```text
//! version 1    | ts | command           a varint never begins with ff
//! version 2    | ff | 02 | ts | command
//!              | ff | 82 | waited | ts | command      the request reached the node so many ns before `ts`
//! ```
//!
//! So a reader needs no more than the bytes to know what they are, and one log may have both, one after the other.

use crate::command::Command;
use crate::event::Event;
use crate::units::TsNs;
use bincode::config::{Configuration, standard};

/// The longest record. The largest records are keys with lists of addresses.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Upper bound of an encoded trading command.
pub const TRADING_RECORD_BYTES_MAX: usize = 256;
/// Upper bound of an encoded check.
pub const CHECK_BYTES_MAX: usize = 32;

const CONFIG: Configuration = standard();

/// How much memory the decoding of one record may claim, as a defence against hostile lengths. bincode counts the
/// memory that values take, which is at most 33 bytes for an encoded one (an empty string in a list), so every record
/// that `encode` accepts can be decoded.
const DECODE_CLAIM_MAX: usize = 64 * RECORD_BYTES_MAX;
const _: () = assert!(33 * RECORD_BYTES_MAX <= DECODE_CLAIM_MAX);

/// How payloads are written: records here, and the pieces of snapshots, which begin in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadVersion {
    /// Without a prefix, as in directories of format 1.
    One,
    #[default]
    Two,
}

/// The first byte of a prefix. No number of bincode begins with it, and every payload of version 1 begins with a number
/// or a text.
const PREFIX_MARK: u8 = 0xff;
const PREFIX_TWO: [u8; 2] = [PREFIX_MARK, 2];
/// Version 2 of a record whose request had waited; eight bytes say for how many nanoseconds.
const WAITED: u8 = 0x82;
const PREFIX_WAITED: [u8; 2] = [PREFIX_MARK, WAITED];
const WAITED_BYTES: usize = 8;

impl PayloadVersion {
    /// The version in a data directory of this format.
    pub fn of_format(format: u32) -> Self {
        if format < 2 { Self::One } else { Self::Two }
    }

    /// The bytes before a payload of this version.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::One => &[],
            Self::Two => &PREFIX_TWO,
        }
    }

    /// The version of these bytes, and what follows its prefix.
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        match bytes {
            [PREFIX_MARK, 2, rest @ ..] => Ok((Self::Two, rest)),
            [PREFIX_MARK, WAITED, rest @ ..] => match rest.split_at_checked(WAITED_BYTES) {
                Some((_waited, rest)) => Ok((Self::Two, rest)),
                None => Err(CodecError::Undecodable("the time that its request waited is cut off".to_owned())),
            },
            [PREFIX_MARK, version, ..] => Err(CodecError::UnknownVersion(*version)),
            [PREFIX_MARK] => Err(CodecError::Undecodable("the version is missing".to_owned())),
            _ => Ok((Self::One, bytes)),
        }
    }
}

/// A command with its time. Its sequence is its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Record {
    pub ts: TsNs,
    pub command: Command,
}

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the command does not fit the {0} bytes that a record may have")]
    TooLarge(usize),
    #[error("the bytes cannot be decoded, are damaged or of a later version: {0}")]
    Undecodable(String),
    #[error("{0} bytes follow the end of the value")]
    TrailingBytes(usize),
    #[error("payload version {0} is not known: a later build wrote it")]
    UnknownVersion(u8),
}

/// Writes the record to the front of `into` and gives its length.
pub fn encode(version: PayloadVersion, ts: TsNs, command: &Command, into: &mut [u8]) -> Result<usize, CodecError> {
    let room = into.len().min(RECORD_BYTES_MAX);
    let (prefix, body) = into[..room].split_at_mut_checked(version.prefix().len()).ok_or(CodecError::TooLarge(room))?;
    prefix.copy_from_slice(version.prefix());
    // The tuple has the same bytes as `Record` and saves a copy of the command.
    let encoded = bincode::encode_into_slice((ts, command), body, CONFIG);
    let len = prefix.len() + encoded.map_err(|_| CodecError::TooLarge(room))?;
    assert!(0 < len && len <= RECORD_BYTES_MAX, "a record has bytes and keeps its bound");
    Ok(len)
}

/// The same for a command whose request reached the node at `received`, at or before `ts`. Version 1 has no room for
/// that.
pub fn encode_received(
    version: PayloadVersion,
    received: TsNs,
    ts: TsNs,
    command: &Command,
    into: &mut [u8],
) -> Result<usize, CodecError> {
    let waited = ts.0.checked_sub(received.0).expect("a request is received before its command has a time");
    if waited == 0 || version == PayloadVersion::One {
        return encode(version, ts, command, into);
    }
    let room = into.len().min(RECORD_BYTES_MAX);
    let head = PREFIX_WAITED.len() + WAITED_BYTES;
    let (prefix, body) = into[..room].split_at_mut_checked(head).ok_or(CodecError::TooLarge(room))?;
    prefix[..PREFIX_WAITED.len()].copy_from_slice(&PREFIX_WAITED);
    prefix[PREFIX_WAITED.len()..].copy_from_slice(&waited.to_le_bytes());
    let encoded = bincode::encode_into_slice((ts, command), body, CONFIG);
    Ok(head + encoded.map_err(|_| CodecError::TooLarge(room))?)
}

/// When the request of this record reached the node: what the record says, or its own time `ts`.
pub fn received(bytes: &[u8], ts: TsNs) -> TsNs {
    let waited = bytes.strip_prefix(&PREFIX_WAITED).and_then(|rest| rest.first_chunk::<WAITED_BYTES>());
    TsNs(ts.0.saturating_sub(waited.map_or(0, |waited| u64::from_le_bytes(*waited))))
}

/// The record that these bytes are, whatever version it was written in.
pub fn decode(bytes: &[u8]) -> Result<Record, CodecError> {
    let (_, body) = PayloadVersion::split(bytes)?;
    decode_all(body)
}

/// Appends an event to a history.
pub fn encode_event(event: &Event, into: &mut Vec<u8>) {
    bincode::encode_into_std_write(event, into, CONFIG).expect("memory takes every event");
}

/// The event that these bytes encode.
pub fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    decode_all(bytes)
}

/// Decodes a value that takes all of the bytes.
fn decode_all<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, len) = bincode::decode_from_slice(bytes, CONFIG.with_limit::<DECODE_CLAIM_MAX>())
        .map_err(|e| CodecError::Undecodable(e.to_string()))?;
    if len != bytes.len() {
        return Err(CodecError::TrailingBytes(bytes.len() - len));
    }
    Ok(value)
}

/// How much memory the decoding of one row of a snapshot may claim. The bytes of a row are bounded by its piece.
const ROW_CLAIM_MAX: usize = 16 << 20;

/// Appends a row to a piece of a snapshot.
pub(crate) fn encode_row<R: bincode::Encode>(row: &R, into: &mut Vec<u8>) {
    bincode::encode_into_std_write(row, into, CONFIG).expect("memory takes every row");
}

/// The row at the front of `bytes`, and its length.
pub(crate) fn decode_row<R: bincode::Decode<()>>(bytes: &[u8]) -> Result<(R, usize), CodecError> {
    bincode::decode_from_slice(bytes, CONFIG.with_limit::<ROW_CLAIM_MAX>())
        .map_err(|e| CodecError::Undecodable(e.to_string()))
}
