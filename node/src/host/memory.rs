//! Memory of this process, and the bound that it has.

use std::fs;
use std::path::Path;

/// Resident memory, from `/proc/self/statm`, which counts pages of 4096 bytes; `None` where the kernel does not say.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4_096)
}

/// What the process may use: the smallest bound of its control groups (version 2), else the memory of the machine.
pub fn limit_bytes() -> Option<u64> {
    let group =
        fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_limit(Path::new("/sys/fs/cgroup"), &text));
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    match (group, machine) {
        (Some(group), Some(machine)) => Some(group.min(machine)),
        (group, machine) => group.or(machine),
    }
}

/// The smallest `memory.max` from the group of this process up to the root; a line without a number is no bound.
fn group_limit(root: &Path, cgroup: &str) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = root.join(path);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_bound_of_the_groups_counts() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let own = root.path().join("system.slice/pinion.service");
        fs::create_dir_all(&own).expect("the directory is ours");
        assert_eq!(group_limit(root.path(), "0::/system.slice/pinion.service\n"), None);
        fs::write(own.join("memory.max"), "max\n").expect("the directory is ours");
        fs::write(root.path().join("system.slice/memory.max"), "4096\n").expect("the directory is ours");
        assert_eq!(group_limit(root.path(), "0::/system.slice/pinion.service\n"), Some(4_096));
        fs::write(own.join("memory.max"), "1024\n").expect("the directory is ours");
        assert_eq!(group_limit(root.path(), "1:name=x:/\n0::/system.slice/pinion.service\n"), Some(1_024));
    }

    #[test]
    fn this_process_uses_less_than_it_may() {
        assert_eq!(machine_bytes("MemFree: 1 kB\nMemTotal:       8 kB\n"), Some(8_192));
        assert!(resident_bytes().expect("this is Linux") < limit_bytes().expect("this is Linux"));
    }
}
