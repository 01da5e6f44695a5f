//! How far a start has come: what `/health` says before there is a state.

use super::gauge::Gauge;

/// The progress of one start. Its one writer is the thread that recovers.
#[derive(Debug, Default)]
pub struct Recovery {
    stage: Gauge,
    /// The sequence of the snapshot that was loaded; zero without one.
    pub seq_snapshot: Gauge,
    /// Commands of the log after the snapshot, and how many of them are applied.
    pub commands: Gauge,
    pub commands_replayed: Gauge,
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stage {
    /// It has not begun to read its log.
    Claiming = 0,
    /// It reads every frame of the log, and proves it.
    Verifying = 1,
    /// It loads the newest snapshot.
    Loading = 2,
    /// It applies the commands after the snapshot.
    Replaying = 3,
    /// It opens the store and starts its threads.
    Starting = 4,
    Done = 5,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Claiming, Self::Verifying, Self::Loading, Self::Replaying, Self::Starting, Self::Done];

    pub fn name(self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Verifying => "verifying",
            Self::Loading => "loading",
            Self::Replaying => "replaying",
            Self::Starting => "starting",
            Self::Done => "done",
        }
    }
}

impl Recovery {
    pub fn enter(&self, stage: Stage) {
        self.stage.set(stage as u64);
    }

    pub fn stage(&self) -> Stage {
        Stage::ALL.into_iter().find(|stage| *stage as u64 == self.stage.get()).unwrap_or(Stage::Claiming)
    }

    /// As a sentence for operators.
    pub fn describe(&self) -> String {
        let (done, all, snapshot) = (self.commands_replayed.get(), self.commands.get(), self.seq_snapshot.get());
        match self.stage() {
            Stage::Replaying => {
                let percent = done.saturating_mul(100) / all.max(1);
                format!("recovering: {done} of {all} commands after the snapshot at {snapshot} replayed ({percent} %)")
            }
            Stage::Claiming => "recovering".to_owned(),
            stage => format!("recovering: {}", stage.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_sentence() {
        let recovery = Recovery::default();
        assert_eq!(recovery.describe(), "recovering");
        for stage in Stage::ALL {
            recovery.enter(stage);
            assert_eq!(recovery.stage(), stage);
        }
        recovery.enter(Stage::Replaying);
        recovery.seq_snapshot.set(7);
        recovery.commands.set(200);
        recovery.commands_replayed.set(50);
        assert_eq!(recovery.describe(), "recovering: 50 of 200 commands after the snapshot at 7 replayed (25 %)");
    }
}
