//! A backup's claim, which names the node that the backup belongs to: it has one form only, and an error names the
//! object.

use super::frame::NODE;
use super::identity;
use crate::meter;
use crate::target::{Outcome, Target};
use tools::archive::claim::{parse, to_text};
use tools::archive::error::BackupError;
use wal::units::NodeId;

pub const TARGET: Target =
    Target { name: "backup_claim", seeds, repair: identity::repair, check, bytes_max: 256, round_inputs: 20_000 };

const OBJECT: &str = "the/backup/BACKUP";
/// For the text written again and the text of an error.
const HELD_BYTES_MAX: usize = 1024;

fn check(input: &[u8]) -> Outcome {
    match meter::within(HELD_BYTES_MAX, || parse(OBJECT, input)) {
        Ok(node) => {
            assert_eq!(to_text(node).as_bytes(), input, "it has one form only");
            Outcome::Decoded
        }
        Err(error) => {
            assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Wal(_)), "{error}");
            assert!(error.to_string().contains(OBJECT), "{error} names the object");
            Outcome::Refused
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [NODE, NodeId([0; 16]), NodeId([0xff; 16])].map(|node| to_text(node).into_bytes()).into()
}
