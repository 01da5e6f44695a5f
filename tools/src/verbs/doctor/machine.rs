//! A machine as its kernel describes it in files, under a root that a test may put elsewhere.

use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine that this process runs on.
    pub(super) fn this() -> Self {
        Self::at(Path::new("/"))
    }

    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// `path` is relative to the root: `proc/cmdline`.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        assert!(!path.starts_with('/'), "an absolute path would leave the root");
        self.root.join(path)
    }

    /// A file's text without surrounding white space; `None` where the file is missing, empty or unreadable.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(path)).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The value after the first `key:` of a file such as `proc/cpuinfo`.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    }

    /// A field such as `MemTotal: 24684084 kB`, in bytes.
    pub(super) fn kilobytes(&self, path: &str, key: &str) -> Option<u64> {
        let kilobytes: u64 = self.field(path, key)?.strip_suffix("kB")?.trim_end().parse().ok()?;
        kilobytes.checked_mul(1024)
    }

    /// The value that stands in brackets: `always [madvise] never`.
    pub(super) fn choice(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// The value of a boot option `name=value`. Where it is given twice, the last one counts.
    pub(super) fn boot_option(&self, name: &str) -> Option<String> {
        let text = self.text("proc/cmdline")?;
        let mut options = text.split_whitespace().filter_map(|option| option.split_once('='));
        options.rfind(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }
}
