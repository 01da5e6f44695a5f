//! Pacing of long background work: a thread sleeps as long as it has worked, so that it uses half a processor at most.
//!
//! A low priority is not enough. On a virtual machine the host serves the disk within the same share of processors, so
//! a core that is kept busy for half a second delays every journal sync by as much.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Processor time between two pauses.
const WORK_AT_ONCE: Duration = Duration::from_millis(1);

/// Paces the thread that calls it. Inactive at first.
#[derive(Debug, Default)]
pub struct Pacer {
    is_active: bool,
    /// Processor time of the thread for which it has already paused.
    used: Duration,
}

impl Pacer {
    /// Turns pacing on or off. Work done while it was off is not paused for.
    pub fn set_active(&mut self, is_active: bool) {
        if is_active && !self.is_active {
            self.used = used_by_this_thread();
        }
        self.is_active = is_active;
    }

    /// Sleeps if pacing is active and enough work has been done since the last pause. To be called often.
    #[expect(clippy::disallowed_methods, reason = "resting is what this file is for")]
    pub fn pause(&mut self) {
        if !self.is_active {
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
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a thread's processor time is not negative")
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

    /// The duration of a call to `pause` depends on the machine; the time that it has accounted for does not.
    #[test]
    fn pauses_after_enough_work_and_never_while_inactive() {
        let mut pacer = Pacer::default();
        work_for(2 * WORK_AT_ONCE);
        pacer.pause();
        assert_eq!(pacer.used, Duration::ZERO, "nothing is counted while inactive");
        pacer.set_active(true);
        let begun = pacer.used;
        assert!(Duration::ZERO < begun, "earlier work is not paused for");
        work_for(2 * WORK_AT_ONCE);
        pacer.pause();
        assert!(begun + 2 * WORK_AT_ONCE <= pacer.used);
        let paused = pacer.used;
        pacer.set_active(true);
        assert_eq!(pacer.used, paused, "activating it again changes nothing");
    }
}
