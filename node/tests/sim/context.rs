//! Everything that a client or a reader reads and changes in its step.

use crate::fault_counts::FaultCounts;
use crate::options::{Fault, Options};
use crate::oracle::Oracle;
use crate::sockets::Net;
use crate::trace::Trace;
use book::testing::workload::rng::Rng;
use book::units::TsNs;

/// Bytes that a slow client reads at most in a step.
const SLOW_BYTES_MAX: u32 = 200;

pub(crate) struct Context<'a> {
    pub now: TsNs,
    pub net: &'a mut Net,
    pub oracle: &'a Oracle,
    pub options: &'a Options,
    pub rng: &'a mut Rng,
    pub trace: &'a mut Trace,
    pub fault_counts: &'a mut FaultCounts,
    /// Whether faults are injected, and whether clients make new requests.
    pub faults: bool,
    pub fresh: bool,
}

impl Context<'_> {
    /// Whether this fault strikes now; counts it if it does.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults && self.options.has(fault) && self.rng.one_in(self.options.fault_every);
        if strikes {
            self.fault_counts.note(fault);
        }
        strikes
    }

    /// Whether answers wait for the disk, so that no message is sent that a power cut could invalidate.
    pub(crate) fn answers_wait_for_disk(&self) -> bool {
        self.options.release == node::engine::engine_loop::Release::Durable
    }

    /// Bytes that a client reads at most in this step.
    pub(crate) fn bytes_to_read(&mut self) -> usize {
        let slow = self.faults && self.options.has(Fault::SlowReader) && !self.rng.one_in(8);
        if slow { self.rng.below(SLOW_BYTES_MAX) as usize } else { usize::MAX }
    }
}
