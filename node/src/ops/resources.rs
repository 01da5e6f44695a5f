//! What a node uses of its machine: disk, memory, descriptors, as `/health` shows them and judges them.
//!
//! Invariant: each bound is one that the node itself goes by, or near which something of it fails.

use super::answer::{intake_word, stopped_by};
use super::disk_watch::warn_percent;
use crate::config::Config;
use crate::host::{descriptors, memory};
use crate::status::Status;
use book::intake::IntakeState;
use serde_json::{Value, json};

/// With more of its descriptors open than this, in percent, the node is degraded.
const DESCRIPTORS_PERCENT_MAX: u64 = 90;
/// With more of its memory resident than this, in percent, the node is degraded.
const MEMORY_PERCENT_MAX: u64 = 90;

/// A part of the node that an operator should look after, and a sentence about it.
pub type Reason = (&'static str, String);

/// Memory that is resident, and what this process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    pub resident_bytes: u64,
    pub limit_bytes: u64,
}

impl MemoryUse {
    /// `None` where the kernel does not say.
    pub fn now(config_max: u64) -> Option<Self> {
        let limit_bytes = if config_max > 0 { config_max } else { memory::limit_bytes()? };
        Some(Self { resident_bytes: memory::resident_bytes()?, limit_bytes })
    }

    fn is_near(&self) -> bool {
        self.limit_bytes / 100 * MEMORY_PERCENT_MAX < self.resident_bytes
    }
}

/// The bounds of the configuration that resources are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub memory_max: u64,
    pub intake_stop_percent: u64,
}

impl Bounds {
    pub fn of(config: &Config) -> Self {
        let (memory_max, intake_stop_percent) = (config.node.memory_max, config.store.intake_stop_percent);
        Self { memory_max, intake_stop_percent }
    }

    /// The first resource that is nearly used up.
    pub fn reason(&self, status: &Status) -> Option<Reason> {
        self.intake_reason(status)
            .or_else(|| self.disk_reason(status))
            .or_else(|| self.memory_reason())
            .or_else(descriptors_reason)
    }

    fn intake_reason(&self, status: &Status) -> Option<Reason> {
        let by = stopped_by(intake(status))?;
        let why = match by {
            "node" => format!("by the node: {} % of the disk are used", status.disk.used_percent.get()),
            _ => "by an operator; pinion admin intake all lifts it".to_owned(),
        };
        Some(("intake", format!("new orders are refused, {why}; cancels go on")))
    }

    fn disk_reason(&self, status: &Status) -> Option<Reason> {
        let (used, stop) = (status.disk.used_percent.get(), self.intake_stop_percent);
        let detail =
            || format!("{used} % of the disk of the data directory are used; new orders are refused at {stop} %");
        self.is_filling(used).then(|| ("disk", detail()))
    }

    fn is_filling(&self, used_percent: u64) -> bool {
        warn_percent(self.intake_stop_percent).is_some_and(|warn| warn <= used_percent)
    }

    fn memory_reason(&self) -> Option<Reason> {
        let found = MemoryUse::now(self.memory_max).filter(MemoryUse::is_near)?;
        let (resident, limit) = (found.resident_bytes, found.limit_bytes);
        Some(("memory", format!("{resident} bytes are resident and the limit is {limit} (node.memory_max)")))
    }

    pub fn memory_json(&self) -> Value {
        let found = MemoryUse::now(self.memory_max);
        json!({
            "resident_bytes": found.map(|found| found.resident_bytes),
            "limit_bytes": found.map(|found| found.limit_bytes),
        })
    }

    pub fn disk_json(&self, status: &Status) -> Value {
        let disk = &status.disk;
        let (used, total) = (disk.used_percent.get(), disk.total_bytes.get());
        let state = match used {
            _ if total == 0 => "unknown",
            used if self.is_filling(used) && self.intake_stop_percent <= used => "full",
            used if self.is_filling(used) => "filling",
            _ => "ok",
        };
        json!({
            "state": state,
            "total_bytes": total,
            "free_bytes": disk.free_bytes.get(),
            "used_percent": used,
            "intake_stop_percent": self.intake_stop_percent,
            "ballast_bytes": disk.ballast_bytes.get(),
        })
    }
}

/// What the exchange accepts, as the engine loop shows it.
pub fn intake(status: &Status) -> IntakeState {
    let states = [IntakeState::All, IntakeState::StoppedByNode, IntakeState::StoppedByOperator];
    states.into_iter().find(|state| *state as u64 == status.intake.get()).unwrap_or_default()
}

pub fn intake_json(status: &Status) -> Value {
    let state = intake(status);
    json!({ "takes": intake_word(state), "stopped_by": stopped_by(state) })
}

fn descriptors_reason() -> Option<Reason> {
    let (open, limit) = (descriptors::open_count()?, descriptors::limit());
    let is_near = limit / 100 * DESCRIPTORS_PERCENT_MAX < open;
    is_near.then(|| ("descriptors", format!("{open} are open and the limit is {limit}: see LimitNOFILE= in TUNING.md")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::watermarks::watermarks;
    use book::units::Seq;

    fn reason(used_percent: u64, intake: IntakeState, memory_max: u64) -> Option<String> {
        let status = Status::new(watermarks(Seq(0)).1);
        status.disk.total_bytes.set(1_000);
        status.disk.used_percent.set(used_percent);
        status.intake.set(intake as u64);
        let found = Bounds { memory_max, intake_stop_percent: 90 }.reason(&status);
        found.map(|(part, detail)| format!("{part}: {detail}"))
    }

    #[test]
    fn what_is_nearly_used_up_is_named() {
        let check = |found: Option<String>, expected: &str| {
            let found = found.unwrap_or_default();
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        check(reason(79, IntakeState::All, 1 << 60), "");
        check(reason(80, IntakeState::All, 1 << 60), "disk: 80 % of the disk");
        check(reason(91, IntakeState::StoppedByNode, 1 << 60), "intake: new orders are refused, by the node: 91 %");
        check(reason(10, IntakeState::StoppedByOperator, 1 << 60), "by an operator; pinion admin intake all");
        check(reason(10, IntakeState::All, 1_000), "memory: ");
    }
}
