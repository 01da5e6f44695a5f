//! Where a new directory is made: beside an absent or an ordinary directory, or inside an empty mount point.
//!
//! ```text
//!  /var/lib/data       a name:         /var/lib/data.unfinished --rename--> /var/lib/data
//!  /mnt/disk           a mount point:  /mnt/disk/.restore.unfinished/* --rename, IDENTITY last--> /mnt/disk/*
//! ```
//! A mount point can be neither replaced by a rename nor is the directory above it on the same disk. A symbolic link is
//! followed first. Places are compared by device and inode: two texts may name one directory.

use crate::terminal::failure::Failure;
use anyhow::{Context, Result};
use node::faults::mutation::{Mutation, Planted};
use node::status::exit;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name to work under inside a mount point.
const INSIDE: &str = ".restore";

/// What a new file system has in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Appended to the name while a directory is incomplete.
pub(super) const UNFINISHED: &str = ".unfinished";

/// A path, without symbolic links where it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPlace {
    pub path: PathBuf,
    pub is_mount_point: bool,
}

impl NewPlace {
    pub fn of(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)?;
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        match fs::canonicalize(&path) {
            Ok(real) => {
                let is_mount_point = is_mount_point(&real).planted(Mutation::MountPointRenamed, |_| false);
                Ok(Self { path: real, is_mount_point })
            }
            Err(error) if error.kind() == ErrorKind::NotFound && is_link => {
                let target = fs::read_link(&path).unwrap_or_default();
                let (path, target) = (path.display(), target.display());
                let message = format!("{path} is a symbolic link to {target}, which is missing: make that directory");
                Err(Failure::of(exit::USAGE, message))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { path, is_mount_point: false }),
            Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
        }
    }

    /// A name for work on the file system of the new directory; `ScratchDirectory` makes a directory of it.
    pub fn work_name(&self, more: &str) -> Result<PathBuf> {
        if self.is_mount_point {
            return Ok(self.path.join(format!("{INSIDE}{more}")));
        }
        let name = self.path.file_name().with_context(|| format!("{} has no last name", self.path.display()))?;
        let mut name = name.to_owned();
        name.push(more);
        Ok(self.path.with_file_name(name))
    }

    /// Whether an entry of an empty mount point may be there: of the file system itself, or of a restore.
    pub fn may_stay(&self, name: &str) -> bool {
        self.is_mount_point && (name == LOST_AND_FOUND || (name.starts_with(INSIDE) && name.ends_with(UNFINISHED)))
    }
}

fn is_mount_point(path: &Path) -> bool {
    match statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        // An older kernel does not say: then another device than that of the directory above shows it.
        _ => {
            let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
            path.parent().is_none_or(|parent| device(parent) != device(path))
        }
    }
}

/// Whether `path` is `directory`, or is or would be made below it.
pub fn is_within(path: &Path, directory: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let Some(wanted) = identity(directory) else { return false };
    let Ok(path) = std::path::absolute(path) else { return false };
    // The part that exists, without symbolic links, and every directory above it.
    let Some(real) = path.ancestors().find_map(|part| fs::canonicalize(part).ok()) else { return false };
    real.ancestors().any(|part| identity(part) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_place_is_within_another_by_what_it_is_and_not_by_its_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let [data, other] = ["data", "other"].map(|name| dir.path().join(name));
        fs::create_dir_all(data.join("below")).expect("ours");
        fs::create_dir(&other).expect("ours");
        symlink(&data, dir.path().join("link")).expect("ours");
        for (path, expected) in [
            ("data", true),
            ("data/below", true),
            ("data/absent/deep", true),
            ("link", true),
            ("link/absent", true),
            ("other/../data/below", true),
            ("other", false),
            ("data-2", false),
            ("absent", false),
        ] {
            assert_eq!(is_within(&dir.path().join(path), &data), expected, "{path}");
        }
        assert!(!is_within(&data, &dir.path().join("absent")));
    }

    #[test]
    fn a_mount_point_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let is_mount_point = |path: &Path| NewPlace::of(path).expect("there").is_mount_point;
        assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(dir.path()));
        let inside = NewPlace::of(Path::new("/proc")).expect("there").work_name(".fetched").expect("a name");
        assert_eq!(inside, Path::new("/proc/.restore.fetched"));
    }

    #[test]
    fn a_mount_point_that_is_not_seen_is_noticed() {
        node::faults::mutation::assert_noticed_where_built(Mutation::MountPointRenamed, a_mount_point_is_seen);
    }

    #[test]
    fn a_link_is_followed_and_one_to_nowhere_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link, nowhere) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("nowhere"));
        fs::create_dir(&real).expect("ours");
        symlink(&real, &link).expect("ours");
        symlink(dir.path().join("absent"), &nowhere).expect("ours");
        let place = NewPlace::of(&link).expect("there");
        assert_eq!(place, NewPlace { path: fs::canonicalize(&real).expect("there"), is_mount_point: false });
        assert!(NewPlace::of(&nowhere).expect_err("dangling").to_string().contains("absent"));
        assert_eq!(NewPlace::of(&dir.path().join("new")).expect("absent").path, dir.path().join("new"));
    }
}
