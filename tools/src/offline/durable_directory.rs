//! Makes directories whose names survive a power cut.
//!
//! Invariant: when `make` returns, the directory's name is on disk, and so are the names of all directories above it.

use std::fs::{DirBuilder, File};
use std::io::Result;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The mode of directories with balances and secrets: for their owner only.
pub const PRIVATE: u32 = 0o700;
/// The mode of other directories, which the user's umask restricts.
pub const SHARED: u32 = 0o777;

/// Makes `path` and the directories above it that are missing. Those that exist are not changed.
pub fn make(path: &Path, mode: u32) -> Result<()> {
    let path = std::path::absolute(path)?;
    let touched = touched(&path);
    DirBuilder::new().recursive(true).mode(mode).create(&path)?;
    touched.iter().try_for_each(|directory| File::open(directory)?.sync_all())
}

/// Makes the name of `path`, a new file or directory, survive a power cut.
pub fn sync_name(path: &Path) -> Result<()> {
    let path = std::path::absolute(path)?;
    File::open(path.parent().unwrap_or(&path))?.sync_all()
}

/// The directories to sync: the one that gets a new entry, then those that will be made. None where `path` exists.
fn touched(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().take_while(|directory| !directory.exists()).count();
    let count = if missing == 0 { 0 } else { missing + 1 };
    let mut touched: Vec<PathBuf> = path.ancestors().take(count).map(Path::to_owned).collect();
    touched.reverse();
    touched
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn new_directories_are_synced_and_so_is_the_one_above_them() {
        let place = tempfile::tempdir().expect("a directory");
        let deep = place.path().join("a/b/c");
        let expected = ["", "a", "a/b", "a/b/c"].map(|below| place.path().join(below));
        assert_eq!(touched(&deep), expected);
        make(&deep, PRIVATE).expect("made");
        for made in &expected[1..] {
            assert_eq!(fs::metadata(made).expect("there").permissions().mode() & 0o777, PRIVATE);
        }
        assert!(touched(&deep).is_empty());
        make(&deep, PRIVATE).expect("there already");
        fs::write(place.path().join("file"), "").expect("ours");
        make(&place.path().join("file/below"), PRIVATE).expect_err("a file is not a directory");
        sync_name(&place.path().join("file")).expect("synced");
        sync_name(Path::new("Cargo.toml")).expect("a relative name is of the current directory");
        sync_name(Path::new("/")).expect("the root has no directory above it");
        sync_name(&place.path().join("gone/file")).expect_err("no such directory");
    }
}
