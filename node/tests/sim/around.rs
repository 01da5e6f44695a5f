//! What a client or a reader looks at and acts on.

use crate::options::{Fault, Options};
use crate::oracle::Oracle;
use crate::sockets::Net;
use crate::struck::Struck;
use crate::trace::Trace;
use book::testing::workload::rng::Rng;
use book::units::TsNs;

/// Bytes that a slow reader takes at most, when it takes any.
const SLOW_BYTES_MAX: u32 = 200;

pub struct Around<'a> {
    pub now: TsNs,
    pub net: &'a mut Net,
    pub oracle: &'a Oracle,
    pub options: &'a Options,
    pub rng: &'a mut Rng,
    pub trace: &'a mut Trace,
    pub struck: &'a mut Struck,
    /// Whether anything may still go wrong, and new requests may be made.
    pub faults: bool,
    pub fresh: bool,
}

impl Around<'_> {
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults && self.options.has(fault) && self.rng.one_in(self.options.fault_every);
        if strikes {
            self.struck.note(fault);
        }
        strikes
    }

    /// Whether answers wait for the disk, so that nobody hears of what a power cut could take back.
    pub fn is_told_late(&self) -> bool {
        self.options.release == node::engine::engine_loop::Release::Durable
    }

    /// Bytes that somebody who looks now takes at most.
    pub fn bytes_wanted(&mut self) -> usize {
        let slow = self.faults && self.options.has(Fault::SlowReader) && !self.rng.one_in(8);
        if slow { self.rng.below(SLOW_BYTES_MAX) as usize } else { usize::MAX }
    }
}
