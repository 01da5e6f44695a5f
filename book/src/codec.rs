//! Commands as bytes for the log, and rows for snapshots: bincode 2, standard configuration (little endian,
//! variable-length integers).
//!
//! The one place that names bincode. Its format is frozen, and golden bytes in the tests pin it.

use crate::command::Command;
use crate::event::Event;
use crate::units::TsNs;
use bincode::config::{Configuration, standard};

/// Upper bound of one encoded record; the largest are keys with address lists.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Upper bound of an encoded trading command.
pub const TRADING_RECORD_BYTES_MAX: usize = 256;
/// Upper bound of an encoded check.
pub const CHECK_BYTES_MAX: usize = 32;

const CONFIG: Configuration = standard();

/// What reading one record may claim, against hostile lengths. bincode counts what values take in memory, up to 33
/// bytes for one written (an empty string in a list), so this has room for every record that `encode` lets through.
const DECODE_CLAIM_MAX: usize = 64 * RECORD_BYTES_MAX;

/// A command with its time; its sequence is its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Record {
    pub ts: TsNs,
    pub command: Command,
}

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("a command does not fit {RECORD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not of this version: {0}")]
    Undecodable(String),
    #[error("there are {0} bytes too many")]
    TrailingBytes(usize),
}

/// Writes the record to the front of `into` and returns its length.
pub fn encode(ts: TsNs, command: &Command, into: &mut [u8]) -> Result<usize, CodecError> {
    let room = into.len().min(RECORD_BYTES_MAX);
    // The tuple has the same bytes as `Record` and spares a copy of the command.
    bincode::encode_into_slice((ts, command), &mut into[..room], CONFIG).map_err(|_| CodecError::TooLarge)
}

pub fn decode(bytes: &[u8]) -> Result<Record, CodecError> {
    decode_whole(bytes)
}

/// Appends an event, for histories.
pub fn encode_event(event: &Event, into: &mut Vec<u8>) {
    bincode::encode_into_std_write(event, into, CONFIG).expect("memory takes every event");
}

/// The event that `bytes` are.
pub fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    decode_whole(bytes)
}

fn decode_whole<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, len) = bincode::decode_from_slice(bytes, CONFIG.with_limit::<DECODE_CLAIM_MAX>())
        .map_err(|e| CodecError::Undecodable(e.to_string()))?;
    if len != bytes.len() {
        return Err(CodecError::TrailingBytes(bytes.len() - len));
    }
    Ok(value)
}

/// What reading one row of a snapshot may claim; its bytes are bounded by its piece.
const ROW_CLAIM_MAX: usize = 16 << 20;

/// Appends a row of a snapshot.
pub(crate) fn encode_row<R: bincode::Encode>(row: &R, into: &mut Vec<u8>) {
    bincode::encode_into_std_write(row, into, CONFIG).expect("memory takes every row");
}

/// The row at the front of `bytes`, and its length.
pub(crate) fn decode_row<R: bincode::Decode<()>>(bytes: &[u8]) -> Result<(R, usize), CodecError> {
    bincode::decode_from_slice(bytes, CONFIG.with_limit::<ROW_CLAIM_MAX>())
        .map_err(|e| CodecError::Undecodable(e.to_string()))
}
