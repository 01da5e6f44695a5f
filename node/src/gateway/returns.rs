//! The sessions that had open orders when the node started: how many are back, and since when the last one.
//!
//! Each of them begins in a grace window. Invariant: every one is counted once, as back or as one whose window has
//! ended; the report is made when the last one is.

use book::units::TsNs;

/// What became of a session that was away at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    Back,
    WindowEnded,
}

/// The outcome of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnReport {
    pub back: usize,
    pub ended: usize,
    /// From the start to the last one.
    pub ms: u64,
}

#[derive(Debug)]
pub struct Returns {
    started: TsNs,
    away: usize,
    back: usize,
    ended: usize,
}

impl Returns {
    pub fn new(started: TsNs, away: usize) -> Self {
        Self { started, away, back: 0, ended: 0 }
    }

    /// Counts one more; the report when it was the last.
    pub fn note(&mut self, now: TsNs, how: Return) -> Option<ReturnReport> {
        match how {
            Return::Back => self.back += 1,
            Return::WindowEnded => self.ended += 1,
        }
        let Self { started, away, back, ended } = *self;
        assert!(back + ended <= away, "a session returns once");
        let ms = now.0.saturating_sub(started.0) / 1_000_000;
        (back + ended == away).then_some(ReturnReport { back, ended, ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_comes_with_the_last_session() {
        let mut returns = Returns::new(TsNs(5_000_000), 2);
        assert_eq!(returns.note(TsNs(6_000_000), Return::WindowEnded), None);
        let report = ReturnReport { back: 1, ended: 1, ms: 40 };
        assert_eq!(returns.note(TsNs(45_000_000), Return::Back), Some(report));
    }
}
