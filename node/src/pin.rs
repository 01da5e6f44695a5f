//! Which cores a thread may run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Whether the calling thread now runs on this core only.
pub fn pin_to(core: usize) -> bool {
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    let mut only = CpuSet::new();
    only.set(core);
    // Refused where the machine, or a container's share of it, has no such core.
    sched_setaffinity(None, &only).is_ok()
}

/// Takes the calling thread off these cores, and with it every thread that it starts from then on. False, and nothing is
/// changed, where no other core would be left.
pub fn keep_off(cores: &[usize]) -> bool {
    let Ok(mut rest) = sched_getaffinity(None) else { return false };
    cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| rest.unset(core));
    rest.count() > 0 && sched_setaffinity(None, &rest).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_where_it_may_and_what_it_starts_follows() {
        let all = sched_getaffinity(None).expect("a thread knows where it may run");
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        std::thread::spawn(move || {
            assert!(!keep_off(&cores), "no core would be left");
            assert_eq!(sched_getaffinity(None).map(|set| set.count()), Ok(cores.len() as u32));
            assert!(!pin_to(CpuSet::MAX_CPU));
            if let [first, .., last] = cores[..] {
                assert!(keep_off(&[last]));
                let started = std::thread::spawn(move || sched_getaffinity(None).map(|set| set.is_set(last)));
                assert_eq!(started.join().expect("it does not panic"), Ok(false));
                assert!(pin_to(first) && pin_to(last), "a thread may be pinned to a core that it was kept off");
            }
        })
        .join()
        .expect("no assertion failed");
    }
}
