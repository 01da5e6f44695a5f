//! The disk of the data directory: what is there, whether a node may write to it, whether there is space.
//!
//! Invariant: no file remains. What is written goes to files that never have a name, or lose it at once.

use super::drive;
use super::finding::{DISK, Finding, show_size};
use super::machine::Machine;
use super::mount::Mount;
use super::needs::Needs;
use super::scratch;
use super::sync_latency;
use crate::terminal::failure::Failure;
use anyhow::Result;
use node::status::exit;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::error::{ErrorKind, WalError};

/// Space for the log in the store, as a multiple of journal and ballast. With `store.retain_*` at their defaults the
/// log is never truncated.
const GROWTH_FACTOR: u64 = 4;

/// A data directory, or the path at which one can be made.
#[derive(Debug)]
pub(super) struct Place {
    data_dir: PathBuf,
    /// The directory itself, or the one that it will be made in.
    existing: PathBuf,
}

impl Place {
    /// Fails where neither the directory nor the one above it exists.
    pub(super) fn find(data_dir: &Path) -> Result<Self> {
        let data_dir = std::path::absolute(data_dir)?;
        let parent = data_dir.parent().unwrap_or(Path::new("/")).to_owned();
        let existing = if data_dir.exists() { data_dir.clone() } else { parent };
        if existing.is_dir() {
            return Ok(Self { data_dir, existing });
        }
        let message = format!(
            "examining data directory {}: {} is not a directory; make it, or give another --data-dir",
            data_dir.display(),
            existing.display()
        );
        Err(Failure::of(exit::NOT_FOUND, message))
    }

    fn is_new(&self) -> bool {
        self.data_dir != self.existing
    }
}

/// `has_ring` is whether durable writes can be tried at all.
pub(super) fn examine(machine: &Machine, needs: &Needs, place: &Place, has_ring: bool) -> Vec<Finding> {
    let dir = &place.existing;
    let identity = if place.is_new() { None } else { Some(Directory::open_read_only(dir).map(|_| ())) };
    let is_made = matches!(identity, Some(Ok(())));
    let entries = std::fs::read_dir(dir).map(Iterator::count);
    let mount = Mount::of(machine, dir);
    let drive = mount.as_ref().and_then(|mount| drive::Drive::of(machine, mount));
    let file = scratch::anonymous_file(dir, 1);
    let direct = file.as_ref().ok().map(scratch::write_direct);

    let mut findings = vec![presence(place, identity, entries), permission(&file)];
    findings.extend(Mount::examine(mount.as_ref()));
    findings.push(free_space(free_bytes(dir), needs, is_made));
    findings.extend(drive::examine(drive.as_ref()));
    findings.push(direct_writes(direct.as_ref()));
    findings.push(match direct {
        Some(Ok(())) if has_ring => latency(machine, needs, dir),
        Some(Ok(())) => sync_latency::not_measured("no ring"),
        _ => sync_latency::not_measured("no file that accepts O_DIRECT"),
    });
    findings
}

/// The only finding about a disk where no data directory was given.
pub(super) fn not_given() -> Vec<Finding> {
    let advice = "give --config or --data-dir: most of an order's latency is the disk, and none was examined";
    vec![DISK.advice("data directory", "not given", advice)]
}

fn presence(place: &Place, identity: Option<Result<(), WalError>>, entries: io::Result<usize>) -> Finding {
    const CHECK: &str = "data directory";
    let found = place.data_dir.display().to_string();
    match (identity, entries) {
        (None, _) => DISK.ok(CHECK, format!("{found}, not made yet")),
        (Some(Ok(())), _) => DISK.ok(CHECK, found),
        (Some(Err(error)), Ok(entries)) if error.kind() == ErrorKind::NotInitialised => match entries {
            0 => DISK.ok(CHECK, format!("{found}, empty")),
            _ => {
                let advice = "choose an empty or absent path: `pinion init` makes no data directory among other files";
                DISK.advice(CHECK, format!("{found}, not empty and not a data directory"), advice)
            }
        },
        (Some(Err(error)), _) => {
            let advice = format!("run this as the node's user, or repair what is wrong with the directory: {error}");
            DISK.problem(CHECK, format!("{found}, cannot be read"), advice)
        }
    }
}

fn permission<T>(file: &io::Result<T>) -> Finding {
    match file {
        Ok(_) => DISK.ok("writable", "yes"),
        Err(error) => {
            let advice = "make the node's user the owner of the directory, and mount its file system for writing";
            DISK.problem("writable", error.to_string(), advice)
        }
    }
}

