//! The queue from every thread that logs to the log writer.
//!
//! Invariants: `push` never waits: a line that finds no room is dropped. Lines and bytes in the queue have a limit. A
//! dropped line is counted once, and reported in the log once there is room again.

use crate::faults::mutation::{Mutation, Planted};
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that wait for the log writer; more are dropped. A start, a stop and a burst of refused clients fit.
pub const LINES_MAX: usize = 4_096;
/// Their bytes; more are dropped.
pub const BYTES_MAX: usize = 4 << 20;

thread_local! {
    /// Collects what the log writer itself logs, which must not wait for the lines in the queue.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What threads that log, the log writer and the reports about both share.
#[derive(Debug)]
pub struct LogQueue {
    sender: SyncSender<Vec<u8>>,
    bytes_max: usize,
    /// Of the lines that are pushed and not yet done with.
    bytes: AtomicUsize,
    dropped: AtomicU64,
    /// How many of the dropped lines the log has reported. Written by the log writer.
    reported: AtomicU64,
    reopen: AtomicBool,
    /// How often the directory of the log file was removed and made again.
    dirs_made: AtomicU64,
    /// Why the newest line could not be written. Written by the log writer.
    trouble: Mutex<Option<String>>,
}

impl LogQueue {
    /// The queue, and the end that the log writer reads.
    pub fn new(lines_max: usize, bytes_max: usize) -> (Arc<Self>, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(lines_max);
        let queue = Self {
            sender,
            bytes_max,
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            dirs_made: AtomicU64::new(0),
            trouble: Mutex::new(None),
        };
        (Arc::new(queue), receiver)
    }

    /// Passes a line to the log writer, or drops it.
    pub fn push(&self, line: &[u8]) {
        let bytes = self.bytes.fetch_add(line.len(), Ordering::AcqRel) + line.len();
        let is_taken = bytes <= self.bytes_max && self.sender.try_send(line.to_vec()).is_ok();
        let is_taken =
            is_taken.planted(Mutation::LogWaits, |is_taken| is_taken || self.sender.send(line.to_vec()).is_ok());
        if !is_taken {
            self.done(line.len());
            self.note_dropped();
        }
    }

    /// Counts a line that was not written.
    pub fn note_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::AcqRel);
    }

    /// A line of so many bytes has left the queue and is written, or could not be.
    pub fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub fn is_drained(&self) -> bool {
        self.bytes.load(Ordering::Acquire) == 0
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Acquire)
    }

    /// Dropped lines that the log has not reported yet, and how many there are with those that it has.
    pub fn unreported(&self) -> (u64, u64) {
        let dropped = self.dropped();
        (dropped - self.reported.load(Ordering::Acquire), dropped)
    }

    /// The log has reported the first so many dropped lines.
    pub fn note_reported(&self, dropped: u64) {
        self.reported.store(dropped, Ordering::Release);
    }

    /// Waits until every line is written, for `patience` at the most.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.is_drained() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Asks the log writer to open its files once more.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Wakes a writer that waits for a line. Without room in the queue it has lines, and looks after each.
        let _ = self.sender.try_send(Vec::new());
    }

    pub fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    pub fn note_dir_made(&self) {
        self.dirs_made.fetch_add(1, Ordering::AcqRel);
    }

    pub fn dirs_made(&self) -> u64 {
        self.dirs_made.load(Ordering::Acquire)
    }

    /// Why lines are not written at present, if they are not.
    pub fn trouble(&self) -> Option<String> {
        let failed = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (unreported, _) = self.unreported();
        failed.or_else(|| (unreported > 0).then(|| "lines come faster than they can be written".to_owned()))
    }

    /// Records why a line could not be written, or that one was. Returns whether that is new.
    pub fn note_trouble(&self, failed: Option<String>) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *trouble != failed;
        *trouble = failed;
        is_new
    }
}

/// What `log` logs in this thread, as bytes and past the queue.
pub fn own_lines(log: impl FnOnce()) -> Vec<u8> {
    OWN.set(Some(Vec::new()));
    log();
    OWN.take().unwrap_or_default()
}

/// Where the formatted lines of the process go: each write is one line.
pub struct QueueEnd(pub Arc<LogQueue>);

impl Write for QueueEnd {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_own = OWN.with_borrow_mut(|own| own.as_mut().map(|own| own.extend_from_slice(line)).is_some());
        if !is_own {
            self.0.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes four lines from a thread of its own, where three fit. Returns how many were dropped when the thread had
    /// ended, or when `patience` was over.
    fn overfilled(fault: Option<Mutation>, patience: Duration) -> u64 {
        let (queue, lines) = LogQueue::new(3, 1_000);
        let pushing = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                #[cfg(feature = "mutation")]
                crate::faults::mutation::plant(fault);
                let _ = fault;
                (0..4).for_each(|_| queue.push(b"line\n"));
            }
        });
        let deadline = Instant::now() + patience;
        while !pushing.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let dropped = queue.dropped();
        while !pushing.is_finished() {
            // Frees a thread that waits for room; an error is a line that has not come yet.
            let _ = lines.recv_timeout(Duration::from_millis(1));
        }
        pushing.join().expect("it does not panic");
        dropped
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, lines) = LogQueue::new(3, 20);
        for line in ["1234\n", "5678\n", "too many bytes\n", "9\n", "one line too many\n"] {
            queue.push(line.as_bytes());
        }
        assert_eq!((queue.dropped(), queue.unreported()), (2, (2, 2)));
        assert!(queue.trouble().is_some_and(|why| why.contains("faster")));
        for expected in ["1234\n", "5678\n", "9\n"] {
            let line = lines.try_recv().expect("three fit");
            assert_eq!(line, expected.as_bytes());
            queue.done(line.len());
        }
        assert!(lines.try_recv().is_err() && queue.is_drained());
        queue.note_reported(2);
        assert_eq!(queue.trouble(), None);
    }

    #[test]
    fn no_thread_waits_for_room() {
        let dropped = overfilled(None, Duration::from_secs(60));
        assert_eq!(dropped, 1);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_thread_that_waits_for_room_is_noticed() {
        let dropped = overfilled(Some(Mutation::LogWaits), Duration::from_millis(300));
        assert_ne!(dropped, 1);
    }
}
