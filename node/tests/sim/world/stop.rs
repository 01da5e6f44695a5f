//! A clean stop at any moment: every accepted command is durable, stored and applied by the shadow when the process
//! ends.

use super::{LIVENESS_STEPS, World};
use crate::options::Fault;
use crate::violation::{Checked, Invariant, Violation, ensure};

impl World<'_> {
    /// Asks the node to stop. The stop takes steps like everything else, and faults may strike during it.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(node) = &self.node {
            node.lifecycle.stop();
            self.stop_asked.get_or_insert(self.step);
        }
    }

    /// Stops the node and waits until the process has ended and another one has started on its disk.
    pub(super) fn stop(&mut self) -> Checked {
        self.ask_to_stop();
        let stops = self.stops;
        while self.stops == stops {
            self.take_step()?;
        }
        Ok(())
    }

    /// The gateway's part in a cycle of a stopping node.
    pub(super) fn close_gateway(&mut self) {
        if let Some(node) = self.node.as_mut().filter(|node| node.lifecycle.is_stopping()) {
            node.gateway.stop_inbound();
            node.closed = true;
        }
    }

    /// The engine's part: it ends when every accepted command is durable and passed on.
    pub(super) fn end_when_drained(&mut self) -> Checked {
        let (Some(asked), Some(node)) = (self.stop_asked, &self.node) else { return Ok(()) };
        ensure(self.step - asked <= LIVENESS_STEPS, Invariant::Liveness, || "a stop does not end".to_owned())?;
        if !node.closed || node.journal.is_poisoned() || !node.engine.is_drained(&node.journal) {
            return Ok(());
        }
        self.account()?;
        self.finish()
    }

    /// The other loops' part after the engine has ended, and the start after the stop.
    fn finish(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let (before, failures_reported) = (self.disk.failures(), node.failures_reported());
        let stored = node.store_writer.finish().map_err(|error| error.to_string());
        let followed = stored.and_then(|()| node.shadow.finish(self.now).map_err(|error| error.to_string()));
        self.check_failures_reported(before, failures_reported)?;
        if let Some(end) = self.end_of_step(before, followed)? {
            return self.crash(end, None);
        }
        self.stops += 1;
        self.fault_counts.note(Fault::Stop);
        let (seq, written) = (self.oracle.seq(), self.oracle.seq_written());
        ensure(seq == written, Invariant::Liveness, || format!("stopped at {seq}, {written} were written"))?;
        let end = self.any_end();
        self.crash(end, None)?;
        let Some(node) = &self.node else { return Ok(()) };
        let (found, stored) = (node.log.tail.seq.0, node.log.seq_stored_found.0);
        if found == seq && stored == seq {
            return Ok(());
        }
        let detail = format!("stopped at {seq}, started at {found}, of which {stored} were stored");
        Err(Violation::new(Invariant::NeverWritten, detail))
    }
}
