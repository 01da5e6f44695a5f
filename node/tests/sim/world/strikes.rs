//! What goes wrong: faults as they strike, and what a step of the node may do about them.

use super::World;
use crate::around::Around;
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::disk::{End, Failures};
use crate::journal::{Mishaps, WriteMishap};
use crate::options::Fault;
use std::fmt::Display;

/// Calls to the disk within which one is cut or fails: a round of a loop makes so many.
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
                self.struck.note(fault);
                let end = if fault == Fault::Kill { End::Killed } else { End::PowerCut };
                return self.crash(end, None);
            }
            Fault::BitRot | Fault::LostTail => return self.crash(End::PowerCut, Some(fault)),
            Fault::SyncFails => self.mishaps.sync = Some(libc::EIO),
            Fault::WriteFails => self.mishaps.write = Some(WriteMishap::Fail(libc::ENOSPC)),
            Fault::ShortWrite => self.mishaps.write = Some(WriteMishap::Short),
            Fault::FlushFails => self.disk.fail_flush(),
            Fault::CutInStep => self.disk.cut_after(Some(self.rng.below(CALLS_MAX))),
            Fault::CallFails => self.disk.fail_after(self.rng.below(CALLS_MAX)),
            Fault::SlowDisk => self.disk_rests = rest,
            Fault::KeeperStalls => self.keeper_rests = 4 * rest,
            Fault::GatewayStalls => self.gateway_rests = rest,
            Fault::Stop => self.ask_to_stop(),
            Fault::ClockJumps => {
                self.struck.note(fault);
                self.now.0 += (1 + u64::from(self.rng.below(2_000_000_000))) * 10;
            }
            Fault::CutInRecovery
            | Fault::Reset
            | Fault::HalfClose
            | Fault::SlowReader
            | Fault::WrongPassword
            | Fault::Garbage => unreachable!("it strikes in a recovery, or from a client"),
        }
        Ok(())
    }

    /// Ends the process and starts another one on what it left, perhaps on a damaged copy of that first.
    pub(super) fn crash(&mut self, end: End, damage: Option<Fault>) -> Checked {
        self.account()?;
        self.trace.number(1 << 60 | end as u64);
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let mut around = Around {
            now: self.now,
            net: &mut node.orders,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            struck: &mut self.struck,
            faults: self.faults,
            fresh: self.fresh,
        };
        self.clients.iter_mut().chain([&mut self.drop_copy]).for_each(|client| client.node_ended(&mut around));
        around.net = &mut node.market;
        self.reader.node_ended(&mut around);
        self.admins.node_ended();
        self.verdicts.clear();
        self.mishaps = Mishaps::default();
        (self.dying, self.stop_asked) = (None, None);
        let issued = std::mem::take(&mut node.journal.issued);
        if self.options.has(Fault::SlowReader) {
            self.struck.add(Fault::SlowReader, node.orders.full_count + node.market.full_count);
        }
        drop(node);
        self.disk.end(end, &mut self.rng);
        self.now.0 += u64::from(self.rng.below(1_000_000_000));
        if let Some(damage) = damage {
            self.start_damaged(damage, &issued)?;
        }
        self.start()
    }

    /// How the process ends by what a step of it came to, if it does. `before` is what had failed before the step: it may
    /// stumble over nothing else.
    pub(super) fn end_of_step<T, E: Display>(
        &mut self,
        before: Failures,
        outcome: Result<T, E>,
    ) -> Checked<Option<End>> {
        if self.disk.is_cut() {
            self.struck.note(Fault::CutInStep);
            return Ok(Some(self.any_end()));
        }
        match outcome {
            Ok(_) => Ok(None),
            Err(_) if before != self.disk.failures() => Ok(Some(self.any_end())),
            Err(error) => Err(Broken::new(Invariant::FailedByItself, format!("nothing failed, and yet: {error}"))),
        }
    }

    /// Whoever says that something went wrong has something that did.
    pub(super) fn check_complaints(&self, before: Failures, complaints: u64) -> Checked {
        let Some(node) = &self.node else { return Ok(()) };
        let right = node.complaints() == complaints || before != self.disk.failures();
        ensure(right, Invariant::FailedByItself, || node.complaint())
    }

    /// Failures that only the disk knows of.
    pub(super) fn count_failures(&mut self) {
        let Failures { calls, flushes, .. } = self.disk.failures();
        self.struck.add(Fault::CallFails, calls);
        self.struck.add(Fault::FlushFails, flushes);
    }

    /// How a process ends whose journal failed.
    pub(super) fn end_of_poisoned(&mut self) -> Checked<End> {
        let failed = self.node.as_ref().is_some_and(|node| node.journal.failed);
        ensure(failed, Invariant::FailedByItself, || "nothing failed, and yet the journal is poisoned".to_owned())?;
        Ok(self.any_end())
    }

    /// Whoever fails may lose the power in the same moment.
    pub(super) fn any_end(&mut self) -> End {
        self.rng.pick(&[End::Killed, End::PowerCut])
    }
}
