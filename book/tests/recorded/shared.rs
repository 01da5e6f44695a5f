//! Where the recorded days lie: beside the repository, never in it.

use std::path::PathBuf;

/// The file under `PINION_SHARED`, or under `../shared` beside the repository. A stranger's clone has no such folder:
/// then the test says so and ends. CI has it, so there its absence is a failure.
pub(crate) fn find(path: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("PINION_SHARED").map_or(beside, PathBuf::from);
    let file = shared.join(path);
    if file.is_file() {
        return Some(file);
    }
    let missing = format!("no {}: set PINION_SHARED to the folder with the recorded days", file.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
    println!("not run: {missing}");
    None
}

pub(crate) fn read(path: &str) -> Option<Vec<u8>> {
    let file = find(path)?;
    Some(std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
}
