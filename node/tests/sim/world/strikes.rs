//! Faults between steps, and the outcomes that a step of the node may have after them.

use super::World;
use crate::context::Context;
use crate::disk::{End, Failures};
use crate::journal::{DiskFaults, WriteFault};
use crate::options::Fault;
use crate::violation::{Checked, Invariant, Violation, ensure};
use std::fmt::Display;

/// Disk calls within which one fails or ends the process: about as many as a round of a loop makes.
const CALLS_MAX: u32 = 12;

impl World<'_> {
    pub(super) fn strike(&mut self) -> Checked {
        if !self.rng.one_in(self.options.fault_every) {
            return Ok(());
        }
        let possible = self.options.strikable();
        let Some(&fault) = possible.get(self.rng.below(possible.len().max(1) as u32) as usize) else { return Ok(()) };
        let rest = 1 + self.rng.below(40);
        match fault {
            Fault::PowerCut | Fault::Kill => {
                self.fault_counts.note(fault);
                let end = if fault == Fault::Kill { End::Killed } else { End::PowerCut };
                return self.crash(end, None);
            }
            Fault::BitRot | Fault::LostTail => return self.crash(End::PowerCut, Some(fault)),
            Fault::SyncFails => self.disk_faults.sync = Some(libc::EIO),
            Fault::WriteFails => self.disk_faults.write = Some(WriteFault::Fail(libc::ENOSPC)),
            Fault::ShortWrite => self.disk_faults.write = Some(WriteFault::Short),
            Fault::FlushFails => self.disk.fail_flush(),
            Fault::CutInStep => self.disk.cut_after(Some(self.rng.below(CALLS_MAX))),
            Fault::CallFails => self.disk.fail_after(self.rng.below(CALLS_MAX)),
            Fault::SlowDisk => self.disk_rests = rest,
            Fault::StoreWriterStalls => self.store_writer_rests = 4 * rest,
            Fault::GatewayStalls => self.gateway_rests = rest,
            Fault::Stop => self.ask_to_stop(),
            Fault::ClockJumps => {
                self.fault_counts.note(fault);
                self.now.0 += (1 + u64::from(self.rng.below(2_000_000_000))) * 10;
            }
            Fault::CutInRecovery
            | Fault::Reset
            | Fault::HalfClose
            | Fault::SlowReader
            | Fault::WrongPassword
            | Fault::Garbage => unreachable!("this fault strikes in a recovery or from a client"),
        }
        Ok(())
    }

    /// Ends the process and starts another one on its disk, with `damage` first on a damaged copy.
    pub(super) fn crash(&mut self, end: End, damage: Option<Fault>) -> Checked {
        self.account()?;
        self.trace.number(1 << 60 | end as u64);
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let mut context = Context {
            now: self.now,
            net: &mut node.orders,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            fault_counts: &mut self.fault_counts,
            faults: self.faults,
            fresh: self.fresh,
        };
        self.clients.iter_mut().chain([&mut self.drop_copy]).for_each(|client| client.node_ended(&mut context));
        context.net = &mut node.market;
        self.reader.node_ended(&mut context);
        self.admins.node_ended();
        self.verdicts.clear();
        self.disk_faults = DiskFaults::default();
        (self.dying, self.stop_asked) = (None, None);
        let issued = std::mem::take(&mut node.journal.issued);
        if self.options.has(Fault::SlowReader) {
            self.fault_counts.add(Fault::SlowReader, node.orders.full_count + node.market.full_count);
        }
        self.live_oldest = node.market_data.feed().live().oldest_seq();
        drop(node);
        self.disk.end(end, &mut self.rng);
        self.now.0 += u64::from(self.rng.below(1_000_000_000));
        if let Some(damage) = damage {
            self.start_damaged(damage, &issued)?;
        }
        self.start()
    }

    /// Whether and how the process ends after a step. A failure needs a fault that was injected since `before`.
    pub(super) fn end_of_step<T, E: Display>(
        &mut self,
        before: Failures,
        outcome: Result<T, E>,
    ) -> Checked<Option<End>> {
        if self.disk.is_cut() {
            self.fault_counts.note(Fault::CutInStep);
            return Ok(Some(self.any_end()));
        }
        match outcome {
            Ok(_) => Ok(None),
            Err(_) if before != self.disk.failures() => Ok(Some(self.any_end())),
            Err(error) => Err(Violation::new(Invariant::FailedWithoutFault, format!("without a fault: {error}"))),
        }
    }

    /// Checks that a failure reported by the node has an injected fault.
    pub(super) fn check_failures_reported(&self, before: Failures, failures_reported: u64) -> Checked {
        let Some(node) = &self.node else { return Ok(()) };
        let right = node.failures_reported() == failures_reported || before != self.disk.failures();
        ensure(right, Invariant::FailedWithoutFault, || node.failure_text())
    }

    /// Adds the failures that the disk has counted.
    pub(super) fn count_failures(&mut self) {
        let Failures { calls, flushes, .. } = self.disk.failures();
        self.fault_counts.add(Fault::CallFails, calls);
        self.fault_counts.add(Fault::FlushFails, flushes);
    }

    /// How a process with a failed journal ends.
    pub(super) fn end_of_poisoned(&mut self) -> Checked<End> {
        let failed = self.node.as_ref().is_some_and(|node| node.journal.failed);
        ensure(failed, Invariant::FailedWithoutFault, || "without a fault, the journal is poisoned".to_owned())?;
        Ok(self.any_end())
    }

    /// A kill, or a power cut in the same moment.
    pub(super) fn any_end(&mut self) -> End {
        self.rng.pick(&[End::Killed, End::PowerCut])
    }
}