fn free_bytes(dir: &Path) -> Option<u64> {
    rustix::fs::statvfs(dir).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// A data directory that exists has its journal and ballast already.
fn free_space(free_bytes: Option<u64>, needs: &Needs, is_made: bool) -> Finding {
    let Some(free) = free_bytes else { return DISK.not_reported("free space") };
    let fixed = needs.head_bytes + needs.ballast_bytes;
    let needed = if is_made { 0 } else { fixed };
    let found = format!("{}, journal and ballast take {}", show_size(free), show_size(fixed));
    if free < needed {
        let advice = "free some space, or make journal.segments, journal.segment_bytes or store.ballast_bytes smaller: \
                      `pinion init` would fail";
        return DISK.problem("free space", found, advice);
    }
    if free < GROWTH_FACTOR * fixed {
        let advice = "give it more space: the log in the store grows, and a node stops when the disk is full";
        return DISK.advice("free space", found, advice);
    }
    DISK.ok("free space", found)
}

fn direct_writes(direct: Option<&io::Result<()>>) -> Finding {
    match direct {
        None => DISK.ok("O_DIRECT", "not tried"),
        Some(Ok(())) => DISK.ok("O_DIRECT", "accepted"),
        Some(Err(error)) => {
            let advice = "put the data directory on ext4 or xfs: the journal bypasses the page cache, and the node refuses \
                          to start where that is not possible";
            DISK.problem("O_DIRECT", format!("refused: {error}"), advice)
        }
    }
}

fn latency(machine: &Machine, needs: &Needs, dir: &Path) -> Finding {
    if is_in_use(machine, dir) {
        // Beside a node the figures would be wrong, and the measurement would delay its clients.
        return sync_latency::not_measured("a node runs on this directory");
    }
    match sync_latency::Latencies::measure(dir, needs.journal_core()) {
        Ok(latencies) => sync_latency::judge(&latencies),
        Err(error) => sync_latency::not_measured(&format!("{error:#}")),
    }
}

/// Whether a process holds the directory's lock. The kernel's list of locks is read, because to try the lock could make
/// a node that starts right now refuse to. Device numbers are not compared: some file systems show another one to
/// `stat`.
fn is_in_use(machine: &Machine, dir: &Path) -> bool {
    let Ok(lock) = std::fs::metadata(dir.join("LOCK")) else { return false };
    let inode = lock.ino().to_string();
    let locks = machine.text("proc/locks").unwrap_or_default();
    let is_ours = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"FLOCK") && fields.get(5).and_then(|at| at.rsplit(':').next()) == Some(inode.as_str())
    };
    locks.lines().any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;
    use node::config::Config;
    use std::fs::{create_dir, write};

    fn needs() -> Needs {
        Needs::of(&Config::of_defaults(Path::new("/nonexistent")), None)
    }

    #[test]
    fn a_directory_exists_or_can_be_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (here, file) = (dir.path().join("data"), dir.path().join("file"));
        assert!(Place::find(&here).expect("its parent is there").is_new());
        create_dir(&here).expect("made");
        assert!(!Place::find(&here).expect("it is there").is_new());
        write(&file, "").expect("written");
        for nowhere in [dir.path().join("a/b"), file] {
            let error = Place::find(&nowhere).expect_err("nowhere");
            assert_eq!(crate::terminal::failure::code_of(&error), exit::NOT_FOUND, "{error:#}");
        }
    }

    #[test]
    fn what_is_in_a_directory_is_reported() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let presence_of = |name: &str| {
            let place = Place::find(&dir.path().join(name)).expect("a place");
            let identity = (!place.is_new()).then(|| Directory::open_read_only(&place.existing).map(|_| ()));
            let entries = std::fs::read_dir(&place.existing).map(Iterator::count);
            presence(&place, identity, entries)
        };
        let found = |finding: &Finding| format!("{} {}", finding.verdict.word(), finding.found);
        let new = presence_of("new");
        assert!(found(&new).starts_with("ok") && new.found.ends_with("not made yet"), "{}", new.found);
        create_dir(dir.path().join("data")).expect("made");
        let empty = presence_of("data");
        assert!(found(&empty).starts_with("ok") && empty.found.ends_with("empty"), "{}", empty.found);
        write(dir.path().join("data/notes"), "").expect("written");
        assert!(found(&presence_of("data")).starts_with("advice"));
        write(dir.path().join("data/IDENTITY"), "format 1\n").expect("written");
        assert!(found(&presence_of("data")).starts_with("problem"));
    }

    #[test]
    fn refusals_are_problems() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        expect(&[permission(&Ok(()))], "ok writable: yes");
        expect(&[permission::<()>(&Err(refused()))], "problem writable: permission denied");
        expect(&[direct_writes(Some(&Ok(())))], "ok O_DIRECT: accepted");
        expect(&[direct_writes(Some(&Err(refused())))], "problem O_DIRECT: refused: permission denied");
        expect(&[direct_writes(None)], "ok O_DIRECT: not tried");
        let unreadable = WalError::Locked { path: "/d".into() };
        let place = Place { data_dir: "/d".into(), existing: "/d".into() };
        expect(
            &[presence(&place, Some(Err(unreadable)), Err(refused()))],
            "problem data directory: /d, cannot be read",
        );
    }

    #[test]
    fn space_is_needed_for_the_journal_and_for_the_log_after_it() {
        let needs = needs();
        let check = |free, is_made, expected| expect(&[free_space(free, &needs, is_made)], expected);
        check(Some(64 << 30), false, "ok free space: 64.0 GiB, journal and ballast take 320.0 MiB");
        check(Some(1 << 30), false, "advice free space: 1.0 GiB, journal and ballast take 320.0 MiB");
        check(Some(64 << 20), false, "problem free space: 64.0 MiB, journal and ballast take 320.0 MiB");
        check(Some(64 << 20), true, "advice free space: 64.0 MiB, journal and ballast take 320.0 MiB");
        check(None, false, "ok free space: not reported");
    }

    #[test]
    fn a_running_node_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(dir.path().join("LOCK"), "").expect("written");
        let inode = std::fs::metadata(dir.path().join("LOCK")).expect("there").ino();
        let locked = |kind: &str, inode: u64| {
            let locks = format!("1: {kind}  ADVISORY  WRITE 8939 fe:00:{inode} 0 EOF\n");
            is_in_use(&FakeMachine::of(&[("proc/locks", &locks)]).machine(), dir.path())
        };
        assert!(locked("FLOCK", inode));
        assert!(!locked("FLOCK", inode + 1) && !locked("POSIX", inode));
        let finding = sync_latency::not_measured("a node runs on this directory");
        expect(&[finding], "ok sync latency: not measured: a node runs on this directory");
    }
}
