//! How long applied commands have waited for the disk without getting anywhere.
//!
//! A journal whose disk is frozen does not stop the engine loop, which goes on ticking: only this shows it. The age is
//! measured here, from when `seq_durable` was last seen to move or nothing was seen to wait, so it is never longer than
//! the oldest waiting write is old.

use crate::config::{JournalConfig, JournalSyncMode};
use crate::faults::mutation::{Mutation, Planted};
use std::time::{Duration, Instant};

/// The node is not ready if commands wait for longer than this and none becomes durable.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The newest look at `seq_applied` and `seq_durable`.
#[derive(Clone, Copy, Debug)]
pub struct WriteWait {
    seq_durable: u64,
    waiting: u64,
    since: Instant,
    age_max: Duration,
}

/// Commands that wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingWrites {
    pub count: u64,
    /// How long none has become durable; zero while none waits.
    pub age: Duration,
    pub age_max: Duration,
}

impl WriteWait {
    pub fn new(now: Instant, journal: &JournalConfig) -> Self {
        let age_max = match journal.sync {
            JournalSyncMode::Always => AGE_MAX,
            // A command may wait so long before it is written.
            JournalSyncMode::Interval => AGE_MAX + journal.interval,
        };
        Self { seq_durable: 0, waiting: 0, since: now, age_max }
    }

    /// Looks at the watermarks. To be called much more often than `AGE_MAX`.
    pub fn observe(&mut self, now: Instant, seq_applied: u64, seq_durable: u64) {
        let has_moved = (seq_durable != self.seq_durable).planted(Mutation::FrozenDiskReady, |_| true);
        if has_moved || seq_applied <= seq_durable {
            self.since = now;
        }
        self.seq_durable = seq_durable;
        self.waiting = seq_applied.saturating_sub(seq_durable);
    }

    pub fn waiting(&self, now: Instant) -> WaitingWrites {
        let age = if self.waiting == 0 { Duration::ZERO } else { now.saturating_duration_since(self.since) };
        WaitingWrites { count: self.waiting, age, age_max: self.age_max }
    }
}

impl WaitingWrites {
    pub fn is_late(&self) -> bool {
        self.age_max < self.age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the node is late after looks of one each 100 ms, at `(seq_applied, seq_durable)`.
    fn late(sync: JournalSyncMode, looks: &[(u64, u64)]) -> bool {
        let start = Instant::now();
        let journal = JournalConfig {
            sync,
            interval: Duration::from_secs(1),
            accept_loss: false,
            segment_bytes: 1,
            segments: 1,
            frame_bytes_max: 1,
            frames_in_flight: 1,
        };
        let mut wait = WriteWait::new(start, &journal);
        let mut now = start;
        for &(applied, durable) in looks {
            now += Duration::from_millis(100);
            wait.observe(now, applied, durable);
        }
        wait.waiting(now).is_late()
    }

    fn a_frozen_disk_is_late() {
        let frozen = [(9, 7); 12];
        assert!(late(JournalSyncMode::Always, &frozen));
        // Traffic goes on until the head is full.
        assert!(late(JournalSyncMode::Always, &std::array::from_fn::<_, 12, _>(|idx| (8 + idx as u64, 7))));
    }

    #[test]
    fn only_a_disk_that_gets_nowhere_is_late() {
        a_frozen_disk_is_late();
        assert!(!late(JournalSyncMode::Always, &[(9, 7); 11]), "1 s is allowed");
        assert!(!late(JournalSyncMode::Always, &[(9, 9); 100]), "nothing waits");
        let moving: [(u64, u64); 100] = std::array::from_fn(|idx| (1_000, idx as u64 / 9));
        assert!(!late(JournalSyncMode::Always, &moving), "a slow disk gets somewhere");
        assert!(!late(JournalSyncMode::Interval, &[(9, 7); 12]), "the interval comes on top");
        assert!(late(JournalSyncMode::Interval, &[(9, 7); 22]));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_frozen_disk_that_is_not_late_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::FrozenDiskReady, a_frozen_disk_is_late);
    }
}
