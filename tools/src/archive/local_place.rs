//! Writes the objects of a backup into a directory: complete, durable, and readable for their owner alone.
//!
//! ```text
//!  NAME#1 --write, sync--> --link--> NAME --unlink NAME#1, sync the directory-->
//! ```
//! Invariants: no object is ever overwritten. A file has mode 0600 and a directory made here 0700, whatever umask or
//! default access list the place has: the objects hold balances, and hashes of passwords.

use super::key::Key;
use super::put_outcome::PutOutcome;
use crate::offline::durable_directory::PRIVATE;
use node::faults::mutation::{Mutation, Planted};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The mode of a file with balances and hashes of passwords.
const OWNER_ONLY: u32 = 0o600;

/// Names that interrupted uploads of one object have left, at most.
const LEFTOVERS_MAX: u32 = 1_000;

pub(super) struct LocalPlace {
    root: PathBuf,
}

impl LocalPlace {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Stores a new object.
    pub(super) fn put_new(&self, key: Key, contents: &mut dyn Read) -> Result<PutOutcome> {
        let path = self.root.join(key.to_string());
        if path.try_exists()? {
            return Ok(PutOutcome::AlreadyThere);
        }
        let folder = path.parent().expect("an object is in the place");
        self.make_folders(folder)?;
        let staged = self.stage(&path, contents)?;
        let linked = fs::hard_link(&staged, &path);
        fs::remove_file(&staged)?;
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(PutOutcome::AlreadyThere),
            linked => linked?,
        }
        File::open(folder)?.sync_all()?;
        Ok(PutOutcome::Stored)
    }

    /// Writes and syncs the contents under a name that no reader regards as an object.
    fn stage(&self, path: &Path, contents: &mut dyn Read) -> Result<PathBuf> {
        let mode = OWNER_ONLY.planted(Mutation::ReadableByAll, |_| 0o644);
        for idx in 1..=LEFTOVERS_MAX {
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{idx}"));
            let staged = PathBuf::from(name);
            let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let written = file
                .set_permissions(Permissions::from_mode(mode))
                .and_then(|()| std::io::copy(contents, &mut file))
                .and_then(|_| file.sync_all());
            if let Err(error) = written {
                // What cannot be deleted now means nothing to a reader.
                let _ = fs::remove_file(&staged);
                return Err(error);
            }
            return Ok(staged);
        }
        Err(std::io::Error::other(
            "too many interrupted uploads of this object: delete the names that end in # and digits",
        ))
    }

    /// Makes the folders of an object below the root; those that an older release made are closed to others.
    fn make_folders(&self, folder: &Path) -> Result<()> {
        if folder == self.root {
            return Ok(());
        }
        let parent = folder.parent().expect("below the root");
        self.make_folders(parent)?;
        match DirBuilder::new().mode(PRIVATE).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) if fs::metadata(folder)?.permissions().mode() & 0o777 == PRIVATE => return Ok(()),
            _ => {}
        }
        fs::set_permissions(folder, Permissions::from_mode(PRIVATE))?;
        File::open(parent)?.sync_all()
    }
}
