//! A clean stop: whatever is under way, what was taken in is durable, stored and followed when the process goes.

use super::{LIVENESS_STEPS, World};
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::options::Fault;

impl World<'_> {
    /// Asks the node to stop. It goes on in steps like everything else, and things may still go wrong.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(node) = &self.node {
            node.lifecycle.stop();
            self.stop_asked.get_or_insert(self.step);
        }
    }

    /// Until the process is gone and another one has started on what it left.
    pub(super) fn stop(&mut self) -> Checked {
        self.ask_to_stop();
        let stops = self.stops;
        while self.stops == stops {
            self.turn()?;
        }
        Ok(())
    }

    /// The gateway's part in a cycle of a node that stops.
    pub(super) fn close_door(&mut self) {
        if let Some(node) = self.node.as_mut().filter(|node| node.lifecycle.is_stopping()) {
            node.gateway.close_to_new();
            node.closed = true;
        }
    }

    /// The engine's part: it is done when everything that was taken in is durable and handed on.
    pub(super) fn end_when_drained(&mut self) -> Checked {
        let (Some(asked), Some(node)) = (self.stop_asked, &self.node) else { return Ok(()) };
        ensure(self.step - asked <= LIVENESS_STEPS, Invariant::Liveness, || "a stop has no end".to_owned())?;
        if !node.closed || node.journal.is_poisoned() || !node.engine.is_drained(&node.journal) {
            return Ok(());
        }
        self.account()?;
        self.finish()
    }

    /// What the other loops do when the engine is done, and the start after it.
    fn finish(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let (before, complaints) = (self.disk.failures(), node.complaints());
        let kept = node.keeper.finish().map_err(|error| error.to_string());
        let followed = kept.and_then(|()| node.shadow.finish(self.now).map_err(|error| error.to_string()));
        self.check_complaints(before, complaints)?;
        if let Some(end) = self.end_of_step(before, followed)? {
            return self.crash(end, None);
        }
        self.stops += 1;
        self.struck.note(Fault::Stop);
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
        Err(Broken::new(Invariant::NeverWritten, detail))
    }
}
