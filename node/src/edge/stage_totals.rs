//! The edge's end of the stage times: what the gateway recorded, added up since the start.
//!
//! The lock is between those who ask for metrics; the gateway never meets it.

use crate::stages::StageSet;
use rtrb::{Consumer, Producer};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub struct StageTotals {
    state: Mutex<TotalsState>,
}

struct TotalsState {
    full: Consumer<Box<StageSet>>,
    empty: Producer<Box<StageSet>>,
    total: StageSet,
}

impl StageTotals {
    /// Full sets come by one ring; emptied ones go back by the other, which has room for all there are.
    pub fn new(full: Consumer<Box<StageSet>>, empty: Producer<Box<StageSet>>) -> Self {
        Self { state: Mutex::new(TotalsState { full, empty, total: StageSet::new() }) }
    }

    /// Adds up what has come and sends the sets back. Bounded by the sets there are.
    pub fn collect(&self) {
        drop(self.collected());
    }

    /// Looks at everything that has come so far; what the gateway records now comes within its housekeeping.
    pub fn read<T>(&self, look: impl FnOnce(&StageSet) -> T) -> T {
        look(&self.collected().total)
    }

    fn collected(&self) -> MutexGuard<'_, TotalsState> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        while let Ok(mut set) = state.full.pop() {
            state.total.merge(&set);
            set.reset();
            state.empty.push(set).expect("a ring for all sets");
        }
        guard
    }
}
