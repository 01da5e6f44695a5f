//! CPU time of each thread of this process, as the kernel's scheduler counts it.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};

/// The node's threads whose CPU time benches print, each with its key in JSON documents, which keep a thread's first
/// name. `iou-wrk` are the kernel's workers for the node's io_uring.
pub const NODE_THREADS: [(&str, &str); 4] =
    [("core", "core"), ("iou-wrk", "iou-wrk"), ("store_writer", "keeper"), ("feed", "feed")];

/// Nanoseconds on a CPU by thread name; threads of one name are added up. The kernel's workers of an io_uring of this
/// process are threads of it (`iou-wrk-N`) and stand under the name `iou-wrk`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes(BTreeMap<String, u64>);

impl CpuTimes {
    pub fn now() -> Self {
        let mut times = BTreeMap::new();
        for task in read_dir("/proc/self/task").into_iter().flatten().flatten() {
            // A thread that has ended since has no files to read.
            let read = |file: &str| read_to_string(task.path().join(file)).ok();
            let (Some(name), Some(stat)) = (read("comm"), read("schedstat")) else { continue };
            let ns: u64 = stat.split(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0);
            *times.entry(family(name.trim())).or_insert(0) += ns;
        }
        Self(times)
    }

    /// The time used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let used =
            |(name, ns): (&String, &u64)| (name.clone(), ns.saturating_sub(before.0.get(name).copied().unwrap_or(0)));
        Self(self.0.iter().map(used).collect())
    }

    /// The time of all threads of the node that are printed.
    pub fn of_node(&self) -> u64 {
        NODE_THREADS.iter().map(|(thread, _)| self.of(thread)).sum()
    }

    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

fn family(name: &str) -> String {
    let kernel_worker = "iou-wrk";
    if name.starts_with(kernel_worker) { kernel_worker.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_counted_under_its_name() {
        let before = CpuTimes::now();
        let seen = std::thread::Builder::new()
            .name("busy-bee".to_owned())
            .spawn(|| {
                let start = std::time::Instant::now();
                while start.elapsed().as_millis() < 20 {}
                CpuTimes::now()
            })
            .expect("started")
            .join()
            .expect("ended");
        assert!(seen.since(&before).of("busy-bee") > 0, "{seen:?}");
        assert_eq!(family("iou-wrk-4711"), "iou-wrk");
    }
}
