//! Short texts of a data directory, whose last line is a checksum: `IDENTITY`, `LINEAGE`, `QUARANTINE`, `TORN_ENDS`.
//!
//! ```text
//! format 1
//! ...
//! crc32c 1a2b3c4d          of all lines above
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Action, Result, WalError};

/// The bytes of a file; `None` where it is absent.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WalError::io(Action::Read, path, 0, source)),
    }
}

/// These lines, and the checksum below them.
pub(crate) fn seal(lines: &str) -> String {
    format!("{lines}crc32c {:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

/// The lines above the checksum, when it is theirs.
pub(crate) fn unseal(text: &str) -> Option<&str> {
    let last = text.strip_suffix('\n')?;
    let (lines, last) = text.split_at(last.rfind('\n')? + 1);
    let crc = u32::from_str_radix(last.strip_suffix('\n')?.strip_prefix("crc32c ")?, 16).ok()?;
    (crc == crc32c::crc32c(lines.as_bytes())).then_some(lines)
}
