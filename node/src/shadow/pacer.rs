//! Giving way in the middle of long work: as long as it had the processor, a thread then rests.
//!
//! A low priority is not enough. Where the machine is a virtual one, its disk is served by the host on the same share of
//! processors, and a core kept busy for half a second holds up every sync for as long.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Work between two rests.
const WORK_AT_ONCE: Duration = Duration::from_millis(1);

/// Of the thread that asks it. Begins in haste.
#[derive(Debug, Default)]
pub struct Pacer {
    gives_way: bool,
    /// What the thread had used when its last rest ended.
    used: Duration,
}

impl Pacer {
    /// Whether it rests at all from now on.
    pub fn give_way(&mut self, gives_way: bool) {
        if gives_way && !self.gives_way {
            self.used = used_by_this_thread();
        }
        self.gives_way = gives_way;
    }

    /// To be called often.
    pub fn rest(&mut self) {
        if !self.gives_way {
            return;
        }
        let worked = used_by_this_thread().saturating_sub(self.used);
        if worked < WORK_AT_ONCE {
            return;
        }
        std::thread::sleep(worked);
        self.used += worked;
    }
}

fn used_by_this_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a thread has used no negative time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work_for(wanted: Duration) {
        let until = used_by_this_thread() + wanted;
        while used_by_this_thread() < until {
            std::hint::spin_loop();
        }
    }

    /// How long a call of `rest` took is nothing to assert; what it has accounted for is.
    #[test]
    fn rests_after_enough_work_and_never_in_haste() {
        let mut pacer = Pacer::default();
        work_for(2 * WORK_AT_ONCE);
        pacer.rest();
        assert_eq!(pacer.used, Duration::ZERO, "in haste nothing is counted");
        pacer.give_way(true);
        let begun = pacer.used;
        assert!(Duration::ZERO < begun, "work before that is not rested for");
        work_for(2 * WORK_AT_ONCE);
        pacer.rest();
        assert!(begun + 2 * WORK_AT_ONCE <= pacer.used);
        let rested = pacer.used;
        pacer.give_way(true);
        assert_eq!(pacer.used, rested, "said twice, it counts on");
    }
}
