//! Every input that once failed a check, under `regressions/TARGET/`, named for what it found.

use fuzz::round::examine;
use fuzz::targets::find;
use std::path::{Path, PathBuf};

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(dir).expect("the directory is part of the repository");
    let mut paths: Vec<PathBuf> = read.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_that_once_failed_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut count = 0;
    for dir in entries(&root) {
        let name = dir.file_name().and_then(|name| name.to_str()).expect("a name of letters");
        let target = find(name).unwrap_or_else(|| panic!("{} is not the name of a target", dir.display()));
        for path in entries(&dir) {
            let input = std::fs::read(&path).expect("a readable file");
            if let Err(finding) = examine(target, &input) {
                panic!("{}: {}", path.display(), finding.message);
            }
            count += 1;
        }
    }
    assert!(0 < count, "the directory of regressions is not empty");
}
