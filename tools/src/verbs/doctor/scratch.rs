//! Files without a name, to try a disk with: nothing is left of them, however this process ends.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use wal::block::{BLOCK_BYTES, blocks};
use zerocopy::IntoBytes;

/// A file of zeroed and synced blocks, as the head's are: a hole would cost a metadata write at its first use.
pub fn nameless(dir: &Path, block_count: usize) -> io::Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    file.write_all_at(blocks(block_count * BLOCK_BYTES).as_bytes(), 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes the file one that is written past the page cache, and writes its first block so.
pub fn write_past_the_cache(file: &File) -> io::Result<()> {
    fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)?;
    file.write_all_at(blocks(BLOCK_BYTES).as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_name_takes_whole_blocks_only() {
        // Beside the build, hence on a real disk: /tmp may be a tmpfs, which has no O_DIRECT everywhere.
        let binary = std::env::current_exe().expect("a test has a binary");
        let dir = tempfile::tempdir_in(binary.parent().expect("it lies in a directory")).expect("a directory");
        let file = nameless(dir.path(), 2).expect("made");
        assert_eq!(file.metadata().expect("open").len(), 2 * BLOCK_BYTES as u64);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
        write_past_the_cache(&file).expect("accepted");
        // Proof that the page cache is left out: it would take any number of bytes.
        assert!(file.write_at(b"short", 0).is_err());
        assert!(nameless(&dir.path().join("nowhere"), 1).is_err());
    }
}
