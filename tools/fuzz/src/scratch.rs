//! A directory for decoders that read files. It is in memory where the machine has such a directory, because they sync.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

thread_local! {
    /// One per thread: rounds of several targets run side by side.
    static SCRATCH: OnceCell<TempDir> = const { OnceCell::new() };
}

/// This thread's directory. It has files of the input before, so a check writes every file that it reads.
pub fn dir() -> PathBuf {
    SCRATCH.with(|scratch| scratch.get_or_init(make).path().to_owned())
}

/// Writes the file of this name, and returns its path.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir().join(name);
    std::fs::write(&path, bytes).expect("the scratch directory takes a file");
    path
}

fn make() -> TempDir {
    let memory = Path::new(MEMORY);
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary directory can be made")
}
