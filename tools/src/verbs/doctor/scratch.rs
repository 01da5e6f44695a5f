//! Files without a name, to exercise a disk with. Nothing remains of them, however this process ends.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use wal::block::{BLOCK_BYTES, blocks};
use zerocopy::IntoBytes;

/// A file of zeroed and synced blocks, as the journal's files are: a hole would cost a metadata write at its first use.
pub(super) fn anonymous_file(dir: &Path, block_count: usize) -> io::Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    file.write_all_at(blocks(block_count * BLOCK_BYTES).as_bytes(), 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Switches the file to O_DIRECT, which bypasses the page cache, and writes its first block that way.
pub(super) fn write_direct(file: &File) -> io::Result<()> {
    fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)?;
    file.write_all_at(blocks(BLOCK_BYTES).as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_write_accepts_complete_blocks_only() {
        // Beside the build, hence on a real disk: /tmp may be a tmpfs, which has no O_DIRECT everywhere.
        let binary = std::env::current_exe().expect("a test has a binary");
        let dir = tempfile::tempdir_in(binary.parent().expect("it lies in a directory")).expect("a directory");
        let file = anonymous_file(dir.path(), 2).expect("made");
        assert_eq!(file.metadata().expect("open").len(), 2 * BLOCK_BYTES as u64);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
        write_direct(&file).expect("accepted");
        // Proof that the page cache is bypassed: it would accept any number of bytes.
        assert!(file.write_at(b"short", 0).is_err());
        assert!(anonymous_file(&dir.path().join("nowhere"), 1).is_err());
    }
}
