//! Faults that a test injects through `PINION_FAULT`: failing journal writes and syncs, crashes while a record is
//! applied, panics of threads, and an acknowledgement before the sync, which the power-cut test must catch.
//!
//! Writes through io_uring are not system calls that strace could make fail, so the reactor asks here instead. Without
//! the feature `fault-injection` the struct is empty and its checks compile to nothing.

use book::units::Seq;
#[cfg(feature = "fault-injection")]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(feature = "fault-injection")]
use std::sync::{Mutex, PoisonError};

/// Whether this build can inject faults. Tests that depend on them must fail without it, because they would prove
/// nothing.
pub const ENABLED: bool = cfg!(feature = "fault-injection");

/// Which journal operations fail, and from which one on.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalFault {
    #[cfg(feature = "fault-injection")]
    write: Option<FaultAt>,
    #[cfg(feature = "fault-injection")]
    sync: Option<FaultAt>,
    /// Planted fault: answers leave when a command is applied, before it is durable.
    #[cfg(feature = "fault-injection")]
    pub acknowledge_before_sync: bool,
}

#[cfg(feature = "fault-injection")]
#[derive(Clone, Copy, Debug)]
struct FaultAt {
    countdown: u64,
    errno: i32,
}

#[cfg(not(feature = "fault-injection"))]
impl JournalFault {
    pub fn from_env() -> Result<Self, String> {
        Ok(Self {})
    }

    #[inline]
    pub fn on_write(&mut self, result: Result<usize, i32>) -> Result<usize, i32> {
        result
    }

    #[inline]
    pub fn on_sync(&mut self, result: Result<(), i32>) -> Result<(), i32> {
        result
    }
}

#[cfg(feature = "fault-injection")]
impl JournalFault {
    /// Reads `PINION_FAULT`, a comma-separated list of:
    ///
    /// - `write:ERRNO:N`, `sync:ERRNO:N`: the N-th operation fails, and all after it
    /// - `ack-before-sync`: answers leave before their command is durable
    /// - `crash-at:SEQ`: recovery and shadow panic when they apply that sequence
    /// - `die-at:SEQ`: the process is killed there instead
    /// - `panic:THREAD:N`: the thread panics when it comes to its N-th piece of work; each further one of the same
    ///   thread counts from the panic before
    /// - `differ-at:SEQ`: the shadow skips that sequence, so that its state differs from the live one
    /// - `wall:PATH`: the wall clock is off by the number of nanoseconds in that file
    /// - `record-hashes:EVERY:PATH`: the live engine appends its state hash to PATH after every EVERY-th sequence
    pub fn from_env() -> Result<Self, String> {
        let Ok(text) = std::env::var("PINION_FAULT") else { return Ok(Self::default()) };
        let mut fault = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let fields: Vec<&str> = part.split(':').collect();
            match fields[..] {
                ["write", errno, nth] => fault.write = Some(FaultAt::parse(errno, nth)?),
                ["sync", errno, nth] => fault.sync = Some(FaultAt::parse(errno, nth)?),
                ["ack-before-sync"] => fault.acknowledge_before_sync = true,
                ["crash-at", seq] => ApplyFault::arm(&CRASH_AT, seq)?,
                ["die-at", seq] => ApplyFault::arm(&DIE_AT, seq)?,
                ["panic", thread, nth] => PanicFault::arm(thread, nth)?,
                ["differ-at", seq] => ApplyFault::arm(&DIFFER_AT, seq)?,
                ["wall", path] => WallFault::arm(path),
                ["record-hashes", every, path] => HashRecord::arm(every, path)?,
                _ => return Err(format!("PINION_FAULT: unknown fault {part:?}")),
            }
        }
        Ok(fault)
    }

    pub fn on_write(&mut self, result: Result<usize, i32>) -> Result<usize, i32> {
        FaultAt::strike(&mut self.write).map_or(result, Err)
    }

    pub fn on_sync(&mut self, result: Result<(), i32>) -> Result<(), i32> {
        FaultAt::strike(&mut self.sync).map_or(result, Err)
    }
}

#[cfg(feature = "fault-injection")]
impl FaultAt {
    fn parse(errno: &str, nth: &str) -> Result<Self, String> {
        let errno = match errno {
            "EIO" => libc::EIO,
            "ENOSPC" => libc::ENOSPC,
            other => return Err(format!("PINION_FAULT: errno {other:?} is not EIO or ENOSPC")),
        };
        let countdown = nth.parse().map_err(|_| format!("PINION_FAULT: {nth:?} is not a count"))?;
        Ok(Self { countdown, errno })
    }

    fn strike(fault: &mut Option<Self>) -> Option<i32> {
        let fault = fault.as_mut()?;
        if fault.countdown > 1 {
            fault.countdown -= 1;
            return None;
        }
        Some(fault.errno)
    }
}

/// Faults of a replay: recovery and shadow have them, the live engine does not.
pub struct ApplyFault;

