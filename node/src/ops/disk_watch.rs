//! The disk thread: how full the disk of the data directory is, and the stop of new orders before it is full.
//!
//! | used | the node |
//! |---|---|
//! | `store.intake_stop_percent` (90) or more | stops the intake of new orders, by an act in the log |
//! | less than 5 % below that | lifts its stop; an operator's it leaves |
//! | from 10 % below that on | is degraded |
//!
//! Invariants: the node acts once each time that the use of the disk passes a bound, so that what an operator lifts
//! stays lifted; no trading loop waits for this thread, and neither does a stop: a disk that hangs may hold it.

use crate::config::Config;
use crate::faults::mutation::{Mutation, Planted};
use crate::rings::admin_port::AdminPort;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use book::command::{Acted, Admin};
use book::intake::{Intake, IntakeState};
use book::rules::Rules;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wal::directory::ballast_path;

/// How often the disk is measured.
const EVERY: Duration = Duration::from_secs(1);
/// So much below the stop, in percent, the node begins to be degraded.
const WARNED_BEFORE: u64 = 10;
/// The node's own stop is lifted when so much less is used, in percent.
const LIFTED_BELOW: u64 = 5;
/// `store.intake_stop_percent` with which the node never stops the intake, and does not judge the disk.
const NEVER: u64 = 100;

/// From which use of the disk on, in percent, the node is degraded; `None` means never.
pub fn warn_percent(stop_percent: u64) -> Option<u64> {
    (stop_percent < NEVER).then(|| stop_percent - WARNED_BEFORE)
}

/// The file system of the data directory, as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    pub total_bytes: u64,
    /// What this process may still use.
    pub free_bytes: u64,
    /// Rounded up.
    pub used_percent: u64,
}

impl DiskUse {
    /// `None` where the system does not say.
    pub fn of(dir: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(dir).ok()?;
        Self::from_blocks(found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail)
    }

    /// As df(1) computes it: what is reserved for root counts neither as used nor as free.
    fn from_blocks(block_bytes: u64, total: u64, free: u64, available: u64) -> Option<Self> {
        let used = total.saturating_sub(free);
        let usable = used.saturating_add(available);
        let percent = used.saturating_mul(100).div_ceil(usable.max(1));
        let bytes = |blocks: u64| blocks.saturating_mul(block_bytes);
        (0 < usable).then_some(Self { total_bytes: bytes(total), free_bytes: bytes(available), used_percent: percent })
    }
}

/// Decides from one measurement to the next what the node does about the intake.
#[derive(Clone, Copy, Debug)]
struct IntakeGate {
    stop_percent: u64,
    /// Whether the use was at the bound, and has not been below the lower one since.
    is_full: bool,
}

impl IntakeGate {
    /// The act that is due, if one is. It is done when `acted` says so.
    fn due(&self, used_percent: u64) -> Option<Intake> {
        let lift_percent = self.stop_percent - LIFTED_BELOW;
        let lift_percent = lift_percent.planted(Mutation::IntakeFlaps, |_| self.stop_percent);
        match self.is_full {
            false if self.stop_percent <= used_percent && self.stop_percent < NEVER => Some(Intake::Cancels),
            true if used_percent < lift_percent => Some(Intake::All),
            _ => None,
        }
    }

    fn acted(&mut self, intake: Intake) {
        self.is_full = intake == Intake::Cancels;
    }
}

/// The disk thread's loop.
pub struct DiskWatch {
    dir: PathBuf,
    gate: IntakeGate,
    port: Arc<AdminPort>,
    status: Arc<Status>,
    /// Whether it was said that these rules have no stop of the intake.
    is_said: bool,
}

impl DiskWatch {
    pub fn new(config: &Config, port: Arc<AdminPort>, status: Arc<Status>) -> Self {
        // A stop that the node has made before it was started again is still its own.
        let is_full = status.intake.get() == IntakeState::StoppedByNode as u64;
        let gate = IntakeGate { stop_percent: config.store.intake_stop_percent, is_full };
        Self { dir: config.node.data_dir.clone(), gate, port, status, is_said: false }
    }

    /// Measures once, and acts when that is due.
    pub fn poll(&mut self) {
        let Some(found) = DiskUse::of(&self.dir) else { return };
        let disk = &self.status.disk;
        disk.total_bytes.set(found.total_bytes);
        disk.free_bytes.set(found.free_bytes);
        disk.used_percent.set(found.used_percent);
        disk.ballast_bytes.set(std::fs::metadata(ballast_path(&self.dir)).map_or(0, |ballast| ballast.len()));
        if let Some(intake) = self.gate.due(found.used_percent) {
            self.act(intake, found.used_percent);
        }
    }

    fn act(&mut self, intake: Intake, used_percent: u64) {
        if self.status.rules.get() < Rules::Two as u64 {
            let is_said = std::mem::replace(&mut self.is_said, true);
            if !is_said {
                tracing::warn!(used_percent, "the disk is nearly full, and rules 1 have no stop of the intake");
            }
            return;
        }
        // The answer is of no use here: the state is shown by the engine loop. A port that is busy is asked again.
        if self.port.send(Acted::by_node(Admin::SetIntake(intake))).is_err() {
            return;
        }
        self.gate.acted(intake);
        match intake {
            Intake::Cancels => tracing::warn!(
                used_percent,
                ballast = %ballast_path(&self.dir).display(),
                "the disk of the data directory is nearly full: new orders are refused until it is not, cancels go on; \
                 make room, or delete the ballast for that"
            ),
            Intake::All => {
                tracing::info!(used_percent, "the disk of the data directory has room: new orders are taken")
            }
        }
    }

    /// Runs until the node stops.
    pub fn run(&mut self, lifecycle: &Lifecycle) {
        while !lifecycle.is_stopping() {
            self.poll();
            std::thread::park_timeout(EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_what_df_says() {
        let disk = DiskUse::from_blocks(4_096, 1_000, 300, 200).expect("a file system with blocks");
        assert_eq!((disk.total_bytes, disk.free_bytes), (4_096_000, 819_200));
        assert_eq!(disk.used_percent, 78, "700 of 900");
        assert_eq!(DiskUse::from_blocks(4_096, 0, 0, 0), None, "as below /proc");
    }

    /// The acts that a course of measurements leads to.
    fn acts(stop_percent: u64, is_full: bool, course: &[u64]) -> Vec<(u64, Intake)> {
        let mut gate = IntakeGate { stop_percent, is_full };
        let mut acts = Vec::new();
        for &percent in course {
            if let Some(intake) = gate.due(percent) {
                gate.acted(intake);
                acts.push((percent, intake));
            }
        }
        acts
    }

    fn the_node_acts_once_at_each_bound() {
        let course = [50, 89, 90, 95, 89, 90, 86, 85, 84, 89, 91];
        let expected = [(90, Intake::Cancels), (84, Intake::All), (91, Intake::Cancels)];
        assert_eq!(acts(90, false, &course), expected);
    }

    #[test]
    fn the_intake_is_stopped_and_lifted_at_two_bounds() {
        the_node_acts_once_at_each_bound();
        assert_eq!(acts(90, true, &[95, 84]), [(84, Intake::All)], "stopped before the start");
        assert_eq!(acts(NEVER, false, &[99, 100]), []);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn an_intake_that_flaps_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::IntakeFlaps, the_node_acts_once_at_each_bound);
    }
}
