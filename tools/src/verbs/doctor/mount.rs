//! The file system that a directory is on, as `proc/self/mountinfo` describes it.

use super::finding::{DISK, Finding};
use super::machine::Machine;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// `254:0`
    pub device: String,
    pub point: PathBuf,
    pub kind: String,
    /// Of this mount and of the file system, separated by commas.
    pub options: String,
}

/// File systems that overwrite blocks in place and flush the drive on a sync, as the journal needs.
const GOOD: [&str; 2] = ["ext4", "xfs"];
/// File systems in memory: what was synced to them does not survive a power cut.
const VOLATILE: [&str; 4] = ["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// File systems that write every change of a block to another place.
const COPY_ON_WRITE: [&str; 3] = ["btrfs", "zfs", "bcachefs"];
/// File systems on which another machine decides when a sync is done.
const REMOTE: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "vboxsf"];

impl Mount {
    /// The innermost mount that holds `dir`. Of two mounts at one point the later covers the earlier.
    pub(super) fn of(machine: &Machine, dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        let text = machine.text("proc/self/mountinfo")?;
        let mounts = text.lines().filter_map(Self::parse).filter(|mount| dir.starts_with(&mount.point));
        mounts.max_by_key(|mount| mount.point.components().count())
    }

    /// Parses `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard`; see proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, point, own) = (before.next()?, before.nth(1)?, before.next()?);
        let mut after = after.split(' ');
        let (kind, of_system) = (after.next()?, after.nth(1).unwrap_or_default());
        Some(Self {
            device: device.to_owned(),
            point: PathBuf::from(unescaped(point)),
            kind: kind.to_owned(),
            options: format!("{own},{of_system}"),
        })
    }

    pub(super) fn examine(mount: Option<&Self>) -> Vec<Finding> {
        let Some(mount) = mount else { return vec![DISK.not_reported("file system")] };
        vec![mount.judge_kind(), mount.judge_options()]
    }

    fn judge_kind(&self) -> Finding {
        const CHECK: &str = "file system";
        let kind = self.kind.as_str();
        let found = format!("{kind} at {}", self.point.display());
        if GOOD.contains(&kind) {
            return DISK.ok(CHECK, found);
        }
        if VOLATILE.contains(&kind) {
            let advice =
                "put the data directory on a disk: this file system is in memory, and does not survive a power cut";
            return DISK.problem(CHECK, found, advice);
        }
        let why = if COPY_ON_WRITE.contains(&kind) {
            "this one writes every block to another place, so that each sync of the journal writes metadata as well"
        } else if kind == "overlay" {
            "a container's own layer is deleted with the container; mount a volume"
        } else if REMOTE.contains(&kind) || kind.starts_with("fuse") {
            "here another machine or program decides when a sync is done, and whether it lasts"
        } else {
            "the journal was never tested on this one"
        };
        DISK.advice(CHECK, found, format!("put the data directory on ext4 or xfs: {why}"))
    }

    fn judge_options(&self) -> Finding {
        const CHECK: &str = "mount options";
        let careless = self.options.split(',').find(|option| ["nobarrier", "barrier=0"].contains(option));
        match careless {
            None => DISK.ok(CHECK, self.options.as_str()),
            Some(option) => {
                let advice = "mount it without that option: a sync does not flush the drive's cache with it, and what was \
                              acknowledged is lost in a power cut";
                DISK.problem(CHECK, option, advice)
            }
        }
    }
}

/// Replaces the octal escapes of blanks, tabs, line ends and backslashes in a path.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;

    fn check(kind: &str, options: &str, expected: &str) {
        let line = format!("27 1 254:0 / / rw,relatime shared:1 master:2 - {kind} /dev/vda {options}");
        expect(&Mount::examine(Mount::parse(&line).as_ref()), expected);
    }

    #[test]
    fn a_file_system_keeps_what_it_syncs_or_not() {
        check("ext4", "rw", "ok file system: ext4 at /\nok mount options: rw,relatime,rw");
        check("xfs", "rw", "ok file system: xfs at /");
        check("tmpfs", "rw", "problem file system: tmpfs at /");
        for kind in ["btrfs", "overlay", "nfs4", "fuse.sshfs", "minix"] {
            check(kind, "rw", &format!("advice file system: {kind} at /"));
        }
        expect(&Mount::examine(None), "ok file system: not reported");
    }

    #[test]
    fn a_sync_that_does_not_flush_is_no_sync() {
        check("ext4", "rw,nobarrier", "problem mount options: nobarrier");
        check("ext4", "rw,barrier=0,data=ordered", "problem mount options: barrier=0");
    }

    #[test]
    fn the_innermost_and_last_mount_counts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let here = dir.path().canonicalize().expect("there");
        let mounts = format!(
            "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 254:1 / {at} rw - ext4 /dev/vdb rw\n\
             29 27 254:2 / {at} rw - xfs /dev/vdc rw\n30 27 254:3 / {at}/below rw - ext4 /dev/vdd rw\n",
            at = here.display()
        );
        let fake = FakeMachine::of(&[("proc/self/mountinfo", &mounts)]);
        let mount = Mount::of(&fake.machine(), &here).expect("it is listed");
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("254:2", "xfs"));
        assert_eq!(unescaped("/a\\040b"), "/a b");
    }
}
