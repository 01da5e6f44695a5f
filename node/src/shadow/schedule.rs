//! The snapshot schedule: due after so many commands or so much time, whichever comes first, and never without new
//! commands.

use book::units::TsNs;
use std::time::Duration;
use wal::units::Lsn;

#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    every_commands: u64,
    every_ns: u64,
    /// Sequence of the last snapshot, or of the last attempt.
    seq: Lsn,
    /// Time of the last attempt; before the first one, of the first look at the clock.
    tried_at: Option<TsNs>,
}

impl Schedule {
    /// `newest` is the sequence of the newest snapshot that exists already.
    pub fn new(every_commands: u64, every: Duration, newest: Lsn) -> Self {
        Self { every_commands, every_ns: every.as_nanos() as u64, seq: newest, tried_at: None }
    }

    /// Whether `seq` is after the last snapshot or attempt.
    pub fn has_news(&self, seq: Lsn) -> bool {
        self.seq < seq
    }

    pub fn is_due(&mut self, seq: Lsn, now: TsNs) -> bool {
        let since = *self.tried_at.get_or_insert(now);
        let passed_ns = now.0.saturating_sub(since.0);
        self.has_news(seq) && (self.every_commands <= seq.0 - self.seq.0 || self.every_ns <= passed_ns)
    }

    /// Records an attempt, successful or not.
    pub fn tried(&mut self, seq: Lsn, now: TsNs) {
        self.seq = seq;
        if now.0 > 0 {
            self.tried_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_by_commands_or_by_time_and_never_without_news() {
        let second = 1_000_000_000;
        let mut schedule = Schedule::new(100, Duration::from_secs(5), Lsn(40));
        assert!(!schedule.is_due(Lsn(40), TsNs(second)));
        assert!(!schedule.is_due(Lsn(139), TsNs(2 * second)));
        assert!(schedule.is_due(Lsn(140), TsNs(2 * second)), "a hundred commands");
        schedule.tried(Lsn(140), TsNs(2 * second));
        assert!(!schedule.is_due(Lsn(141), TsNs(6 * second)));
        assert!(schedule.is_due(Lsn(141), TsNs(7 * second)), "five seconds");
        schedule.tried(Lsn(141), TsNs(7 * second));
        assert!(!schedule.is_due(Lsn(141), TsNs(90 * second)), "nothing happened since");
        assert!(schedule.has_news(Lsn(142)) && !schedule.has_news(Lsn(141)));
    }
}
