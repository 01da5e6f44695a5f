//! Directories whose names a power cut cannot take away.
//!
//! Invariant: when one was made, its name is on disk, and so is that of every directory above it that was made with it.

use std::fs::{DirBuilder, File};
use std::io::Result;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// For its owner only: what lies in such a directory is money and keys.
pub const PRIVATE: u32 = 0o700;
/// What the user's mask leaves of everything.
pub const SHARED: u32 = 0o777;

/// Makes `path` and whatever is missing above it. Nothing happens to what is there.
pub fn make(path: &Path, mode: u32) -> Result<()> {
    let path = std::path::absolute(path)?;
    let touched = touched(&path);
    DirBuilder::new().recursive(true).mode(mode).create(&path)?;
    touched.iter().try_for_each(|directory| File::open(directory)?.sync_all())
}

/// What is to be synced, the first that exists before those that will be made in it: none where `path` is there.
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
    fn every_directory_that_is_made_is_synced_and_the_one_that_got_an_entry() {
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
        make(&place.path().join("file/below"), PRIVATE).expect_err("a file has nothing in it");
    }
}
