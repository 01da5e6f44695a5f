//! The outcome of a process's calls to the disk: most succeed, one may fail, and one may end the process.

/// Invariant: after the call that ends the process no call has an effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Calls before the one that ends the process.
    until_cut: Option<u32>,
    /// Calls before the one that fails.
    until_failure: Option<u32>,
    flush_fails: bool,
    is_cut: bool,
    failures: Failures,
}

/// Numbers of calls that did not succeed. They only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub cuts: u64,
    pub calls: u64,
    pub flushes: u64,
}

/// The outcome of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Failed,
    /// The process ends during this call.
    Cut,
    /// The process had ended before this call.
    Gone,
}

impl Calls {
    pub(super) fn cut_after(&mut self, calls: Option<u32>) {
        self.until_cut = calls;
    }

    pub(super) fn fail_after(&mut self, calls: u32) {
        self.until_failure = Some(calls);
    }

    pub(super) fn fail_flush(&mut self) {
        self.flush_fails = true;
    }

    /// Cancels the faults to come: for a new process, or for one without faults.
    pub(super) fn heal(&mut self) {
        *self = Self { failures: self.failures, ..Self::default() };
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn failures(&self) -> Failures {
        self.failures
    }

    pub(super) fn next(&mut self) -> Fate {
        if self.is_cut {
            return Fate::Gone;
        }
        if count_down(&mut self.until_cut) {
            self.is_cut = true;
            self.failures.cuts += 1;
            return Fate::Cut;
        }
        if count_down(&mut self.until_failure) {
            self.failures.calls += 1;
            return Fate::Failed;
        }
        Fate::Done
    }

    /// The outcome of a flush, a call that can also be made to fail by itself.
    pub(super) fn next_flush(&mut self) -> Fate {
        let fate = self.next();
        if fate == Fate::Done && std::mem::take(&mut self.flush_fails) {
            self.failures.flushes += 1;
            return Fate::Failed;
        }
        fate
    }
}

/// Returns true once, for the call for which it was set.
fn count_down(left: &mut Option<u32>) -> bool {
    match left {
        None => false,
        Some(0) => {
            *left = None;
            true
        }
        Some(calls) => {
            *calls -= 1;
            false
        }
    }
}
