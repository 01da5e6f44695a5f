//! Crash-loop protection: a panic while a logged command is applied writes its sequence to the file `CRASHES`, which
//! the next start reads.
//!
//! A logged command that crashes the engine would crash every start in the same way. After `STARTS_MAX` crashes in a
//! row at one sequence the node refuses to start and names it, until an operator decides (`pinion log quarantine`). A
//! panic of the shadow in a running node is not recorded: its supervisor starts it again, and the next start may
//! succeed.

use crate::status::exit;
use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use wal::quarantine::Quarantine;

/// Starts in a row that may crash at one sequence before the next start is refused.
pub const STARTS_MAX: usize = 3;
const FILE: &str = "CRASHES";

thread_local! {
    /// The logged command that this thread is applying; zero between commands.
    static APPLYING: Cell<u64> = const { Cell::new(0) };
    /// Whether a panic of this thread leaves the node running.
    static SUPERVISED: Cell<bool> = const { Cell::new(false) };
}

/// The file that the panic hook appends to; one node per process.
static RECORD: OnceLock<PathBuf> = OnceLock::new();

/// Declares that a panic of the calling thread does not end the node, and so is not recorded.
pub fn exempt_this_thread() {
    SUPERVISED.set(true);
}

/// Marks a command as being applied by this thread until dropped; then the mark before it is restored.
pub struct Applying(u64);

impl Applying {
    #[inline]
    pub fn of(seq: u64) -> Self {
        Self(APPLYING.replace(seq))
    }
}

impl Drop for Applying {
    #[inline]
    fn drop(&mut self) {
        // A panic unwinds through here after its hook has read it.
        APPLYING.set(self.0);
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "applying sequence {seq} crashed the last {STARTS_MAX} starts; show it with \
     `pinion log dump --data-dir {dir} --from {seq} --to {seq}`; \
     `pinion log quarantine --data-dir {dir} --seq {seq} --reason ...` skips it for good"
)]
pub struct CrashLoop {
    pub seq: u64,
    pub dir: String,
}

impl CrashLoop {
    pub fn exit_code(&self) -> u8 {
        exit::CRASHES_AGAIN
    }
}

/// Refuses a start that would crash again at the same sequence.
pub fn check(data_dir: &Path, quarantine: &Quarantine) -> Result<(), CrashLoop> {
    let seqs = read(data_dir);
    let Some(&last) = seqs.last() else { return Ok(()) };
    let in_a_row = seqs.iter().rev().take_while(|seq| **seq == last).count();
    if in_a_row < STARTS_MAX || quarantine.contains(wal::units::Lsn(last)) {
        return Ok(());
    }
    Err(CrashLoop { seq: last, dir: data_dir.display().to_string() })
}

/// Installs a panic hook: from now on a panic while a logged command is applied is recorded in this directory.
pub fn watch(data_dir: &Path) {
    // Set once: a process that starts several nodes, as tests do, keeps the first one's directory.
    if RECORD.set(data_dir.join(FILE)).is_err() {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let seq = APPLYING.get();
        if let Some(path) = RECORD.get().filter(|_| seq > 0 && !SUPERVISED.get()) {
            note(path, seq);
            tracing::error!(seq, "the node crashed while it applied this sequence");
        }
        before(info);
    }));
}

/// Forgets the recorded crashes, once a replay has passed the sequence that caused them.
pub fn clear(data_dir: &Path) {
    // The file is missing unless the node has crashed; a failure to remove it only means that the next start reads it.
    let _ = fs::remove_file(data_dir.join(FILE));
}

/// The recorded sequences, oldest first.
pub fn read(data_dir: &Path) -> Vec<u64> {
    let text = fs::read_to_string(data_dir.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("seq ")?.parse().ok()).collect()
}

fn note(path: &Path, seq: u64) {
    let noted = OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| {
        file.write_all(format!("seq {seq}\n").as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = noted {
        tracing::error!(seq, %error, path = %path.display(), "the crash could not be recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::quarantine::Quarantined;

    #[test]
    fn three_in_a_row_are_refused_until_the_sequence_is_quarantined() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        let mut quarantine = Quarantine::default();
        for seq in [7, 9, 9] {
            note(&path, seq);
            check(dir.path(), &quarantine).expect("not yet");
        }
        note(&path, 9);
        let error = check(dir.path(), &quarantine).expect_err("the third in a row");
        assert!(error.to_string().contains("sequence 9") && error.exit_code() == 22, "{error}");
        quarantine.add(
            wal::units::Lsn(9),
            Quarantined { until: wal::units::Lsn(9), time_ns: 1, reason: "ticket".to_owned() },
        );
        check(dir.path(), &quarantine).expect("a quarantined sequence does not stop a start");
        clear(dir.path());
        assert_eq!(read(dir.path()), Vec::<u64>::new());
    }
}
