//! The mark outside: how far a backup of this node's log has come, as a start reads it from the backup's own files.
//!
//! ```text
//! DEST/0000000001/log/00000000000000000001-00000000000000000500.piece      the newest one of the own timeline
//! ```
//! An older copy of a complete data directory brings its own, older mark with it; what was shipped elsewhere does not
//! come back with it. Invariants: the newest piece counts only by its own header, whose checksum holds; nothing is
//! written at the place.

use crate::status::exit;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use wal::directory::{Attested, Directory};
use wal::error::WalError;
use wal::piece::{PIECE_HEADER_BYTES, Piece, PieceHeader};

#[derive(Debug, thiserror::Error)]
pub enum BackupMarkError {
    #[error(
        "store.backup_to: reading {path}: {source}. Make the backup readable, or take the key out of the configuration to \
         start without comparing"
    )]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("store.backup_to: {0}")]
    Piece(#[from] WalError),
    #[error(
        "store.backup_to: {path} is a backup of node {found}, and this data directory is of node {have}. Give the backup \
         place of this node"
    )]
    Foreign { path: PathBuf, have: String, found: String },
}

impl BackupMarkError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } => exit::FAILED,
            Self::Piece(error) => exit::code_of(error),
            Self::Foreign { .. } => exit::FENCED,
        }
    }
}

/// How far the backup at `place` has this directory's log; none where it has nothing of its timeline.
pub fn read(directory: &Directory, place: &Path) -> Result<Option<Attested>, BackupMarkError> {
    let identity = directory.identity();
    let folder = place.join(format!("{:010}", identity.timeline.0)).join("log");
    let Some(path) = newest_piece(&folder)? else { return Ok(None) };
    let header = header_of(&path)?;
    if header.node_id != identity.node_id {
        let (have, found) = (identity.node_id.to_string(), header.node_id.to_string());
        return Err(BackupMarkError::Foreign { path: place.to_owned(), have, found });
    }
    Ok(Some(Attested { seq: header.seq_last(), path }))
}

/// The piece with the highest last sequence, by its name.
fn newest_piece(folder: &Path) -> Result<Option<PathBuf>, BackupMarkError> {
    let unreadable = |source| BackupMarkError::Unreadable { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        // Nothing has been shipped there yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(unreadable)?,
    };
    let mut newest = None;
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let last = name.to_str().and_then(last_of);
        newest = newest.max(last.map(|last| (last, folder.join(&name))));
    }
    Ok(newest.map(|(_, path)| path))
}

/// The last sequence of a piece, from its name; `None` for other names, an interrupted upload among them.
fn last_of(name: &str) -> Option<u64> {
    let (first, last) = name.strip_suffix(".piece")?.split_once('-')?;
    let is_number = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(first) && is_number(last)).then(|| last.parse().ok())?
}

fn header_of(path: &Path) -> Result<PieceHeader, BackupMarkError> {
    let unreadable = |source| BackupMarkError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::with_capacity(PIECE_HEADER_BYTES);
    File::open(path)
        .map_err(unreadable)?
        .take(PIECE_HEADER_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(Piece::peek(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_pieces_have_a_last_sequence() {
        let name = "00000000000000000501-00000000000000000800";
        assert_eq!(last_of(&format!("{name}.piece")), Some(800));
        for other in [format!("{name}.piece#12"), name.to_owned(), "1-2.piece".to_owned(), String::new()] {
            assert_eq!(last_of(&other), None, "{other}");
        }
    }
}