#[cfg(feature = "fault-injection")]
static CRASH_AT: AtomicU64 = AtomicU64::new(0);
#[cfg(feature = "fault-injection")]
static DIE_AT: AtomicU64 = AtomicU64::new(0);
#[cfg(feature = "fault-injection")]
static DIFFER_AT: AtomicU64 = AtomicU64::new(0);

#[cfg(not(feature = "fault-injection"))]
impl ApplyFault {
    #[inline]
    pub fn strike(_seq: Seq) {}

    #[inline]
    pub fn is_skipped(_seq: Seq) -> bool {
        false
    }
}

#[cfg(feature = "fault-injection")]
impl ApplyFault {
    fn arm(at: &AtomicU64, seq: &str) -> Result<(), String> {
        at.store(seq.parse().map_err(|_| format!("PINION_FAULT: {seq:?} is not a sequence"))?, Ordering::Relaxed);
        Ok(())
    }

    pub fn strike(seq: Seq) {
        assert!(CRASH_AT.load(Ordering::Relaxed) != seq.0, "crash-at: the fault that was asked for");
        if DIE_AT.load(Ordering::Relaxed) == seq.0 {
            let me = rustix::process::getpid();
            // No destructor and no hook runs after this, as after a kill from outside.
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }

    pub fn is_skipped(seq: Seq) -> bool {
        DIFFER_AT.load(Ordering::Relaxed) == seq.0
    }
}

/// Panics of threads, in the middle of their work.
pub struct PanicFault;

/// The threads that will panic, and after how many more pieces of work.
#[cfg(feature = "fault-injection")]
static PANICS: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());
/// Whether there is one, so that the loops of other tests take no lock.
#[cfg(feature = "fault-injection")]
static PANICS_ARMED: AtomicBool = AtomicBool::new(false);

#[cfg(not(feature = "fault-injection"))]
impl PanicFault {
    #[inline]
    pub fn strike(_thread: &str) {}
}

#[cfg(feature = "fault-injection")]
impl PanicFault {
    pub(crate) fn arm(thread: &str, nth: &str) -> Result<(), String> {
        let nth = nth.parse().ok().filter(|nth| 0 < *nth);
        let nth = nth.ok_or_else(|| "PINION_FAULT: panic needs a count above zero".to_owned())?;
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push((thread.to_owned(), nth));
        PANICS_ARMED.store(true, Ordering::Release);
        Ok(())
    }

    /// One piece of work of the thread.
    pub fn strike(thread: &str) {
        if !PANICS_ARMED.load(Ordering::Acquire) {
            return;
        }
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(idx) = panics.iter().position(|(name, _)| name == thread) else { return };
        panics[idx].1 -= 1;
        if panics[idx].1 == 0 {
            panics.remove(idx);
            drop(panics);
            panic!("panic:{thread}: the fault that was asked for");
        }
    }
}

/// A wall clock that is wrong.
pub struct WallFault;

/// The file that says by how much.
#[cfg(feature = "fault-injection")]
static WALL: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();

#[cfg(not(feature = "fault-injection"))]
impl WallFault {
    #[inline]
    pub fn offset_ns() -> i64 {
        0
    }
}

#[cfg(feature = "fault-injection")]
impl WallFault {
    fn arm(path: &str) {
        // A second node in this process reads the first one's file.
        let _ = WALL.set(path.into());
    }

    /// Zero while the file does not have a number.
    pub fn offset_ns() -> i64 {
        let text = WALL.get().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

/// Not a fault, but configured by the same variable: records state hashes of the live engine, with which a test
/// compares the state that tools build from the log.
pub struct HashRecord;

#[cfg(feature = "fault-injection")]
static HASHES: std::sync::OnceLock<(u64, std::fs::File)> = std::sync::OnceLock::new();

#[cfg(not(feature = "fault-injection"))]
impl HashRecord {
    #[inline]
    pub fn note(_engine: &book::engine::Engine) {}
}

#[cfg(feature = "fault-injection")]
impl HashRecord {
    fn arm(every: &str, path: &str) -> Result<(), String> {
        let every = every.parse().ok().filter(|every| 0 < *every);
        let every = every.ok_or_else(|| "PINION_FAULT: record-hashes needs a count above zero".to_owned())?;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("PINION_FAULT: {path}: {error}"))?;
        // A second node in this process appends to the first one's file.
        let _ = HASHES.set((every, file));
        Ok(())
    }

    /// Appends `seq hash` if the engine has just applied an EVERY-th sequence.
    pub fn note(engine: &book::engine::Engine) {
        use std::io::Write;
        let Some((every, file)) = HASHES.get() else { return };
        let seq = engine.stamp().seq.0;
        if seq.is_multiple_of(*every) {
            let line = format!("{seq} {}\n", engine.state_hash());
            (&*file).write_all(line.as_bytes()).expect("the record of hashes can be written");
        }
    }
}
