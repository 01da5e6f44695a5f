//! Small disks for tests, which can be filled up and lose their power: an ext4 image on a loop device, or one with a
//! volatile write cache. Needs root, `mkfs.ext4` (e2fsprogs), `mount` and `xfs_io` (xfsprogs).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const UNMOUNT_MAX: Duration = Duration::from_secs(20);

pub(crate) struct LoopDisk {
    // Dropped last: it contains the image.
    dir: TempDir,
    options: &'static str,
    mounted: bool,
}

impl LoopDisk {
    pub(crate) fn ext4(bytes: u64) -> Self {
        Self::made(bytes, "mkfs.ext4", "loop")
    }

    fn made(bytes: u64, mkfs: &str, options: &'static str) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let image = std::fs::File::create(dir.path().join("image")).expect("the path is new");
        image.set_len(bytes).expect("a sparse file");
        std::fs::create_dir(dir.path().join("disk")).expect("the path is new");
        run(Command::new(mkfs).arg("-qF").arg(dir.path().join("image")));
        let mut disk = Self { dir, options, mounted: false };
        disk.mount();
        disk
    }

    /// A file system in memory.
    pub(crate) fn tmpfs(bytes: u64) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let at = dir.path().join("disk");
        std::fs::create_dir(&at).expect("the path is new");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&at));
        Self { dir, options: "", mounted: true }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// A directory beside the disk, for files that must survive its loss.
    pub(crate) fn beside(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn mount(&mut self) {
        assert!(!self.mounted, "the disk is mounted already");
        run(Command::new("mount").args(["-o", self.options]).arg(self.dir.path().join("image")).arg(self.path()));
        self.mounted = true;
    }

    /// Drops everything that the file system has not written to the device; every further operation fails.
    pub(crate) fn cut_power(&self) {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()));
    }

    /// Unmounts the disk. The kernel releases the ring of a killed process and its files some time after the process
    /// has ended; until then the disk is in use.
    pub(crate) fn unmount(&mut self) {
        let deadline = Instant::now() + UNMOUNT_MAX;
        while !Command::new("umount").arg(self.path()).output().is_ok_and(|done| done.status.success()) {
            assert!(Instant::now() < deadline, "{:?} is still in use", self.path());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.mounted = false;
    }

    pub(crate) fn remount_read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()));
    }

    /// Mounts the disk again, as after the power has returned.
    pub(crate) fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Fills the file system except for `leave` bytes.
    pub(crate) fn fill(&self, leave: u64) -> PathBuf {
        let filler = self.path().join("filler");
        let free = free_bytes(&self.path());
        let length = free.saturating_sub(leave).to_string();
        run(Command::new("fallocate").args(["-l", &length]).arg(&filler));
        filler
    }
}

/// A disk with a volatile write cache: an image served by nbdkit and nbdfuse. Needs both, python3 for nbdkit, and
/// fuse3.
pub(crate) struct VolatileDisk {
    dir: TempDir,
    lies: bool,
    seed: u64,
    serving: Option<Serving>,
}

/// The processes and the device between file system and image while the power is on.
struct Serving {
    nbdkit: Child,
    nbdfuse: Child,
    device: String,
    mounted: bool,
}

impl VolatileDisk {
    pub(crate) fn ext4(bytes: u64, lies: bool) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        std::fs::File::create(dir.path().join("image")).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        for name in ["disk", "nbd"] {
            std::fs::create_dir(dir.path().join(name)).expect("the path is new");
        }
        run(Command::new("mkfs.ext4").arg("-qF").arg(dir.path().join("image")));
        let mut disk = Self { dir, lies, seed: 0, serving: None };
        disk.power_on().expect("the new file system mounts");
        disk
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    pub(crate) fn beside(&self) -> &Path {
        self.dir.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the disk and mounts it; fails where the file system itself did not survive.
    pub(crate) fn power_on(&mut self) -> Result<(), String> {
        self.seed += 1;
        let socket = self.at("socket");
        let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/volatile_disk.py");
        let nbdkit = Command::new("nbdkit")
            .args(["-f", "-U"])
            .arg(&socket)
            .args(["python", plugin])
            .arg(format!("file={}", self.at("image").display()))
            .arg(format!("cut={}", self.at("cut").display()))
            .arg(format!("seed={}", self.seed))
            .arg(format!("lie={}", u8::from(self.lies)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nbdkit is installed (nbdkit, nbdkit-plugin-python)");
        await_path(&socket);
        let nbdfuse = Command::new("nbdfuse")
            .arg(self.at("nbd"))
            .arg("--unix")
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let nbdfuse = nbdfuse.expect("nbdfuse is installed (libnbd-bin, fuse3)");
        let file = self.at("nbd").join("nbd");
        await_path(&file);
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&file).output().expect("losetup is installed");
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(!device.is_empty(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let mounted = Command::new("mount").arg(&device).arg(self.path()).output().expect("mount(8) is installed");
        self.serving = Some(Serving { nbdkit, nbdfuse, device, mounted: mounted.status.success() });
        let message = String::from_utf8_lossy(&mounted.stderr).into_owned();
        if mounted.status.success() { Ok(()) } else { Err(message) }
    }

    /// From now on, until the power is cut, the disk acknowledges flushes without making them.
    pub(crate) fn begin_to_lie(&self) {
        assert!(self.lies, "the disk was made with `lies`");
        std::fs::write(self.at("cut.lie"), []).expect("the file is writable");
    }

    /// Cuts the power: of the sectors that were not flushed a random half is lost, and every further operation fails.
    pub(crate) fn cut_power(&self) {
        std::fs::write(self.at("cut"), []).expect("the file is writable");
        await_path(&self.at("cut.done"));
    }

    /// Ends the processes between file system and image; `power_on` starts them again.
    pub(crate) fn power_off(&mut self) {
        let Some(mut serving) = self.serving.take() else { return };
        if serving.mounted {
            until_done(Command::new("umount").arg(self.path()));
        }
        until_done(Command::new("losetup").args(["-d", &serving.device]));
        until_done(Command::new("fusermount3").arg("-u").arg(self.at("nbd")));
        for child in [&mut serving.nbdfuse, &mut serving.nbdkit] {
            // Killing a process that has ended fails, and is not needed.
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in ["socket", "cut", "cut.done", "cut.lie"] {
            let _ = std::fs::remove_file(self.at(name));
        }
    }
}

impl Drop for VolatileDisk {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn await_path(path: &Path) {
    let deadline = Instant::now() + UNMOUNT_MAX;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{path:?} does not appear");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Repeats a command until it succeeds: after a kill or a power cut, files and devices stay in use for a moment.
fn until_done(command: &mut Command) {
    let deadline = Instant::now() + UNMOUNT_MAX;
    while !command.output().is_ok_and(|done| done.status.success()) {
        if deadline < Instant::now() {
            eprintln!("{command:?} does not succeed");
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn free_bytes(path: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(path).output().expect("stat(1) is installed");
    let text = String::from_utf8(output.stdout).expect("digits");
    let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
    numbers.next().expect("free blocks") * numbers.next().expect("their size")
}

/// Runs a command; panics where it fails, because a machine without the tool or the right has not tested anything.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; this test needs root, e2fsprogs, xfsprogs, mount and util-linux")
    });
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} (this test needs root): {message}");
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily, because a process that is still ending must not keep the test from cleaning up.
            let _ = Command::new("umount").arg("-l").arg(self.path()).output();
        }
    }
}
