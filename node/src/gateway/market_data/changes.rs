//! Which instruments have changed since when: readers of the best levels look at these alone.
//!
//! ```text
//!  version     41   44   45   47          a change moves its instrument to the end
//!  instrument   3    9    1    2          a reader that has seen version 44 looks at 1 and 2
//! ```
//! Invariants: an instrument is in the order once, at its newest change; what was marked is in the order once `order`
//! has been called. Marking costs the same however many instruments there are.

use book::units::TsNs;
use std::collections::BTreeMap;

/// The newest change of one instrument.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    /// Its place in the order; 0 before the first one.
    version: u64,
    /// The time of its command.
    ts: TsNs,
    is_marked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By instrument, whose numbers are dense.
    of: Vec<Change>,
    /// The instruments by version, oldest first.
    order: BTreeMap<u64, u32>,
    /// Changed since `order` was last called.
    marked: Vec<u32>,
    version: u64,
}

impl Changes {
    /// A command of this time has changed the instrument.
    pub(super) fn mark(&mut self, instrument: u32, ts: TsNs) {
        let idx = instrument as usize;
        if self.of.len() <= idx {
            self.of.resize(idx + 1, Change::default());
        }
        let change = &mut self.of[idx];
        change.ts = ts;
        if !std::mem::replace(&mut change.is_marked, true) {
            self.marked.push(instrument);
        }
    }

    /// Moves every instrument that was marked to the end.
    pub(super) fn order(&mut self) {
        let Self { of, order, marked, version } = self;
        for instrument in marked.drain(..) {
            let change = &mut of[instrument as usize];
            order.remove(&change.version);
            *version += 1;
            (change.version, change.is_marked) = (*version, false);
            order.insert(*version, instrument);
        }
        assert!(order.len() <= of.len(), "an instrument is in the order once");
    }

    /// The instruments that have changed since the version, the longest unseen one first: the version of each change,
    /// and the time of its command.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = (u64, u32, TsNs)> + '_ {
        let after = self.order.range(version.saturating_add(1)..);
        after.map(|(version, instrument)| (*version, *instrument, self.of[*instrument as usize].ts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(changes: &Changes, version: u64) -> Vec<(u32, u64)> {
        changes.since(version).map(|(_, instrument, ts)| (instrument, ts.0)).collect()
    }

    #[test]
    fn a_reader_sees_what_changed_since_and_each_once() {
        let mut changes = Changes::default();
        for (instrument, ts) in [(3, 1), (9, 2), (3, 3)] {
            changes.mark(instrument, TsNs(ts));
        }
        assert_eq!(since(&changes, 0), [], "not in the order yet");
        changes.order();
        assert_eq!(since(&changes, 0), [(3, 3), (9, 2)]);
        let seen = changes.since(0).last().expect("two").0;
        changes.mark(3, TsNs(4));
        changes.order();
        assert_eq!(since(&changes, seen), [(3, 4)]);
        assert_eq!(since(&changes, 0), [(9, 2), (3, 4)], "the longest unseen one first");
        assert_eq!(since(&changes, changes.version), []);
    }
}
