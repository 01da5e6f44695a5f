//! Reads a backup again where an object that was listed has vanished: `pinion backup prune` may run meanwhile.

use super::destination::Destination;
use super::error::{BackupError, Result};
use super::store_failure::FailureKind;
use node::faults::mutation::{Mutation, Planted};

/// Readings before the reader gives up. Each prune ends, and the next reading lists what it left.
const READINGS_MAX: u32 = 5;

/// Runs `read`, which lists the backup, again from its beginning while it finds that an object has vanished.
pub fn again_where_pruned<T>(destination: &Destination, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..READINGS_MAX {
        match read() {
            Err(error) if is_vanished(&error) && !destination.interrupt().is_set() => {
                eprintln!("pinion: {destination} has changed while it was read ({error}); reading it again");
            }
            outcome => return outcome,
        }
    }
    read().map_err(|error| match error {
        BackupError::Store { object, cause, .. } if cause.kind == FailureKind::NotFound => {
            BackupError::Vanished { object }
        }
        error => error,
    })
}

fn is_vanished(error: &BackupError) -> bool {
    let is_vanished = matches!(error, BackupError::Store { cause, .. } if cause.kind == FailureKind::NotFound);
    is_vanished.planted(Mutation::PruneUnexpected, |_| false)
}
