//! The file that names the node a data directory belongs to: it has one form only.

use crate::scratch;
use crate::target::{Outcome, Target};
use wal::error::ErrorKind;
use wal::identity::{FORMAT_NEWEST, FORMAT_OLDEST, Identity};
use wal::segment::Geometry;
use wal::units::{Lsn, Timeline};

pub const TARGET: Target = Target { name: "identity", seeds, repair, check, bytes_max: 512, round_inputs: 8_000 };

const CRC_NAME: &[u8] = b"crc32c ";
const CRC_DIGITS: usize = 8;

fn check(input: &[u8]) -> Outcome {
    let path = scratch::file("IDENTITY", input);
    match Identity::read(&path) {
        Ok(identity) => {
            let identity = identity.expect("the file is there");
            assert_eq!(identity.to_text().as_bytes(), input, "it has one form only");
            Outcome::Decoded
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::UnknownFormat), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
            Outcome::Refused
        }
    }
}

/// Makes the checksum in the last line right, which covers the lines before it.
pub fn repair(input: &mut [u8]) {
    let Some(at) = input.windows(CRC_NAME.len()).rposition(|window| window == CRC_NAME) else { return };
    let crc = format!("{:08x}", crc32c::crc32c(&input[..at]));
    if let Some(digits) = input.get_mut(at + CRC_NAME.len()..at + CRC_NAME.len() + CRC_DIGITS) {
        digits.copy_from_slice(crc.as_bytes());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let identity = |format, timeline, seq_base| Identity {
        format,
        node_id: super::frame::NODE,
        timeline: Timeline(timeline),
        seq_base: Lsn(seq_base),
        geometry: Geometry { segment_count: 4, segment_bytes: 64 << 20 },
    };
    [identity(FORMAT_OLDEST, 1, 0), identity(FORMAT_NEWEST, u32::MAX, u64::MAX)]
        .iter()
        .map(|identity| identity.to_text().into())
        .collect()
}
