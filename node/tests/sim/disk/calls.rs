//! What a process's calls to the disk come to: most succeed, one may fail, and one may be the last.

/// Invariant: behind a cut no call does anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Calls before the process is cut, in the middle of one.
    until_cut: Option<u32>,
    /// Calls before one fails.
    until_failure: Option<u32>,
    flush_fails: bool,
    is_cut: bool,
    failures: Failures,
}

/// How often a call did not do what it was asked for. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub cuts: u64,
    pub calls: u64,
    pub flushes: u64,
}

/// What one call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Failed,
    /// The process ends in the middle of it.
    Cut,
    /// The process had ended before.
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

    /// Nothing is to go wrong any more: another process, or one that nothing happens to.
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

    /// A flush is a call that has a failure of its own.
    pub(super) fn next_flush(&mut self) -> Fate {
        let fate = self.next();
        if fate == Fate::Done && std::mem::take(&mut self.flush_fails) {
            self.failures.flushes += 1;
            return Fate::Failed;
        }
        fate
    }
}

/// True for the call that it was set for, once.
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
