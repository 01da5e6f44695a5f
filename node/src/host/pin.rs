//! CPU affinity: which cores a thread may run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread to one core; false if the system refused.
pub fn pin_to(core: usize) -> bool {
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    let mut only = CpuSet::new();
    only.set(core);
    // Refused if the machine, or the container's cpuset, has no such core.
    sched_setaffinity(None, &only).is_ok()
}

/// Keeps the calling thread, and every thread that it starts meanwhile, off some cores. Dropping it restores the
/// affinity that the thread had before.
#[derive(Debug)]
pub struct KeptOff {
    before: CpuSet,
}

impl KeptOff {
    /// `None`, and nothing is changed, if no other core would be left.
    pub fn from(cores: &[usize]) -> Option<Self> {
        let before = sched_getaffinity(None).ok()?;
        let mut rest = before;
        cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| rest.unset(core));
        (rest.count() > 0 && sched_setaffinity(None, &rest).is_ok()).then_some(Self { before })
    }
}

impl Drop for KeptOff {
    fn drop(&mut self) {
        // Refused only if the machine has lost these cores meanwhile; then the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_where_it_may_and_what_it_starts_follows() {
        let all = sched_getaffinity(None).expect("a thread knows where it may run");
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        std::thread::spawn(move || {
            assert!(KeptOff::from(&cores).is_none(), "no core would be left");
            assert_eq!(sched_getaffinity(None).map(|set| set.count()), Ok(cores.len() as u32));
            assert!(!pin_to(CpuSet::MAX_CPU));
            if let [first, .., last] = cores[..] {
                let kept_off = KeptOff::from(&[last]).expect("another core is left");
                let started = std::thread::spawn(move || sched_getaffinity(None).map(|set| set.is_set(last)));
                assert_eq!(started.join().expect("it does not panic"), Ok(false));
                drop(kept_off);
                assert_eq!(sched_getaffinity(None).map(|set| set.is_set(last)), Ok(true));
                assert!(pin_to(first) && pin_to(last), "a thread may be pinned to a core that it was kept off");
            }
        })
        .join()
        .expect("no assertion failed");
    }
}
