//! Machines for tests: a root directory with the few kernel files that a test needs.

use super::finding::Finding;
use super::machine::Machine;
use super::needs::Needs;
use node::config::Config;
use std::path::Path;
use tempfile::TempDir;

pub(super) struct FakeMachine {
    root: TempDir,
}

impl FakeMachine {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn machine(&self) -> Machine {
        Machine::at(self.root())
    }
}

/// The needs of a node whose configuration has only defaults.
pub(super) fn default_needs() -> Needs {
    Needs::of(&Config::of_defaults(Path::new("/nonexistent")), None)
}

/// `verdict check: found`, one a line.
pub(super) fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{} {}: {}\n", f.verdict.word(), f.check, f.found)).collect()
}

/// Every line of `expected` must be among what was found.
pub(super) fn expect(findings: &[Finding], expected: &str) {
    let found = lines(findings);
    for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(found.lines().any(|l| l == line), "{line:?} is missing in\n{found}");
    }
}
